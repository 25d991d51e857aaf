"""Trainings that are run by one process and by several, to the same results.

Each returns its results by name. `ranks.py` runs them in processes that train together; the test runs them alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import fastk

layers = fastk.layers


def numbers(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype("float32")


def regression(rows: int):
    x = numbers(rows, 5)
    return x, x @ numbers(5, 2, 1) + 0.1 * numbers(rows, 2, 2)


def classes(rows: int, count: int = 3):
    x = numbers(rows, 5)
    return x, (x @ numbers(5, count, 1)).argmax(1)


def mlp(outputs: int = 2, activation=None, **options):
    fastk.utils.set_random_seed(7)
    return fastk.Sequential(
        [fastk.Input((5,)), layers.Dense(8, activation="tanh", **options), layers.Dense(outputs, activation)]
    )


def results(model, history=None, **more):
    found = {f"weight {i}": w for i, w in enumerate(model.get_weights())}
    if history is not None:
        found |= {f"log {name}": np.array(values) for name, values in history.history.items()}
    return found | {name: np.asarray(value) for name, value in more.items()}


def uneven_batches():
    """The last batch of 5 is cut into 3 and 2; validation, evaluation and prediction end unevenly too."""
    x, y = regression(37)
    model = mlp()
    model.compile(fastk.optimizers.Adam(0.05), "mse", metrics=["mae", "r2_score"])
    history = model.fit(x, y, batch_size=8, epochs=4, validation_split=0.3, verbose=0)
    evaluated = model.evaluate(x, y, batch_size=7, verbose=0)
    return results(model, history, evaluated=evaluated, predicted=model.predict(x, batch_size=9, verbose=0))


def batches_of_fewer_samples_than_processes():
    x, y = regression(9)
    model = mlp()
    model.compile(fastk.optimizers.SGD(0.05, momentum=0.9), "mse", metrics=["mae"])
    first = model.fit(x, y, batch_size=4, epochs=3, verbose=0)  # 4, 4, 1
    model.fit(x[:3], y[:3], batch_size=1, epochs=2, shuffle=False, verbose=0)
    evaluated = model.evaluate(x, y, batch_size=1, verbose=0)
    return results(model, first, evaluated=evaluated, predicted=model.predict(x, batch_size=2, verbose=0))


def weights_of_samples_and_classes():
    x, y = classes(21)
    weight = np.random.default_rng(3).random(21).astype("float32")
    model = mlp(3, "softmax")
    loss = fastk.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    model.compile("rmsprop", loss, weighted_metrics=["accuracy"])
    first = model.fit(x, y, sample_weight=weight, batch_size=8, epochs=3, verbose=0)
    model.compile("adam", fastk.losses.SparseCategoricalCrossentropy(reduction="sum"), metrics=["accuracy"])
    model.fit(x, y, class_weight={0: 3.0, 2: 0.5}, batch_size=10, epochs=2, verbose=0)
    return results(model, first, evaluated=model.evaluate(x, y, sample_weight=weight, batch_size=6, verbose=0))


def masked_steps():
    """Sequences of different lengths: the parts of a batch keep different numbers of steps."""
    lengths = np.random.default_rng(5).integers(1, 7, 19)
    tokens = np.random.default_rng(6).integers(1, 9, (19, 6)) * (np.arange(6) < lengths[:, None])
    fastk.utils.set_random_seed(7)
    model = fastk.Sequential(
        [fastk.Input((6,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), 
         layers.LSTM(3, return_sequences=True), layers.Dense(2)]
    )  # fmt: skip
    model.compile("adam", "mse", metrics=["mae"])
    y = np.random.default_rng(8).standard_normal((19, 6, 2)).astype("float32")
    return results(model, model.fit(tokens, y, batch_size=6, epochs=3, verbose=0))


def many_metrics():
    x, y = classes(23, 2)
    model = mlp(1, "sigmoid")
    metrics = [
        "accuracy", fastk.metrics.AUC(num_thresholds=20), fastk.metrics.Precision(), fastk.metrics.Recall(),
        fastk.metrics.BinaryIoU(), fastk.metrics.PrecisionAtRecall(0.5), fastk.metrics.TruePositives(),
    ]  # fmt: skip
    model.compile("adam", "binary_crossentropy", metrics=metrics)
    labels = y[:, None].astype("float32")
    history = model.fit(x, labels, batch_size=6, epochs=3, validation_data=(x[:5], labels[:5]), verbose=0)
    return results(model, history)


class Batches(fastk.utils.PyDataset):
    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, i):
        rows = slice(i * self.size, (i + 1) * self.size)
        return self.x[rows], self.y[rows]


def streams():
    """A `PyDataset`, a generator with steps of its own, a `DataLoader`."""
    x, y = regression(22)
    model = mlp()
    model.compile(fastk.optimizers.Adam(0.02), "mse")
    first = model.fit(Batches(x, y, 5), epochs=3, verbose=0)

    def generate():
        while True:
            yield from ((x[i : i + 4], y[i : i + 4]) for i in range(0, 20, 4))

    model.fit(generate(), steps_per_epoch=3, epochs=3, verbose=0)
    model.fit(DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=7), epochs=2, verbose=0)
    model.fit(x, y, batch_size=4, steps_per_epoch=3, epochs=4, verbose=0)
    evaluated = model.evaluate(Batches(x, y, 6), verbose=0)
    return results(model, first, evaluated=evaluated, predicted=model.predict(Batches(x, y, 4), verbose=0))


def synchronized_batch_normalization():
    fastk.utils.set_random_seed(7)
    inputs = fastk.Input((6, 6, 2))
    h = layers.Conv2D(3, 3, use_bias=False)(inputs)
    h = layers.Activation("relu")(layers.BatchNormalization(momentum=0.8, synchronized=True)(h))
    h = layers.BatchNormalization(axis=1, scale=False, synchronized=True)(h)
    model = fastk.Model(inputs, layers.Dense(2)(layers.Flatten()(h)))
    x = np.random.default_rng(1).standard_normal((19, 6, 6, 2)).astype("float32")
    y = np.random.default_rng(2).standard_normal((19, 2)).astype("float32")
    model.compile(fastk.optimizers.SGD(0.05), "mse")
    history = model.fit(x, y, batch_size=6, epochs=3, validation_data=(x, y), verbose=0)
    return results(model, history)


class OwnStep(fastk.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.out = layers.Dense(8, activation="tanh"), layers.Dense(2)
        self.mean = fastk.metrics.Mean(name="error")

    def call(self, x):
        return self.out(self.hidden(x))

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = fastk.ops.mean((self(x, training=True) - y) ** 2)
        loss.backward()
        variables = list(self.trainable_weights)
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in variables], variables)
        self.mean.update_state(loss, sample_weight=len(x))
        return {"error": self.mean.result(), "plain": loss}


def a_step_of_the_users():
    x, y = regression(16)
    fastk.utils.set_random_seed(7)
    model = OwnStep()
    model.compile(fastk.optimizers.Adam(0.05))
    return results(model, model.fit(x, y, batch_size=6, epochs=3, verbose=0))


def kinds_of_optimizers():
    x, y = regression(22)
    found = {}
    for name, optimizer in {
        "clipped": fastk.optimizers.SGD(0.3, global_clipnorm=0.1),
        "accumulating": fastk.optimizers.Adam(0.05, gradient_accumulation_steps=2),
        "averaging": fastk.optimizers.AdamW(0.05, use_ema=True, ema_momentum=0.5, clipnorm=0.2),
        "scaling": fastk.optimizers.LossScaleOptimizer(fastk.optimizers.Adam(0.05), initial_scale=8.0),
        "mapped": fastk.optimizers.MultiOptimizer(
            fastk.optimizers.OptimizerMap(fastk.optimizers.SGD(0.1), {"bias": fastk.optimizers.Adam(0.1)})
        ),
    }.items():
        model = mlp()
        model.compile(optimizer, "mse")
        model.fit(x, y, batch_size=8, epochs=3, verbose=0)
        found |= {f"{name} {key}": value for key, value in results(model).items()}
    return found


def an_optimizer_of_whole_matrices():
    x, y = regression(22)
    model = mlp()
    model.compile(fastk.optimizers.Muon(0.05), "mse")
    return results(model, model.fit(x, y, batch_size=8, epochs=3, verbose=0))


def models_in_models():
    """Of functional and subclassed ones, with a frozen layer and a scalar weight."""

    class Scaled(fastk.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(4, activation="relu")

        def build(self, shape):
            self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
            self.dense.build(shape)

        def call(self, x):
            return self.factor * self.dense(x)

    fastk.utils.set_random_seed(7)
    inside = fastk.Sequential([fastk.Input((5,)), layers.Dense(7, activation="tanh"), Scaled()])
    frozen = layers.Dense(5)
    frozen.trainable = False
    inputs = fastk.Input((5,))
    h = inside(frozen(inputs))
    model = fastk.Model(inputs, layers.Dense(2)(layers.Concatenate()([h, inputs])))
    model.compile(fastk.optimizers.Adam(0.05), "mse")
    x, y = regression(17)
    history = model.fit(x, y, batch_size=6, epochs=3, validation_split=0.3, verbose=0)
    return results(model, history, predicted=model.predict(x, batch_size=5, verbose=0))


def penalties():
    class Adding(layers.Layer):
        def call(self, x):
            self.add_loss(0.1 * fastk.ops.mean(x**2))
            return x

    fastk.utils.set_random_seed(7)
    model = fastk.Sequential(
        [fastk.Input((5,)), layers.Dense(6, kernel_regularizer="l2", activity_regularizer="l1"), Adding(),
         layers.Dense(2)]
    )  # fmt: skip
    model.compile(fastk.optimizers.SGD(0.1), "mse")
    x, y = regression(13)
    return results(model, model.fit(x, y, batch_size=5, epochs=3, verbose=0))


def single_batches():
    x, y = regression(7)
    model = mlp()
    model.compile(fastk.optimizers.SGD(0.1), "mse", metrics=["mae"])
    trained = [model.train_on_batch(x[:n], y[:n]) for n in (7, 7, 7, 7, 5, 1)]
    return results(model, trained=trained, tested=model.test_on_batch(x, y), predicted=model.predict_on_batch(x))


def several_inputs_and_outputs():
    fastk.utils.set_random_seed(7)
    a, b = fastk.Input((5,), name="a"), fastk.Input((2,), name="b")
    h = layers.Concatenate()([a, b])
    model = fastk.Model({"a": a, "b": b}, {"u": layers.Dense(2, name="u")(h), "v": layers.Dense(1, name="v")(h)})
    model.compile(
        "adam", {"u": "mse", "v": fastk.losses.MeanSquaredError(reduction="sum")}, loss_weights={"u": 1.0, "v": 0.3}
    )
    data = {"a": numbers(11, 5), "b": numbers(11, 2, 3)}
    labels = {"u": numbers(11, 2, 4), "v": numbers(11, 1, 5)}
    history = model.fit(data, labels, batch_size=4, epochs=3, verbose=0)
    predicted = model.predict(data, batch_size=4, verbose=0)
    return results(model, history, u=predicted["u"], v=predicted["v"])


def deciding_callbacks():
    x, y = regression(24)
    model = mlp()
    model.compile(fastk.optimizers.SGD(0.5, momentum=0.9), "mse")
    callbacks = [
        fastk.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        fastk.callbacks.ReduceLROnPlateau(patience=1, factor=0.3),
        fastk.callbacks.TerminateOnNaN(),
    ]
    history = model.fit(x, y, batch_size=8, epochs=20, validation_split=0.25, callbacks=callbacks, verbose=0)
    return results(model, history, rate=model.optimizer.learning_rate.numpy())


ALL = [
    uneven_batches,
    batches_of_fewer_samples_than_processes,
    weights_of_samples_and_classes,
    masked_steps,
    many_metrics,
    streams,
    synchronized_batch_normalization,
    a_step_of_the_users,
    kinds_of_optimizers,
    an_optimizer_of_whole_matrices,
    models_in_models,
    penalties,
    single_batches,
    several_inputs_and_outputs,
    deciding_callbacks,
]
