"""`evaluate`, `predict`, and the methods for one batch."""

import functools

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.training.small import close, dense, linear, mse, regression, two_labels, two_outputs


def test_evaluate_returns_a_number_a_list_or_a_dict():
    x, y = regression()
    model = linear()
    model.compile("sgd", "mse")
    number = model.evaluate(x, y, verbose=0)
    assert type(number) is float
    model.compile("sgd", "mse", metrics=["mse", "mae"])
    values, named = model.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0, return_dict=True)
    assert values == list(named.values()) and list(named) == ["loss", "mse", "mae"]
    assert values[0] == values[1] == number


def test_evaluate_takes_steps():
    x, y = regression(12)
    model = linear()
    model.compile("sgd", "mse")
    first = model.evaluate(x[:6], y[:6], batch_size=3, verbose=0)
    assert model.evaluate(x, y, batch_size=3, steps=2, verbose=0) == first


def test_evaluate_changes_nothing_and_fit_moves_the_statistics():
    x, y = regression(16)
    model = keras.Sequential([layers.Input((3,)), layers.BatchNormalization(momentum=0.5), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    norm = model.layers[0]
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), np.zeros(3))
    model.fit(x, y, batch_size=16, verbose=0)
    close(norm.moving_mean.numpy(), x.mean(0, dtype="float64") / 2)
    close(norm.moving_variance.numpy(), 0.5 + x.var(0, dtype="float64") / 2)
    before = norm.moving_mean.numpy()
    model.test_on_batch(x, y)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), before)


def test_torch_modules_inside_are_told_whether_they_train():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)
            self.drop = torch.nn.Dropout(1.0)
            self.seen = []

        def call(self, x):
            if not x.is_meta:
                self.seen.append(self.drop.training)
            return self.dense(x)

    x, y = regression(4)
    model = Net()
    model.compile("sgd", "mse")
    model.fit(x, y, validation_data=(x, y), epochs=2, verbose=0)
    model.predict(x, verbose=0)
    model.train_on_batch(x, y)
    model.test_on_batch(x, y)
    model.train_on_batch(x, y)
    model.predict_on_batch(x)
    assert list(model.seen) == [True, False, True, False, False, True, False, True, False]


# ---------------------------------------------------------------- predict


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_predict_keeps_the_outputs_structure(kind):
    x, _ = regression(10)
    model = two_outputs(kind)
    outputs = model.predict(x, batch_size=4, verbose=0)
    assert type(outputs) is {"list": list, "tuple": tuple, "dict": dict}[kind]
    a, b = outputs.values() if kind == "dict" else outputs
    assert type(a) is np.ndarray and a.shape == (10, 1) and b.shape == (10, 2)
    close(a, dense(model.get_layer("a"), x))
    close(b, dense(model.get_layer("b"), x))


def test_predict_needs_no_compiling_and_takes_any_data():
    x, _ = regression(10)
    model = linear()
    expected = model.predict(x, verbose=0)
    close(expected, dense(model.layers[0], x))
    for given in (
        torch.from_numpy(x),
        (x[i : i + 4] for i in range(0, 10, 4)),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(x)), 4),
    ):
        np.testing.assert_array_equal(model.predict(given, verbose=0), expected)
    assert model.predict(x, batch_size=3, steps=2, verbose=0).shape == (6, 1)
    assert model.predict(x[:1], verbose=0).shape == (1, 1)


def test_predict_calls_back_with_the_outputs_of_its_batches():
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_predict_batch_begin=lambda batch, logs: seen.append(batch),
        on_predict_batch_end=lambda batch, logs: seen.append((batch, tuple(logs["outputs"].shape))),
    )
    x, _ = regression(10)
    model = linear()
    model.predict(x, batch_size=4, callbacks=[record], verbose=0)
    assert seen == [0, (0, (4, 1)), 1, (1, (4, 1)), 2, (2, (2, 1))]
    seen.clear()
    model.compile("sgd", "mse", steps_per_execution=2)
    model.predict(x, batch_size=4, callbacks=[record], verbose=0)
    assert seen == [0, (1, (8, 1)), 2, (2, (2, 1))]


