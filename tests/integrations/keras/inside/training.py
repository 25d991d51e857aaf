"""What an accelerated model does around its steps: optimizers, data, callbacks, changes of the model, files."""

import importlib
import io
import re
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

import fastk.integrations.keras as inside

keras: Any = importlib.import_module("keras")

L = keras.layers
O = keras.optimizers  # noqa: E741 - keras.optimizers


# ---------------------------------------------------------------- data


def test_weights_of_classes_and_samples(pair, data, rng, model_of):
    two, (x, y) = pair(lambda: model_of(weighted_metrics=["accuracy"])), data((6,))
    two.fit(x, y, batch_size=8, class_weight={0: 0.5, 1: 2.0, 2: 1.0})
    two.fit(x, y, batch_size=8, sample_weight=rng.random(40), validation_split=0.25)
    two.same(lambda model: model.evaluate(x, y, sample_weight=np.linspace(0, 1, 40), verbose=0))
    two.replayed("train")


class Batches(keras.utils.PyDataset):
    """A data set of the user's."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self.x[index * 8 : index * 8 + 8], self.y[index * 8 : index * 8 + 8]


def test_data_sets_loaders_and_generators(pair, data, model_of):
    x, y = data((6,))

    def generate():
        while True:
            yield x[:8], y[:8]

    tensors = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    two = pair(model_of)
    two.fit(Batches(x, y), epochs=2, shuffle=False)
    two.fit(torch.utils.data.DataLoader(tensors, batch_size=8), validation_data=Batches(x, y))
    for model in two.models:  # a generator each
        model.fit(generate(), steps_per_epoch=5, epochs=2, verbose=0)
    two.same_state()
    two.same(lambda model: model.predict(Batches(x, y), verbose=0))
    two.fit(x, y, batch_size=8, steps_per_epoch=3, epochs=3, shuffle=False)
    two.fit(torch.tensor(x), torch.tensor(y), batch_size=8, shuffle="batch", validation_data=(x, y), validation_steps=2)
    two.replayed("train")


def test_batches_by_hand(pair, data, model_of):
    two, (x, y) = pair(model_of), data((6,))
    for start in range(0, 40, 8):
        rows = slice(start, start + 8)
        two.same(lambda model, rows=rows: model.train_on_batch(x[rows], y[rows]))
        two.same(lambda model, rows=rows: model.test_on_batch(x[rows], y[rows], return_dict=True))
        two.same(lambda model, rows=rows: model.predict_on_batch(x[rows]))
    two.same(lambda model: model.train_on_batch(x[:8], y[:8], class_weight={0: 1.0, 1: 2.0, 2: 0.5}))
    two.same_state()
    two.replayed("train", "test", "predict")


@pytest.mark.parametrize("rows", [1, 8, 40])
def test_predict_in_every_size(rows, pair, data, model_of):
    two, (x, _) = pair(model_of), data((6,))
    for given in (x[:rows], x[:rows].astype("float64"), torch.tensor(x[:rows])):
        two.same(lambda model, given=given: model.predict(given, batch_size=16, verbose=0))
    two.same(lambda model: model.predict(x[:rows], batch_size=16, verbose=0, steps=1))


def test_several_steps_between_callbacks(data, model_of):
    """Keras refuses `steps_per_execution` on torch; an accelerated model takes it."""
    x, y = data((6,))
    losses = []
    for steps in (1, 3):
        keras.utils.set_random_seed(0)
        model = model_of(steps_per_execution=steps)
        inside.accelerate(model)
        model.set_weights([np.ones_like(w) / (i + 1) for i, w in enumerate(model.get_weights())])
        losses.append(model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)


# ---------------------------------------------------------------- callbacks, and a model that changes


def test_callbacks_that_steer(pair, data, tmp_path, model_of):
    class Changing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("b").rate = 0.0 if epoch < 2 else 1.0

        def on_train_batch_begin(self, batch, logs=None):
            self.model.get_layer("a").trainable = batch < 4

    x, y = data((6,))
    two = pair(lambda: model_of(O.SGD(0.1), rate=1.0))
    drop = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = two.fit(x, y, batch_size=8, epochs=4, shuffle=False, callbacks=[drop, Changing()])
    assert history["learning_rate"] == pytest.approx([0.05, 0.025, 0.0125, 0.00625])
    assert abs(history["loss"][3] - history["loss"][1]) > 0.05  # with all values dropped, and with none
    stop = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=0, restore_best_weights=True)
    two.fit(x, y, batch_size=8, epochs=4, callbacks=[stop], validation_split=0.25)
    assert two.handle.model.history.epoch == [0, 1]


def test_quiet_callbacks_and_a_list_of_the_users(pair, data, capsys, model_of):
    x, y = data((6,))
    seen = []
    each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(sorted(logs)))
    two = pair(model_of)
    given = keras.callbacks.CallbackList([each], add_history=True, model=two.models[1], epochs=1)
    two.models[1].fit(x, y, batch_size=8, callbacks=given, verbose=0)
    assert seen == [["accuracy", "loss"]] * 5
    two.models[1].fit(x, y, batch_size=8, epochs=2, verbose=2)
    two.models[1].evaluate(x, y, batch_size=8, verbose=1)
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed and "5/5" in printed and "accuracy" in printed


def test_frozen_layers_and_new_weights(pair, data, model_of):
    x, y = data((6,))
    two = pair(model_of)
    two.fit(x, y, batch_size=8)
    for model in two.models:
        model.get_layer("a").trainable = False
        model.compile(O.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = two.models[1].get_layer("a").get_weights()
    two.fit(x, y, batch_size=8, epochs=2)
    np.testing.assert_array_equal(before[0], two.models[1].get_layer("a").get_weights()[0])
    for model in two.models:
        model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])
        model.get_layer("a").trainable = True
        model.compile("rmsprop", keras.losses.SparseCategoricalCrossentropy(), run_eagerly=False)
    two.fit(x, y, batch_size=8, epochs=2)
    two.same(lambda model: model.predict(x, verbose=0))


def test_run_eagerly_is_keras(pair, data, model_of):
    two, (x, y) = pair(lambda: model_of(run_eagerly=True)), data((6,))
    two.fit(x, y, batch_size=8)
    assert two.handle.session is None
    assert "run_eagerly=True" in str(two.handle.explain())
    two.models[1].run_eagerly = False
    two.models[1].fit(x, y, batch_size=8, verbose=0)
    two.replayed("train")


# ---------------------------------------------------------------- steps and losses of the user's


class OwnStep(keras.Model):
    """With a step, a loss and a metric of the user's."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        loss.backward()
        trained = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in trained], trained)
            self._loss_tracker.update_state(loss)
        return {"loss": self._loss_tracker.result(), "twice": 2.0 * loss}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight) * 0.5


