"""What the configurations of the recurrent ops share: the problem they are chosen for, the forms, and the choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton

from fastk.autotune import Accuracy, Tunable, Work, example_tensor
from fastk.kernels.gemm_configurations import kind_of, shared_memory
from fastk.kernels.tuning import tunable


def padded(units: int) -> int:
    """The side of the tile that holds the rows of R: a power of two that tensor cores take."""
    return max(16, 1 << (units - 1).bit_length())


class Problem(NamedTuple):
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
        # The LLVM of Triton 3.9 aborts on longer products of four gates; without tensor cores they are unrolled.
        if problem.precision == "ieee" and problem.gates == 4 and self.block_b * problem.padded > 64 * self.num_warps:
            return f"{self.num_warps} warps are too few for products without tensor cores"
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


BARRIER = 2000.0  # clocks that programs which wait for each other lose in a step
CELL = 200.0  # and a program by itself, between the product of a step and the next


def candidates(problem: Problem, cooperative: type[CooperativeConfiguration]) -> Iterator[Configuration]:
    """All forms, with tiles of 16 to 64 sequences."""
    if problem.steps > 1:
        yield from itertools.starmap(SequenceConfiguration, itertools.product((16, 32), (4, 8, 16)))
        for tile in itertools.product((16, 32, 64), (16, 32), (16, 32, 64), (4, 8)):
            yield cooperative(*tile)
    for tile in itertools.product((16, 32, 64), (32, 64), (16, 32, 64), (4, 8), (2, 3, 4)):
        yield StepConfiguration(*tile)


def why_invalid(configuration: Configuration, problem: Problem) -> str | None:
    """None, or why a configuration of any form cannot be launched."""
    if isinstance(configuration, StepConfiguration):
        tile = configuration.block_b + problem.gates * configuration.block_n
        needed = configuration.num_stages * tile * configuration.block_k * problem.dtype.itemsize
        limit = problem.shared_memory
        return f"{needed} bytes of shared memory are more than {limit}" if needed > limit else None
    return configuration.why_invalid(problem)


def work(configuration: Configuration, problem: Problem) -> Work:
    """All steps, each a product by R: in one program, in programs that wait for each other, or in a launch each."""
    p, c, size = problem, configuration, problem.dtype.itemsize
    rows = math.ceil(p.batch / c.block_b)
    kind = kind_of(p.dtype, p.precision or "ieee")
    moved = p.batch * p.steps * p.units * (2.0 * p.gates + 2) * size
    wide = p.units if isinstance(c, SequenceConfiguration) else c.block_n
    columns = math.ceil(p.units / wide) if p.units else 1
    if isinstance(c, StepConfiguration):
        blocks = math.ceil(p.units / c.block_k)
        one = (c.block_b + p.gates * c.block_n) * c.block_k
        return Work(
            programs=rows * columns,
            warps=c.num_warps,
            memory_bytes=moved + p.steps * p.gates * p.units**2 * size,
            steps=p.steps * blocks,
            products=float(c.block_b * p.gates * c.block_n * c.block_k),
            kind=kind,
            copied=one * size,
            ahead=max(1, c.num_stages - 1),
            shared_bytes=c.num_stages * one * size,
            registers=96,
            launches=max(1, p.steps),
        )
    alone = isinstance(c, SequenceConfiguration)
    width = p.padded if alone else c.block_n
    return Work(
        programs=rows * columns,
        warps=c.num_warps,
        memory_bytes=moved,
        steps=p.steps,
        products=float(c.block_b * p.gates * width * p.padded),
        kind=kind,
        operations=40.0 * c.block_b * width * p.gates,
        copied=(p.gates * width + (0 if alone else p.padded)) * c.block_b * size,
        wait=CELL if alone else BARRIER,
        shared_bytes=p.gates * p.padded * width * p.operand_bytes,
        registers=160,
    )


def tunable_of(
    op: str,
    way: str,
    cooperative: type[CooperativeConfiguration],
    default: Callable[[Problem], Configuration],
    example: Callable[[Problem, str], tuple],
) -> Tunable:
    """The choice of a scan, `way` being "forward" or "backward"."""
    return tunable(
        name=f"{op}.{way}",
        problem=Problem,
        sizes=("batch", "steps"),
        kinds=(SequenceConfiguration, cooperative, StepConfiguration),
        default=default,
        candidates=lambda problem: candidates(problem, cooperative),
        why_invalid=why_invalid,
        work=work,
        launcher=f"fastk.kernels.{op}.triton_kernels:scan_{way}",
        example=example,
        accuracy=lambda p: Accuracy(length=max(1, p.units * p.steps), eps=_eps(p)),
        in_place=True,
    )


def _eps(problem: Problem) -> float:
    """A state is rounded to the type of the products in each step."""
    return torch.finfo(problem.dtype).eps if problem.dtype.itemsize == 2 else 2.0**-20


class Tensors:
    """What scans of a problem take: x's gates, states and factors."""

    def __init__(self, problem: Problem, device: str):
        def tensor(*shape: int, seed: int = 0, scale: float = 0.5) -> torch.Tensor:
            return example_tensor(shape, problem.dtype, device, seed) * scale

        B, T, H, G = problem[:4]
        self.R = tensor(H, G * H, seed=1, scale=0.5 / max(1, H) ** 0.5)
        self.gates, self.dz = (tensor(B, T, G * H, seed=seed) for seed in (2, 3))
        self.one, self.two, self.three = (tensor(B, T, H, seed=seed) for seed in (4, 5, 6))
        shape = {0: None, 1: (B, H)}.get(problem.factors, (problem.factors, B, H))
        self.factors = None if shape is None else torch.ones(shape, dtype=problem.dtype, device=device)


def scan_arguments(problem: Problem, device: str) -> tuple[Any, Tensors]:
    """A `Scan` with tanh and sigmoid, and tensors beside it."""
    from fastk.kernels.recurrence_triton import ALL_SHOWN, Scan

    tensors = Tensors(problem, device)
    return Scan.of(tensors.R, None, tensors.factors, "tanh", "sigmoid", False, ALL_SHOWN), tensors
