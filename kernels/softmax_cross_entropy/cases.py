"""What of the cross-entropy is compiled and checked: each configuration and dtype, sparse and dense, with and without
smoothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.softmax_cross_entropy import triton_kernels
from fastk.kernels.softmax_cross_entropy.configurations import SHIPPED, RowConfiguration
from fastk.kernels.verify.case import Case

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_ROWS = 4096


def _tensors(dtype: str, configuration: RowConfiguration, sparse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a number of classes that 8 divides and 16 does not, and their labels."""
    largest = configuration is SHIPPED[-1]
    classes = 50_264 if largest else configuration.BLOCK_C - 8
    logits = torch.empty(_ROWS, classes, dtype=_DTYPES[dtype], device="meta")
    return logits, torch.empty(_ROWS, dtype=torch.int64, device="meta") if sparse else torch.empty_like(logits)


def _forward(dtype: str, configuration: RowConfiguration, sparse: bool, smoothing: float, ignore: int | None) -> None:
    logits, labels = _tensors(dtype, configuration, sparse)
    triton_kernels.softmax_cross_entropy_forward(logits, labels, sparse, smoothing, ignore, configuration)


def _both(dtype: str, configuration: RowConfiguration, sparse: bool, smoothing: float, ignore: int | None) -> None:
    logits, labels = _tensors(dtype, configuration, sparse)
    g = logits.new_empty(_ROWS)
    triton_kernels.softmax_cross_entropy_with_gradient(logits, labels, g, sparse, smoothing, ignore, configuration)


def _backward(
    dtype: str, configuration: RowConfiguration, needed: bool, sparse: bool, smoothing: float, ignore: int | None
) -> None:
    logits, labels = _tensors(dtype, configuration, sparse)
    statistics = torch.empty(3, _ROWS, device="meta")
    triton_kernels.softmax_cross_entropy_backward(
        logits.new_empty(_ROWS), logits, labels, statistics, sparse, smoothing, ignore, [True, needed], configuration
    )


def cases() -> Iterator[Case]:
    """Every shipped configuration."""
    forward, backward = "softmax_cross_entropy_forward_kernel", "softmax_cross_entropy_backward_kernel"
    flags = {"sparse": (True, 0.0, None), "sparse smooth ignoring": (True, 0.1, 0), "dense smooth": (False, 0.1, None)}
    for configuration in SHIPPED:
        words = f"{configuration.BLOCK_M}x{configuration.BLOCK_C} w{configuration.num_warps}"
        for dtype in _DTYPES:
            for name, options in flags.items():
                quick = name == "sparse" and configuration.BLOCK_C in (1024, 4096)
                arguments = dtype, configuration
                variant = f"{words} {name}"
                yield Case(forward, variant, dtype, partial(_forward, *arguments, *options), quick=quick)
                yield Case(forward, f"{variant} with gradient", dtype, partial(_both, *arguments, *options))
                yield Case(backward, variant, dtype, partial(_backward, *arguments, False, *options), quick=quick)
            options = flags["dense smooth"]
            both = partial(_backward, *arguments, True, *options)
            yield Case(backward, f"{words} dense smooth, gradient of labels", dtype, both)
