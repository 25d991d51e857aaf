"""Launch configurations of the GRU's scan: which of its forms, and the tiles of that."""

from __future__ import annotations

from dataclasses import dataclass

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
        needed = (problem.padded + 2 * self.block_b) * 3 * problem.padded * problem.operand_bytes  # R; a step's gates
        if needed > problem.shared_memory:
            return f"R of {problem.units} units and a step take {needed} bytes of shared memory"
        return None


Configuration = SequenceConfiguration | StepConfiguration

SEQUENCE = {32: SequenceConfiguration(16, 4), 128: SequenceConfiguration(16, 8)}  # up to so many units
STEP = {
    2: (
        StepConfiguration(16, 32, 64, 4, 3),
        StepConfiguration(32, 32, 64, 4, 3),
        StepConfiguration(64, 32, 64, 4, 3),
    ),
    4: (StepConfiguration(16, 32, 32, 4, 3), StepConfiguration(32, 32, 16, 4, 3)),
}  # by the bytes of an element


def choose_configuration(problem: Problem) -> Configuration:
    """All steps in one launch where R fits in a program, else a launch a step with tiles as tall as the batch."""
    if problem.steps > 1:
        sequence = next((known for units, known in SEQUENCE.items() if problem.units <= units), None)
        if sequence is not None and sequence.why_invalid(problem) is None:
            return sequence
    tiles = STEP[min(4, problem.dtype.itemsize)]
    return next((known for known in tiles if problem.batch <= known.block_b), tiles[-1])