def test_evaluation_and_prediction_can_be_stopped():
    class Stop(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = True

        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = True

    x, y = regression(10)
    model = linear()
    model.compile("sgd", "mse")
    assert model.predict(x, batch_size=4, callbacks=[Stop()], verbose=0).shape == (4, 1)
    stopped = model.evaluate(x, y, batch_size=4, callbacks=[Stop()], verbose=0)
    assert stopped == model.evaluate(x[:4], y[:4], verbose=0)


# ---------------------------------------------------------------- one batch


def test_training_on_one_batch_is_one_step_of_fit():
    x, y = regression(8)
    weight = np.arange(8.0)
    by_fit, by_batch = linear(), linear()
    by_batch.set_weights(by_fit.get_weights())
    for model in (by_fit, by_batch):
        model.compile("adam", "mse", metrics=["mae"])
    for step in range(3):
        history = by_fit.fit(x, y, sample_weight=weight, shuffle=False, verbose=0).history
        results = by_batch.train_on_batch(x, y, sample_weight=weight, return_dict=step == 1)
        expected = {name: values[0] for name, values in history.items()}
        assert results == (expected if step == 1 else list(expected.values()))
    for a, b in zip(by_fit.get_weights(), by_batch.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_class_weights_of_one_batch():
    x, _ = regression(4)
    y = np.array([0, 1, 0, 1])
    model = linear(outputs=2, activation="softmax")
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    weighted = model.train_on_batch(x, y, class_weight={0: 3.0, 1: 0.0})
    assert weighted == pytest.approx(model.train_on_batch(x, y, sample_weight=np.array([3.0, 0.0, 3.0, 0.0])))
    with pytest.raises(ValueError, match="cannot be specified at the same time"):
        model.train_on_batch(x, y, sample_weight=np.ones(4), class_weight={0: 1.0, 1: 1.0})


def test_testing_on_one_batch_changes_no_weight():
    x, y = regression(8)
    model = linear()
    model.compile("sgd", "mse", metrics=["mae"])
    before = model.get_weights()
    assert model.test_on_batch(x, y) == model.evaluate(x, y, verbose=0)
    close(model.test_on_batch(x, y, return_dict=True)["loss"], mse(y, dense(model.layers[0], x)))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_predicting_one_batch():
    x, _ = regression(8)
    model = two_outputs("dict")
    outputs = model.predict_on_batch(x)
    np.testing.assert_array_equal(outputs["b"], model.predict(x, verbose=0)["b"])


def test_labels_in_a_dict_on_one_batch():
    x, _ = regression()
    y_a, y_b = two_labels()
    model = two_outputs()
    model.compile("sgd", "mse")
    results = model.test_on_batch(x, {"b": y_b, "a": y_a}, return_dict=True)
    close(results["b_loss"], mse(y_b, dense(model.get_layer("b"), x)))


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


def test_each_prediction_is_by_the_weights_of_its_time():
    model, x = convolutional(), np.random.default_rng(0).standard_normal((25, 8, 8, 2)).astype("float32")

    class Growing(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            model.layers[0].kernel.assign(model.layers[0].kernel * 2.0)

    def expected():
        return np.concatenate([keras.ops.convert_to_numpy(model(part)) for part in np.split(x, [10, 20])])

    def predicted(**options):
        return model.predict(x, batch_size=10, verbose=0, **options)

    # Folded, the normalisation is other arithmetic: sums of 18 products below 8, then means and sums of 4.
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=float(np.finfo("float32").eps) * 18**0.5 * 32)
    for _ in range(3):
        close(predicted(), expected())
        model.layers[1].moving_mean.assign(model.layers[1].moving_mean - 0.5)
        model.layers[0].kernel.value.data.mul_(0.7)
    assert model._steps["predict"].programs
    first, *_ = np.split(expected(), [10])
    growing = predicted(callbacks=[Growing()])
    close(growing[:10], first)
    model.layers[0].kernel.assign(model.layers[0].kernel / 2.0)  # as it was for the last batch
    close(growing[20:], expected()[20:])


@pytest.mark.parametrize("kind", [list, tuple])
def test_one_batch_of_several_inputs(kind):
    inputs = [keras.Input((3,)), keras.Input((2,))]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    a, b = np.ones((5, 3), "float32"), np.arange(10.0).reshape(5, 2)
    together = model.predict(kind([a, b]), verbose=0)
    for _ in range(4):
        np.testing.assert_array_equal(model.predict(kind([a, b]), verbose=0), together)
    apart = [model.predict(kind([a[i : i + 1], b[i : i + 1]]), verbose=0) for i in range(5)]
    np.testing.assert_allclose(
        np.concatenate(apart), together, rtol=0, atol=float(np.finfo("float32").eps) * 5**0.5 * 10
    )
    with pytest.raises(ValueError, match="same number of samples"):
        model.predict(kind([a, b[:3]]), verbose=0)
