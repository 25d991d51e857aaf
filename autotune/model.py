"""What a configuration costs, predicted without a GPU: a roofline with waves, occupancy and waits.

A program makes `steps` steps one after the other; a step multiplies, moves operands and waits for them:

    own    = products / rate + operations / lanes + exposed copied / L2
    step   = max(r own, own + wait, latency / ahead)    r programs share a multiprocessor: their waits overlap
    wave   = steps step                                 of r programs a multiprocessor, as many as fit
    clocks = launches launch + max(waves, bytes / bandwidth)

A copy is asked for `ahead` steps before its use. The bandwidth is that of the memory, or less where too few bytes are
under way (Little's law: bytes under way over the latency). The figures of a multiprocessor and clock follow from what
vendors publish; latencies, the part of a copy that is not hidden and the cost of a launch are assumptions. Nothing here
was measured: predictions order configurations, and are not times. `python -m fastk.autotune check` says how well they
did once there are measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastk.autotune.space import Resources

EXPOSED = 0.5  # of the bytes from L2, not hidden behind products
WAIT = 32  # clocks that a step waits for its operands
LATENCY = 800  # clocks from a load to its data from memory
L2_LATENCY = 300  # and from L2
LAUNCH = 4000  # clocks between two launches that follow each other


@dataclass(frozen=True)
class Rates:
    """What a multiprocessor does in a clock, and what it holds (CUDA C++ Programming Guide; vendors' data sheets).

    half, tf32, ieee: multiplications with an addition, of 16-bit types and of float32 on tensor cores, and without.
    memory_bytes: published bandwidth over clock and multiprocessors: of A100, H200 and B200.
    """

    half: int
    tf32: int
    ieee: int
    memory_bytes: int
    shared_bytes: int
    l2_bytes: int = 64
    registers: int = 65536
    warps: int = 64
    blocks: int = 32

    def products(self, kind: str) -> float:
        """Multiplications a clock in a kind of arithmetic: "half", "tf32", "tf32x3" (three of tf32) or "ieee"."""
        return self.tf32 / 3 if kind == "tf32x3" else getattr(self, kind)


RATES = {
    80: Rates(1024, 512, 64, 13, 164 << 10),
    90: Rates(2048, 1024, 128, 18, 228 << 10),
    100: Rates(4096, 2048, 128, 27, 228 << 10),
}


def rates_of(architecture: int) -> Rates:
    """The figures of an architecture, or of the nearest older one that is listed."""
    return RATES[max((known for known in RATES if known <= architecture), default=min(RATES))]


@dataclass(frozen=True)
class Work:
    """What a launch asks of the device, in the words of the module.

    Args:
        programs: of the grid.
        warps: of a program.
        memory_bytes: read from and written to memory by all of them.
        steps: of a program, one after the other.
        products: multiplications of matrices in a step of a program, what it multiplies in vain included.
        kind: of arithmetic of the products.
        operations: other arithmetic of a step of a program, in single precision.
        copied: bytes that a step of a program reads, be it from L2; they are under way at once.
        ahead: steps before its use that a copy is asked for; 0 where a program has no loop of copies.
        wait: clocks that a step waits beside its work: a barrier between programs is 2000 or so.
        shared_bytes: of a program.
        registers: of a thread.
        launches: one after the other.
    """

    programs: int
    warps: int
    memory_bytes: float
    steps: int = 1
    products: float = 0.0
    kind: str = "half"
    operations: float = 0.0
    copied: float = 0.0
    ahead: int = 0
    wait: float = WAIT
    shared_bytes: int = 0
    registers: int = 32
    launches: int = 1


def bursts(row_bytes: float) -> float:
    """How many times the bytes of such rows are moved: memory gives 64 at a time, where neighbours do not share them.

    >>> bursts(16), bursts(256)
    (4.0, 1.0)
    """
    return max(1.0, 64.0 / row_bytes)


def step_clocks(products: float, copied: float, rates: Rates = RATES[90], kind: str = "half") -> float:
    """Clocks of a step alone on its multiprocessor, without what it waits.

    >>> step_clocks(128 * 256 * 64, (128 + 256) * 64 * 2)  # a tile of a product in bfloat16 on sm_90
    1408.0
    """
    return products / rates.products(kind) + EXPOSED * copied / rates.l2_bytes


def resident(work: Work, rates: Rates, compiled: Resources | None = None) -> int:
    """How many programs a multiprocessor holds at once; at least one."""
    registers = compiled.registers if compiled else work.registers
    shared = compiled.shared_bytes if compiled else work.shared_bytes
    by_registers = rates.registers // (-(-max(1, registers) // 8) * 8 * 32 * work.warps)
    by_memory = rates.shared_bytes // (shared + 1024) if shared else rates.blocks  # a program takes 1 KiB of its own
    return max(1, min(rates.blocks, rates.warps // work.warps, by_registers, by_memory))


def clocks(work: Work, architecture: int, sm_count: int, compiled: Resources | None = None) -> float:
    """The clocks that the work is predicted to take.

    Args:
        work: of a configuration.
        architecture: 10 major + minor of the compute capability.
        sm_count: multiprocessors of the device.
        compiled: what the compiled kernel takes, where that is known.

    >>> few, many = Work(100, 4, 0, 10, products=2**20), Work(1000, 4, 0, 10, products=2**20)
    >>> clocks(few, 90, 132) < clocks(many, 90, 132)
    True
    """
    rates = rates_of(architecture)
    own = step_clocks(work.products, work.copied, rates, work.kind) + work.operations / 128
    fitting = resident(work, rates, compiled)
    share = max(1, math.ceil(work.programs / sm_count))
    full, rest = divmod(share, fitting)

    hidden = L2_LATENCY / work.ahead if work.ahead else 0.0

    def wave(programs: int) -> float:
        return work.steps * max(programs * own, own + work.wait, hidden) if programs else 0.0

    bandwidth = float(rates.memory_bytes)
    if work.copied:
        under_way = min(share, fitting) * work.copied * max(1, work.ahead)
        bandwidth = min(bandwidth, under_way / LATENCY)
    memory = work.memory_bytes / (bandwidth * max(1, min(work.programs, sm_count)))
    return work.launches * LAUNCH + max(full * wave(fitting) + wave(rest), memory)
