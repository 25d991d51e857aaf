"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fastk.dispatch import choose


def layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
    implementation: str = "auto",
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, over `axis` (Ba, Kiros & Hinton 2016).

    Args:
        x: any shape of rank 1 or more.
        gamma: the sizes of x on the axes, in ascending order of the axes, or None for 1.
        beta: likewise, or None for 0.
        axis: one axis or several, over which mean and biased variance are taken.
        epsilon: added to the variance.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Raises:
        ValueError: an axis that x has not, or gamma or beta of another shape.

    >>> import torch
    >>> layer_norm(torch.tensor([[1.0, 3.0]]), epsilon=0.0)
    tensor([[-1.,  1.]])
    """
    rank = x.dim()
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(sorted({one % rank for one in given if -rank <= one < rank}))
    if not given or len(axes) != len(given):
        raise ValueError(f"layer_norm expects different axes of x. Received {axis=} for x of shape {tuple(x.shape)}.")
    sizes = tuple(x.size(one) for one in axes)
    for name, weights in (("gamma", gamma), ("beta", beta)):
        if weights is not None and tuple(weights.shape) != sizes:
            raise ValueError(
                f"layer_norm over {axis=} of x of shape {tuple(x.shape)} expects `{name}` of shape {sizes}. "
                f"Received shape {tuple(weights.shape)}."
            )
    arguments = (x, gamma, beta, axes, epsilon)
    return choose("layer_norm", implementation, x, arguments).function(*arguments)
