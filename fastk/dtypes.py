"""Keras's dtype names, torch's dtypes, and the promotion rules between them.

Promotion follows the lattice of JAX's type-promotion semantics
(https://docs.jax.dev/en/latest/type_promotion.html), as Keras does: Python scalars are weak.

>>> from fastk import dtypes
>>> dtypes.result_type("int32", "bfloat16"), dtypes.result_type("int8", "uint8"), dtypes.result_type("float16", float)
('bfloat16', 'int16', 'float16')
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from fastk import config

# torch computes little in uint16 and uint32: Keras widens them, and so does fastk.
TORCH_DTYPES: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
ALLOWED_DTYPES = frozenset(TORCH_DTYPES) | {"uint64", "int4", "uint4", "string"}
_NAMES: dict[Any, str] = {dtype: str(dtype).removeprefix("torch.") for dtype in TORCH_DTYPES.values()}
_PYTHON_TYPES: dict[Any, str] = {bool: "bool", int: "int32", str: "string", complex: "complex64"}


def standardize_dtype(dtype: Any) -> str:
    """The Keras name of `dtype`: a name, a NumPy, torch or Python type; None is `floatx()`.

    Raises:
        ValueError: where there is no such dtype.
    """
    if dtype is None:
        return config.floatx()
    name = _NAMES.get(dtype) if isinstance(dtype, torch.dtype) else None
    if name is None:
        name = _standardize(dtype)
    return name


def _standardize(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype in ALLOWED_DTYPES:
        return dtype
    if dtype is float:
        return config.floatx()
    if isinstance(dtype, type) and dtype in _PYTHON_TYPES:
        return _PYTHON_TYPES[dtype]
    # ml_dtypes' and TensorFlow's types, NumPy's types and NumPy dtypes all carry a name.
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype
    name = {"bool_": "bool", "int": "int32"}.get(name, name) if isinstance(name, str) else name
    if not isinstance(name, str) or name not in ALLOWED_DTYPES:
        raise ValueError(f"Invalid dtype: {dtype!r}. Expected one of {', '.join(sorted(ALLOWED_DTYPES))}.")
    return name


def to_torch_dtype(dtype: Any) -> torch.dtype:
    """The torch dtype that holds values of `dtype`."""
    if isinstance(dtype, torch.dtype):
        return dtype
    name = standardize_dtype(dtype)
    if name not in TORCH_DTYPES:
        raise ValueError(f"Unsupported dtype for tensors: {name!r}. Expected one of {', '.join(TORCH_DTYPES)}.")
    return TORCH_DTYPES[name]


def is_float_dtype(dtype: Any) -> bool:
    """Whether `dtype` is a floating-point type."""
    return "float" in standardize_dtype(dtype)


def is_int_dtype(dtype: Any) -> bool:
    """Whether `dtype` is an integer type, signed or not."""
    return "int" in standardize_dtype(dtype)


# Each type points at the types next above it; "i*", "f*" and "c*" are Python's weak scalars.
_LATTICE = {
    "bool": ["i*"],
    "i*": ["uint8", "int8"],
    "uint8": ["int16", "uint16"],
    "uint16": ["int32", "uint32"],
    "uint32": ["int64"],
    "int8": ["int16"],
    "int16": ["int32"],
    "int32": ["int64"],
    "int64": ["f*"],
    "f*": ["bfloat16", "float16", "c*"],
    "bfloat16": ["float32"],
    "float16": ["float32"],
    "float32": ["float64", "complex64"],
    "float64": ["complex128"],
    "c*": ["complex64"],
    "complex64": ["complex128"],
    "complex128": [],
}
_WEAK: dict[Any, str] = {bool: "bool", int: "i*", float: "f*", complex: "c*"}


@functools.cache
def _above(node: str) -> frozenset[str]:
    return frozenset({node}).union(*(_above(parent) for parent in _LATTICE[node]))


@functools.cache
def _join(nodes: frozenset[str]) -> str:
    common = frozenset.intersection(*(_above(node) for node in nodes))
    return max(common, key=lambda node: len(_above(node)))


@functools.lru_cache(maxsize=4096)
def _result_type(floatx: str, dtypes: tuple) -> str:
    nodes = []
    for dtype in dtypes:
        if isinstance(dtype, type) and dtype in _WEAK:
            nodes.append(_WEAK[dtype])
            continue
        name = standardize_dtype(dtype)
        if name.startswith("float8"):
            if set(map(str, dtypes)) != {str(dtype)}:
                raise ValueError(f"float8 types promote with nothing: cast explicitly. Received: {dtypes}.")
            return name
        if name not in _LATTICE:
            raise ValueError(f"No promotion rule for dtype {name!r}. Expected one of {', '.join(TORCH_DTYPES)}.")
        nodes.append(name)
    joined = _join(frozenset(nodes))
    return {"i*": "int32", "f*": floatx, "c*": "complex64"}.get(joined, joined)


def result_type(*dtypes: Any) -> str:
    """The dtype that values of all `dtypes` are promoted to; `int`, `float`, `bool` stand for Python scalars."""
    if not dtypes:
        return config.floatx()
    return _result_type(config.floatx(), tuple(config.floatx() if d is None else d for d in dtypes))


def numpy_dtype(name: str) -> Any:
    """The NumPy dtype of a Keras dtype name (`ml_dtypes.bfloat16` for `'bfloat16'`)."""
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(name)
