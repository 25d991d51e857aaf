"""Functions of fastk's in the form of Keras's, for `patches`: one for each that is replaced, and the table of them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

from fastk import activations, autograd, losses, metrics, naming, ops, serialization
from fastk import random as fastk_random
from fastk.integrations.keras.sharing import Unlike, share
from fastk.losses.crossentropy import of_softmax
from fastk.random import SeedGenerator


class Keep(Exception):
    """Keras's own function is to compute this call; the message says why."""


def concrete(*tensors: Any) -> None:
    """Leaves calls without values, by which Keras infers shapes, to Keras."""
    for x in tensors:
        if isinstance(x, torch.Tensor) and x.is_meta:
            raise Keep("shapes are being inferred")


def _tensor(x: Any, dtype: Any = None) -> Any:
    from keras.src.backend.torch.core import convert_to_tensor

    return None if x is None else convert_to_tensor(x, dtype=dtype)


def _read(x: Any) -> Any:
    """The tensor of a variable of Keras's; anything else as it is."""
    return _tensor(x) if hasattr(x, "_value") else x


def _fused(activation: Any) -> str | None:
    """The name that fastk's kernels know one of Keras's activations by; None where they do not."""
    name = getattr(activation, "__name__", "")
    own = getattr(activations, name, None) if getattr(activation, "__module__", "").startswith("keras.src.") else None
    return None if own is None else activations.fused_name(own)


# ---------------------------------------------------------------- layers


def dense(layer: Any, inputs: Any, training: Any = None) -> Any:
    """`Dense.call`: product, bias and activation in one."""
    concrete(inputs)
    if layer.quantization_mode is not None or layer.lora_enabled:
        raise Keep("the layer is quantized, or has LoRA weights")
    x, kernel = inputs, _tensor(layer.kernel)
    if not x.is_floating_point():
        x = x.to(kernel.dtype)
    activation = None if layer.activation is None else _fused(layer.activation)
    y = autograd.dense(x, kernel, _tensor(layer.bias), None if activation == "linear" else activation)
    return y if activation is not None or layer.activation is None else layer.activation(y)


