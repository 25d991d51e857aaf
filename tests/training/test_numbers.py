"""The numbers of training against float64: losses and metrics with weights and masks, added losses, whole descents."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers, regularizers
from tests.training.small import close, dense, linear, mae, mse, regression, two_labels, two_outputs


def test_sample_weights_enter_the_loss_and_the_weighted_metrics_alone(rng):
    x, y = regression(10)
    weight = rng.random(10)
    model = linear()
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=[keras.metrics.MeanAbsoluteError(name="weighted")])
    results = model.evaluate(x, y, sample_weight=weight, batch_size=4, verbose=0, return_dict=True)
    out = dense(model.layers[0], x)
    close(results["loss"], mse(y, out, weight))  # the batches' losses, weighted by their sizes
    close(results["mae"], mae(y, out))
    close(results["weighted"], (np.abs(y - out).mean(-1) * weight).sum() / weight.sum())


def test_class_weights_are_the_weights_of_their_samples():
    x, _ = regression(12)
    y = np.arange(12) % 3
    weights = {0: 1.0, 1: 0.5, 2: 4.0}
    model = linear(outputs=3, activation="softmax")
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    history = model.fit(x, y, class_weight=weights, batch_size=5, shuffle=False, verbose=0).history
    logits = dense(model.layers[0], x)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    w = np.array([weights[int(label)] for label in y])
    close(history["loss"][0], (-np.log(p[np.arange(12), y]) * w).mean(), 400)
    close(history["accuracy"][0], ((p.argmax(-1) == y) * w).sum() / w.sum())


def test_each_output_may_have_weights_of_its_own(rng):
    x, _ = regression()
    y_a, y_b = two_labels()
    w_a, w_b = rng.random(12), rng.random(12)
    model = two_outputs()
    model.compile("sgd", "mse", weighted_metrics=[["mae"], ["mae"]])
    a, b = (dense(model.get_layer(name), x) for name in "ab")
    results = model.evaluate(x, [y_a, y_b], sample_weight=[w_a, w_b], verbose=0, return_dict=True)
    close([results["a_loss"], results["b_loss"]], [mse(y_a, a, w_a), mse(y_b, b, w_b)])
    close(results["b_mae"], (np.abs(y_b - b).mean(-1) * w_b).sum() / w_b.sum())
    results = model.evaluate(x, [y_a, y_b], sample_weight=w_a, verbose=0, return_dict=True)
    close([results["a_loss"], results["b_loss"]], [mse(y_a, a, w_a), mse(y_b, b, w_a)])


def test_masked_steps_count_for_nothing(rng):
    x = rng.normal(size=(6, 5, 2)).astype("float32")
    kept = np.arange(5) < np.arange(6)[:, None]  # the first sample has no step at all
    x[~kept] = 0.0
    y = rng.normal(size=(6, 5, 1)).astype("float32")
    model = keras.Sequential([layers.Input((5, 2)), layers.Masking(), layers.Dense(1)])
    model.compile("sgd", "mse", weighted_metrics=["mae"])
    results = model.evaluate(x, y, batch_size=6, verbose=0, return_dict=True)
    errors = (y - dense(model.layers[-1], x))[..., 0]
    close(results["loss"], (errors**2)[kept].mean())
    close(results["mae"], np.abs(errors)[kept].mean())


# ---------------------------------------------------------------- losses that are not compiled


def test_penalties_of_weights_and_activities_are_added_exactly():
    x, y = regression(10)
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, kernel_regularizer=regularizers.L2(0.5), bias_initializer="ones"),
            layers.Dense(1, bias_regularizer=regularizers.L1(0.25), activity_regularizer=regularizers.L1(0.1)),
        ]
    )
    model.layers[1].bias.assign([-2.0])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    out = dense(model.layers[1], dense(model.layers[0], x))
    fixed = 0.5 * (model.layers[0].kernel.numpy().astype("float64") ** 2).sum() + 0.25 * 2.0
    expected = mse(y, out) + fixed + 0.1 * np.abs(out).sum() / 10
    close(model.evaluate(x, y, batch_size=10, verbose=0), expected)
    close(model.fit(x, y, batch_size=10, verbose=0).history["loss"], expected)
    close(model.train_on_batch(x, y), expected)
    close(float(model.compute_loss(x, torch.from_numpy(y), model(x))), expected)


def test_frozen_weights_have_no_penalty():
    x, y = regression(10)
    model = linear(kernel_regularizer="l2")
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    close(model.evaluate(x, y, verbose=0), mse(y, dense(model.layers[0], x)))


class Scaled(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x) * 3)
        return x


@pytest.mark.parametrize("compiled", ["mse", None])
def test_losses_that_layers_add_are_of_this_batch(compiled):
    x, y = regression(10)
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1), Scaled()])
    model.compile(keras.optimizers.SGD(0.0), compiled)
    out = dense(model.layers[0], x)
    expected = (mse(y, out) if compiled else 0.0) + 3 * out.mean()
    close(model.evaluate(x, y, batch_size=5, verbose=0), expected)
    history = model.fit(x, y, batch_size=5, verbose=0, validation_data=(x, y), epochs=2).history
    close(history["loss"] + history["val_loss"], [expected] * 4)


def test_nothing_to_minimise_is_an_error():
    x, y = regression()
    model = linear()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"No loss to compute.*`loss` argument"):
        model.fit(x, y, verbose=0)


# ---------------------------------------------------------------- descents


def test_a_descent_is_that_of_the_formulas():
    x, y = regression(8)
    model = linear()
    w, b = (v.astype("float64") for v in model.get_weights())
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    for epoch in range(3):
        losses, errors = [], []
        for part in (slice(0, 4), slice(4, 8)):
            error = x[part] @ w + b - y[part]
            losses.append((error**2).mean())
            errors.append(np.abs(error).mean())
            w, b = w - 0.1 * 2 * x[part].T @ error / 4, b - 0.1 * 2 * error.mean(0)
        close(history["loss"][epoch], np.mean(losses), 1000)
        close(history["mae"][epoch], np.mean(errors), 1000)
    close(model.layers[0].kernel.numpy(), w, 1000)
    close(model.layers[0].bias.numpy(), b, 1000)


def test_the_last_batch_counts_for_its_samples():
    x, y = regression(10)
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
    expected = mse(y, dense(model.layers[0], x))
    close(model.fit(x, y, batch_size=4, verbose=0).history["loss"], expected)
    close(model.evaluate(x, y, batch_size=3, verbose=0)[0], expected)


def test_accumulated_gradients_make_the_step_of_the_whole_batch():
    x, y = regression(8)
    whole, parts = linear(), linear()
    parts.set_weights(whole.get_weights())
    whole.compile(keras.optimizers.SGD(0.1), "mse")
    parts.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "mse")
    whole.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    parts.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        close(a, b, 1000)


def test_fit_ends_with_the_moving_averages_where_the_optimizer_keeps_them():
    x, y = regression(8)
    model = linear()
    start = [w.astype("float64") for w in model.get_weights()]
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    w, b = start
    average: list = []
    for part in (slice(0, 4), slice(4, 8)) * 2:
        error = x[part] @ w + b - y[part]
        w, b = w - 0.1 * 2 * x[part].T @ error / 4, b - 0.1 * 2 * error.mean(0)
        average = [w, b] if not average else [0.5 * a + 0.5 * v for a, v in zip(average, (w, b), strict=True)]
    for value, expected in zip(model.get_weights(), average, strict=True):
        close(value, expected, 1000)
