"""Quantization, which fastk does not have: what Keras has for it, and what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn

INSTEAD = (
    "fastk does not quantize layers. For less memory and faster matrices compute in half precision, as in "
    'dtype="mixed_bfloat16"; for int8 save the model, which Keras reads, and quantize it there: '
    'keras.saving.load_model(path).quantize("int8").'
)


def computable(policy: Any) -> Any:
    """A dtype policy that layers compute by; one of a quantized layer raises `NotImplementedError`."""
    if policy.quantization_mode is not None:
        raise NotImplementedError(f"{INSTEAD} Received: dtype={policy}")
    return policy


class NotQuantized:
    """The part of `Layer` that says so."""

    name: str

    @property
    def quantization_mode(self) -> None:
        """None: the layer computes with the weights as they are."""
        return None

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> NoReturn:
        """Not supported: raises `NotImplementedError`."""
        raise NotImplementedError(f"{INSTEAD} Received: {self.name}.quantize({mode!r})")

    def quantized_build(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported: raises `NotImplementedError`."""
        raise NotImplementedError(INSTEAD)

    def quantized_call(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported: raises `NotImplementedError`."""
        raise NotImplementedError(INSTEAD)
