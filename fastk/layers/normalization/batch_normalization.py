"""`BatchNormalization`: channels with mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

import torch

from fastk import activations, autograd, config
from fastk.distribution import share
from fastk.graph import OpSpec
from fastk.layers.arguments import checked_axes
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.scopes import state


class BatchNormalization(Layer):
    """Scales each channel to mean 0 and variance 1: the batch's in training, moving averages of these otherwise.

    With `trainable = False` the moving averages are used, and kept, in training too.

    Args:
        axis: that of the channels.
        momentum: the share of a moving average that a training step keeps.
        epsilon: added to the variance.
        center: whether a trained `beta` is added.
        scale: whether the result is multiplied by a trained `gamma`.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties added to the loss.
        beta_constraint, gamma_constraint: projections after each step.
        renorm: whether training uses batch renormalization, which leads the statistics of batches towards moving ones.
        renorm_clipping: bounds `rmin` and `rmax` of its scale and `dmax` of its shift; no bounds by default.
        renorm_momentum: the share that a step keeps of the moving statistics it uses.
        synchronized: whether, where several processes train together, the statistics are those of the whole batch, with
            their gradients; if not, each process normalises its part by that part's, and moving averages are averaged.

    Call arguments: `inputs`, `training`, and `mask`, of the inputs' shape without the channels: masked positions do not
    count for the batch's statistics.

    Source: Ioffe & Szegedy, 2015, "Batch normalization"; Ioffe, 2017, "Batch renormalization".

    >>> import fastk
    >>> layer = fastk.layers.BatchNormalization(epsilon=0.0)
    >>> print(layer(fastk.ops.array([[1.0], [3.0]]), training=True))
    [[-1.]
     [ 1.]]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = int(axis)
        self.synchronized = bool(synchronized)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self._set_weight_options(
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        self.renorm = renorm
        if renorm:
            renorm_clipping = _checked_clipping(renorm_clipping or {})
        self.renorm_clipping = renorm_clipping
        self.renorm_momentum = renorm_momentum
        self.supports_masking = True
        self.gamma: Any = None
        self.beta: Any = None
        self.moving_mean: Any = None
        self.moving_variance: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes `gamma`, `beta` and the moving statistics, one entry a channel."""
        channels = input_shape[self.axis]
        shape = (channels,)
        if self.scale:
            self.gamma = self._add_weight_with_options("gamma", shape, autocast=False)
        if self.center:
            self.beta = self._add_weight_with_options("beta", shape, autocast=False)
        self.moving_mean = self._add_weight_with_options("moving_mean", shape, trainable=False, autocast=False)
        self.moving_variance = self._add_weight_with_options("moving_variance", shape, trainable=False, autocast=False)
        if self.renorm:
            self._add_renorm_weights(shape)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})

    def _add_renorm_weights(self, shape: tuple) -> None:
        def stddev(shape: Any, dtype: Any = None) -> Any:
            return torch.sqrt(self.moving_variance_initializer(shape, dtype=dtype))

        def add(name: str, initializer: Any) -> Any:
            return self.add_weight(shape=shape, name=name, initializer=initializer, trainable=False, autocast=False)

        self.moving_stddev = add("moving_stddev", stddev)
        self.renorm_mean = add("renorm_mean", self.moving_mean_initializer)
        self.renorm_stddev = add("renorm_stddev", stddev)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """`inputs`, normalised."""
        return self._normalized(inputs, training, mask)

    def _normalized(
        self, inputs: Any, training: bool | None = None, mask: Any = None, activation: str | None = None
    ) -> Any:
        """`inputs`, normalised, with an activation that follows it; not with `renorm`."""
        if mask is not None and mask.ndim != inputs.ndim - 1:
            raise ValueError(
                "The mask provided should be one dimension less than the inputs. "
                f"Received: mask.shape={tuple(mask.shape)}, inputs.shape={tuple(inputs.shape)}"
            )
        gamma = None if self.gamma is None else self.gamma.value
        beta = None if self.beta is None else self.beta.value
        if not (training and self.trainable):
            mean, variance = self.moving_mean.value, self.moving_variance.value
            statistics = (mean, variance, self.axis, self.epsilon)
            return autograd.batch_norm(inputs, gamma, beta, *statistics, activation=activation)[0]
        if self.renorm:
            return self._renormalize(inputs, gamma, beta, mask)
        outputs, mean, variance = self._normalize_batch(inputs, gamma, beta, mask, activation)
        if not state.symbolic:
            self._move((self.moving_mean, self.moving_variance), (mean, variance), self.momentum)
        return outputs

    def _folded(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        """The kernel and the bias of an op, channels last in both, that normalises by the moving averages as well."""
        scale = torch.rsqrt(self.moving_variance.value + self.epsilon)
        if self.gamma is not None:
            scale = scale * self.gamma.value
        mean = self.moving_mean.value if bias is None else self.moving_mean.value - bias
        shift = -mean * scale if self.beta is None else torch.addcmul(self.beta.value, mean, scale, value=-1)
        return (kernel * scale).to(kernel.dtype), shift.to(kernel.dtype)

    def _graph_ops(self) -> list[OpSpec]:
        if self.renorm:
            return super()._graph_ops()
        shown = {"axis": self.axis, "epsilon": self.epsilon}
        weights = {name: getattr(self, name) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
        return [OpSpec("batch_norm", self._normalized, {"activation": None}, shown, weights, takes_training=True)]

    def _normalize_batch(self, inputs: Any, gamma: Any, beta: Any, mask: Any, activation: str | None = None) -> Any:
        """`(outputs, mean, variance)` by the statistics of this batch, which have no gradient."""
        if self.synchronized and share.is_part():
            outputs, mean, variance = _normalize_over_ranks(inputs, gamma, beta, mask, self.axis, self.epsilon)
            return outputs if activation is None else activations.get(activation)(outputs), mean, variance
        if mask is not None:
            mask = mask.to(torch.bool).expand(inputs.shape[:-1])
            if self.axis not in (-1, inputs.ndim - 1):
                return _normalize_masked(inputs, gamma, beta, mask, self.axis, self.epsilon)
        options = {"training": True, "mask": mask, "activation": activation}
        return autograd.batch_norm(inputs, gamma, beta, None, None, self.axis, self.epsilon, **options)

    def _move(self, variables: tuple, values: tuple, momentum: float) -> None:
        """Moves averages towards `values`: in place and together, unless values of variables are kept elsewhere."""
        values = tuple(value.to(v.value.dtype) for v, value in zip(variables, values, strict=True))
        if state.stateless is None:
            with torch.no_grad():
                torch._foreach_lerp_([v._value for v in variables], values, 1.0 - momentum)
            return
        for variable, value in zip(variables, values, strict=True):
            variable.assign(torch.lerp(variable.value, value, 1.0 - momentum))

    def _renormalize(self, inputs: Any, gamma: Any, beta: Any, mask: Any) -> Any:
        """The batch's normalisation followed by `r * x + d`, which leads it towards that of the moving averages."""
        plain, mean, variance = self._normalize_batch(inputs, None, None, mask)
        limits = self.renorm_clipping or {}
        stddev = torch.sqrt(variance + self.epsilon)
        renorm_stddev = self.renorm_stddev.value.clamp(min=self.epsilon**0.5)
        r, d = stddev / renorm_stddev, (mean - self.renorm_mean.value) / renorm_stddev
        r = r.clamp(limits.get("rmin"), limits.get("rmax")) if {"rmin", "rmax"} & limits.keys() else r
        d = d.clamp(-limits["dmax"], limits["dmax"]) if limits.get("dmax") is not None else d
        if not state.symbolic:
            self._move((self.renorm_mean, self.renorm_stddev), (mean, stddev), self.renorm_momentum)
            self._move((self.moving_mean, self.moving_stddev), (mean, stddev), self.momentum)
            self.moving_variance.assign(torch.relu(self.moving_stddev.value**2 - self.epsilon))
        scale, shift = (r, d) if gamma is None else (r * gamma, d * gamma)
        if beta is not None:
            shift = shift + beta
        return _scaled(plain.to(scale.dtype), scale, shift, self.axis).to(inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`input_shape`."""
        checked_axes(self.axis, input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **self._weight_options_config(),
            "synchronized": self.synchronized,
            "renorm": self.renorm,
            "renorm_clipping": self.renorm_clipping,
            "renorm_momentum": self.renorm_momentum,
        }


def _scaled(x: Any, scale: Any, shift: Any, axis: int) -> Any:
    """`x * scale + shift`, one entry of both for each channel, None for 1 and 0."""
    shape = [1] * x.ndim
    shape[axis] = -1
    x = x if scale is None else x * scale.reshape(shape)
    return x if shift is None else x + shift.reshape(shape)


def _normalize_masked(inputs: Any, gamma: Any, beta: Any, mask: Any, axis: int, epsilon: float) -> Any:
    """As `autograd.batch_norm`, for channels that are not last: Keras's masks leave out the last axis all the same."""
    x = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    counted = mask.unsqueeze(-1).expand(x.shape)
    reduced = [i for i in range(x.ndim) if i != axis % x.ndim]
    count = counted.sum(reduced, keepdim=True).to(x.dtype) + config.epsilon()
    mean = torch.where(counted, x, 0).sum(reduced, keepdim=True) / count
    centred = x - mean
    variance = torch.where(counted, centred, 0).square().sum(reduced, keepdim=True) / count
    outputs = _scaled(centred * torch.rsqrt(variance + epsilon), gamma, beta, axis)
    return outputs.to(inputs.dtype), mean.detach().flatten(), variance.detach().flatten()


def _normalize_over_ranks(inputs: Any, gamma: Any, beta: Any, mask: Any, axis: int, epsilon: float) -> Any:
    """`(outputs, mean, variance)` by the statistics of the whole batch, of which this process has a part.

    The sums of all processes are added up, in the backward pass their gradients: twice in each, for the mean and then,
    from values less the mean, for the variance, which so loses no digits.
    """
    x = inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs
    channels, reduced = x.shape[axis], [i for i in range(x.ndim) if i != axis % x.ndim]
    if mask is None:
        counted, count = None, x.new_full((channels,), x.numel() // max(channels, 1))
    else:
        counted = mask.to(torch.bool).unsqueeze(-1).expand(x.shape)
        count = counted.sum(reduced).to(x.dtype)

    def summed(values: Any) -> Any:
        return (values if counted is None else torch.where(counted, values, 0)).sum(reduced)

    total, count = share.sum_over_ranks(torch.stack([summed(x), count])).unbind()
    count = count.detach() + (0.0 if counted is None else config.epsilon())
    mean = total / count
    centred = _scaled(x, None, -mean, axis)
    variance = share.sum_over_ranks(summed(centred.square())) / count
    outputs = _scaled(_scaled(centred, torch.rsqrt(variance + epsilon), None, axis), gamma, beta, axis)
    return outputs.to(inputs.dtype), mean.detach(), variance.detach()


def _checked_clipping(limits: dict[str, float]) -> dict[str, float]:
    names = ["rmax", "rmin", "dmax"]
    if set(limits) - set(names):
        raise ValueError(f"Received invalid keys for `renorm_clipping` argument: {limits}. Supported values: {names}.")
    rmax, rmin, dmax = map(limits.get, names)
    if rmax is not None and rmin is not None and rmax < rmin:
        raise ValueError(
            f"rmax should be greater than rmin in the `renorm_clipping` argument. Received: rmax={rmax}, rmin={rmin}."
        )
    if dmax is not None and dmax < 0:
        raise ValueError(f"dmax should be non-negative in the `renorm_clipping` argument. Received: dmax={dmax}.")
    return limits