def own_step():
    x = keras.Input((6,))
    model = OwnStep(x, L.Dense(3, activation="softmax")(L.Dense(8, activation="relu")(x)))
    model.compile(O.SGD(0.1), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("replays", [False, True])
def test_a_step_of_the_users(replays, pair, data):
    two, (x, y) = pair(own_step, replay_custom_steps=replays), data((6,))
    history = two.fit(x, y, batch_size=8, epochs=3)
    assert "twice" in history
    two.same(lambda model: model.evaluate(x, y, verbose=0))
    if replays:
        two.replayed("train")
    else:
        assert "`train_step` is the user's" in str(two.handle.explain())


def test_losses_and_metrics_of_the_users(pair, data, model_of):
    def cubed(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_pred - keras.ops.cast(y_true, y_pred.dtype)) ** 3, axis=-1)

    class Largest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="largest")
            self.value = self.add_variable((), "zeros", name="value")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

        def result(self):
            return self.value

    def make():
        return model_of(
            loss=cubed, metrics=[Largest(), cubed, "mae", keras.metrics.AUC(num_thresholds=20), "precision"]
        )

    two, (x, y) = pair(make), data((6,), classes=2)
    y = np.eye(3)[y]
    two.fit(x, y, batch_size=8, epochs=3)
    two.same(lambda model: model.evaluate(x, y, verbose=0, return_dict=True))
    two.replayed("train")


def test_what_counts_in_python_is_not_replayed(pair, data):
    class Counting(L.Layer):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def call(self, x):
            self.calls += 1
            return x * float(self.calls % 3)

    def make():
        model = keras.Sequential([keras.Input((6,)), L.Dense(4), Counting(), L.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.layers[1].calls = 0
        return model

    two, (x, y) = pair(make), data((6,))
    two.fit(x, y, batch_size=8, epochs=2)
    report = str(two.handle.explain())
    assert "the attribute `calls` of Counting changes with each step" in report


def test_hooks_on_weights_are_called(pair, data, model_of):
    two, (x, y) = pair(model_of), data((6,))
    calls = []
    for model in two.models:
        model.weights[0].value.register_hook(lambda gradient: calls.append(1) or gradient * 0.5)
    two.fit(x, y, batch_size=8, epochs=2)
    assert len(calls) == 20
    assert "a torch hook is registered on net/a/kernel" in str(two.handle.explain())


# ---------------------------------------------------------------- files


def contents(path):
    """The bytes of an archive's files, without what is another number for each object."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    return {
        name: re.sub(rb'"shared_object_id": \d+', b"", value) for name, value in found.items() if "meta" not in name
    }


def test_the_file_is_the_same(pair, data, tmp_path, model_of):
    import h5py

    two, (x, y) = pair(lambda: model_of(O.Adam(0.01))), data((6,))
    two.fit(x, y, batch_size=8, epochs=2)
    files = []
    for i, model in enumerate(two.models):
        model.save(tmp_path / f"{i}.keras")
        files.append(contents(tmp_path / f"{i}.keras"))
    assert files[0].keys() == files[1].keys()
    assert files[0]["config.json"] == files[1]["config.json"]
    weights: list[Any] = [h5py.File(io.BytesIO(f["model.weights.h5"])) for f in files]
    names = [[], []]
    for found, file in zip(names, weights, strict=True):
        file.visit(found.append)
    assert names[0] == names[1] and len(names[0]) > 10
    for name in names[0]:
        if isinstance(weights[0][name], h5py.Dataset):
            np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=2e-4, atol=2e-5)
    loaded = keras.models.load_model(tmp_path / "1.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), two.models[1].predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    loaded.fit(x, y, verbose=0)
    assert keras.models.clone_model(two.models[1]).name == "net"
    two.models[1].load_weights(tmp_path / "0.keras")
    two.same(lambda model: model.predict(x, verbose=0))
