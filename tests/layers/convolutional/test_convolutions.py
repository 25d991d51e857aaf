import itertools

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.layers import oracles
from tests.layers.checks import BATCH, run_layer

SHAPES = {1: (2, 9, 4), 2: (2, 7, 6, 4), 3: (2, 5, 4, 5, 4)}
WINDOWS = {1: (3,), 2: (2, 3), 3: (2, 1, 3)}
CONV = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSE = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
DEPTHWISE = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}
SEPARABLE = {1: layers.SeparableConv1D, 2: layers.SeparableConv2D}


def first(x):
    return np.moveaxis(x, -1, 1)


def weights_of(layer, rng):
    """Random weights, biases too, set and returned."""
    values = [rng.normal(size=v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(values)
    return values


def check_values(layer, oracle, x, rng, data_format="channels_last", size=64):
    layer.build(x.shape if data_format == "channels_last" else first(x).shape)
    expected = oracle(*weights_of(layer, rng))
    given = x if data_format == "channels_last" else first(x)
    got = np.asarray(layer(given))
    oracles.close(got, expected if data_format == "channels_last" else first(expected), reductions=size, scale=16.0)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_does_what_layers_do(rank):
    kwargs = {"filters": 6, "kernel_size": WINDOWS[rank], "activation": "relu", "kernel_regularizer": "l2"}
    run_layer(CONV[rank], kwargs, SHAPES[rank], weights=["kernel", "bias"], supports_masking=False)
    run_layer(
        CONV[rank], {**kwargs, "use_bias": False, "padding": "same", "strides": 2}, SHAPES[rank], weights=["kernel"]
    )


@pytest.mark.parametrize(
    ("rank", "padding", "strides", "data_format"),
    [
        (*case, "channels_last")
        for case in itertools.product([1, 2, 3], ["valid", "same"], [1, 2])  # odd and even sizes: asymmetric padding
    ]
    + [(rank, "same", 2, "channels_first") for rank in (1, 2, 3)],
)
def test_conv_values(rank, padding, strides, data_format, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    layer = CONV[rank](5, WINDOWS[rank], strides=strides, padding=padding, data_format=data_format)
    check_values(layer, lambda k, b: oracles.conv(x, k, (strides,) * rank, padding) + b, x, rng, data_format)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_groups_and_dilation(rank, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    ones = (1,) * rank
    layer = CONV[rank](6, WINDOWS[rank], groups=2)
    check_values(layer, lambda k, b: oracles.conv(x, k, ones, groups=2) + b, x, rng)
    layer = CONV[rank](3, WINDOWS[rank], dilation_rate=2, padding="same")
    check_values(layer, lambda k, b: oracles.conv(x, k, ones, "same", (2,) * rank) + b, x, rng)


def test_causal_conv_sees_no_later_step(rng):
    x = rng.normal(size=(1, 8, 3)).astype("float32")
    layer = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)
    check_values(layer, lambda k, b: oracles.conv(x, k, (1,), "causal", (2,)) + b, x, rng)
    changed = x.copy()
    changed[:, 5:] += 1.0
    np.testing.assert_array_equal(np.asarray(layer(x))[:, :5], np.asarray(layer(changed))[:, :5])
    run_layer(
        layers.Conv1D,
        {"filters": 4, "kernel_size": 3, "padding": "causal"},
        (2, 8, 3),
        expected_shape=(2, 8, 4),
        weights=["kernel", "bias"],
    )


@pytest.mark.parametrize("activation", ["relu", "softmax", "tanh", "gelu", None])
def test_activations_fused_or_not(activation, rng):
    x = rng.normal(size=SHAPES[2]).astype("float32")
    plain = layers.Conv2D(5, 3)
    layer = layers.Conv2D(5, 3, activation=activation)
    for one in (plain, layer):
        one.build(x.shape)
    layer.set_weights(plain.get_weights())
    expected = keras.activations.get(activation)(torch.as_tensor(plain(x)))
    torch.testing.assert_close(torch.as_tensor(layer(x)), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def test_activation_may_be_replaced_after_construction():
    layer = layers.Conv2D(1, 1, kernel_initializer="ones", activation="relu")
    x = -torch.ones(1, 2, 2, 1)
    assert layer(x).sum() == 0
    layer.activation = keras.activations.linear
    assert layer(x).sum() == -4


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_transpose_does_what_layers_do(rank):
    kwargs = {"filters": 6, "kernel_size": WINDOWS[rank], "strides": 2, "activation": "relu"}
    run_layer(TRANSPOSE[rank], kwargs, SHAPES[rank], weights=["kernel", "bias"])
    run_layer(
        TRANSPOSE[rank], {**kwargs, "padding": "same", "output_padding": 1}, SHAPES[rank], weights=["kernel", "bias"]
    )


@pytest.mark.parametrize(
    ("rank", "padding", "strides", "data_format"),
    [(*case, "channels_last") for case in itertools.product([1, 2, 3], ["valid", "same"], [1, 2, 3])]
    + [(rank, "same", 2, "channels_first") for rank in (1, 2, 3)],
)
def test_conv_transpose_values(rank, padding, strides, data_format, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    layer = TRANSPOSE[rank](5, WINDOWS[rank], strides=strides, padding=padding, data_format=data_format)
    check_values(layer, lambda k, b: oracles.conv_transpose(x, k, (strides,) * rank, padding) + b, x, rng, data_format)


def test_conv_transpose_is_the_adjoint_of_conv(rng):
    x, y = rng.normal(size=(2, 8, 6, 3)), rng.normal(size=(2, 4, 3, 5))
    kernel = rng.normal(size=(3, 2, 3, 5))
    down = layers.Conv2D(5, (3, 2), strides=2, padding="same", use_bias=False, dtype="float64")
    up = layers.Conv2DTranspose(3, (3, 2), strides=2, padding="same", use_bias=False, dtype="float64")
    down.build(x.shape)
    up.build(y.shape)
    down.set_weights([kernel])
    up.set_weights([kernel])
    np.testing.assert_allclose(np.sum(np.asarray(down(x)) * y), np.sum(x * np.asarray(up(y))), rtol=1e-12)


@pytest.mark.parametrize(("rank", "padding"), list(itertools.product([1, 2, 3], ["valid", "same"])))
def test_output_padding(rank, padding, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    for extra in (0, 1):
        layer = TRANSPOSE[rank](2, 3, strides=2, padding=padding, output_padding=extra)
        given = (extra,) * rank
        check_values(layer, lambda k, b: oracles.conv_transpose(x, k, (2,) * rank, padding, given) + b, x, rng)  # noqa: B023


@pytest.mark.parametrize("rank", [1, 2])
def test_depthwise_does_what_layers_do(rank):
    kwargs = {
        "kernel_size": WINDOWS[rank],
        "depth_multiplier": 3,
        "activation": "relu",
        "depthwise_constraint": "max_norm",
    }
    run_layer(DEPTHWISE[rank], kwargs, SHAPES[rank], weights=["kernel", "bias"])


@pytest.mark.parametrize(
    ("rank", "padding", "strides", "data_format"),
    [(*case, "channels_last") for case in itertools.product([1, 2], ["valid", "same"], [1, 2])]
    + [(rank, "same", 2, "channels_first") for rank in (1, 2)],
)
def test_depthwise_values(rank, padding, strides, data_format, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    kwargs = {"strides": strides, "padding": padding, "data_format": data_format, "depth_multiplier": 2}
    layer = DEPTHWISE[rank](WINDOWS[rank], **kwargs)
    check_values(layer, lambda k, b: oracles.depthwise(x, k, (strides,) * rank, padding) + b, x, rng, data_format)


@pytest.mark.parametrize("rank", [1, 2])
def test_separable_does_what_layers_do(rank):
    kwargs = {"filters": 6, "kernel_size": WINDOWS[rank], "depth_multiplier": 2, "activation": "relu"}
    run_layer(SEPARABLE[rank], kwargs, SHAPES[rank], weights=["depthwise_kernel", "pointwise_kernel", "bias"])


@pytest.mark.parametrize(
    ("rank", "padding", "data_format"),
    [(1, "valid", "channels_last"), (2, "same", "channels_last"), (2, "same", "channels_first")],
)
def test_separable_values(rank, padding, data_format, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    layer = SEPARABLE[rank](5, WINDOWS[rank], padding=padding, data_format=data_format, depth_multiplier=2)

    def oracle(depthwise, pointwise, bias):
        deep = oracles.depthwise(x, depthwise, (1,) * rank, padding)
        return oracles.conv(deep, pointwise, (1,) * rank) + bias

    check_values(layer, oracle, x, rng, data_format, size=1024)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (layers.Conv2D, {"filters": 0, "kernel_size": 1}, "filters"),
        (layers.Conv2D, {"filters": 4, "kernel_size": (1, 0)}, "kernel_size"),
        (layers.Conv2D, {"filters": 4, "kernel_size": (1, 2, 3)}, "must be a tuple of 2 integers"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "strides": (1, 0)}, "strides"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "strides": 2, "dilation_rate": 2}, "dilation_rate"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "padding": "causal"}, "padding"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "data_format": "nchw"}, "data_format"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "groups": 0}, "groups"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "groups": 3}, "evenly divisible"),
        (layers.Conv2D, {"filters": 4, "kernel_size": 2, "unknown": 2}, "unknown"),
        (layers.Conv2DTranspose, {"filters": 4, "kernel_size": 2, "output_padding": 1}, "output_padding"),
        (layers.DepthwiseConv2D, {"kernel_size": 2, "depth_multiplier": 0}, "depth_multiplier"),
        (layers.SeparableConv2D, {"filters": 4, "kernel_size": 2, "depth_multiplier": 0}, "depth_multiplier"),
    ],
)
def test_bad_arguments(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


def test_bad_inputs():
    with pytest.raises(ValueError, match="groups=2, but the input has 3 channels"):
        layers.Conv2D(4, 2, groups=2).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="zero or negative"):
        layers.Conv2D(4, 9).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="channel axis"):
        layers.Conv2D(4, 2).build((None, 8, 8, None))
    layer = layers.Conv2D(4, 2)
    layer(torch.ones(1, 4, 4, 3))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(torch.ones(1, 4, 4, 2))
    with pytest.raises(ValueError, match="min_ndim=4"):
        layer(torch.ones(4, 4, 3))


def test_kernel_before_build():
    with pytest.raises(AttributeError, match="kernel"):
        layers.Conv2D(4, 2).kernel  # noqa: B018


def test_aliases():
    assert layers.Convolution2D is layers.Conv2D and layers.Convolution1DTranspose is layers.Conv1DTranspose
    assert layers.SeparableConvolution2D is layers.SeparableConv2D


def test_batch_of_none_is_allowed_for_channels_first():
    run_layer(
        layers.Conv2D,
        {"filters": 4, "kernel_size": 2, "data_format": "channels_first"},
        (2, 3, 6, 6),
        expected_shape=(2, 4, 5, 5),
        weights=["kernel", "bias"],
        unknown=BATCH,
    )
