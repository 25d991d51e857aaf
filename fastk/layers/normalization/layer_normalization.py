"""`LayerNormalization`: each sample with mean 0 and variance 1."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from fastk import autograd
from fastk.layers.arguments import checked_axes
from fastk.layers.layer import Layer


class LayerNormalization(Layer):
    """Scales the values along `axis` to mean 0 and variance 1, for each sample by itself.

    Args:
        axis: the axis, or axes, that mean and variance are taken over.
        epsilon: added to the variance.
        center: whether a trained `beta` is added.
        scale: whether the result is multiplied by a trained `gamma`.
        beta_initializer, gamma_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties added to the loss.
        beta_constraint, gamma_constraint: projections after each step.

    Source: Ba et al., 2016, "Layer normalization".

    >>> import fastk
    >>> print(fastk.layers.LayerNormalization(epsilon=0.0)(fastk.ops.array([[1.0, 3.0]])))
    [[-1.  1.]]
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        rms_scaling = kwargs.pop("rms_scaling", False)
        if rms_scaling:
            warnings.warn(
                "You passed `rms_scaling=True`, which is deprecated. This argument incorrectly scales the input by the "
                "variance, not the root mean square. To correctly use RMS Normalization, please use "
                "`keras.layers.RMSNormalization` instead.",
                stacklevel=2,
            )
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)):
            raise TypeError(f"Expected an int or a list/tuple of ints for the argument 'axis', but received: {axis!r}")
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.rms_scaling = rms_scaling
        self._set_weight_options(
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        self.supports_masking = True
        self.autocast = False

    def build(self, input_shape: Any) -> None:
        """Makes `gamma` and `beta` of the sizes along the axes."""
        self.axis = [self.axis] if isinstance(self.axis, int) else sorted(self.axis)
        self._axes = tuple(self.axis)
        shape = tuple(input_shape[axis] for axis in self.axis)
        scaled, centered = self.scale or self.rms_scaling, self.center and not self.rms_scaling
        self.gamma = self._add_weight_with_options("gamma", shape, autocast=False) if scaled else None
        self.beta = self._add_weight_with_options("beta", shape, autocast=False) if centered else None

    def call(self, inputs: Any) -> Any:
        """`inputs`, normalised."""
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        if self.rms_scaling:
            outputs = self._scaled_by_variance(inputs, gamma)
        else:
            outputs = autograd.layer_norm(inputs, gamma, beta, self._axes, self.epsilon)
        dtype = self._torch_input_dtype()
        return outputs if outputs.dtype is dtype else outputs.to(dtype)

    def _scaled_by_variance(self, inputs: Any, gamma: Any) -> Any:
        x = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        variance = x.var(self._axes, correction=0, keepdim=True)
        axes = {axis % x.ndim for axis in self._axes}
        shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        return x * torch.rsqrt(variance + self.epsilon) * gamma.reshape(shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        checked_axes(self.axis, input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "rms_scaling": self.rms_scaling,
            **self._weight_options_config(),
        }
