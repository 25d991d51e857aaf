"""What of the cross-entropy is compiled and checked: each configuration and dtype, sparse and dense labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import torch

from fastk.kernels.softmax_cross_entropy import triton_kernels
from fastk.kernels.softmax_cross_entropy.configurations import SHIPPED, RowConfiguration, choose_configuration
from fastk.kernels.verify.case import Case

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_ROWS = 4096
_LONGEST = SHIPPED[-1]
# (sparse, label smoothing, ignored class)
_FLAGS = {"sparse": (True, 0.0, None), "dense smooth": (False, 0.1, None), "sparse smooth ignoring": (True, 0.1, 0)}


def _classes(configuration: RowConfiguration) -> int:
    """A number of classes that 8 divides and 16 does not."""
    return 50_264 if configuration is _LONGEST else configuration.BLOCK_C - 8


def _tensors(dtype: str, configuration: RowConfiguration, sparse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.empty(_ROWS, _classes(configuration), dtype=_DTYPES[dtype], device="meta")
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
    """Every configuration with the dtypes it is shipped for; the rarer flags with two of them."""
    forward, backward = "softmax_cross_entropy_forward_kernel", "softmax_cross_entropy_backward_kernel"
    for dtype, configuration in itertools.product(_DTYPES, SHIPPED):
        if choose_configuration(_classes(configuration), _DTYPES[dtype].itemsize) != configuration:
            continue
        common = configuration.BLOCK_C == 1024 or configuration is _LONGEST
        words = f"{configuration.BLOCK_M}x{configuration.BLOCK_C} w{configuration.num_warps}"
        for name, options in _FLAGS.items() if common else list(_FLAGS.items())[:2]:
            quick = common and name == "sparse"
            variant, arguments = f"{words} {name}", (dtype, configuration)
            yield Case(forward, variant, dtype, partial(_forward, *arguments, *options), quick=quick)
            yield Case(backward, variant, dtype, partial(_backward, *arguments, False, *options), quick=quick)
            if common:
                yield Case(forward, f"{variant} with gradient", dtype, partial(_both, *arguments, *options))
        if common:
            both = partial(_backward, dtype, configuration, True, *_FLAGS["dense smooth"])
            yield Case(backward, f"{words} dense smooth, gradient of labels", dtype, both)
