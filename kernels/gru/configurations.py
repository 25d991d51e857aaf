"""Launch configurations of the GRU's scan: which of its forms, and the tiles of that."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastk.kernels import recurrence_configurations as shared
from fastk.kernels.recurrence_configurations import Configuration, Problem, SequenceConfiguration, StepConfiguration


@dataclass(frozen=True)
class CooperativeConfiguration(shared.CooperativeConfiguration):
    """The sum of each gate is split among the warps."""

    def terms(self, problem: Problem) -> int:
        """The units."""
        return problem.padded

    def exchanged(self, problem: Problem) -> int:
        """A chunk of h of each part, or the parts' sums."""
        return self.num_warps * self.block_b * max(self.chunk * problem.operand_bytes, self.block_n * 4)

    def fits_registers(self, problem: Problem) -> bool:
        """Which of the compiled kernels have no spills."""
        if problem.precision == "ieee":  # products without tensor cores are unrolled
            return False
        if problem.precision == "tf32x3":  # operands are split in two
            return self.block_b * problem.padded <= (2**12 if problem.factors == 1 else 2**13)
        return problem.padded <= 2048 // problem.dtype.itemsize


SEQUENCE = {32: SequenceConfiguration(16, 4), 128: SequenceConfiguration(16, 8)}  # up to so many units
COOPERATIVE = {
    2: (CooperativeConfiguration(16, 16, 32, 8), CooperativeConfiguration(32, 16, 32, 8)),
    4: (CooperativeConfiguration(16, 16, 16, 8), CooperativeConfiguration(32, 16, 16, 8)),
}  # by the bytes of an element
STEP = {
    2: (
        StepConfiguration(16, 32, 64, 4, 3),
        StepConfiguration(32, 32, 64, 4, 3),
        StepConfiguration(64, 32, 64, 4, 3),
    ),
    4: (StepConfiguration(16, 32, 32, 4, 3), StepConfiguration(32, 32, 16, 4, 3)),
}  # likewise
STEP_EACH_GATE = {
    2: (STEP[2][0], StepConfiguration(32, 32, 64, 8, 3), StepConfiguration(64, 32, 32, 8, 3)),
    4: STEP[4],
}  # with dropout factors of its own for each gate, which take registers


def choose_configuration(problem: Problem) -> Configuration:
    """See `recurrence_configurations.choose`."""
    size = min(4, problem.dtype.itemsize)
    step = STEP_EACH_GATE if problem.factors == 3 else STEP
    return shared.choose(problem, SEQUENCE, COOPERATIVE[size], step[size])


def _forward_example(problem: Problem, device: str) -> tuple:
    scan, t = shared.scan_arguments(problem, device)
    return scan, True, t.one, t.gates, t.two, t.three, None, None


def _backward_example(problem: Problem, device: str) -> tuple:
    scan, t = shared.scan_arguments(problem, device)
    return scan, True, t.dz, torch.empty_like(t.two), t.one, None, t.gates, t.two, t.three, False


FORWARD = shared.tunable_of("gru", "forward", CooperativeConfiguration, choose_configuration, _forward_example)
BACKWARD = shared.tunable_of("gru", "backward", CooperativeConfiguration, choose_configuration, _backward_example)
