"""Dtype policies that say how Keras quantized a layer: names and settings. fastk has no layer that computes by one.

They are read from files and written to them; a layer that is given one raises (`fastk/layers/quantization.py`).

>>> from fastk import dtype_policies
>>> policy = dtype_policies.get("int8_from_mixed_bfloat16")
>>> policy.quantization_mode, policy.compute_dtype
('int8', 'bfloat16')
"""

from __future__ import annotations

from typing import Any

from fastk.dtype_policies import DTypePolicy, dtype_policy

MODES = ("int8", "float8", "int4", "gptq", "awq")
"""The kinds of quantization; a policy's name is `MODE_from_SOURCE`, of the policy of the layer before it."""


class QuantizedDTypePolicy(DTypePolicy):
    """The policy of a layer that was quantized.

    Args:
        mode: `"int8"`, `"float8"`, `"int4"`, `"gptq"` or `"awq"`.
        source_name: the name of the policy before, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: another mode, or int8 of a layer that computes in float16.
    """

    _keras_location = ("keras.dtype_policies", "QuantizedDTypePolicy", None)

    def __init__(self, mode: str, source_name: str | None = None):
        super().__init__(dtype_policy().name if source_name is None else source_name)
        if mode.partition("/")[0] not in MODES:
            raise ValueError(f"Invalid quantization mode. Expected one of {MODES}. Received: mode={mode}")
        if mode == "int8" and self.compute_dtype == "float16":
            raise ValueError(
                f"Quantization mode='{mode}' doesn't work well with compute_dtype='float16'. Quantize a layer that "
                "computes in bfloat16 or float32."
            )
        self._source_name = self._name
        self._name = f"{mode}_from_{self._source_name}"
        self._mode = mode

    @property
    def quantization_mode(self) -> str:  # type: ignore[override]
        """The kind of quantization."""
        return self._mode.partition("/")[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"mode": self._mode, "source_name": self._source_name}

    def __repr__(self) -> str:
        return f'<{type(self).__name__} "{self._name}">'

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.get_config() == other.get_config()  # type: ignore[attr-defined]

    __hash__ = DTypePolicy.__hash__


class QuantizedFloat8DTypePolicy(QuantizedDTypePolicy):
    """The policy of a layer that was quantized to float8.

    Args:
        mode: `"float8"`.
        source_name: the name of the policy before; None for the global one.
        amax_history_length: steps whose greatest values the scale follows.
    """

    _keras_location = ("keras.dtype_policies", "QuantizedFloat8DTypePolicy", None)
    default_amax_history_length = 1024

    def __init__(self, mode: str, source_name: str | None = None, amax_history_length: int = 1024):
        super().__init__(mode, source_name)
        if not isinstance(amax_history_length, int):
            raise TypeError(
                f"`amax_history_length` must be an integer. Received: amax_history_length={amax_history_length}"
            )
        self.amax_history_length = amax_history_length

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "amax_history_length": self.amax_history_length}


class _GroupedPolicy(QuantizedDTypePolicy):
    """A policy whose mode has numbers: `KIND/BITS/GROUP_SIZE`."""

    kind = ""
    parts: tuple[str, ...] = ()
    allowed_bits: tuple[int, ...] = ()

    def __init__(self, mode: str, source_name: str | None = None):
        expected = "/".join([self.kind, *(f"<{part}>" for part in self.parts)])
        given = mode.split("/")
        name = type(self).__name__
        if len(given) != 1 + len(self.parts) or given[0] != self.kind:
            raise ValueError(f"Invalid mode for {name}. Expected format '{expected}', but got '{mode}'.")
        try:
            numbers = dict(zip(self.parts, map(int, given[1:]), strict=True))
        except ValueError:
            raise ValueError(
                f"Invalid mode for {name}. {' and '.join(f'<{part}>' for part in self.parts)} must be integers. "
                f"Expected format '{expected}', but got '{mode}'."
            ) from None
        for part, number in numbers.items():
            if part == "weight_bits" and number not in self.allowed_bits:
                raise ValueError(
                    f"Invalid weight_bits in mode. Supported values are {self.allowed_bits}, but got {number} from "
                    f"'{mode}'."
                )
            if part != "weight_bits" and (number < -1 or number == 0):
                raise ValueError(
                    f"Invalid {part} in mode. Supported values are -1 (the whole) or a positive integer, but got "
                    f"{number} from '{mode}'."
                )
        super().__init__(mode, source_name)
        self.mode = self.kind
        self.__dict__.update(numbers)


class Int4DTypePolicy(_GroupedPolicy):
    """The policy of a layer that was quantized to int4: mode `"int4/BLOCK_SIZE"`, -1 for one scale a channel."""

    _keras_location = ("keras.dtype_policies", "Int4DTypePolicy", None)
    kind, parts = "int4", ("block_size",)


class GPTQDTypePolicy(_GroupedPolicy):
    """The policy of a layer that was quantized by GPTQ: mode `"gptq/WEIGHT_BITS/GROUP_SIZE"`."""

    _keras_location = ("keras.dtype_policies", "GPTQDTypePolicy", None)
    kind, parts, allowed_bits = "gptq", ("weight_bits", "group_size"), (2, 3, 4, 8)


class AWQDTypePolicy(_GroupedPolicy):
    """The policy of a layer that was quantized by AWQ: mode `"awq/4/GROUP_SIZE"`."""

    _keras_location = ("keras.dtype_policies", "AWQDTypePolicy", None)
    kind, parts, allowed_bits = "awq", ("weight_bits", "group_size"), (4,)


CLASSES: dict[str, type[QuantizedDTypePolicy]] = {
    cls.__name__: cls
    for cls in (
        QuantizedDTypePolicy,
        QuantizedFloat8DTypePolicy,
        Int4DTypePolicy,
        GPTQDTypePolicy,
        AWQDTypePolicy,
    )
}


def by_name(name: str) -> QuantizedDTypePolicy:
    """The policy of a name `MODE_from_SOURCE`."""
    mode, separator, source_name = name.partition("_from_")
    if not separator or "_from_" in source_name:
        raise ValueError(
            "Cannot convert `policy` into a valid pair (`mode`, `source_name`) to instantiate `QuantizedDTypePolicy`. "
            f"Received: policy={name}. Expected a name such as 'int8_from_float32'."
        )
    kind = mode.partition("/")[0]
    if kind == "float8":
        return QuantizedFloat8DTypePolicy(mode, source_name)
    grouped = {"gptq": GPTQDTypePolicy, "awq": AWQDTypePolicy} | ({"int4": Int4DTypePolicy} if "/" in mode else {})
    return grouped.get(kind, QuantizedDTypePolicy)(mode, source_name)
