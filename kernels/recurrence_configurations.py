"""What the configurations of the recurrent ops share: the problem they are chosen for, and the form that all have."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastk.kernels.gemm_configurations import shared_memory


def padded(units: int) -> int:
    """The side of the tile that holds the rows of R: a power of two that tensor cores take."""
    return max(16, 1 << (units - 1).bit_length())


@dataclass(frozen=True)
class Problem:
    """What a configuration is chosen for: the sizes, dtype and precision of the products, and the device.

    factors: how many recurrent dropout factors a unit has: 0, 1, or one for each gate.
    """

    batch: int
    steps: int
    units: int
    dtype: torch.dtype
    precision: str | None
    factors: int
    architecture: int
    sm_count: int

    @property
    def padded(self) -> int:
        """See `padded`."""
        return padded(self.units)

    @property
    def operand_bytes(self) -> int:
        """Bytes of an element as it lies in shared memory: tf32x3 keeps its leading and its trailing bits apart."""
        return self.dtype.itemsize * (2 if self.precision == "tf32x3" else 1)

    @property
    def shared_memory(self) -> int:
        """The most shared memory of a program; on a device not listed the least of those that are."""
        return shared_memory(self.architecture)


@dataclass(frozen=True)
class StepConfiguration:
    """A launch for each step, tiles of `block_b` sequences by `block_n` units, `block_k` of the sum at a time."""

    block_b: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
