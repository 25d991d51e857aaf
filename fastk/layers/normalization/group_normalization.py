"""`GroupNormalization`: groups of channels with mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

from torch.nn import functional

from fastk.layers.arguments import checked_axes
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer


class GroupNormalization(Layer):
    """Scales each group of channels, for each sample by itself, to mean 0 and variance 1.

    Args:
        groups: the number of groups that the channels are split into; -1 for one channel each (instance normalization).
        axis: that of the channels.
        epsilon: added to the variance.
        center: whether a trained `beta` is added.
        scale: whether the result is multiplied by a trained `gamma`.
        beta_initializer, gamma_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties added to the loss.
        beta_constraint, gamma_constraint: projections after each step.

    Source: Wu & He, 2018, "Group normalization".

    >>> import fastk
    >>> print(fastk.layers.GroupNormalization(2, epsilon=0.0)(fastk.ops.array([[1.0, 3.0, 5.0, 9.0]])))
    [[-1.  1. -1.  1.]]
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
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
        if not isinstance(groups, int) or (groups <= 0 and groups != -1):
            raise ValueError(
                "Received an invalid value for argument `groups`, expected a positive integer (or `-1` for instance "
                f"normalization). Received: groups={groups}"
            )
        super().__init__(**kwargs)
        self.supports_masking = True
        self.autocast = False
        self.groups = groups
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self._set_weight_options(
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def build(self, input_shape: Any) -> None:
        """Makes `gamma` and `beta`, one entry a channel."""
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(
                f"Axis {self.axis} of input tensor should have a defined dimension but the layer received an input "
                f"with shape {input_shape}."
            )
        if self.groups == -1:
            self.groups = channels
        if channels < self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) cannot be more than the number of channels ({channels})."
            )
        if channels % self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) must be a multiple of the number of channels ({channels})."
            )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self.gamma = self._add_weight_with_options("gamma", (channels,), autocast=False) if self.scale else None
        self.beta = self._add_weight_with_options("beta", (channels,), autocast=False) if self.center else None

    def call(self, inputs: Any) -> Any:
        """`inputs`, normalised."""
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        x = inputs.movedim(self.axis, 1)
        dtype = self._torch_input_dtype()
        # Half types are normalised in the dtype of the weights, as the statistics need it.
        working = x if gamma is None or x.dtype is gamma.dtype else x.to(gamma.dtype)
        outputs = functional.group_norm(working, self.groups, gamma, beta, self.epsilon).movedim(1, self.axis)
        return outputs if outputs.dtype is dtype else outputs.to(dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        checked_axes(self.axis, input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "groups": self.groups,
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **self._weight_options_config(),
        }
