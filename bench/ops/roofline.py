"""What the machine can do, measured in the run: the fastest copy and, for each dtype, the fastest product.

The least time of a call is the longer of its products' at that rate and, where its operands come from memory, that of
its bytes (Williams, Waterman & Patterson 2009). With warm caches on a CPU only the products count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fastk.bench.ops.clock import Call, Clock

SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices of the product
BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}  # of the copy's source
ROUNDS = 7


@dataclass
class Roofline:
    """The rates of a machine.

    Args:
        copy_gbs: bytes read and written by a copy, 10⁹ a second.
        product_tflops: for each dtype, of a product of square matrices.
    """

    copy_gbs: float
    product_tflops: dict[str, float] = field(default_factory=dict)

    def milliseconds(self, flops: int, moved: int | None, dtype: str) -> float | None:
        """The least time of a call, or None where nothing bounds it.

        Args:
            flops: of products.
            moved: bytes from and to memory; None where they may stay in the caches.
            dtype: of the products.
        """
        bounds = []
        if flops and dtype in self.product_tflops:
            bounds.append(flops / self.product_tflops[dtype] / 1e9)
        if moved is not None:
            bounds.append(moved / self.copy_gbs / 1e6)
        return max(bounds, default=None)


def measure(device: str, dtypes: list[torch.dtype], clock: Clock) -> Roofline:
    """The fastest of several tries of each."""
    found = Roofline(2 * BYTES[device] / _best(clock, _copy(device)) / 1e6)
    side = SIDES[device]
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        found.product_tflops[name] = 2 * side**3 / _best(clock, _product(device, dtype)) / 1e9
    return found


def _copy(device: str) -> Call:
    source = torch.zeros(BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _product(device: str, dtype: torch.dtype) -> Call:
    a, b = (torch.randn(SIDES[device], SIDES[device], device=device).to(dtype) for _ in range(2))
    return lambda: torch.mm(a, b)


def _best(clock: Clock, call: Call) -> float:
    ready = clock.ready(call)
    return min(clock.milliseconds(ready) for _ in range(ROUNDS))
