"""Accelerated models train, evaluate and predict as in Keras: the same losses, step by step."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

keras: Any = importlib.import_module("keras")

L = keras.layers
LOSS = "sparse_categorical_crossentropy"


def compiled(model, loss: Any = LOSS, **options):
    # Not Adam: it makes steps of the rounding errors where a gradient is zero, as a bias's before a normalization.
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, **{"metrics": ["accuracy"], **options})
    return model


def mlp():
    layers = [L.Dense(16, activation="relu"), L.Dense(8, activation="gelu"), L.Dense(3, activation="softmax")]
    return compiled(keras.Sequential([keras.Input((6,)), *layers]))


def unbuilt():
    return compiled(
        keras.Sequential([L.Dense(16, activation="tanh"), L.Dropout(0.0), L.Dense(3, activation="softmax")])
    )


def cnn():
    layers = [
        L.Conv2D(4, 3, padding="same", use_bias=False), L.BatchNormalization(), L.Activation("relu"), L.MaxPooling2D(),
        L.SeparableConv2D(6, 3), L.BatchNormalization(scale=False), L.ReLU(), L.AveragePooling2D(2),
        L.Flatten(), L.Dense(3, activation="softmax"),
    ]  # fmt: skip
    return compiled(keras.Sequential([keras.Input((8, 8, 2)), *layers]))


def recurrent(layer):
    def make():
        return compiled(keras.Sequential([keras.Input((5, 4)), layer(), L.Dense(3, activation="softmax")]))

    return make


def transformer():
    class Scale(L.Layer):
        """A layer of the user's."""

        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

        def call(self, x):
            return x * self.factor

    x = inputs = keras.Input((5, 8))
    x = Scale()(x)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
    x = L.LayerNormalization()(L.Add()([x, L.Dense(8)(L.Dense(16, activation="gelu")(x))]))
    x = L.Lambda(lambda x: 2.0 * x)(x)
    x = keras.ops.mean(x, axis=1)
    return compiled(keras.Model(inputs, L.Dense(3, activation="softmax")(x)))


def masked():
    x = inputs = keras.Input((6,), dtype="int32")
    x = L.Embedding(10, 4, mask_zero=True)(x)
    x = L.LSTM(5, return_sequences=True)(x)
    x = L.Bidirectional(L.GRU(4))(x)
    return compiled(keras.Model(inputs, L.Dense(3, activation="softmax")(x)))


def nested_and_shared():
    shared = keras.Sequential([keras.Input((6,)), L.Dense(5, activation="relu"), L.Dense(4)])
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    both = L.Concatenate()([shared(a), shared(b)])
    return compiled(keras.Model({"a": a, "b": b}, L.Dense(3, activation="softmax")(both)))


def two_outputs():
    inputs = [keras.Input((6,)), keras.Input((4,))]
    hidden = L.Dense(8, activation="relu")(L.Concatenate()(inputs))
    first, second = L.Dense(3, activation="softmax", name="one")(hidden), L.Dense(1, name="two")(hidden)
    return compiled(
        keras.Model(inputs, [first, second]), {"one": LOSS, "two": "mse"}, loss_weights={"one": 0.5, "two": 2.0},
        metrics={"one": ["accuracy"], "two": ["mae"]},
    )  # fmt: skip


def subclassed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.normalize = L.Dense(8, activation="relu"), L.BatchNormalization()
            self.out = L.Dense(3, activation="softmax")

        def call(self, x, training=False):
            return self.out(self.normalize(self.hidden(x), training=training))

    return compiled(Net())


def regularized():
    layers = [
        L.Dense(
            8, activation="relu", kernel_regularizer=keras.regularizers.L1L2(0.01, 0.01), activity_regularizer="l1"
        ),
        L.Dense(3, activation="softmax", kernel_constraint=keras.constraints.MaxNorm(0.5)),
    ]
    return compiled(keras.Sequential([keras.Input((6,)), *layers]))


def stateful():
    x = inputs = keras.Input(batch_shape=(8, 5, 4))
    x = L.LSTM(4, stateful=True)(x)
    return compiled(keras.Model(inputs, L.Dense(3, activation="softmax")(x)))


