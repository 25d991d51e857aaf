"""`Softmax`: probabilities from logits, with a mask."""

from __future__ import annotations

from typing import Any

import torch

from fastk import activations
from fastk.layers.arguments import SameShapeLayer


class Softmax(SameShapeLayer):
    """`exp(x) / sum(exp(x))` along an axis or several.

    Args:
        axis: the axis, or axes, that sums to 1.

    Call arguments: `inputs`, and `mask`, which broadcasts to them: masked entries get the probability 0.

    >>> import fastk
    >>> print(fastk.layers.Softmax()(fastk.ops.array([[1.0, 1.0]])))
    [[0.5 0.5]]
    """

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The probabilities."""
        if mask is not None:
            mask = _checked_mask(mask, inputs)
            # Not -inf: a row that is masked wholly would become NaN.
            inputs = torch.where(mask, inputs, -3e4 if inputs.dtype is torch.float16 else -1e9)
        if not isinstance(self.axis, (list, tuple)):
            outputs = activations.softmax(inputs, axis=self.axis)
        elif len(self.axis) == 1:
            outputs = activations.softmax(inputs, axis=self.axis[0])
        else:
            outputs = torch.exp(inputs - torch.logsumexp(inputs, dim=tuple(self.axis), keepdim=True))
        return outputs if mask is None else torch.where(mask, outputs, 0.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}


def _checked_mask(mask: Any, inputs: Any) -> Any:
    shapes = f"Received: inputs.shape={tuple(inputs.shape)}, mask.shape={tuple(mask.shape)}"
    if mask.ndim > inputs.ndim:
        raise ValueError(f"The `mask` must be broadcastable to `inputs` and must not have more dimensions. {shapes}")
    for size, expected in zip(mask.shape[::-1], inputs.shape[::-1], strict=False):
        if size not in (1, expected):
            raise ValueError(
                "The `mask` must be broadcastable to `inputs`. Each mask dimension must be 1 or match the "
                f"corresponding input dimension. {shapes}"
            )
    return mask if mask.dtype is torch.bool else mask > 0.5
