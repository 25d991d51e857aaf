"""Whether a candidate computes what the default computes: asked before it is timed.

Two correct results differ by the rounding of each and by the order of the sums: the bound is
`eps(dtype) + eps(arithmetic) sqrt(length)`, times the largest value of the reference, in each tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from fastk.autotune.space import Accuracy


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_of(item)


def copied(value: Any) -> Any:
    """The same arguments with copies of the tensors."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(copied(item) for item in value)
    return value


def why_inaccurate(found: Any, reference: Any, accuracy: Accuracy) -> str | None:
    """None, or how a candidate's results differ from the default's."""
    results, references = list(tensors_of(found)), list(tensors_of(reference))
    if [t.shape for t in results] != [t.shape for t in references]:
        return f"shapes {[tuple(t.shape) for t in results]} are not {[tuple(t.shape) for t in references]}"
    for result, right in zip(results, references, strict=True):
        if not right.is_floating_point():
            if not torch.equal(result, right):
                return f"{int((result != right).sum())} of {right.numel()} integers differ"
            continue
        if not right.numel():
            continue
        wide, right_wide = result.double(), right.double()
        finite = right_wide.isfinite()
        if not torch.equal(wide.isfinite(), finite):
            return "other elements are infinite or NaN"
        if not finite.any():
            continue
        scale = float(right_wide[finite].abs().max())
        bound = (torch.finfo(right.dtype).eps + accuracy.eps * math.sqrt(accuracy.length)) * scale
        worst = float((wide - right_wide)[finite].abs().max())
        if worst > bound:
            return f"{worst:.3g} off where {bound:.3g} is rounding"
    return None
