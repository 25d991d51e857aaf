"""Shape inference: run a function on the `meta` device, where tensors have shapes and no values.

Unknown sizes are found by running it twice with two different stand-ins: an output size that changes with them is
unknown too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastk import dtypes, tree
from fastk.graph.keras_tensor import KerasTensor
from fastk.scopes import SymbolicScope, internal
from fastk.tensor import get_keras_mask, set_keras_mask

# Two primes unlikely to stand in a model: a size that is the same for both does not depend on the unknown one.
# Far apart, so that windows with strides up to their distance give different sizes too.
STAND_INS = (83, 331)


def compute_output_spec(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """What `function` returns for arguments in which KerasTensors stand for tensors, as KerasTensors.

    Args:
        function: any computation on tensors; its Python code runs, its arithmetic does not.

    Raises:
        ValueError: when it returns something that is neither tensor, number nor None.
    """
    unknown = any(isinstance(x, KerasTensor) and None in x.shape for x in tree.flatten((args, kwargs)))
    outputs = [_run(function, args, kwargs, size) for size in (STAND_INS if unknown else STAND_INS[:1])]
    return (
        tree.map_structure(_to_keras_tensor, *outputs) if unknown else tree.map_structure(_to_keras_tensor, outputs[0])
    )


def _run(function: Callable, args: tuple, kwargs: dict, stand_in: int) -> Any:
    def to_meta(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return torch.empty(x.shape, dtype=dtypes.to_torch_dtype(x.dtype), device="meta")
        if isinstance(x, torch.Tensor):
            return torch.empty_like(x, device="meta")
        if not isinstance(x, KerasTensor):
            return x
        shape = [stand_in if size is None else size for size in x.shape]
        tensor = torch.empty(shape, dtype=dtypes.to_torch_dtype(x.dtype), device="meta")
        mask = get_keras_mask(x)
        if mask is not None:
            set_keras_mask(tensor, to_meta(mask))
        return tensor

    with SymbolicScope(), internal(), torch.no_grad(), torch.device("meta"):
        return function(*tree.map_structure(to_meta, args), **tree.map_structure(to_meta, kwargs))


def _to_keras_tensor(first: Any, second: Any = None) -> Any:
    if first is None:
        return None
    if isinstance(first, (bool, int, float)):
        return KerasTensor((), dtype=dtypes.standardize_dtype(type(first)))
    if isinstance(first, KerasTensor):
        shape, dtype = first.shape, first.dtype
    elif hasattr(first, "shape") and hasattr(first, "dtype"):
        shape, dtype = tuple(first.shape), dtypes.standardize_dtype(first.dtype)
    else:
        raise ValueError(f"A symbolic call must return tensors. Received: {first!r} (of type {type(first)})")
    if second is not None:
        shape = tuple(a if a == b else None for a, b in zip(shape, second.shape, strict=True))
    result = KerasTensor(shape, dtype=dtype)
    mask = get_keras_mask(first)
    if mask is not None:
        set_keras_mask(result, _to_keras_tensor(mask, None if second is None else get_keras_mask(second)))
    return result
