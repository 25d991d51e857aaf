"""`patched()`: Keras's functions are fastk's inside, to the same numbers, and Keras's own again afterwards."""

import importlib
import threading
from typing import Any

import numpy as np
import pytest
import torch
from keras.src import backend

import fastk.integrations.keras as inside
from fastk.integrations.keras.patches import _owner
from fastk.integrations.keras.replacements import REPLACEMENTS

keras: Any = importlib.import_module("keras")

L = keras.layers


@pytest.fixture(autouse=True)
def all_is_keras_again():
    before = [vars(_owner(place))[name] for place, name, _ in REPLACEMENTS]
    yield
    assert [vars(_owner(place))[name] for place, name, _ in REPLACEMENTS] == before


LAYERS = {
    "dense": (lambda: L.Dense(4, activation="gelu"), (3, 8), "Dense.call"),
    "dense with a softmax": (lambda: L.Dense(4, activation="softmax"), (2, 3, 8), "Dense.call"),
    "dense without bias": (lambda: L.Dense(4, use_bias=False), (3, 8), "Dense.call"),
    "conv1d": (lambda: L.Conv1D(4, 3, padding="causal"), (2, 7, 3), "nn.conv"),
    "conv2d": (lambda: L.Conv2D(4, 3, strides=2, padding="same", activation="relu"), (2, 7, 8, 3), "nn.conv"),
    "channels first": (lambda: L.Conv2D(4, 3, data_format="channels_first"), (2, 3, 7, 8), "nn.conv"),
    "dilated": (lambda: L.Conv2D(6, 3, dilation_rate=2, groups=3), (2, 9, 8, 3), "nn.conv"),
    "depthwise": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (2, 7, 8, 3), "nn.depthwise_conv"),
    "max pool": (lambda: L.MaxPooling2D(2, padding="same"), (2, 7, 8, 3), "nn.max_pool"),
    "average pool": (lambda: L.AveragePooling2D(3, strides=2), (2, 7, 8, 3), "nn.average_pool"),
    "batch norm": (L.BatchNormalization, (5, 4, 3), "BatchNormalization.call"),
    "batch norm on an axis": (lambda: L.BatchNormalization(axis=1, scale=False), (5, 4, 3), "BatchNormalization.call"),
    "lstm": (lambda: L.LSTM(5, return_sequences=True, go_backwards=True), (2, 6, 3), "LSTM.inner_loop"),
    "gru": (lambda: L.GRU(5), (2, 6, 3), "GRU.inner_loop"),
    "gru of the paper": (lambda: L.GRU(5, reset_after=False, activation="relu"), (2, 6, 3), "GRU.inner_loop"),
    "bidirectional": (lambda: L.Bidirectional(L.LSTM(5)), (2, 6, 3), "LSTM.inner_loop"),
}  # fmt: skip


def results(layer, x, **options):
    """Outputs, gradients and variables after a training call."""
    x = torch.tensor(x, requires_grad=True)
    y = layer(x, training=True, **options)
    trained = [v.value for v in layer.trainable_weights]
    gradients = torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum(), [x, *trained])
    return [t.detach().numpy() for t in (y, layer(x, **options), *gradients)] + [v.numpy() for v in layer.weights]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_the_same(name, rng):
    make, shape, function = LAYERS[name]
    x = rng.normal(size=shape).astype("float32")
    plain, own = make(), make()
    for layer in (plain, own):
        layer.build(shape)
    own.set_weights(plain.get_weights())
    expected = results(plain, x)
    with inside.patched() as calls:
        found = results(own, x)
    assert calls.fastk[function] >= 2 and not calls.keras, str(calls)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("layer", [L.LSTM, L.GRU])
def test_recurrent_layers_with_masks(layer, zeros, rng):
    x, mask = rng.normal(size=(3, 6, 4)).astype("float32"), torch.tensor(rng.random((3, 6)) < 0.6)
    plain, own = (layer(5, return_sequences=True, zero_output_for_mask=zeros) for _ in range(2))
    for one in (plain, own):
        one.build(x.shape)
    own.set_weights(plain.get_weights())
    expected = results(plain, x, mask=mask)
    with inside.patched() as calls:
        found = results(own, x, mask=mask)
    assert calls.fastk[f"{layer.__name__}.inner_loop"] == 2
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


