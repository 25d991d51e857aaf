"""The checks of arguments that several ops share. Each raises `ValueError` with the shapes it saw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastk.kernels.activation.aten import ACTIVATIONS
from fastk.kernels.step_options import StepOptions


def check_activation(name: str | None, op: str) -> None:
    """None, or a name in the table of activations."""
    if name is not None and name not in ACTIVATIONS:
        raise ValueError(
            f"Unknown activation of {op}: {name!r}. Expected None or one of {', '.join(ACTIVATIONS)}; "
            "apply any other function to the result."
        )


def check_rank(tensor: Tensor, rank: int, layout: str, op: str, name: str = "x") -> None:
    """`rank` axes, as `layout` names them."""
    if tensor.dim() != rank:
        raise ValueError(f"{op} expects `{name}` of shape {layout}. Received shape {tuple(tensor.shape)}.")


def check_vector(vector: Tensor | None, size: int, op: str, name: str) -> None:
    """None, or [size]."""
    if vector is not None and (vector.dim() != 1 or vector.size(0) != size):
        raise ValueError(f"{op} expects `{name}` of shape ({size},). Received shape {tuple(vector.shape)}.")


def check_dropout(rate: float, seed: object, op: str) -> None:
    """A rate in [0, 1], with a seed where it is not 0."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"The dropout rate of {op} must be in [0, 1]. Received: {rate}.")
    if seed is None and rate > 0.0:
        raise ValueError(
            f"{op} with a dropout rate of {rate} needs `seed`: an int64 tensor (seed, offset), or two ints."
        )
    if isinstance(seed, Tensor) and (seed.dtype != torch.int64 or seed.dim() != 1 or seed.size(0) != 2):
        raise ValueError(
            f"`seed` of {op} must be an int64 tensor (seed, offset). Received shape {tuple(seed.shape)} and dtype "
            f"{seed.dtype}."
        )


def pair(value: int | Sequence[int], name: str, op: str) -> tuple[int, int]:
    """A positive int, for both axes, or two of them."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or both[0] < 1 or both[1] < 1:
        raise ValueError(f"`{name}` of {op} must be a positive integer or two of them. Received: {value!r}.")
    return both


def one(value: int | Sequence[int], name: str, op: str) -> int:
    """A positive int, or a sequence of one."""
    single = (value,) if isinstance(value, int) else tuple(value)
    if len(single) != 1 or single[0] < 1:
        raise ValueError(f"`{name}` of {op} must be a positive integer or one in a tuple. Received: {value!r}.")
    return single[0]


def check_lists(op: str, params: list[Tensor], **lists: list[Tensor] | None) -> None:
    """Each list None or as long as `params`."""
    for name, tensors in lists.items():
        if tensors is not None and len(tensors) != len(params):
            raise ValueError(
                f"{op} got {len(params)} params, but `{name}` holds {len(tensors)}: one for each is needed."
            )


def check_options(op: str, params: list[Tensor], options: StepOptions) -> None:
    """At most one kind of clipping, and a word on weight decay for each param or for none."""
    limits = {name: getattr(options, name) for name in ("clipvalue", "clipnorm", "global_clipnorm")}
    if sum(limit is not None for limit in limits.values()) > 1:
        raise ValueError(f"{op} clips by one of clipvalue, clipnorm and global_clipnorm. Received: {limits}.")
    if options.decayed is not None and len(options.decayed) != len(params):
        raise ValueError(
            f"{op} got {len(params)} params, but `decayed` holds {len(options.decayed)}: one for each is needed."
        )
