"""Launch configurations of the LSTM's scan: which of its forms, and the tiles of that."""

from __future__ import annotations

from dataclasses import dataclass

from fastk.kernels import recurrence_configurations as shared
from fastk.kernels.recurrence_configurations import Configuration, Problem, SequenceConfiguration, StepConfiguration


@dataclass(frozen=True)
class CooperativeConfiguration(shared.CooperativeConfiguration):
    """The sums over the four gates are one, split among the warps."""

    def terms(self, problem: Problem) -> int:
        """All gates' units."""
        return 4 * problem.padded

    def exchanged(self, problem: Problem) -> int:
        """A chunk of h of each part, or the gates."""
        return self.block_b * max(self.chunk * self.num_warps, 4 * self.block_n) * problem.operand_bytes

    def fits_registers(self, problem: Problem) -> bool:
        """Which of the compiled kernels have no spills."""
        each_gate = problem.factors == 4
        if problem.precision == "ieee":  # products without tensor cores are unrolled
            return False
        if problem.precision == "tf32x3":  # operands are split in two
            return self.block_b == 16 and not each_gate
        most = 32 if each_gate or problem.architecture < 90 else 64
        return self.block_b <= most and self.block_b * problem.padded <= 2**15


SEQUENCE = {32: SequenceConfiguration(16, 4), 128: SequenceConfiguration(16, 8)}  # up to so many units
SEQUENCE_IEEE = {32: SequenceConfiguration(16, 8), 64: SequenceConfiguration(16, 16)}  # likewise, without tensor cores
COOPERATIVE = {
    2: (
        CooperativeConfiguration(16, 16, 32, 8),
        CooperativeConfiguration(32, 16, 32, 8),
        CooperativeConfiguration(64, 16, 16, 8),
    ),
    4: (CooperativeConfiguration(16, 16, 16, 8), CooperativeConfiguration(32, 16, 16, 8)),
}  # by the bytes of an element
STEP = {
    2: (
        StepConfiguration(16, 32, 64, 4, 3),
        StepConfiguration(32, 32, 64, 4, 3),
        StepConfiguration(64, 32, 64, 8, 3),
    ),
    4: (StepConfiguration(16, 32, 32, 4, 3), StepConfiguration(32, 32, 32, 4, 3)),
}  # likewise; the last one has no registers for dropout factors of its own for each gate


def choose_configuration(problem: Problem) -> Configuration:
    """See `recurrence_configurations.choose`."""
    size = min(4, problem.dtype.itemsize)
    sequence = SEQUENCE_IEEE if problem.precision == "ieee" else SEQUENCE
    step = STEP[size][:-1] if problem.factors == 4 else STEP[size]
    return shared.choose(problem, sequence, COOPERATIVE[size], step)


def _forward_example(problem: Problem, device: str) -> tuple:
    scan, t = shared.scan_arguments(problem, device)
    return scan, t.one, t.gates, t.two, t.three, None, None


def _backward_example(problem: Problem, device: str) -> tuple:
    scan, t = shared.scan_arguments(problem, device)
    return scan, t.dz, t.one, None, None, t.gates, t.two, None, False


FORWARD = shared.tunable_of("lstm", "forward", CooperativeConfiguration, choose_configuration, _forward_example)
BACKWARD = shared.tunable_of("lstm", "backward", CooperativeConfiguration, choose_configuration, _backward_example)