LOSSES = {
    "SparseCategoricalCrossentropy": "labels", "CategoricalCrossentropy": "one hot", "BinaryCrossentropy": "one hot",
    "MeanSquaredError": "values", "MeanAbsoluteError": "values", "Huber": "values", "KLDivergence": "one hot",
    "CategoricalFocalCrossentropy": "one hot", "Hinge": "one hot", "Poisson": "one hot", "LogCosh": "values",
    "CosineSimilarity": "values",
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_compute_the_same(name, rng):
    labels = rng.integers(0, 4, 6)
    given = {"labels": labels, "one hot": np.eye(4, dtype="float32")[labels], "values": rng.normal(size=(6, 4))}
    y, weight = torch.tensor(given[LOSSES[name]]), torch.tensor(rng.random(6))
    p = torch.softmax(torch.tensor(rng.normal(size=(6, 4)).astype("float32")), -1)
    for reduction in ("sum_over_batch_size", "sum", None, "mean_with_sample_weight"):
        loss = getattr(keras.losses, name)(reduction=reduction)
        expected = loss(y, p), loss(y, p, weight)
        with inside.patched() as calls:
            found = loss(y, p), loss(y, p, weight)
        assert calls.fastk["Loss.__call__"] == 2 and not calls.keras
        for a, b in zip(expected, found, strict=True):
            assert a.dtype is b.dtype
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


def test_losses_of_the_users_stay(rng):
    class Mine(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(y_true * y_pred, axis=-1)

    y = torch.tensor(rng.normal(size=(4, 3)).astype("float32"))
    with inside.patched() as calls:
        Mine()(y, y)
        keras.losses.MeanSquaredError()(y.numpy(), y.numpy())
    assert calls.keras == {
        ("Loss.__call__", "Mine is the user's own"): 1,
        ("Loss.__call__", "it is given other things than tensors"): 1,
    }
    assert "by Keras, 1 calls, since Mine is the user's own" in str(calls)


def test_seeded_draws_move_keras_seeds_and_numbers_stay_keras():
    x = torch.ones(64, 64)
    seeds = keras.random.SeedGenerator(5)
    with inside.patched() as calls:
        first, second = (keras.random.dropout(x, 0.25, seed=seeds) for _ in range(2))
        noise = keras.random.normal((64, 64), mean=1.0, stddev=2.0, seed=seeds)
        drawn = keras.random.uniform((3,), seed=1)
    assert seeds.state.numpy().tolist() == [5, 3]
    assert not torch.equal(first, second)
    # 4096 draws: a share of 0.25 within 4 standard deviations, sqrt(0.25 * 0.75 / 4096) each.
    assert abs(float((first == 0).float().mean()) - 0.25) < 4 * 0.00677
    assert abs(float(noise.mean()) - 1.0) < 4 * 2.0 / 64
    assert torch.equal(drawn, keras.random.uniform((3,), seed=1))  # an initializer's seed gives Keras's numbers
    assert calls.fastk == {"random.dropout": 2, "random.normal": 1}


def test_shapes_are_inferred_by_keras():
    with inside.patched() as calls:
        x = keras.Input((8, 8, 3))
        y = L.LSTM(4)(L.Reshape((36, 4))(L.Conv2D(4, 3)(x)))
        model = keras.Model(x, L.Dense(2)(L.BatchNormalization()(y)))
    assert model.output_shape == (None, 2)
    assert not calls.fastk


def test_undone_after_an_exception_nested_and_in_threads():
    before = L.Dense.call
    with pytest.raises(ZeroDivisionError), inside.patched():
        assert L.Dense.call is not before
        raise ZeroDivisionError
    assert L.Dense.call is before
    layer, x = L.Dense(2), torch.ones(1, 3)
    layer(x)
    with inside.patched() as outer:
        with inside.patched() as inner:
            layer(x)
        assert L.Dense.call is not before
        layer(x)
        other = threading.Thread(target=layer, args=(x,))
        other.start()
        other.join()
    assert (outer.fastk["Dense.call"], inner.fastk["Dense.call"]) == (2, 1)
    assert L.Dense.call is before and backend.nn.conv.__module__ == "keras.src.backend.torch.nn"


def test_overlapping_blocks_of_two_threads_end_with_the_last():
    before = L.Dense.call
    inner_is_open, outer_is_closed = threading.Event(), threading.Event()
    seen = []

    def other():
        with inside.patched():
            inner_is_open.set()
            outer_is_closed.wait(10)
            seen.append(L.Dense.call is before)

    thread = threading.Thread(target=other)
    with inside.patched():
        thread.start()
        inner_is_open.wait(10)
    outer_is_closed.set()
    thread.join()
    assert seen == [False] and L.Dense.call is before
