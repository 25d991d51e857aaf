"""`PReLU`: a rectifier whose negative slope is learned."""

from __future__ import annotations

from typing import Any

import torch

from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer


class PReLU(Layer):
    """`x` where it is positive, `alpha * x` elsewhere, with a trained `alpha` of a sample's shape.

    Args:
        alpha_initializer: first values.
        alpha_regularizer: a penalty added to the loss.
        alpha_constraint: a projection after each step.
        shared_axes: axes, counted from 1, along which one slope holds: `(1, 2)` for one slope per channel of images.

    Source: He et al., 2015, "Delving deep into rectifiers".

    >>> import fastk
    >>> print(fastk.layers.PReLU(alpha_initializer="ones")(fastk.ops.array([[-2.0, 3.0]])))
    [[-2.  3.]]
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._set_weight_options(
            alpha_initializer=alpha_initializer,
            alpha_regularizer=alpha_regularizer,
            alpha_constraint=alpha_constraint,
        )
        if shared_axes is not None:
            shared_axes = list(shared_axes) if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        self.shared_axes = shared_axes

    def build(self, input_shape: Any) -> None:
        """Makes `alpha`: a sample's shape, 1 along shared axes."""
        shared = self.shared_axes or ()
        shape = tuple(1 if axis in shared else size for axis, size in enumerate(input_shape[1:], 1))
        self.alpha = self._add_weight_with_options("alpha", shape)
        axes = (
            {axis: size for axis, size in enumerate(input_shape) if axis > 0 and axis not in shared} if shared else {}
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)

    def call(self, inputs: Any) -> Any:
        """The activated inputs."""
        return torch.where(inputs > 0, inputs, self.alpha.value * inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self._weight_options_config(), "shared_axes": self.shared_axes}
