"""What the machine can do, measured in the run: the fastest copy and, for each dtype, the fastest product.

The least time of a call is the longer of its products' at that rate and, where its operands come from memory, its bytes'
(Williams, Waterman & Patterson 2009). With warm caches on a CPU only the products count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fastk.bench.ops.clock import Clock

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
    source = torch.zeros(BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    found = Roofline(2 * BYTES[device] / _best(clock, lambda: target.copy_(source)) / 1e6)
    del source, target
    side = SIDES[device]
    for dtype in dtypes:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found.product_tflops[_name(dtype)] = 2 * side**3 / _best(clock, lambda a=a, b=b: torch.mm(a, b)) / 1e9
    return found


def _best(clock: Clock, call) -> float:
    ready = clock.ready(call)
    return min(clock.milliseconds(ready) for _ in range(ROUNDS))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
