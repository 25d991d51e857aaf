"""Layer normalisation by torch's fused kernel, which takes the last axes; others are moved there."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def layer_norm(x: Tensor, gamma: Tensor | None, beta: Tensor | None, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """x normalised over `axes`."""
    gamma, beta = (v if v is None else v.to(x.dtype) for v in (gamma, beta))
    sizes = [x.size(axis) for axis in axes]
    rank = x.dim()
    if tuple(axes) == tuple(range(rank - len(axes), rank)):
        return F.layer_norm(x, sizes, gamma, beta, epsilon)
    order = [axis for axis in range(rank) if axis not in axes] + list(axes)
    y = F.layer_norm(x.permute(order), sizes, gamma, beta, epsilon)
    return y.permute([order.index(axis) for axis in range(rank)])
