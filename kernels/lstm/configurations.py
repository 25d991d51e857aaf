"""Launch configurations of the LSTM's scan: which of its forms, and the tiles of that."""

from __future__ import annotations

from dataclasses import dataclass

import triton

from fastk.kernels.recurrence_configurations import Problem, StepConfiguration


@dataclass(frozen=True)
class SequenceConfiguration:
    """All steps in one launch, `block_b` sequences a program."""

    block_b: int
    num_warps: int

    def why_invalid(self, problem: Problem) -> str | None:
        """None, or why it cannot be launched."""
        if problem.units == 0:
            return "there are no units"
        needed = (problem.padded + 2 * self.block_b) * 4 * problem.padded * problem.operand_bytes  # R; a step's gates
        if needed > problem.shared_memory:
            return f"R of {problem.units} units and a step take {needed} bytes of shared memory"
        return None


@dataclass(frozen=True)
class CooperativeConfiguration:
    """All steps in one launch of programs that run at once, `block_b` sequences by `block_n` units each.

    A product is split into one part for each warp, and each part into chunks of `chunk` units: fewer registers.
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
        if self.chunk * self.num_warps > 4 * problem.padded:
            return f"{problem.units} units are fewer than chunks of {self.chunk} for {self.num_warps} warps"
        if not self._fits_registers(problem):
            return f"h of {self.block_b} sequences and {problem.units} units does not fit the registers of a program"
        exchanged = self.block_b * max(self.chunk * self.num_warps, 4 * self.block_n)
        needed = (4 * problem.padded * self.block_n + exchanged) * problem.operand_bytes
        if needed > problem.shared_memory:
            return f"the slices of R and a chunk of h take {needed} bytes of shared memory"
        return None

    def _fits_registers(self, problem: Problem) -> bool:
        """Which of the compiled kernels have no spills."""
        each_gate = problem.factors == 4
        if problem.precision == "ieee":  # products without tensor cores are unrolled
            return False
        if problem.precision == "tf32x3":  # operands are split in two
            return self.block_b == 16 and not each_gate
        most = 32 if each_gate or problem.architecture < 90 else 64
        return self.block_b <= most and self.block_b * problem.padded <= 2**15


Configuration = SequenceConfiguration | CooperativeConfiguration | StepConfiguration

SEQUENCE = {32: SequenceConfiguration(16, 4), 128: SequenceConfiguration(16, 8)}  # up to so many units
COOPERATIVE = {
    2: (
        CooperativeConfiguration(16, 16, 32, 8),
        CooperativeConfiguration(32, 16, 32, 8),
        CooperativeConfiguration(64, 16, 32, 8),
    ),
    4: (CooperativeConfiguration(16, 16, 16, 8), CooperativeConfiguration(32, 16, 16, 8)),
}  # by the bytes of an element
STEP = {
    2: (
        StepConfiguration(16, 32, 64, 4, 3),
        StepConfiguration(32, 32, 64, 4, 3),
        StepConfiguration(64, 32, 64, 4, 3),
    ),
    4: (StepConfiguration(16, 32, 32, 4, 3), StepConfiguration(32, 32, 32, 4, 3)),
}  # likewise; the last one has no registers for dropout factors of its own for each gate


def choose_configuration(problem: Problem) -> Configuration:
    """All steps in one launch where R fits, in one program or in as many as the device has; else one launch a step.

    Among programs that wait for each other those are chosen that read the least from shared memory in a step.
    """
    size = min(4, problem.dtype.itemsize)
    if problem.steps > 1:
        sequence = next((known for units, known in SEQUENCE.items() if problem.units <= units), None)
        if sequence is not None and sequence.why_invalid(problem) is None:
            return sequence
        fitting = [known for known in COOPERATIVE[size] if known.why_invalid(problem) is None]
        if fitting:
            return min(fitting, key=lambda known: 4 * known.block_n + known.block_b)
    fitting = STEP[size][:-1] if problem.factors == 4 else STEP[size]
    return next((known for known in fitting if problem.batch <= known.block_b), fitting[-1])
