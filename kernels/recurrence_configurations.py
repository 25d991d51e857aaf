"""What the configurations of the recurrent ops share: the problem they are chosen for, the forms, and the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import triton

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
    gates: int
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
class SequenceConfiguration:
    """All steps in one launch, `block_b` sequences a program."""

    block_b: int
    num_warps: int

    def why_invalid(self, problem: Problem) -> str | None:
        """None, or why it cannot be launched."""
        if problem.units == 0:
            return "there are no units"
        wide = problem.gates * problem.padded * problem.operand_bytes
        needed = (problem.padded + 2 * self.block_b) * wide  # R; a step's gates
        if needed > problem.shared_memory:
            return f"R of {problem.units} units and a step take {needed} bytes of shared memory"
        return None


@dataclass(frozen=True)
class CooperativeConfiguration:
    """All steps in one launch of programs that run at once, `block_b` sequences by `block_n` units each.

    A product is split into one part for each warp, and each part into chunks of `chunk` units: fewer registers.
    What depends on the op's kernels its subclass knows: `terms`, `exchanged` and `fits_registers`.
    """

    block_b: int
    block_n: int
    chunk: int
    num_warps: int

    def why_invalid(self, problem: Problem) -> str | None:
        """None, or why it cannot be launched."""
        if problem.units == 0:
            return "there are no units"
        programs = triton.cdiv(problem.batch, self.block_b) * triton.cdiv(problem.units, self.block_n)
        if programs > problem.sm_count:
            return f"{programs} programs are to run at once on {problem.sm_count} multiprocessors"
        if self.chunk * self.num_warps > self.terms(problem):
            return f"{problem.units} units are fewer than chunks of {self.chunk} for {self.num_warps} warps"
        if not self.fits_registers(problem):
            return f"h of {self.block_b} sequences and {problem.units} units does not fit the registers of a program"
        slices = problem.gates * problem.padded * self.block_n * problem.operand_bytes
        needed = slices + self.exchanged(problem)
        if needed > problem.shared_memory:
            return f"the slices of R and a chunk of h take {needed} bytes of shared memory"
        return None

    def terms(self, problem: Problem) -> int:
        """How many terms of a sum the warps share."""
        raise NotImplementedError

    def exchanged(self, problem: Problem) -> int:
        """Bytes of shared memory beside the slices of R."""
        raise NotImplementedError

    def fits_registers(self, problem: Problem) -> bool:
        """Whether the compiled kernels have no spills."""
        raise NotImplementedError


@dataclass(frozen=True)
class StepConfiguration:
    """A launch for each step, tiles of `block_b` sequences by `block_n` units, `block_k` of the sum at a time."""

    block_b: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int


Configuration = SequenceConfiguration | CooperativeConfiguration | StepConfiguration


def choose(
    problem: Problem,
    sequence: Mapping[int, SequenceConfiguration],
    cooperative: Sequence[CooperativeConfiguration],
    step: Sequence[StepConfiguration],
) -> Configuration:
    """All steps in one launch where R fits, in one program or in as many as the device has; else one launch a step.

    Among programs that wait for each other those are chosen that read the least from shared memory in a step; a step's
    tiles are as tall as the batch.

    Args:
        problem: what to choose for.
        sequence: the configurations by the most units that they are for, in rising order.
        cooperative: those to choose from.
        step: likewise, the lowest first.
    """
    if problem.steps > 1:
        known = next((known for units, known in sequence.items() if problem.units <= units), None)
        if known is not None and known.why_invalid(problem) is None:
            return known
        fitting = [known for known in cooperative if known.why_invalid(problem) is None]
        if fitting:
            return min(fitting, key=lambda known: problem.gates * known.block_n + known.block_b)
    return next((known for known in step if problem.batch <= known.block_b), step[-1])