MODELS = {
    "mlp": (mlp, [(6,)]),
    "unbuilt": (unbuilt, [(6,)]),
    "cnn": (cnn, [(8, 8, 2)]),
    "lstm": (recurrent(lambda: L.LSTM(6)), [(5, 4)]),
    "gru": (recurrent(lambda: L.GRU(6, reset_after=False)), [(5, 4)]),
    "bidirectional": (recurrent(lambda: L.Bidirectional(L.LSTM(4))), [(5, 4)]),
    "time_distributed": (
        recurrent(lambda: keras.Sequential([L.TimeDistributed(L.Dense(4)), L.SimpleRNN(5)])), [(5, 4)],
    ),
    "transformer": (transformer, [(5, 8)]),
    "subclassed": (subclassed, [(6,)]),
    "regularized": (regularized, [(6,)]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_same_losses_step_by_step(name, pair, data):
    make, shapes = MODELS[name]
    two, (x, y) = pair(make), data(*shapes)
    two.fit(x, y, batch_size=8, epochs=2, shuffle=False)
    two.fit(x, y, batch_size=8, epochs=1)  # in the order that torch's generator gives both
    two.same(lambda model: model.evaluate(x, y, batch_size=8, verbose=0))
    two.same(lambda model: model.predict(x, batch_size=8, verbose=0))
    two.same(lambda model: model(x[:8]))
    two.replayed("train", "test", "predict")


def test_states_are_kept_from_batch_to_batch(pair, data):
    two, (x, _) = pair(stateful), data((5, 4))  # Keras 3.15 cannot train such a layer on torch
    two.same(lambda model: [model.predict(x, batch_size=8, verbose=0) for _ in range(2)])
    two.replayed("predict")
    assert "keeps its states" in two.handle.explain(training=False).kept[0][1]


def test_integers_with_masks(pair, rng):
    x, y = rng.integers(0, 10, (40, 6)), rng.integers(0, 3, 40)
    x[:, 4:] = 0
    two = pair(masked)
    two.fit(x, y, batch_size=8, epochs=2, validation_split=0.2)
    two.same(lambda model: model.predict(x, verbose=0))
    two.replayed("train")


def test_inputs_by_name_and_a_shared_model(pair, data):
    (a, b), y = data((6,), (6,))
    two = pair(nested_and_shared)
    two.fit({"a": a, "b": b}, y, batch_size=8, epochs=2)
    two.same(lambda model: model.predict({"b": b, "a": a}, verbose=0))
    two.replayed("train")


def test_two_inputs_and_two_outputs(pair, data, rng):
    x, y = data((6,), (4,))
    t = rng.normal(size=(40, 1)).astype("float32")
    two = pair(two_outputs)
    history = two.fit(x, [y, t], batch_size=8, epochs=2, validation_data=(x, [y, t]))
    assert {"one_loss", "two_loss", "one_accuracy", "two_mae", "val_two_loss"} <= history.keys()
    two.fit(x, [y, t], batch_size=8, sample_weight=[rng.random(40), rng.random(40)])
    two.same(lambda model: model.predict(x, verbose=0))
    two.same(lambda model: model.evaluate(x, [y, t], return_dict=True, verbose=0))
    two.replayed("train", "test")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, pair, data):
    def make():
        keras.mixed_precision.set_dtype_policy(policy)
        layers = [
            L.Dense(16, activation="relu"),
            L.BatchNormalization(),
            L.Dense(3, activation="softmax", dtype="float32"),
        ]
        return compiled(keras.Sequential([keras.Input((6,)), *layers]), metrics=None)

    x, y = data((6,))
    two = pair(make)
    keras.mixed_precision.set_dtype_policy("float32")
    # Roundings of 2**-9 and 2**-11 in the activations, through two layers and 15 steps.
    two.fit(x, y, batch_size=8, epochs=3, close={"rtol": 2**-5, "atol": 2**-6})
    assert type(two.models[1].optimizer).__name__ == ("LossScaleOptimizer" if policy == "mixed_float16" else "SGD")
    assert int(two.models[1].optimizer.iterations) == int(two.models[0].optimizer.iterations)
    two.replayed("train")


def test_what_a_layer_was_adapted_to(pair, data):
    x, y = data((6,), seed=3)

    def make():
        normalization = L.Normalization()
        normalization.adapt(2.0 * x + 1.0)
        return compiled(keras.Sequential([keras.Input((6,)), normalization, L.Dense(3, activation="softmax")]))

    two = pair(make)
    two.fit(x, y, batch_size=8)
    for model in two.models:
        model.layers[0].adapt(x - 3.0)
    two.fit(x, y, batch_size=8)
    assert not two.handle.explain().kept
    two.replayed("train")


def test_statistics_move_on_the_same_tensors(pair, data):
    two, (x, y) = pair(cnn), data((8, 8, 2))
    values = [v.value for v in two.models[1].variables]
    before = [v.detach().clone() for v in values]
    two.fit(x, y, batch_size=8)
    assert all(v.value is value for v, value in zip(two.models[1].variables, values, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(before, values, strict=True))


@pytest.mark.parametrize("seed", [None, 7])
def test_dropout_draws_and_moves_its_seed(seed, pair, data):
    x, y = data((6,))

    def make():
        layers = [
            L.Dense(32),
            L.Dropout(0.5, seed=seed),
            L.GaussianNoise(0.1, seed=3),
            L.Dense(3, activation="softmax"),
        ]
        return compiled(keras.Sequential([keras.Input((6,)), *layers]))

    two = pair(make)
    model = two.models[1]
    noise = model.layers[2].seed_generator.state
    losses = model.fit(x, y, batch_size=8, epochs=3, verbose=0).history["loss"]
    two.replayed("train")
    assert noise.numpy().tolist() == [3, 15]
    assert len(set(losses)) == 3
    one, other = (model.predict(x[:8], verbose=0) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert noise.numpy().tolist() == [3, 15]
