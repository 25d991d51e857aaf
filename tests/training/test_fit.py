"""`fit`: data of every kind, epochs and steps, validation, what is printed, and what is collected."""

import re

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastk as keras
from fastk import layers
from tests.training.small import close, dense, linear, regression


class Pairs(keras.utils.PyDataset):
    def __init__(self, x, y, size=4):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return self.x[rows], self.y[rows]


def batches(x, y, size=4):
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]


DATA = {
    "numpy": lambda x, y: {"x": x, "y": y, "batch_size": 4},
    "torch": lambda x, y: {"x": torch.from_numpy(x), "y": torch.from_numpy(y), "batch_size": 4},
    "dataset": lambda x, y: {"x": Pairs(x, y)},
    "loader": lambda x, y: {
        "x": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), 4)
    },
    "generator": lambda x, y: {"x": (pair for _ in range(2) for pair in batches(x, y)), "steps_per_epoch": 3},
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_every_kind_trains_alike(kind):
    x, y = regression(12)
    weights, results = linear().get_weights(), []
    for arguments in (DATA["numpy"](x, y), DATA[kind](x, y)):
        model = linear()
        model.set_weights(weights)
        model.compile("sgd", "mse")
        results.append(model.fit(**arguments, epochs=2, shuffle=False, verbose=0).history["loss"])
        results.append(model.get_weights())
    assert results[0] == results[2]
    for a, b in zip(results[1], results[3], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", ["list", "dict"])
def test_several_inputs_come_as_a_list_or_by_name(form):
    x, y = regression(12, features=5)
    first, second = layers.Input((2,), name="first"), layers.Input((3,), name="second")
    model = keras.Model([first, second], layers.Dense(1)(layers.Concatenate()([first, second])))
    model.compile("sgd", "mse")
    parts = [x[:, :2], x[:, 2:]]
    given = parts if form == "list" else {"second": parts[1], "first": parts[0]}
    model.fit(given, y, verbose=0)
    close(model.predict(given, verbose=0), dense(model.layers[-1], x))


# ---------------------------------------------------------------- epochs and steps


class Calls(keras.callbacks.Callback):
    """Remembers what was called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(f"end {batch}")

    def on_test_end(self, logs=None):
        self.seen.append("validated")


def fitted(x, y, compile_arguments=None, **arguments):
    model, calls = linear(), Calls()
    model.compile("sgd", "mse", **(compile_arguments or {}))
    history = model.fit(x, y, callbacks=[calls], verbose=0, **arguments)
    return calls.seen, history


def test_epochs_go_on_from_the_initial_one():
    seen, history = fitted(*regression(4), epochs=5, initial_epoch=3)
    assert [call for call in seen if "epoch" in call] == ["epoch 3", "epoch 4"]
    assert history.epoch == [3, 4] and len(history.history["loss"]) == 2


def test_steps_an_epoch_go_on_through_the_data():
    x, y = regression(12)
    given = []

    class Given(layers.Layer):
        def call(self, x, training=False):
            given.extend(x[:, 0].tolist() if training and not x.is_meta else [])
            return x

    model = keras.Sequential([layers.Input((3,)), Given(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=3, steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
    assert given == x[:, 0].tolist()


def test_several_steps_between_two_calls():
    seen, _ = fitted(*regression(28), {"steps_per_execution": 3}, batch_size=4)
    assert seen == ["epoch 0", "begin 0", "end 2", "begin 3", "end 5", "begin 6", "end 6"]


def test_several_steps_between_two_calls_change_no_number():
    results = []
    for steps in (1, 3, "auto"):
        keras.utils.set_random_seed(0)
        results.append(fitted(*regression(28), {"steps_per_execution": steps}, batch_size=4)[1].history["loss"])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("frequency", "validated"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_comes_as_often_as_asked(frequency, validated):
    x, y = regression(8)
    seen, history = fitted(x, y, epochs=4, validation_data=(x, y), validation_freq=frequency)
    epochs = [call if "epoch" in call else "v" for call in seen if "epoch" in call or call == "validated"]
    assert [i for i in range(4) if epochs[epochs.index(f"epoch {i}") + 1 :][:1] == ["v"]] == validated
    assert len(history.history["val_loss"]) == len(validated)


def test_validation_of_a_wrong_frequency_is_refused():
    x, y = regression(8)
    with pytest.raises(ValueError, match="Expected `validation_freq` to be a list or int"):
        fitted(x, y, validation_data=(x, y), validation_freq="often")


def test_a_share_of_the_data_is_kept_for_validation():
    x, y = regression(10)
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(x, y, validation_split=0.3, verbose=0).history
    assert history["val_loss"] == [model.evaluate(x[7:], y[7:], verbose=0)]
    assert history["loss"] == [pytest.approx(model.evaluate(x[:7], y[:7], verbose=0), rel=1e-6)]


def test_validation_takes_weights_and_steps():
    x, y = regression(8)
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    weight = np.arange(8.0)
    history = model.fit(x, y, validation_data=(x, y, weight), verbose=0).history
    assert history["val_loss"] == [model.evaluate(x, y, sample_weight=weight, verbose=0)]
    history = model.fit(x, y, validation_data=(x, y), validation_batch_size=2, validation_steps=3, verbose=0).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(x[:6], y[:6], verbose=0), rel=1e-6)]


def test_shuffling_draws_a_new_order_each_epoch_and_may_be_left_out():
    orders = []

    class Remember(layers.Layer):
        def call(self, x, training=False):
            if training and not x.is_meta:
                orders.append(x[:, 0].int().tolist())
            return x

    x = np.arange(8, dtype="float32")[:, None]
    model = keras.Sequential([layers.Input((1,)), Remember(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x, batch_size=8, epochs=2, verbose=0)
    model.fit(x, x, batch_size=8, epochs=1, shuffle=False, verbose=0)
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == orders[2] == list(range(8))


def test_a_callback_ends_training_after_its_batch():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.stop_training = True

    x, y = regression(40)
    model, calls = linear(), Calls()
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, epochs=3, callbacks=[Stop(), calls], verbose=0)
    assert calls.seen == ["epoch 0", "begin 0", "end 0", "begin 1", "end 1"]


def test_limits_of_a_quick_run_hold_everywhere():
    x, y = regression(40)
    try:
        keras.config.set_max_epochs(2)
        keras.config.set_max_steps_per_epoch(3)
        with pytest.warns(UserWarning, match="Limiting epochs to 2"):
            seen, history = fitted(x, y, batch_size=4, epochs=5)
        assert history.epoch == [0, 1] and seen.count("begin 2") == 2 and "begin 3" not in seen
        assert linear().predict(x, batch_size=4, verbose=0).shape == (12, 1)
    finally:
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)
    with pytest.raises(ValueError, match="`max_epochs` must be a positive integer"):
        keras.config.set_max_epochs(0)


# ---------------------------------------------------------------- what is printed


def printed(capsys, **arguments):
    x, y = regression(12)
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
    model.fit(x, y, batch_size=4, **arguments)
    return capsys.readouterr().out.splitlines()


NUMBER = r"\d+\.\d{4}(e-\d\d)?"


def test_nothing_is_printed_where_nothing_is_asked_for(capsys):
    assert printed(capsys, verbose=0, epochs=2) == []


@pytest.mark.parametrize("verbose", [1, "auto"])
def test_a_bar_is_printed_for_each_epoch(capsys, verbose):
    lines = printed(capsys, verbose=verbose, epochs=2, validation_split=0.25)
    assert [lines[0], lines[2]] == ["Epoch 1/2", "Epoch 2/2"] and len(lines) == 4
    bar = rf"3/3 ━{{20}} \ds \d+[mu]?s/step - loss: {NUMBER} - mae: {NUMBER} - val_loss: {NUMBER} - val_mae: {NUMBER}"
    assert re.fullmatch(bar, lines[1]) and re.fullmatch(bar, lines[3])


def test_one_line_an_epoch_is_printed(capsys):
    lines = printed(capsys, verbose=2)
    assert len(lines) == 1
    assert re.fullmatch(rf"3/3 - \ds - \d+[mu]?s/step - loss: {NUMBER} - mae: {NUMBER}", lines[0])


def test_evaluate_and_predict_print_their_own(capsys):
    x, y = regression(12)
    model = linear()
    model.compile("sgd", "mse")
    model.evaluate(x, y, batch_size=4)
    model.predict(x, batch_size=4)
    evaluated, predicted = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"3/3 ━{{20}} \ds \d+[mu]?s/step - loss: {NUMBER}", evaluated)
    assert re.fullmatch(r"3/3 ━{20} \ds \d+[mu]?s/step", predicted)


# ---------------------------------------------------------------- what comes back


def test_the_history_is_the_models_too():
    x, y = regression(12)
    model = linear()
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(x, y, epochs=3, validation_split=0.25, verbose=0)
    assert model.history is history and history.epoch == [0, 1, 2] and history.params["epochs"] == 3
    assert list(history.history) == ["loss", "mae", "val_loss", "val_mae"]
    assert all(type(value) is float for values in history.history.values() for value in values)


def test_a_seed_makes_a_whole_fit_again_bit_for_bit():
    x, y = regression(40)

    def run():
        keras.utils.set_random_seed(7)
        stack = [layers.Input((3,)), layers.Dense(8, activation="relu"), layers.Dropout(0.5), layers.Dense(1)]
        model = keras.Sequential(stack)
        model.compile("adam", "mse")
        history = model.fit(x, y, epochs=3, batch_size=8, validation_split=0.2, verbose=0).history
        return history, model.get_weights()

    (first, weights), (second, again) = run(), run()
    assert first == second
    for a, b in zip(weights, again, strict=True):
        np.testing.assert_array_equal(a, b)


class HostReads(TorchDispatchMode):
    """Counts the operations by which values, or sizes that depend on values, reach the host."""

    KINDS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")

    def __init__(self, optimizer):
        super().__init__()
        self.count = 0
        # On the CPU, where that waits for nothing, the optimizer reads its own step and rate.
        self.free = {variable.value.data_ptr() for variable in optimizer.variables}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(kind in func.name() for kind in self.KINDS):
            self.count += args[0].data_ptr() not in self.free
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_the_host_reads_nothing_for_each_batch(method):
    x, _ = regression(80)
    y = np.arange(80) % 3
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(8, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.EarlyStopping("loss"), keras.callbacks.ModelCheckpoint("never.keras", save_freq=10**6)]

    def reads(batches):
        data = (x[: 4 * batches],) if method == "predict" else (x[: 4 * batches], y[: 4 * batches])
        with HostReads(model.optimizer) as mode:
            getattr(model, method)(*data, batch_size=4, verbose=0, callbacks=callbacks if method == "fit" else None)
        return mode.count

    reads(1)
    assert reads(20) == reads(2)
