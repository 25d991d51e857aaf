"""Launch configurations of the LSTM's scan: which of its forms, and the tiles of that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

# Compute capability: bytes of shared memory that a program can have.
SHARED_MEMORY = {80: 166912, 86: 101376, 87: 166912, 89: 101376, 90: 232448, 100: 232448, 103: 232448, 120: 101376}


def shared_memory(architecture: int) -> int:
    """The most shared memory of a program, in bytes; for an architecture not listed the least of those that are."""
    return SHARED_MEMORY.get(architecture, min(SHARED_MEMORY.values()))


@dataclass(frozen=True)
class SequenceConfiguration:
    """All steps in one launch, `block_b` sequences a program."""

    block_b: int
    num_warps: int

    def why_invalid(self, units: int, dtype: torch.dtype, architecture: int) -> str | None:
        """None, or why it cannot be launched."""
        padded = padded_units(units)
        resident = 4 * padded * padded * dtype.itemsize
        exchanged = 4 * self.block_b * padded * dtype.itemsize
        if resident + exchanged > shared_memory(architecture):
            return f"R with {units} units in {dtype} takes {resident} bytes of shared memory and the states {exchanged}"
        return None


@dataclass(frozen=True)
class CooperativeConfiguration:
    """All steps in one launch of programs that run at once, `block_b` sequences by `block_n` units each."""

    block_b: int
    block_n: int
    num_warps: int
    chunk: int = 128

    def why_invalid(self, batch: int, units: int, dtype: torch.dtype, architecture: int, sm_count: int) -> str | None:
        """None, or why it cannot be launched."""
        programs = triton.cdiv(batch, self.block_b) * triton.cdiv(units, self.block_n)
        if programs > sm_count:
            return f"{programs} programs are to run at once on {sm_count} multiprocessors"
        padded = padded_units(units)
        resident = 4 * padded * self.block_n * dtype.itemsize
        exchanged = self.block_b * padded * dtype.itemsize
        if resident + exchanged > shared_memory(architecture):
            return f"a slice of R takes {resident} bytes of shared memory and a step's h {exchanged}"
        return None


@dataclass(frozen=True)
class StepConfiguration:
    """A launch for each step, tiles of `block_b` sequences by `block_n` units, `block_k` of the sum at a time."""

    block_b: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int


Configuration = SequenceConfiguration | CooperativeConfiguration | StepConfiguration


def padded_units(units: int) -> int:
    """The side of the tile that holds R: a power of two that tensor cores take."""
    return max(16, triton.next_power_of_2(units))


def choose_configuration(
    batch: int, steps: int, units: int, dtype: torch.dtype, architecture: int, sm_count: int
) -> Configuration:
    """One launch where R fits a program's shared memory, else one a step."""
    sequence = SequenceConfiguration(16, 8 if units > 64 else 4)
    if steps > 1 and sequence.why_invalid(units, dtype, architecture) is None:
        return sequence
    return StepConfiguration(16, 32, 64, 4, 3)
