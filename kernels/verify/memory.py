"""What a launch does to memory: bounds, counts, and races between programs.

**Provenance.** A pointer argument is given to the kernel with the argument's number in its upper 16 bits, which no
address on a 48-bit machine uses and pointer arithmetic leaves alone. Every access therefore knows which tensor it was
meant for, and an index that runs from one tensor into another is out of bounds. Pointers made from integers carry no
number; their tensors are registered.

**Races.** For each element of each tensor a shadow keeps its last writer and its readers. Two accesses by different
programs, one of them a write and not both atomic, are a race unless atomics order them, whatever order the
programs ran in. What atomics order is kept in vector clocks (Flanagan and Freund, FastTrack, PLDI 2009), made at
a program's first scalar atomic. Of several readers the latest access alone is remembered, as if each had made it:
exact for barriers over the grid, too strict for a write after reads that were ordered one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fastk.errors import FastkError

TAG_SHIFT = np.uint64(48)
ADDRESS_MASK = np.uint64((1 << 48) - 1)
_SECTOR_SHIFT = np.uint64(5)  # 32 bytes, what the L2 cache moves
_NOBODY, _SEVERAL = 0, -1  # programs are 1, 2, … in the shadows


class OutOfBoundsError(FastkError, IndexError):
    """A kernel touched memory outside the tensor that its pointer was made from."""


@dataclass
class Traffic:
    """The memory traffic of one kind (loads, stores or atomics) in one launch.

    Attributes:
        requested: bytes that the lanes of all programs ask for.
        unique: bytes of distinct elements among them.
        sectors: 32-byte sectors, each counted once per instruction of a program.
        instructions: how often a program executed such an instruction.
    """

    requested: int = 0
    unique: int = 0
    sectors: int = 0
    instructions: int = 0


@dataclass
class Launch:
    """What was counted in one launch of a kernel.

    Attributes:
        kernel: the name of the jitted function.
        grid: its three sizes.
        loads, stores, atomics: the traffic of each kind.
        dot_flops: 2·M·N·K for each `tl.dot`; a product in TF32x3 counts once.
        read_after_write, write_after_write, write_after_read: elements on which programs race.
        seconds: how long the interpreter took.
    """

    kernel: str
    grid: tuple[int, int, int]
    loads: Traffic = field(default_factory=Traffic)
    stores: Traffic = field(default_factory=Traffic)
    atomics: Traffic = field(default_factory=Traffic)
    dot_flops: int = 0
    read_after_write: int = 0
    write_after_write: int = 0
    write_after_read: int = 0
    seconds: float = 0.0

    @property
    def requested(self) -> int:
        """Bytes requested by loads, stores and atomics together."""
        return self.loads.requested + self.stores.requested + self.atomics.requested

    @property
    def races(self) -> int:
        """Races of all three kinds."""
        return self.read_after_write + self.write_after_write + self.write_after_read


class Region:
    """Shadow memory of an interval of addresses that one tensor, or several that overlap, cover.

    Its arrays have one entry per granule: the smallest element among the tensors.
    """

    def __init__(self, start: int, stop: int, granule: int) -> None:
        self.start, self.stop, self.granule = start, stop, granule
        size = -(-(stop - start) // granule)
        self.writer = np.zeros(size, np.int32)
        self.reader = np.zeros(size, np.int32)
        self.by_atomic = np.zeros(size, bool)  # the last write was atomic
        self.touched = {kind: np.zeros(size, bool) for kind in ("loads", "stores", "atomics")}
        self.write_time = self.read_time = _ZERO_TIMES  # until a program synchronises with another

    def granules(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """Indices into the shadows of elements of `size` bytes at `addresses`."""
        first = (addresses - np.uint64(self.start)).astype(np.int64) // self.granule
        if size <= self.granule:
            return first
        return (first[:, None] + np.arange(size // self.granule)).ravel()

    def keep_times(self) -> None:
        """Makes room for the times of accesses; all accesses so far happened at time 0."""
        if self.write_time is _ZERO_TIMES:
            self.write_time, self.read_time = np.zeros_like(self.writer), np.zeros_like(self.writer)


_ZERO_TIMES = np.zeros(0, np.int32)


class Clocks:
    """Which accesses of which programs happened before which, by the atomics between them.

    Time is the number of scalar atomics so far. `known[p][q]` is the time up to which p knows of q's accesses.
    """

    def __init__(self, programs: int) -> None:
        self.programs = programs
        self.time = 0
        self.known: dict[int, np.ndarray] = {}
        self._released: dict[int, np.ndarray] = {}

    def atomic(self, program: int, address: int, acquires: bool, releases: bool) -> None:
        """Program `program` (0, 1, …) makes an atomic access to `address`."""
        known = self.known.get(program)
        if known is None:
            known = self.known[program] = np.full(self.programs, -1, np.int32)
        released = self._released.get(address)
        if acquires and released is not None:
            np.maximum(known, released, out=known)
        if releases:
            known[program] = self.time
            self._released[address] = known.copy() if released is None else np.maximum(known, released)
        self.time += 1

    def unordered(self, program: int, others: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Of accesses by `others` (numbered from 1) at `times`, those that `program` cannot know of."""
        known = self.known.get(program)
        if known is None:
            return np.ones(others.shape, bool)
        if self.programs == 1:
            return np.zeros(others.shape, bool)
        of_all = np.delete(known, program).min()
        return times > np.where(others == _SEVERAL, of_all, known[others - 1])


