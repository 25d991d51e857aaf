"""What softmax cross-entropy moves: the logits and 12 bytes a row; the logits and their gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from fastk.kernels.softmax_cross_entropy.configurations import SHIPPED
from fastk.kernels.softmax_cross_entropy.triton_kernels import (
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    softmax_cross_entropy_with_gradient,
)
from fastk.kernels.verify.traffic import Least, TrafficCase, moved

LONGEST = max(configuration.BLOCK_C for configuration in SHIPPED)  # a row that is held as a whole


def least(name: str, arguments: tuple, results: Any) -> Least:
    """Loss and gradient at once read a long row again, which the cache holds from the first reading."""
    again = name == "softmax_cross_entropy_with_gradient" and arguments[0].size(-1) > LONGEST
    return Least(moved(arguments, results), cached=again)


def traffic_cases() -> Iterator[TrafficCase]:
    """10, 1000 and 32003 classes; integers for labels, and probabilities."""
    for dtype in (torch.bfloat16, torch.float32):
        for M, C in ((4096, 10), (256, 1000), (16, 32003)):
            logits, g = torch.ones(M, C, dtype=dtype), torch.ones(M, dtype=dtype)
            for sparse in (True, False):
                labels = torch.zeros(M, dtype=torch.int64) if sparse else torch.full((M, C), 1 / C, dtype=dtype)
                variant = f"{M}x{C} {'sparse' if sparse else 'dense'} {str(dtype)[6:]}"
                rest = (sparse, 0.1, None)
                yield TrafficCase(variant, softmax_cross_entropy_forward, (logits, labels, *rest))
                statistics = torch.ones(2 if sparse else 3, M)
                backward = (g, logits, labels, statistics, *rest, [True, False])
                yield TrafficCase(variant, softmax_cross_entropy_backward, backward)
                yield TrafficCase(variant, softmax_cross_entropy_with_gradient, (logits, labels, g, *rest))
