"""`keras.quantizers`: arithmetic of quantization. Layers cannot be quantized (`fastk/layers/quantization.py`)."""

from __future__ import annotations

from typing import Any

from fastk.errors import missing_name
from fastk.quantizers.configurations import GPTQConfig
from fastk.quantizers.functions import (
    abs_max_quantize,
    abs_max_quantize_grouped_with_zero_point,
    compute_float8_amax_history,
    compute_float8_scale,
    fake_quant_with_min_max_vars,
    pack_int4,
    quantize_and_dequantize,
    unpack_int4,
)
from fastk.quantizers.quantizer import AbsMaxQuantizer, Quantizer
from fastk.serialization import Registry

_registry = Registry("quantizer", classes=(Quantizer, AbsMaxQuantizer))
deserialize = _registry.deserialize


def serialize(initializer: Quantizer) -> Any:
    """The configuration of a quantizer; Keras's name for the argument."""
    return _registry.serialize(initializer)


def get(identifier: Any, **kwargs: Any) -> Any:
    """The quantizer that a name, a configuration, a class or a callable means; `kwargs` are its arguments.

    >>> from fastk import quantizers
    >>> quantizers.get("abs_max_quantizer", value_range=(-7, 7)).value_range
    (-7, 7)
    """
    if isinstance(identifier, str) and identifier in _registry.objects:
        return _registry.objects[identifier](**kwargs)
    return _registry.get(identifier)


__all__ = [
    "AbsMaxQuantizer",
    "GPTQConfig",
    "Quantizer",
    "abs_max_quantize",
    "abs_max_quantize_grouped_with_zero_point",
    "compute_float8_amax_history",
    "compute_float8_scale",
    "deserialize",
    "fake_quant_with_min_max_vars",
    "get",
    "pack_int4",
    "quantize_and_dequantize",
    "serialize",
    "unpack_int4",
]


def __getattr__(name: str) -> Any:
    raise missing_name("keras.quantizers", name, __all__)
