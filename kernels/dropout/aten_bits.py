"""Dropout's random bits: 16 an element, minus 2^15, as the contract of `kernels.dropout` defines them.

On the CPU numpy computes Philox, both products of a round in one call, a block of counters that stays in the cache at a
time. Elsewhere, and where a graph is traced, it is torch's integer ops, so that a seed that lives on the device is
never read by the host.
"""

from __future__ import annotations

import functools
import threading

import numpy as np
import torch
from torch import Tensor

from fastk.kernels.dropout.philox import DA, DB, ROUNDS, A, B

_LOW = 0xFFFFFFFF
_HALF, _LOW_HALF = np.uint64(32), np.uint64(_LOW)
_MULTIPLIERS = np.array([[A, B], [B, A]], np.uint64)[:, :, None, None]  # by the round's parity
_SIGNS = 0x8000800080008000  # makes unsigned 16-bit lanes signed ones of the same order
# Counters of 8 elements at a time: three arrays of 128 KB, which fit L2. 1M elements: 2.3 ms; 4.1 ms by 4000.
_BLOCK = 8000
_KEPT_RUNS = 64
_LONGEST_STEP = 16


def device_bits(count: int, seed: Tensor | tuple[int, int], device: torch.device) -> Tensor:
    """int64 [count], in torch's integer ops, without a host read."""
    key, offset = seed.to(device).unbind() if isinstance(seed, Tensor) else seed
    k0, k1 = key & _LOW, (key >> 32) & _LOW
    group = torch.arange(-(-count // 8), device=device)
    zero = group * 0
    c0, c1, c2, c3 = group & _LOW, group >> 32, zero + (offset & _LOW), zero + ((offset >> 32) & _LOW)
    for _ in range(ROUNDS):
        p0, p1 = c0 * A, c2 * B  # int64: the low 64 bits are those of the unsigned product
        c0, c1 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW
        c2, c3 = ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + DA) & _LOW, (k1 + DB) & _LOW
    words = torch.stack((c0, c1, c2, c3), 1)
    return torch.stack((words & 0xFFFF, words >> 16), 2).view(-1)[:count] - 32768


class _Ahead(threading.local):
    """Small masks' bits drawn ahead: by (seed, count) the offsets of a run, and the run [offsets, count]."""

    def __init__(self) -> None:
        self.runs: dict[tuple[int, int], tuple[range, Tensor]] = {}


_ahead = _Ahead()


def host_bits(count: int, seed: Tensor | tuple[int, int]) -> Tensor:
    """int16 [count], on the CPU; not to be written to.

    The bits of 4096 elements take 60 us, nearly all of it the 40 calls; those of 15 offsets together take 150 us. A
    generator's offset grows by the number of masks a step draws from it: whoever comes back with the next offset is
    given more ahead, twice as many each time.
    """
    key, offset = seed.tolist() if isinstance(seed, Tensor) else seed
    groups = max(1, -(-count // 8))
    if 2 * groups > _BLOCK:
        return torch.from_numpy(_lanes(groups, key, range(offset, offset + 1)))[0, :count]
    offsets, run = _ahead.runs.get((key, count), (range(0), None))
    if run is None or offset not in offsets:
        offsets = _next_offsets(offset, offsets, _BLOCK // groups)
        run = torch.from_numpy(_lanes(groups, key, offsets))[:, :count]
        if len(_ahead.runs) >= _KEPT_RUNS:
            _ahead.runs.clear()
        _ahead.runs[key, count] = offsets, run
    return run[offsets.index(offset)]


def _next_offsets(offset: int, last: range, most: int) -> range:
    """The offsets to draw from `offset` on: twice as many as last time where it is the next step, else it alone.

    >>> _next_offsets(6, range(2, 5, 2), 100), _next_offsets(7, range(2, 5, 2), 100)
    (range(6, 14, 2), range(7, 8))
    """
    step = offset - last[-1] if last else 0
    if 0 < step <= _LONGEST_STEP and (len(last) == 1 or step == last.step):
        return range(offset, offset + step * min(2 * len(last), most), step)
    return range(offset, offset + 1)


def _lanes(groups: int, key: int, offsets: range) -> np.ndarray:
    """int16 [offsets, 8 groups]."""
    words = np.empty((len(offsets), groups, 2), np.uint64)
    block = min(groups, _BLOCK)
    scratch = np.empty((3, 2, len(offsets), block), np.uint64)
    second = np.array([[offset & _LOW, (offset >> 32) & _LOW] for offset in offsets], np.uint64).T[:, :, None]
    for start in range(0, groups, block):
        _philox(words[:, start : start + block], start, second, _keys(key), scratch)
    return words.view(np.int16).reshape(len(offsets), -1)


@functools.lru_cache(maxsize=256)
def _keys(key: int) -> np.ndarray:
    """The key words of each round; those of the last also turn the lanes into signed ones."""
    words = [[(key + i * DA) & _LOW, ((key >> 32) + i * DB) & _LOW] for i in range(ROUNDS)]
    words[-1] = [word ^ _SIGNS for word in words[-1]]
    words[1::2] = [word[::-1] for word in words[1::2]]
    return np.array(words, np.uint64)[:, :, None, None]


def _philox(out: np.ndarray, start: int, second: np.ndarray, keys: np.ndarray, scratch: np.ndarray) -> None:
    """The words of len(offsets) x groups counters, written to out [offsets, groups, 2] as pairs in 64 bits."""
    groups = out.shape[1]
    product, even, odd = scratch[:, :, :, :groups]  # [2, offsets, groups]: words 0 and 2; words 1 and 3
    even[0], odd[0] = np.arange(start & _LOW, (start & _LOW) + groups, dtype=np.uint64), start >> 32
    even[1], odd[1] = second
    # Each round swaps the two halves of the state; here they stay, and what belongs to them swaps. A call on views of
    # opposite order takes twice as long, so one alone has them.
    for i, key in enumerate(keys):
        np.multiply(even, _MULTIPLIERS[i % 2], out=product)
        np.bitwise_xor(odd, key, out=odd)
        np.right_shift(product, _HALF, out=even)
        np.bitwise_xor(even, odd[::-1], out=even)
        if i < ROUNDS - 1:
            np.bitwise_and(product, _LOW_HALF, out=odd)
    np.left_shift(product, _HALF, out=product)
    np.bitwise_xor(even[::-1], product[::-1], out=out.transpose(2, 0, 1))