def batch_normalization(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
    """`BatchNormalization.call`: statistics, normalization and their derivative in one."""
    concrete(inputs)
    if mask is not None or layer.renorm or layer.synchronized:
        raise Keep("it takes a mask, renormalizes or is synchronized")
    x = inputs if inputs.dtype is torch.float64 else inputs.float()
    own = {name: _tensor(getattr(layer, name)).to(x.dtype) for name in ("moving_mean", "moving_variance")}
    gamma = _tensor(layer.gamma).to(x.dtype) if layer.scale else None
    beta = _tensor(layer.beta).to(x.dtype) if layer.center else None
    trains = bool(training and layer.trainable)
    average, spread = (None, None) if trains else own.values()
    y, *found = autograd.batch_norm(x, gamma, beta, average, spread, layer.axis, layer.epsilon, training=trains)
    if trains:
        for (name, before), now in zip(own.items(), found, strict=True):
            getattr(layer, name).assign(before.detach().lerp(now, 1.0 - layer.momentum))
    return y.to(_torch_dtype(layer.compute_dtype))


def _torch_dtype(name: str) -> torch.dtype:
    from keras.src.backend.torch.core import to_torch_dtype

    return to_torch_dtype(name)


# ---------------------------------------------------------------- functions of the backend


def by_ops(name: str) -> Callable[..., Any]:
    """The function of `fastk.ops` of that name, whose arguments are those of Keras's."""
    function = getattr(ops, name)

    @functools.wraps(function)
    def replaced(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        concrete(inputs)
        args = tuple(_read(x) for x in args)
        return function(_tensor(inputs), *args, **{name: _read(x) for name, x in kwargs.items()})

    return replaced


def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """`backend.nn.average_pool` without padding."""
    if padding != "valid":
        raise Keep("Keras repeats the border's values on torch, as on no other backend")
    return by_ops("average_pool")(inputs, pool_size, strides, padding, data_format)


def crossentropy(name: str) -> Callable[..., Any]:
    """A cross-entropy of `fastk.ops`, which of a softmax's result takes the logits."""
    function = getattr(ops, name)

    def replaced(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
        concrete(target, output)
        output, from_logits = of_softmax(_tensor(output), from_logits, axis)
        return function(_tensor(target), output, from_logits, axis)

    return replaced


def recurrent(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`LSTM.inner_loop` and `GRU.inner_loop`: the whole sequence in one, with masks, and both forms of the GRU."""
    concrete(sequences)
    cell = layer.cell
    names = [_fused(cell.activation), _fused(cell.recurrent_activation)]
    if cell.recurrent_dropout:
        raise Keep("it has recurrent dropout")
    if None in names:
        raise Keep("an activation is not one that fastk's kernels know")
    kernel, mask = _tensor(cell.kernel), mask[0] if isinstance(mask, (list, tuple)) else mask
    x, states = sequences.to(kernel.dtype), [_tensor(state).to(kernel.dtype) for state in initial_state]
    options: dict[str, Any] = {
        "mask": None if mask is None else mask.bool(), "activation": names[0], "recurrent_activation": names[1],
        "dropout_mask": cell.get_dropout_mask(x[:, 0, :]) if training and cell.dropout else None,
        "reverse": layer.go_backwards, "return_sequences": layer.return_sequences,
        "zero_output_for_mask": layer.zero_output_for_mask,
    }  # fmt: skip
    weights = x, kernel, _tensor(cell.recurrent_kernel), _tensor(cell.bias)
    if len(states) == 2:
        outputs, last, states = autograd.lstm(*weights, states, **options)
    else:
        outputs, last, states = autograd.gru(*weights, states[0], reset_after=cell.reset_after, **options)
    return last, last.unsqueeze(1) if outputs is None else outputs, states


# ---------------------------------------------------------------- random numbers


class Draws(SeedGenerator):
    """fastk's view of a seed generator of Keras's, whose state moves on as it does in Keras."""

    def __init__(self, theirs: Any):
        self.theirs = theirs

    def next(self, ordered: bool = True) -> torch.Tensor:
        """The present `[seed, offset]`."""
        return self.theirs.next(ordered).long()


def _draws(seed: Any) -> Draws:
    from keras.src.random.seed_generator import SeedGenerator as Theirs

    if not isinstance(seed, Theirs):
        raise Keep("the seed is a number: the values are to be those that Keras makes of it")
    if seed.state._value.is_meta:
        raise Keep("shapes are being inferred")
    return Draws(seed)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """`backend.random.dropout` with a seed: Keras reads it on the host, at each step."""
    concrete(inputs)
    if (seed is None or getattr(seed, "_initial_seed", 0) is None) and noise_shape is None:
        raise Keep("it has no seed: torch's own generator draws")
    return autograd.dropout(inputs, rate, _draws(seed).next(), noise_shape)


def draw(name: str) -> Callable[..., Any]:
    """A distribution of `fastk.random`, for seed generators: Keras reads their state on the host, at each step."""
    function = getattr(fastk_random, name)

    def replaced(shape: Any, *args: Any, seed: Any = None, **kwargs: Any) -> Any:
        return function(shape, *args, seed=_draws(seed), **kwargs)

    return replaced


# ---------------------------------------------------------------- losses and metrics


# Of losses and metrics of Keras's: fastk's like it, or why there is none.
_twins: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def loss(theirs: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """`Loss.__call__` of a loss of Keras's own."""
    tensors = (y_true, y_pred, sample_weight)
    if not all(x is None or isinstance(x, torch.Tensor) for x in tensors):
        raise Keep("it is given other things than tensors")
    concrete(*tensors)
    return _twin_of(theirs, losses.Loss)(y_true, y_pred, sample_weight)


def mean(theirs: Any, values: Any, sample_weight: Any = None) -> None:
    """`Mean.update_state`, with the sums added where they are."""
    _mean(theirs, metrics.Mean, (values,), sample_weight)


def mean_of_function(theirs: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
    """`MeanMetricWrapper.update_state` of a metric of Keras's own."""
    _mean(theirs, metrics.MeanMetricWrapper, (y_true, y_pred), sample_weight)


def _mean(theirs: Any, kind: type, values: tuple, sample_weight: Any) -> None:
    if not all(isinstance(x, torch.Tensor) for x in values):
        raise Keep("it is given other things than tensors")
    concrete(*values, sample_weight, theirs.total._value)
    own = _twin_of(theirs, kind)
    try:
        share(own.total, theirs.total)
        share(own.count, theirs.count)
    except Unlike as reason:
        raise Keep(str(reason)) from None
    with torch.no_grad():
        own.update_state(*values, sample_weight=sample_weight)


def l1_l2(theirs: Any, x: Any) -> Any:
    """`L1L2.__call__`; Keras's adds to a constant in its place, which no recording can tell from state."""
    x = _tensor(x)
    concrete(x)
    return theirs.l1 * x.abs().sum() + theirs.l2 * x.square().sum()


def _twin_of(theirs: Any, base: type) -> Any:
    """fastk's loss or metric like one of Keras's, of a class that is derived from `base`."""
    if theirs not in _twins:
        _twins[theirs] = _made(theirs, base)
    own = _twins[theirs]
    if isinstance(own, str):
        raise Keep(own)
    return own


def _made(theirs: Any, base: type) -> Any:
    import keras

    kind = type(theirs)
    function = getattr(theirs, "fn", getattr(theirs, "_fn", None))
    if not kind.__module__.startswith(("keras.src.losses.", "keras.src.metrics.")):
        return f"{kind.__name__} is the user's own"
    if function is not None and not getattr(function, "__module__", "").startswith("keras.src."):
        return "it wraps the user's function"
    with naming.passing_names():
        own = serialization.deserialize_keras_object(keras.saving.serialize_keras_object(theirs))
    return own if isinstance(own, base) else f"fastk has no {kind.__name__}"


_NN = "keras.src.backend.torch.nn"
_RANDOM = "keras.src.backend.torch.random"
REPLACEMENTS: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("keras.src.layers.core.dense.Dense", "call", dense),
    ("keras.src.layers.normalization.batch_normalization.BatchNormalization", "call", batch_normalization),
    *((_NN, name, by_ops(name)) for name in ("conv", "depthwise_conv", "max_pool")),
    (_NN, "average_pool", average_pool),
    *((_NN, name, crossentropy(name)) for name in ("categorical_crossentropy", "sparse_categorical_crossentropy")),
    ("keras.src.layers.rnn.lstm.LSTM", "inner_loop", recurrent),
    ("keras.src.layers.rnn.gru.GRU", "inner_loop", recurrent),
    *(("keras.src.backend.torch.math", name, by_ops(name)) for name in ("segment_sum", "segment_max")),
    (_RANDOM, "dropout", dropout),
    *((_RANDOM, name, draw(name)) for name in ("normal", "uniform", "truncated_normal")),
    ("keras.src.losses.loss.Loss", "__call__", loss),
    ("keras.src.regularizers.regularizers.L1L2", "__call__", l1_l2),
    ("keras.src.metrics.reduction_metrics.Mean", "update_state", mean),
    ("keras.src.metrics.reduction_metrics.MeanMetricWrapper", "update_state", mean_of_function),
)
"""Where each function stands (a module or a class), its name, and what takes its place."""
