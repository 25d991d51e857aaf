"""Dtype policies: the dtype a layer computes in, and the dtype it keeps its variables in.

>>> import fastk
>>> fastk.DTypePolicy("mixed_bfloat16").compute_dtype, fastk.DTypePolicy("mixed_bfloat16").variable_dtype
('bfloat16', 'float32')
"""

from __future__ import annotations

from typing import Any

from fastk import config, dtypes, serialization

__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "deserialize",
    "dtype_policy",
    "get",
    "reset_dtype_policy",
    "serialize",
    "set_dtype_policy",
]

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


class DTypePolicy:
    """A compute dtype and a variable dtype.

    Args:
        name: `"mixed_float16"`, `"mixed_bfloat16"`, or one dtype for both; None is the global policy.
    """

    quantization_mode = None

    def __init__(self, name: str | None = None):
        if name is None:
            name = dtype_policy().name
        if not isinstance(name, str):
            raise TypeError(
                f"'name' must be a string, such as 'mixed_float16'. Received: name={name} (of type {type(name)})"
            )
        self._name = name
        if name in _MIXED:
            self._compute_dtype, self._variable_dtype = _MIXED[name], "float32"
            return
        try:
            self._compute_dtype = self._variable_dtype = dtypes.standardize_dtype(name)
        except ValueError:
            raise ValueError(
                f"Cannot convert '{name}' to a mixed precision DTypePolicy. Valid policies include 'mixed_float16', "
                "'mixed_bfloat16', and the name of any float dtype such as 'float32'."
            ) from None

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """The dtype of a layer's inputs, arithmetic and outputs."""
        return self._compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of a layer's variables."""
        return self._variable_dtype

    def convert_input(self, x: Any, autocast: bool, dtype: Any) -> Any:
        """`x` as a tensor, floats in `dtype` where `autocast` is set; what is no array stays as it is."""
        from fastk import ops, tensor
        from fastk.graph import KerasTensor

        if isinstance(x, KerasTensor):
            return ops.cast(x, dtype) if autocast and dtypes.is_float_dtype(x.dtype) and x.dtype != dtype else x
        if not hasattr(x, "__array__") or tensor.is_text_array(x):
            return x
        x = tensor.convert_to_tensor(x)
        return x.to(dtypes.to_torch_dtype(dtype)) if autocast and x.is_floating_point() else x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """A policy from `get_config`'s result."""
        return cls(**config)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)


class FloatDTypePolicy(DTypePolicy):
    """`DTypePolicy` under its older name."""


_global: DTypePolicy | None = None


@config.public
def dtype_policy() -> DTypePolicy:
    """The global policy: what layers without a `dtype` of their own use."""
    return _global if _global is not None else DTypePolicy(config.floatx())


@config.public
def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Sets the global policy; it holds for layers made from now on.

    >>> import fastk
    >>> fastk.config.set_dtype_policy("mixed_bfloat16")
    >>> fastk.layers.Dense(1).compute_dtype
    'bfloat16'
    >>> fastk.config.set_dtype_policy("float32")

    Raises:
        ValueError: what is neither a name nor a policy.
    """
    if not isinstance(policy, (str, DTypePolicy)):
        raise ValueError(
            "Invalid `policy` argument. Expected the string name of a policy (such as 'mixed_float16') or a "
            f"`DTypePolicy` instance. Received: policy={policy} (of type {type(policy)})"
        )
    global _global
    _global = get(policy)


def reset_dtype_policy() -> None:
    """Forgets the global policy: it is `floatx()` again."""
    global _global
    _global = None


def get(identifier: Any) -> DTypePolicy:
    """The policy that a name, a configuration, a dtype or a policy means; None is the global one."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return _quantized().by_name(identifier) if "_from_" in identifier else DTypePolicy(identifier)
    try:
        return DTypePolicy(dtypes.standardize_dtype(identifier))
    except ValueError:
        raise ValueError(
            "Cannot interpret `dtype` argument. Expected a string or an instance of DTypePolicy. Received: "
            f"dtype={identifier}"
        ) from None


def serialize(dtype_policy: DTypePolicy) -> dict:
    """The configuration of a policy."""
    return serialization.serialize_keras_object(dtype_policy)


def deserialize(config: dict, custom_objects: dict | None = None) -> Any:
    """The policy that `serialize` described."""
    objects = {"DTypePolicy": DTypePolicy, "FloatDTypePolicy": FloatDTypePolicy, **_quantized().CLASSES}
    return serialization.deserialize_keras_object(config, custom_objects=custom_objects, module_objects=objects)


def _quantized() -> Any:
    """The module of the policies of quantized layers, which are made of those here."""
    from fastk import quantized_dtype_policies

    return quantized_dtype_policies


def __getattr__(name: str) -> Any:
    found = None if name.startswith("_") else _quantized().CLASSES.get(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
