"""Tensors: conversion to and from torch, and the type handed to the user.

Inside fastk every tensor is a plain `torch.Tensor`. What a layer, a loss or a metric returns to the
user's code is a `fastk.Tensor`, the same storage with a `numpy()` that works wherever the
tensor lives and whether or not it has a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import device as devices
from fastk import dtypes, tree
from fastk.scopes import state


class Tensor(torch.Tensor):
    """A `torch.Tensor` whose values can be read with `numpy()` and printed as an array, on any device.

    Operations on it give tensors of the same type; gradients flow through it.

    >>> import fastk
    >>> y = fastk.layers.Dense(2, kernel_initializer="ones")(np.ones((1, 3), "float32"))
    >>> print(y, y.numpy().shape)
    [[3. 3.]] (1, 2)
    """

    def numpy(self, *, force: bool = True) -> np.ndarray:
        """The values as a NumPy array; copied from the device where they are not on the CPU."""
        return convert_to_numpy(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = convert_to_numpy(self)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __str__(self) -> str:
        return str(convert_to_numpy(self))


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor (a `Variable` or `KerasTensor` is not)."""
    return isinstance(x, torch.Tensor)


def is_text_array(x: Any) -> bool:
    """Whether `x` is a NumPy array of strings, which stands for a tensor of them: torch has none."""
    if not isinstance(x, np.ndarray):
        return False
    return x.dtype.kind in "US" or (x.dtype.kind == "O" and x.size > 0 and isinstance(x.flat[0], (str, bytes)))


def to_boundary(structure: Any) -> Any:
    """The tensors of `structure` as `fastk.Tensor`, unless called from inside a layer or a training step."""
    if state.internal:
        return structure
    if type(structure) is torch.Tensor:
        return _wrap(structure)
    if isinstance(structure, torch.Tensor):
        return structure
    return tree.map_structure(lambda x: _wrap(x) if type(x) is torch.Tensor else x, structure)


def _wrap(x: torch.Tensor) -> torch.Tensor:
    wrapped = x.as_subclass(Tensor)
    mask = get_keras_mask(x)
    if mask is not None:
        set_keras_mask(wrapped, mask)
    return wrapped


def get_device() -> torch.device:
    """The device of new tensors: `meta` while shapes are inferred."""
    return devices.META if state.symbolic else devices.get_device()


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """A torch tensor with the values of `x`, on the current device.

    Args:
        x: a tensor, variable, NumPy array, number, or nested lists of those.
        dtype: the result's dtype; by default that of `x` (Python floats: `floatx()`, Python integers: int32).

    >>> import fastk
    >>> fastk.ops.convert_to_tensor([1, 2]).dtype
    torch.int32
    """
    if sparse or ragged:
        raise ValueError(
            "Sparse and ragged tensors are not supported: pass a dense tensor, with a mask where it is needed."
        )
    target = None if dtype is None else dtypes.to_torch_dtype(dtype)
    if isinstance(x, torch.Tensor):
        return _moved(x, target)
    value = getattr(x, "value", None)
    if isinstance(value, torch.Tensor):  # a Variable
        return _moved(value, target)
    if getattr(x, "_keras_history", None) is not None or type(x).__name__ == "KerasTensor":
        raise ValueError(
            f"A KerasTensor is symbolic and has no values: {x!r}. Use it in layers and `keras.ops`, or wrap the "
            "computation in a `Layer`."
        )
    return _from_python(x, target)


def _moved(x: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if type(x) is Tensor:
        x = x.as_subclass(torch.Tensor)
    device = get_device()
    if x.device != device:
        x = torch.empty_like(x, device=device) if x.is_meta or device.type == "meta" else x.to(device)
    return x if dtype is None or x.dtype is dtype else x.to(dtype)


def _from_python(x: Any, dtype: torch.dtype | None) -> torch.Tensor:
    device = get_device()
    if isinstance(x, (bool, int, float, complex)):
        if dtype is None:
            dtype = torch.int64 if type(x) is int and not -(2**31) <= x < 2**31 else dtypes.to_torch_dtype(type(x))
        return torch.tensor(x, dtype=dtype, device=device)
    if isinstance(x, (list, tuple)):
        leaves = tree.flatten(x)
        if any(
            isinstance(leaf, torch.Tensor) or isinstance(getattr(leaf, "value", None), torch.Tensor) for leaf in leaves
        ):
            stacked = torch.stack([convert_to_tensor(item) for item in x])
            return stacked if dtype is None else stacked.to(dtype)
        if dtype is None and leaves:
            dtype = dtypes.to_torch_dtype(dtypes.result_type(*(getattr(leaf, "dtype", type(leaf)) for leaf in leaves)))
        elif dtype is None:
            dtype = dtypes.to_torch_dtype(None)
    array = np.asarray(x)
    if array.dtype.kind in "OUS":
        raise ValueError(
            f"Cannot make a tensor of dtype {array.dtype} values: {str(x)[:80]!r}. "
            "Expected numbers; encode text first, for example with a StringLookup layer."
        )
    if array.dtype.name == "bfloat16":
        array, dtype = array.astype(np.float32), dtype or torch.bfloat16
    if dtype is None:
        dtype = dtypes.to_torch_dtype(array.dtype)
    if array.dtype.name in ("uint16", "uint32", "uint64"):
        array = array.astype(np.int64)
    # The copy keeps the caller's array the caller's.
    return torch.tensor(array, dtype=dtype, device=device)


def convert_to_numpy(x: Any) -> np.ndarray:
    """A NumPy array with the values of `x`; bfloat16 values keep their type through `ml_dtypes`."""
    value = getattr(x, "value", x) if not isinstance(x, (torch.Tensor, np.ndarray)) else x
    if isinstance(value, torch.Tensor):
        value = value.detach().as_subclass(torch.Tensor).cpu()
        if value.dtype is torch.bfloat16:
            return value.float().numpy().astype(dtypes.numpy_dtype("bfloat16"))
        return value.resolve_conj().resolve_neg().numpy()
    if isinstance(value, (list, tuple)):
        return np.array([convert_to_numpy(item) for item in value])
    return np.asarray(value)


def cast(x: Any, dtype: Any) -> torch.Tensor:
    """`x` in `dtype`."""
    return convert_to_tensor(x, dtype=dtype)


def get_keras_mask(x: Any) -> torch.Tensor | None:
    """The mask that a layer attached to its output `x`: bool, True where a step counts."""
    return getattr(x, "_keras_mask", None)


def set_keras_mask(x: Any, mask: Any) -> None:
    """Attaches `mask` to `x`, for the next layer to find; None removes it."""
    if mask is None:
        if hasattr(x, "_keras_mask"):
            del x._keras_mask
    else:
        x._keras_mask = mask