class Monitor:
    """Watches one launch: raises for accesses out of bounds; where asked to, counts traffic and races.

    Args:
        kernel: the kernel's name.
        grid: the launch's grid.
        tensors: the tensors among the arguments by name, in the order of their tags (1, 2, …).
        reachable: tensors that the kernel reaches through addresses held in integers.
        counts: whether to count traffic.
        checks: whether to count races too, and to refuse addresses made from integers that are not in `reachable`.
    """

    def __init__(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        tensors: Iterable[tuple[str, torch.Tensor]],
        reachable: Iterable[torch.Tensor] = (),
        counts: bool = False,
        checks: bool = False,
    ) -> None:
        self.launch = Launch(kernel, grid)
        self.program = 0
        self.counts, self.checks = counts, checks
        self.clocks = Clocks(grid[0] * grid[1] * grid[2])
        self._names = [""]
        spans = [(0, 0, 1)]
        for name, tensor in tensors:
            self._names.append(name)
            spans.append(_span(tensor))
        for position, tensor in enumerate(reachable):
            self._names.append(f"reachable[{position}]")
            spans.append(_span(tensor))
        self._starts = np.array([start for start, _, _ in spans], np.uint64)
        self._stops = np.array([stop for _, stop, _ in spans], np.uint64)
        self._order = np.argsort(self._starts, kind="stable")
        self._regions = _regions(spans) if counts else []
        self._region_of = [
            next((region for region in self._regions if region.start <= start < region.stop), None)
            for start, _, _ in spans
        ]

    def access(self, kind: str, pointers: np.ndarray, mask: np.ndarray, size: int) -> None:
        """The current program accesses elements of `size` bytes: `kind` is "loads", "stores" or "atomics"."""
        lanes = pointers.ravel() if mask.all() else np.broadcast_to(pointers, mask.shape)[mask]
        if self.counts:
            traffic: Traffic = getattr(self.launch, kind)
            traffic.instructions += 1
            traffic.requested += lanes.size * size
            traffic.sectors += _distinct(lanes >> _SECTOR_SHIFT)
        if lanes.size == 0:
            return
        first_tag, last_tag = int(lanes.min() >> TAG_SHIFT), int(lanes.max() >> TAG_SHIFT)
        if first_tag == last_tag != 0:
            self._access_one(kind, first_tag, lanes & ADDRESS_MASK, size)
            return
        addresses, owners = lanes & ADDRESS_MASK, (lanes >> TAG_SHIFT).astype(np.int64)
        untagged = owners == 0
        if untagged.any():
            owners[untagged] = self._owners(addresses[untagged])
        for owner in np.unique(owners):
            if owner != 0 or self.checks:
                self._access_one(kind, int(owner), addresses[owners == owner], size)

    def synchronise(self, pointer: np.ndarray, acquires: bool, releases: bool) -> None:
        """The current program makes a scalar atomic access: what it orders."""
        if not self._regions:
            return
        for region in self._regions:
            region.keep_times()
        self.clocks.atomic(self.program, int(pointer.ravel()[0] & ADDRESS_MASK), acquires, releases)

    def finish(self) -> Launch:
        """The counts, once all programs have run."""
        for region in self._regions:
            for kind, touched in region.touched.items():
                getattr(self.launch, kind).unique += int(np.count_nonzero(touched)) * region.granule
        return self.launch

    def _access_one(self, kind: str, owner: int, addresses: np.ndarray, size: int) -> None:
        """The access to the tensor numbered `owner`; 0 is none."""
        start, stop = self._starts[owner], self._stops[owner]
        if addresses.min() < start or addresses.max() + np.uint64(size) > stop:
            self._raise_out_of_bounds(kind, owner, addresses, size)
        region = self._region_of[owner]
        if region is not None:
            self._note(kind, region, region.granules(addresses, size))

    def _raise_out_of_bounds(self, kind: str, owner: int, addresses: np.ndarray, size: int) -> None:
        start, stop = self._starts[owner], self._stops[owner]
        outside = (addresses < start) | (addresses + np.uint64(size) > stop)
        x, y, _ = self.launch.grid
        program = (self.program % x, self.program // x % y, self.program // (x * y))
        where = f"{self.launch.kernel}, program {program}: {int(outside.sum())} {kind} out of bounds"
        if owner == 0:
            raise OutOfBoundsError(
                f"{where} of every tensor, e.g. at address {int(addresses[0]):#x}. A tensor that is reached "
                "through an address held in an integer must be named: `trace(reachable=[...])`."
            )
        bytes_after = int(addresses[outside].astype(np.int64)[0]) - int(start)
        raise OutOfBoundsError(
            f"{where} of {self._names[owner]}, e.g. at byte {bytes_after} of {int(stop - start)}. Mask the access."
        )

    def _owners(self, addresses: np.ndarray) -> np.ndarray:
        """The numbers of the tensors that addresses without a tag lie in; 0 where in none."""
        nearest = np.searchsorted(self._starts[self._order], addresses, side="right") - 1
        owners = self._order[nearest]  # the first starts at 0, so there always is one
        return np.where(addresses < self._stops[owners], owners, 0)

    def _note(self, kind: str, region: Region, granules: np.ndarray) -> None:
        """Notes an access in the shadows, and counts its races with earlier ones."""
        me = self.program + 1
        launch = self.launch
        region.touched[kind][granules] = True
        if not self.checks:
            return
        writers = region.writer[granules]
        foreign = (writers != _NOBODY) & (writers != me)
        if kind == "atomics":
            foreign &= ~region.by_atomic[granules]
        collisions = self._count(foreign, writers, region.write_time, granules)
        readers = region.reader[granules]
        foreign = (readers != _NOBODY) & (readers != me)
        timed = region.read_time is not _ZERO_TIMES
        if kind == "loads":
            launch.read_after_write += collisions
            region.reader[granules] = np.where(foreign, _SEVERAL, me)
            if timed:
                region.read_time[granules] = self.clocks.time
            return
        launch.write_after_write += collisions
        launch.write_after_read += self._count(foreign, readers, region.read_time, granules)
        region.writer[granules] = me
        region.by_atomic[granules] = kind == "atomics"
        region.reader[granules] = _NOBODY
        if timed:
            region.write_time[granules] = self.clocks.time

    def _count(self, foreign: np.ndarray, programs: np.ndarray, times: np.ndarray, granules: np.ndarray) -> int:
        if not foreign.any():
            return 0
        if times is _ZERO_TIMES:
            return int(np.count_nonzero(foreign))
        return int(np.count_nonzero(self.clocks.unordered(self.program, programs[foreign], times[granules[foreign]])))


def _span(tensor: Any) -> tuple[int, int, int]:
    """First and last address of a tensor's elements and the size of one; narrower than its storage for a view."""
    tensor = getattr(tensor, "base", tensor)  # triton.reinterpret
    if tensor.numel() == 0:
        return tensor.data_ptr(), tensor.data_ptr(), tensor.element_size()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + extent * tensor.element_size(), tensor.element_size()


def _regions(spans: list[tuple[int, int, int]]) -> list[Region]:
    """One region for each group of spans that overlap."""
    regions: list[tuple[int, int, int]] = []
    for start, stop, size in sorted(span for span in spans if span[0] < span[1]):
        if regions and start < regions[-1][1]:
            first, last, granule = regions[-1]
            regions[-1] = (first, max(last, stop), min(granule, size))
        else:
            regions.append((start, stop, size))
    return [Region(*region) for region in regions]


def _distinct(values: np.ndarray) -> int:
    """How many values are distinct; quick where they are in order."""
    if values.size < 2:
        return values.size
    before, after = values[:-1], values[1:]
    if (before <= after).all():
        return 1 + int(np.count_nonzero(before != after))
    return np.unique(values).size
