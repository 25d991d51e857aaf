"""Where variables and data live: chosen at first use, overridable, never at import.

The default is the first CUDA device where there is one, else the CPU; `FASTK_DEVICE`
or `fastk.device(...)` says otherwise.

>>> import fastk
>>> with fastk.device("cpu"):
...     print(fastk.ops.convert_to_tensor([1.0]).device)
cpu
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

import torch

from fastk import config
from fastk.errors import ConfigurationError


class _Current(threading.local):
    device: torch.device | None = None


_current = _Current()
META = torch.device("meta")


def parse_device(name: str | torch.device) -> torch.device:
    """`'cpu'`, `'cuda:1'`, or Keras's `'gpu:0'`, as a `torch.device`."""
    if isinstance(name, torch.device):
        return name
    if not isinstance(name, str):
        raise ValueError(f"Expected a device name like 'cpu' or 'gpu:0'. Received: {name!r} (of type {type(name)}).")
    try:
        return torch.device(name.lower().replace("gpu", "cuda"))
    except RuntimeError as error:
        raise ValueError(f"Unknown device {name!r}: expected a name like 'cpu', 'gpu:0' or 'cuda:1'.") from error


@functools.cache
def default_device() -> torch.device:
    """The device used where no scope says otherwise."""
    asked = str(config.read_environment("FASTK_DEVICE"))
    if asked == "auto":
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = parse_device(asked)
    except ValueError:
        raise ConfigurationError(
            f"The environment variable FASTK_DEVICE is {asked!r}: expected 'auto', 'cpu', 'cuda', or a name like "
            "'cuda:1'. Unset it, or set it to such a value."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            f"FASTK_DEVICE is {asked!r}, but torch {torch.__version__} sees no CUDA device. "
            "Install a CUDA build of torch and check `nvidia-smi`, or set FASTK_DEVICE to 'cpu' or 'auto'."
        )
    return device


def _own_gpu() -> torch.device:
    """The GPU that is this process's: torch's current one, under `torchrun` that of its number on this machine."""
    local, count = config.read_environment("LOCAL_RANK"), torch.cuda.device_count()
    if not isinstance(local, int) or count == 1:  # or a launcher shows each process its own GPU alone
        return torch.device("cuda", torch.cuda.current_device())
    if local >= count:
        raise ConfigurationError(
            f"LOCAL_RANK is {local}, but this machine has {count} GPUs: start at most {count} processes on it "
            f"(torchrun --nproc-per-node={count}), or set FASTK_DEVICE to 'cpu'."
        )
    return torch.device("cuda", local)


def get_device() -> torch.device:
    """The device that new tensors and variables are made on."""
    return _current.device or default_device()


@contextlib.contextmanager
def device_scope(device_name: str | torch.device) -> Iterator[torch.device]:
    """Makes new tensors and variables on the device of this name inside the `with` block."""
    before = _current.device
    _current.device = parse_device(device_name)
    try:
        yield _current.device
    finally:
        _current.device = before
