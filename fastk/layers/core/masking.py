"""`Masking`: steps that do not count."""

from __future__ import annotations

from typing import Any

import torch

from fastk import ops
from fastk.layers.arguments import SameShapeLayer
from fastk.serialization import deserialize_keras_object
from fastk.tensor import set_keras_mask


class Masking(SameShapeLayer):
    """Masks the steps of `(batch, steps, features)` whose features all equal `mask_value`, and sets them to zero.

    Args:
        mask_value: what stands in steps to be skipped.

    >>> import fastk
    >>> fastk.layers.Masking()(fastk.ops.array([[[1.0], [0.0]]]))._keras_mask
    tensor([[ True, False]])
    """

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(mask_value, dict) and mask_value.get("config"):
            mask_value = deserialize_keras_object(mask_value)
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True for steps with a feature other than the mask value."""
        return ops.any(ops.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Any) -> Any:
        """`inputs` with masked steps zero, and the mask attached."""
        mask = (inputs != self.mask_value).any(-1)
        outputs = torch.where(mask.unsqueeze(-1), inputs, 0)
        set_keras_mask(outputs, mask)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mask_value": self.mask_value}
