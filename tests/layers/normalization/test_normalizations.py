import numpy as np
import pytest
import torch

from fastk import layers
from tests.layers.checks import run_layer
from tests.layers.oracles import close


def values_of(layer, shape, rng):
    layer.build(shape)
    values = [rng.uniform(0.5, 2.0, v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(values)
    return values


def standard(x, axes, epsilon):
    x = x.astype("float64")
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (-1, -2), [2]])
def test_layer_normalization(axis, rng):
    x = rng.normal(2.0, 3.0, (2, 3, 4)).astype("float32")
    axes = tuple(sorted(a % 3 for a in ([axis] if isinstance(axis, int) else axis)))
    layer, _ = run_layer(
        layers.LayerNormalization,
        {"axis": axis},
        (2, 3, 4),
        expected_shape=(2, 3, 4),
        weights=["gamma", "beta"],
        supports_masking=True,
        unknown="batch",
    )
    layer = layers.LayerNormalization(axis=axis, epsilon=0.01)
    gamma, beta = values_of(layer, x.shape, rng)
    shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    close(layer(x), standard(x, axes, 0.01) * gamma.reshape(shape) + beta.reshape(shape), reductions=12, scale=8.0)


def test_layer_normalization_parts(rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    run_layer(layers.LayerNormalization, {"center": False}, (2, 3, 4), weights=["gamma"])
    run_layer(layers.LayerNormalization, {"scale": False, "center": False}, (2, 3, 4))
    with pytest.warns(UserWarning, match="deprecated"):
        layer = layers.LayerNormalization(rms_scaling=True)
    close(layer(x), x / np.sqrt(x.astype("float64").var(-1, keepdims=True) + 1e-3), reductions=4, scale=8.0)
    with pytest.raises(TypeError, match="axis"):
        layers.LayerNormalization("last")
    with pytest.raises(ValueError, match="out of bounds"):
        layers.LayerNormalization(5).compute_output_shape((2, 3))


def test_layer_normalization_computes_half_types_in_float32(rng):
    x = torch.tensor(rng.normal(100.0, 1.0, (4, 256)), dtype=torch.bfloat16)
    outputs = layers.LayerNormalization(dtype="mixed_bfloat16")(x)
    assert outputs.dtype is torch.bfloat16
    close(outputs.float(), standard(x.float().numpy(), -1, 1e-3), reductions=256, scale=2e4)  # bfloat16's rounding


@pytest.mark.parametrize(("groups", "axis"), [(2, -1), (4, -1), (1, -1), (-1, -1), (2, 1)])
def test_group_normalization(groups, axis, rng):
    x = rng.normal(2.0, 3.0, (2, 4, 6, 4)).astype("float32")
    run_layer(
        layers.GroupNormalization,
        {"groups": groups, "axis": axis},
        (2, 4, 6, 4),
        expected_shape=(2, 4, 6, 4),
        weights=["gamma", "beta"],
        unknown="batch",
    )
    layer = layers.GroupNormalization(groups, axis=axis, epsilon=0.01)
    gamma, beta = values_of(layer, x.shape, rng)
    last = np.moveaxis(x, axis, -1)
    count = 4 if groups == -1 else groups
    split = last.reshape(*last.shape[:-1], count, 4 // count)
    expected = standard(split, (1, 2, 4), 0.01).reshape(last.shape) * gamma + beta
    close(layer(x), np.moveaxis(expected, -1, axis), reductions=64, scale=8.0)


def test_group_normalization_mistakes():
    for bad in (0, -2, 1.5):
        with pytest.raises(ValueError, match="groups"):
            layers.GroupNormalization(bad)
    for groups, shape, message in (
        (8, (1, 4), "cannot be more"),
        (3, (1, 4), "must be a multiple"),
        (2, (1, None), "defined dimension"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.GroupNormalization(groups).build(shape)
    run_layer(layers.GroupNormalization, {"groups": 2, "scale": False, "center": False}, (2, 4))


@pytest.mark.parametrize("axis", [-1, 1, (1, 2)])
def test_rms_normalization(axis, rng):
    x = rng.normal(2.0, 3.0, (2, 3, 4)).astype("float32")
    axes = tuple(a % 3 for a in ([axis] if isinstance(axis, int) else axis))
    run_layer(
        layers.RMSNormalization, {"axis": axis}, (2, 3, 4), expected_shape=(2, 3, 4), weights=["scale"], unknown="batch"
    )
    layer = layers.RMSNormalization(axis=axis, epsilon=0.01)
    (scale,) = values_of(layer, x.shape, rng)
    wide = x.astype("float64")
    shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    expected = wide / np.sqrt((wide**2).mean(axes, keepdims=True) + 0.01) * scale.reshape(shape)
    close(layer(x), expected, reductions=12, scale=4.0)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2)])
def test_unit_normalization(axis, rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    _, outputs = run_layer(
        layers.UnitNormalization, {"axis": axis}, inputs=x, expected_shape=(2, 3, 4), supports_masking=True
    )
    wide = x.astype("float64")
    close(outputs.detach(), wide / np.sqrt((wide**2).sum(axis, keepdims=True)), reductions=12)
    assert (np.asarray(layers.UnitNormalization()(np.zeros((1, 2)))) == 0).all(), "zeros stay zeros"
    with pytest.raises(TypeError, match="list/tuple of ints"):
        layers.UnitNormalization("last")


@pytest.mark.parametrize("make", [lambda: layers.Dense(5), lambda: layers.Conv2D(5, 2), lambda: layers.Embedding(6, 4)])
def test_spectral_normalization(make, rng):
    inner = make()
    x = rng.integers(0, 6, (2, 3)) if isinstance(inner, layers.Embedding) else rng.normal(size=(2, 3, 3, 4))
    layer = layers.SpectralNormalization(inner, power_iterations=30)
    before = np.asarray(layer(x))
    kernel = layer.kernel.numpy().astype("float64")
    norm = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), ord=2)
    np.testing.assert_array_equal(np.asarray(layer(x)), before)
    assert layer(x, training=True).shape == before.shape
    np.testing.assert_allclose(layer.kernel.numpy(), kernel / norm, rtol=1e-3, atol=1e-6)
    assert [v.name for v in layer.non_trainable_weights] == ["vector_u"] and len(layer.weights) == len(
        inner.weights
    ) + 1
    clone = layers.deserialize(layers.serialize(layer))
    clone.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.asarray(clone(x)), np.asarray(layer(x)))


def test_spectral_normalization_of_zeros_and_mistakes():
    layer = layers.SpectralNormalization(layers.Dense(2, kernel_initializer="zeros"))
    assert (np.asarray(layer(np.ones((1, 3)), training=True)) == 0).all()
    with pytest.raises(ValueError, match="power_iterations"):
        layers.SpectralNormalization(layers.Dense(2), power_iterations=0)
    with pytest.raises(ValueError, match="no attribute 'kernel' nor 'embeddings'"):
        layers.SpectralNormalization(layers.ReLU())(np.ones((1, 3)))
