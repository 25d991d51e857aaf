"""`SpectralNormalization`: a layer whose kernel has the spectral norm 1."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config, initializers
from fastk.layers.core.wrapper import Wrapper
from fastk.layers.input_spec import InputSpec
from fastk.scopes import state


class SpectralNormalization(Wrapper):
    """Divides the wrapped layer's kernel by its largest singular value at each training step.

    The value is estimated by power iteration, which goes on from step to step.

    Args:
        layer: a layer with a `kernel` or `embeddings`.
        power_iterations: iterations at each step.

    Source: Miyato et al., 2018, "Spectral normalization for generative adversarial networks".

    >>> import fastk
    >>> layer = fastk.layers.SpectralNormalization(fastk.layers.Dense(3), power_iterations=20)
    >>> _ = layer(fastk.ops.ones((2, 4)), training=True)
    >>> print(round(float(fastk.ops.norm(layer.layer.kernel.value.detach(), ord=2)), 3))
    1.0
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any):
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise ValueError(
                f"`power_iterations` should be greater than zero. Received: `power_iterations={power_iterations}`"
            )
        self.power_iterations = power_iterations

    def build(self, input_shape: Any) -> None:
        """Builds the wrapped layer, and makes the estimate of the left singular vector."""
        super().build(input_shape)
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        kernel = getattr(self.layer, "kernel", None)
        kernel = getattr(self.layer, "embeddings", None) if kernel is None else kernel
        if kernel is None:
            raise ValueError(f"{type(self.layer).__name__} object has no attribute 'kernel' nor 'embeddings'")
        self.kernel = kernel
        self.vector_u = self.add_weight(
            shape=(1, kernel.shape[-1]),
            initializer=initializers.TruncatedNormal(stddev=0.02),
            trainable=False,
            name="vector_u",
            dtype=kernel.dtype,
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The wrapped layer's output; in training its kernel is normalised before."""
        if training and not state.symbolic:
            with torch.no_grad():
                self._normalize_kernel()
        outputs = self.layer(inputs)
        return outputs.to(inputs.dtype) if inputs.is_floating_point() else outputs

    def _normalize_kernel(self) -> None:
        kernel, vector_u = self.kernel.value, self.vector_u.value
        matrix = kernel.reshape(-1, kernel.shape[-1])
        vector_v = vector_u
        for _ in range(self.power_iterations):
            vector_v = _unit(vector_u @ matrix.T)
            vector_u = _unit(vector_v @ matrix)
        sigma = (vector_v @ matrix @ vector_u.T).reshape(())
        # A kernel of zeros stays as it is, and so does the estimate.
        zero = (matrix == 0).all()
        self.kernel.assign(torch.where(zero, kernel, kernel / sigma))
        self.vector_u.assign(torch.where(zero, self.vector_u.value, vector_u))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The wrapped layer's."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "power_iterations": self.power_iterations}


def _unit(x: Any) -> Any:
    return x / torch.linalg.vector_norm(x).clamp(min=config.epsilon())
