"""What every layer must do, whatever it computes."""

import functools
import json

import numpy as np
import torch

import fastk as keras
from fastk import tree

STATIC, BATCH, ALL = "static", "batch", "all"


def run_layer(
    cls,
    init_kwargs=None,
    input_shape=None,
    *,
    inputs=None,
    dtype="float32",
    expected_shape=None,
    weights=(),
    non_trainable=(),
    seeds=0,
    supports_masking=None,
    unknown=ALL,
    gradients=True,
    mixed=True,
    call_kwargs=None,
):
    """Checks building, shapes, configuration, precision and gradients of a layer; gives `(layer, outputs)`.

    Args:
        cls: the layer's class.
        init_kwargs: its constructor's arguments.
        input_shape: a shape, or a list of shapes for a list of inputs.
        inputs: values in place of random ones.
        dtype: of the inputs.
        expected_shape: of the output.
        weights, non_trainable: names of the weights.
        seeds: the number of seed generators.
        supports_masking: the expected value of this property.
        unknown: which sizes may be None when the layer is called symbolically: those of the batch, or all but the
            channels (the last axis).
        gradients: whether every weight and float input gets a finite gradient.
        mixed: whether the output has the compute dtype of a mixed policy.
        call_kwargs: further arguments of calls.
    """
    call_kwargs = call_kwargs or {}

    def make(**kwargs):
        return cls(**{**(init_kwargs or {}), **kwargs})

    if inputs is None:
        rng = np.random.default_rng(1)
        inputs = tree.map_shape_structure(
            lambda s: rng.normal(size=s).astype(dtype) if "float" in dtype else rng.integers(0, 5, s).astype(dtype),
            input_shape,
        )
    shapes = tree.map_structure(lambda x: tuple(x.shape), inputs)
    layer = make()
    if supports_masking is not None:
        assert layer.supports_masking is supports_masking
    layer.build(shapes)
    assert layer.built
    assert [v.name for v in layer.trainable_weights] == list(weights)
    assert [v.name for v in layer.non_trainable_weights] == list(non_trainable)
    assert len(layer.variables) == len(layer.weights) + seeds
    assert all(v.path == f"{layer.name}/{v.name}" for v in layer.weights)
    own = {*dict(layer.named_parameters()), *dict(layer.named_buffers())}
    assert own == {*weights, *non_trainable}, "torch knows the weights by their names"

    outputs = make_tensors(layer(inputs, **call_kwargs))
    if expected_shape is not None:
        assert tree.map_structure(lambda x: tuple(x.shape), outputs) == expected_shape
    _check_symbolic(make, inputs, outputs, call_kwargs, unknown)
    _check_configuration(cls, make, layer, inputs, shapes, outputs, call_kwargs)
    if mixed:
        _check_mixed(make, inputs, shapes, call_kwargs)
    if gradients:
        _check_gradients(layer, inputs, call_kwargs)
    return layer, outputs


def make_tensors(structure):
    return tree.map_structure(torch.as_tensor, structure)


def symbolic(x, which):
    """A KerasTensor for `x` with unknown sizes."""
    shape = list(x.shape)
    if which != STATIC:
        shape[0] = None
    if which == ALL:
        shape[1:-1] = [None] * len(shape[1:-1])
    return keras.KerasTensor(shape, dtype=keras.backend.standardize_dtype(x.dtype))


def _check_symbolic(make, inputs, outputs, call_kwargs, unknown):
    for which in [STATIC, BATCH, ALL][: 1 + [STATIC, BATCH, ALL].index(unknown)]:
        specs = make()(tree.map_structure(functools.partial(symbolic, which=which), inputs), **call_kwargs)
        for spec, x in zip(tree.flatten(specs), tree.flatten(outputs), strict=True):
            assert len(spec.shape) == x.ndim
            assert all(a is None or a == b for a, b in zip(spec.shape, x.shape, strict=True)), (which, spec, x.shape)
            assert which != STATIC or None not in spec.shape
            assert spec.dtype == keras.backend.standardize_dtype(x.dtype)


def _check_configuration(cls, make, layer, inputs, shapes, outputs, call_kwargs):
    config = json.loads(json.dumps(layer.get_config()))
    clone = cls.from_config(config)
    assert json.loads(json.dumps(clone.get_config())) == config
    clone.build(shapes)
    clone.set_weights(layer.get_weights())
    written = json.loads(json.dumps(keras.layers.serialize(layer)))
    assert written["module"] == "keras.layers" and written["class_name"] == cls.__name__
    read = keras.layers.deserialize(written)
    if make().built:
        written.pop("build_config")  # there is nothing to build again
    assert type(read) is cls and json.loads(json.dumps(keras.layers.serialize(read))) == written
    for x, y in zip(tree.flatten(outputs), tree.flatten(make_tensors(clone(inputs, **call_kwargs))), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def _check_mixed(make, inputs, shapes, call_kwargs):
    layer = make(dtype="mixed_bfloat16")
    for spec, x in zip(
        tree.flatten(layer(tree.map_structure(lambda x: symbolic(x, STATIC), inputs), **call_kwargs)),
        tree.flatten(layer(inputs, **call_kwargs)),
        strict=True,
    ):
        assert x.dtype is torch.bfloat16 and spec.dtype == "bfloat16"
    assert all(v.dtype == "float32" for v in layer.weights if "float" in v.dtype)


def _check_gradients(layer, inputs, call_kwargs):
    tensors = tree.map_structure(torch.as_tensor, inputs)
    floats = [x.requires_grad_() for x in tree.flatten(tensors) if x.is_floating_point()]
    outputs = tree.flatten(layer(tensors, **call_kwargs))
    values = [v.value for v in layer.trainable_weights]
    for gradient in torch.autograd.grad(torch.stack([x.float().sum() for x in outputs]).sum(), floats + values):
        assert torch.isfinite(gradient).all()
