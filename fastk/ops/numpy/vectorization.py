"""`vectorize`: a function of single elements, or of core dimensions, made one of arrays."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch

from fastk import tree
from fastk.tensor import convert_to_tensor

__all__ = ["vectorize"]


def _core_ranks(signature: str, count: int) -> list[int]:
    """The numbers of core dimensions of the arguments: `"(n,m),(m)->(n)"` gives `[2, 1]`."""
    if not re.fullmatch(r"\([\w,]*\)(,\([\w,]*\))*->\([\w,]*\)(,\([\w,]*\))*", signature.replace(" ", "")):
        raise ValueError(f"not a valid gufunc signature: {signature}")
    groups = re.findall(r"\(([\w,]*)\)", signature.replace(" ", "").split("->")[0])
    if len(groups) != count:
        raise TypeError(f"wrong number of positional arguments: expected {len(groups)}, got {count}")
    return [len(re.findall(r"\w+", group)) for group in groups]


def vectorize(
    pyfunc: Callable, *, excluded: Iterable[int | str] | None = None, signature: str | None = None
) -> Callable:
    """`pyfunc` over arrays that broadcast, all at once (`torch.vmap`).

    Args:
        pyfunc: a function of scalar tensors, or of tensors with the core dimensions of `signature`.
        excluded: positions and names of arguments that are passed on as they are.
        signature: NumPy's generalised signature, such as `"(m,n),(n)->(m)"`.

    >>> from fastk import ops
    >>> ops.vectorize(lambda a, b: a + 2 * b)([1.0, 2.0], 3.0)
    tensor([7., 8.])
    """
    left_out = set(excluded or ())

    @functools.wraps(pyfunc)
    def call(*args: Any, **kwargs: Any) -> Any:
        fixed = {i: arg for i, arg in enumerate(args) if i in left_out}
        names = [name for name in kwargs if name not in left_out]
        mapped = [convert_to_tensor(arg) for i, arg in enumerate(args) if i not in left_out]
        mapped += [convert_to_tensor(kwargs[name]) for name in names]
        ranks = [0] * len(mapped) if signature is None else _core_ranks(signature, len(mapped))

        def each(*values: torch.Tensor) -> Any:
            rest = iter(values)
            positional = [fixed[i] if i in fixed else next(rest) for i in range(len(args))]
            return pyfunc(*positional, **{**kwargs, **dict(zip(names, rest, strict=True))})

        shapes = [x.shape[: x.ndim - rank] for x, rank in zip(mapped, ranks, strict=True)]
        batch = torch.broadcast_shapes(*shapes)
        if not batch:
            return each(*mapped)
        rows = [
            x.expand(*batch, *x.shape[x.ndim - rank :]).reshape(math.prod(batch), *x.shape[x.ndim - rank :])
            for x, rank in zip(mapped, ranks, strict=True)
        ]
        return tree.map_structure(lambda y: y.reshape(*batch, *y.shape[1:]), torch.vmap(each)(*rows))

    return call
