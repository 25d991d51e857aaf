"""From a loss for each entry to the loss: sample weights, masks, and the reductions."""

from __future__ import annotations

from typing import Any

import torch

from fastk.distribution import share
from fastk.losses.arrays import squeeze_or_expand_to_same_rank
from fastk.tensor import convert_to_tensor

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)
# The reductions that divide by the number of entries, where there are neither weights nor a mask.
AVERAGES = frozenset({"sum_over_batch_size", "mean", "mean_with_sample_weight"})


def standardize_reduction(reduction: str | None) -> str | None:
    """`reduction`, checked."""
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: reduction={reduction!r}"
        )
    return reduction


def divide_no_nan(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`x / y`, and 0 where `y` is 0; so is the gradient there."""
    zero = y == 0
    return (x / y.masked_fill(zero, 1)).masked_fill(zero, 0)


def reduce_values(
    values: torch.Tensor,
    sample_weight: torch.Tensor | None = None,
    reduction: str | None = "sum_over_batch_size",
) -> torch.Tensor:
    """`values`, already weighted, as one number; unchanged where there is nothing to reduce.

    Args:
        sample_weight: the weights that `"mean_with_sample_weight"` divides by.
    """
    if reduction in (None, "none") or values.ndim == 0 or values.shape == (0,):
        return values
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        return divide_no_nan(values.sum(), share.divisor(sample_weight.sum()).to(values.dtype))
    if reduction == "sum":
        return share.undivided(values.sum())
    # An empty batch has loss 0, not NaN.
    return values.sum() if values.numel() == 0 else values.mean()


def apply_mask(sample_weight: Any, mask: Any, dtype: torch.dtype, reduction: str | None) -> torch.Tensor | Any:
    """Sample weights that leave out what `mask` does.

    Where the reduction is a mean over all entries, the kept ones weigh `total / kept`, so that it becomes the mean
    over the kept ones.

    Args:
        sample_weight: weights, or None.
        mask: True where an entry counts; None leaves the weights as they are.
    """
    if mask is None:
        return sample_weight
    mask = convert_to_tensor(mask, dtype=torch.bool)
    weight = mask.to(dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        # Where nothing is kept, the weights are 0 whatever they are divided by.
        kept = share.divisor(weight.sum())
        weight = weight * (mask.numel() / kept.masked_fill(kept == 0, 1))
    if sample_weight is None:
        return weight
    weight, sample_weight = squeeze_or_expand_to_same_rank(weight, convert_to_tensor(sample_weight, dtype=dtype))
    return sample_weight * weight


def reduce_weighted_values(
    values: torch.Tensor,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str | None = "sum_over_batch_size",
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """A loss for each entry, weighted, masked and reduced.

    Args:
        values: one loss an entry, of any shape.
        sample_weight: weights that broadcast against `values`.
        mask: bool, of the shape of the weights; True where an entry counts.
        dtype: of the computation; by default that of `values`.
    """
    values = convert_to_tensor(values, dtype=dtype)
    sample_weight = apply_mask(sample_weight, mask, values.dtype, reduction)
    if sample_weight is not None:
        sample_weight = convert_to_tensor(sample_weight, dtype=values.dtype)
        values, sample_weight = squeeze_or_expand_to_same_rank(values, sample_weight)
        values = values * sample_weight
    return reduce_values(values, sample_weight, reduction)
