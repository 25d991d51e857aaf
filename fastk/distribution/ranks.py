"""The processes that train together: how they find each other, and what they tell each other.

Each process has one device, and a number: its rank. `active()` is the group of all of them, or None in a program of one
process, which asks nothing else of this module. Whatever they say to each other is said by all of them, in one order.
"""

from __future__ import annotations

import atexit
import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from fastk import config, messages
from fastk.device import get_device
from fastk.errors import ConfigurationError, RankFailure

T = TypeVar("T")


def patience() -> float:
    """How long to wait for other processes, in seconds."""
    return float(str(config.read_environment("FASTK_COLLECTIVE_SECONDS")))


class Group:
    """The processes of a training.

    Args:
        on_host: torch's group for tensors on the CPU; None for its default group.

    Attributes:
        rank: the number of this process.
        size: how many processes there are, at least 2.
    """

    def __init__(self, on_host: Any = None):
        self.rank: int = dist.get_rank()
        self.size: int = dist.get_world_size()
        self._on_host = on_host
        self._written: dict[str, int] = {}

    def __deepcopy__(self, memo: dict) -> Group:
        return self  # of a copied model it is the same processes

    def __reduce__(self) -> Any:
        return type(None), ()  # in a file, and in another process, there are others

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def _run(self, what: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            raise self._failure(what, error) from error

    def _failure(self, what: str, error: Exception) -> RankFailure:
        return RankFailure(
            f"Process {self.rank} of {self.size} waited for {what} of the others, but at least one of them ended, "
            "failed or hung: the first traceback in the output, or the process that the system killed, is the cause. "
            "This process ends, too. Start the same command again to resume: with the callback `BackupAndRestore`, "
            "`fit` goes on from the last backup, with any number of processes. If a process was only slow, or only "
            f"some of them made this call, see docs/many_devices.md (FASTK_COLLECTIVE_SECONDS is {patience():g}). "
            f"torch's own words: {error}"
        )

    @contextlib.contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Says of an error of torch's inside, where other processes do not answer, what has happened."""
        try:
            yield
        except RankFailure:
            raise
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or any(name in str(error) for name in ("gloo", "NCCL")):
                raise self._failure(what, error) from error
            raise

    def _group_for(self, x: torch.Tensor) -> Any:
        return self._on_host if x.is_cpu else None

    def sum_(self, x: torch.Tensor, what: str = "a sum") -> torch.Tensor:
        """`x`, contiguous, replaced by its sum over all processes; each gets the same, bit for bit."""
        self._run(what, dist.all_reduce, x, group=self._group_for(x))
        return x

    def sum_all_(self, tensors: Sequence[torch.Tensor], what: str) -> None:
        """Each tensor replaced by its sum, several under way at once."""
        works = [self._run(what, dist.all_reduce, x, group=self._group_for(x), async_op=True) for x in tensors]
        for work in works:
            self._run(what, work.wait)  # type: ignore[union-attr]

    def broadcast_(self, x: torch.Tensor, what: str = "values") -> torch.Tensor:
        """`x`, contiguous, replaced by that of the first process."""
        self._run(what, dist.broadcast, x, 0, group=self._group_for(x))
        return x

    def gather(self, x: torch.Tensor, what: str = "values") -> list[torch.Tensor]:
        """`x` of every process, all of one shape, by rank."""
        parts = [torch.empty_like(x) for _ in range(self.size)]
        self._run(what, dist.all_gather, parts, x.contiguous(), group=self._group_for(x))
        return parts

    def gather_numbers(self, *numbers: int) -> list[list[int]]:
        """The integers that each process has, by rank; over the host, whatever the device is."""
        return [part.tolist() for part in self.gather(torch.tensor(numbers, dtype=torch.int64), "a few numbers")]

    def gather_objects(self, value: Any, what: str = "a message") -> list[Any]:
        """The value that each process has, by rank: anything that can be pickled."""
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        lengths = [one for (one,) in self.gather_numbers(len(data))]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = data
        parts = self.gather(padded, what)
        return [pickle.loads(part[:n].numpy().tobytes()) for part, n in zip(parts, lengths, strict=True)]

    def any(self, value: bool) -> bool:
        """Whether it holds for any process."""
        return any(one for (one,) in self.gather_numbers(int(value)))

    def written_by_first(self, name: str, write: Callable[[], Any]) -> None:
        """Has the first process `write`; the others wait until it has, and fail if it failed.

        The first process waits for nobody: a program may also write from there alone.

        Args:
            name: of what is written, the same on every process.
            write: writes it.
        """
        count = self._written[name] = self._written.get(name, 0) + 1
        key, store = f"fastk/{name}/{count}", dist.distributed_c10d._get_default_store()
        if not self.is_first:
            self._run(f"the file {name}", store.wait, [key], timedelta(seconds=patience()))
            outcome = store.get(key).decode()
            if outcome:
                raise RankFailure(f"The first process could not write {name}: {outcome}")
            return
        try:
            write()
        except BaseException as error:
            store.set(key, f"{type(error).__name__}: {error}")
            raise
        store.set(key, "")


class _State:
    group: Group | None = None
    is_ours = False  # whether torch's process group was made here, and is to be taken down here


_state = _State()


def process_count() -> int:
    """How many processes there are: those of torch's group, or those that a launcher says it started."""
    if dist.is_initialized():
        return dist.get_world_size()
    launched = config.launched_as()
    return launched[1] if launched else 1


def process_id() -> int:
    """The number of this process, from 0 on."""
    if dist.is_initialized():
        return dist.get_rank()
    launched = config.launched_as()
    return launched[0] if launched else 0


def join(address: str | None = None, size: int | None = None, rank: int | None = None) -> None:
    """Makes torch's process group, where the program has not made one.

    Args:
        address: host and port of the first process; None: as the launcher's environment variables say.
        size: the number of processes.
        rank: the number of this one.
    """
    if dist.is_initialized():
        return
    device = get_device()
    options: dict[str, Any] = {"backend": "gloo"}
    if device.type == "cuda":
        torch.cuda.set_device(device)  # before NCCL begins: it talks from the current device
        options = {"backend": "cpu:gloo,cuda:nccl", "device_id": device}
    if address is not None:
        options |= {"init_method": f"tcp://{address}", "world_size": size, "rank": rank}
    try:
        dist.init_process_group(timeout=timedelta(seconds=patience()), **options)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"Process {rank} of {size} could not join the others{f' at {address}' if address else ''}: {error}. Start "
            "the program by `torchrun --nproc-per-node=N train.py`, which says to each process where the others are."
        ) from error
    _state.is_ours = True
    atexit.register(leave)


def join_alone_or_with_others() -> None:
    """Makes torch's process group, also in a program of one process, which torch's own classes need as well."""
    if dist.is_initialized() or process_count() > 1:
        join()
    else:
        dist.init_process_group(
            "nccl" if get_device().type == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1
        )
        _state.is_ours = True
        atexit.register(leave)


def enter() -> Group | None:
    """The group of the processes that there are, which train together from now on; None where there is one process."""
    if process_count() < 2:
        return None
    if _state.group is None:
        join()
        serves_host = "cpu:" in dist.get_backend_config()  # else it is the program's own, for GPUs alone
        _state.group = Group(None if serves_host else dist.new_group(backend="gloo"))
    messages.leave_to_first_rank(not _state.group.is_first)
    return _state.group


def leave() -> None:
    """Takes down the group that was made here: without it, torch ends the process with an error."""
    _state.group = None
    if _state.is_ours and dist.is_initialized():
        _state.is_ours = False
        dist.destroy_process_group()
