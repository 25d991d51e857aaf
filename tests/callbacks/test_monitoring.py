"""Callbacks that watch a value: `EarlyStopping`, `ReduceLROnPlateau`, and those that set the learning rate."""

from typing import cast

import numpy as np
import pytest

import fastk as keras
from tests.training.small import linear, regression


class Scripted(keras.Model):
    """Validates with the losses that it is given, one an epoch."""

    def __init__(self, losses, name="loss"):
        super().__init__()
        self.script, self.shown = list(losses), name
        self.dense = keras.layers.Dense(1)
        self.build((None, 3))

    def call(self, x):
        return self.dense(x)

    def test_step(self, data):
        return {self.shown: self.script[len(self.history.epoch)]}


def run(callback, losses, epochs=None, name="loss", **arguments):
    """The epochs run, and the weights after each."""
    model, weights = Scripted(losses, name), []
    model.compile("sgd", "mse", metrics=["accuracy"])
    x, y = regression(4)
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    history = model.fit(
        x, y, validation_data=(x, y), epochs=epochs or len(losses), callbacks=[keep, callback], verbose=0, **arguments
    )
    return model, history, weights


def same(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- EarlyStopping


@pytest.mark.parametrize(
    ("options", "losses", "epochs"),
    [
        ({"patience": 0}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 1], 6),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2.5, 2], 2),
        ({"patience": 1, "min_delta": -0.5}, [3, 2.6, 2.5, 2], 2),
        ({"patience": 2, "baseline": 1.5}, [3, 2, 2.1, 1.6], 3),
        ({"patience": 2, "baseline": 2.5}, [3, 2, 1.8, 1.9, 1.9], 5),
        ({"patience": 1, "start_from_epoch": 2}, [1, 2, 3, 3, 3], 4),
        ({"patience": 0, "mode": "max"}, [1, 2, 1, 3], 3),
        ({"patience": 0}, [1], 1),
    ],
)
def test_training_stops_as_in_keras(options, losses, epochs):
    callback = keras.callbacks.EarlyStopping(**options)
    assert len(run(callback, losses)[1].epoch) == epochs


def test_the_best_weights_are_restored():
    callback = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, history, weights = run(callback, [3, 1, 2, 2, 0])
    assert len(history.epoch) == 4 and callback.best_epoch == 1 and callback.stopped_epoch == 3
    assert same(model.get_weights(), weights[1]) and not same(weights[1], weights[3])


def test_the_best_weights_are_restored_at_the_last_epoch_too():
    callback = keras.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    model, _, weights = run(callback, [3, 1, 2])
    assert same(model.get_weights(), weights[1])


def test_what_it_says(capsys):
    run(keras.callbacks.EarlyStopping(patience=1, verbose=1, restore_best_weights=True), [3.0, 2.0, 2.5, 1.0])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: val_loss improved from inf to 3.00000 - 0s",
        "Epoch 2: val_loss improved from 3.00000 to 2.00000 - 0s",
        "Epoch 3: val_loss did not improve from 2.00000 - 0s",
        "Epoch 3: early stopping",
        "Restoring model weights from the end of the best epoch: 2.",
    ]


def test_the_direction_comes_from_the_metric():
    rising = [0.1, 0.2, 0.3, 0.2, 0.5]
    callback = keras.callbacks.EarlyStopping("val_accuracy")
    assert len(run(callback, rising, name="accuracy")[1].epoch) == 4
    with pytest.raises(ValueError, match=r"monitor=val_share.*Pass `mode='max'`"):
        run(keras.callbacks.EarlyStopping("val_share"), rising, name="share")


def test_each_fit_starts_anew():
    callback = keras.callbacks.EarlyStopping(patience=0)
    assert len(run(callback, [3, 4])[1].epoch) == 2
    assert len(run(callback, [5, 4, 6])[1].epoch) == 3


def test_an_unknown_mode_and_a_missing_value_are_warned_of():
    with pytest.warns(UserWarning, match="EarlyStopping mode 'least' is unknown"):
        callback = keras.callbacks.EarlyStopping(mode="least")
    assert callback.mode == "auto"
    model = linear()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match=r"conditioned on metric `val_loss` which is not available.*loss"):
        model.fit(*regression(4), callbacks=[callback], verbose=0)


# ---------------------------------------------------------------- the learning rate


def rates(callback, losses, rate=1.0):
    model = Scripted(losses)
    model.compile(keras.optimizers.SGD(rate), "mse")
    x, y = regression(4)
    history = model.fit(x, y, validation_data=(x, y), epochs=len(losses), callbacks=[callback], verbose=0)
    return history.history["learning_rate"], float(model.optimizer.learning_rate)


@pytest.mark.parametrize(
    ("options", "losses", "expected"),
    [
        ({"patience": 1}, [3, 3, 2, 2], [1, 0.5, 0.5, 0.25]),
        ({"patience": 2}, [3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3], [1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.4}, [3, 3, 3, 3], [1, 0.5, 0.4, 0.4]),
        ({"patience": 1, "min_delta": 1.0}, [3, 2.5, 1.5], [1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 2], [1, 1, 0.5]),
    ],
)
def test_the_rate_falls_on_a_plateau_as_in_keras(options, losses, expected):
    noted, last = rates(keras.callbacks.ReduceLROnPlateau(factor=0.5, **options), losses)
    # An epoch's logs hold the rate that it was trained with.
    assert [*noted[1:], last] == pytest.approx(expected)


def test_a_plateau_is_announced_and_its_factor_checked(capsys):
    rates(keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, verbose=1), [3, 3])
    assert capsys.readouterr().out == "\nEpoch 2: ReduceLROnPlateau reducing learning rate to 0.5.\n"
    with pytest.raises(ValueError, match=r"does not support a factor >= 1.0. Received factor=1.0"):
        keras.callbacks.ReduceLROnPlateau(factor=1.0)


def test_a_missing_value_leaves_the_rate():
    model = linear()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="Learning rate reduction is conditioned on metric `val_loss`"):
        model.fit(*regression(4), callbacks=[keras.callbacks.ReduceLROnPlateau()], verbose=0)


@pytest.mark.parametrize(
    "schedule",
    [lambda epoch, rate: rate / 2, lambda epoch: 0.5 ** (epoch + 1), lambda epoch: np.float32(0.5 ** (epoch + 1))],
)
def test_a_schedule_sets_the_rate_of_each_epoch(schedule):
    noted, _ = rates(keras.callbacks.LearningRateScheduler(schedule), [1, 1, 1])
    assert noted == [0.5, 0.25, 0.125]


def test_a_schedule_is_announced_and_must_return_a_float(capsys):
    rates(keras.callbacks.LearningRateScheduler(lambda epoch: 0.5, verbose=1), [1])
    assert capsys.readouterr().out == "\nEpoch 1: LearningRateScheduler setting learning rate to 0.5.\n"
    with pytest.raises(ValueError, match=r"should be a float. Got: half"):
        rates(keras.callbacks.LearningRateScheduler(lambda epoch: cast(float, "half")), [1])


def test_an_error_in_a_schedule_is_its_own():
    def schedule(epoch, rate):
        return rate + "much"

    with pytest.raises(TypeError, match="unsupported operand"):
        rates(keras.callbacks.LearningRateScheduler(schedule), [1])


def test_several_optimizers_have_their_own_rates(capsys):
    first, second = keras.optimizers.SGD(1.0, name="first"), keras.optimizers.SGD(0.5, name="second")
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(first, {".*bias": second}))
    model = linear()
    model.compile(several, "mse")
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100.0)
    history = model.fit(*regression(4), epochs=2, callbacks=[halve, plateau], verbose=0).history
    assert history["learning_rate_first"] == [0.5, 0.25] and history["learning_rate_second"] == [0.25, 0.125]
    assert [float(o.learning_rate) for o in (first, second)] == pytest.approx([0.025, 0.0125])
    assert "setting first learning rate to 0.5." in capsys.readouterr().out


# ---------------------------------------------------------------- TerminateOnNaN


def test_training_ends_at_a_loss_that_is_no_number(capsys):
    x, y = regression(12)
    y[5] = np.nan
    model, seen = linear(), []
    model.compile("sgd", "mse")
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model.fit(
        x, y, batch_size=4, epochs=3, shuffle=False, callbacks=[keras.callbacks.TerminateOnNaN(), count], verbose=0
    )
    assert seen == [0, 1] and capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match=r"NaN or Inf loss encountered at batch 0\. Loss value: nan"):
        model.fit(x, y, callbacks=[keras.callbacks.TerminateOnNaN(raise_error=True)], verbose=0)


# ---------------------------------------------------------------- SwapEMAWeights


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_validation_sees_the_averages_and_training_goes_on_without(swap_on_epoch):
    x, y = regression(8)

    def fit(callbacks):
        keras.utils.set_random_seed(0)
        model = linear()
        model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
        return model, model.fit(
            x, y, batch_size=4, epochs=3, validation_data=(x, y), callbacks=callbacks, verbose=0
        ).history

    class Averages(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            pass

        def on_epoch_end(self, epoch, logs=None):
            saved.append(self.model.get_weights())

    saved = []
    plain, usual = fit([])
    swapped, history = fit([keras.callbacks.SwapEMAWeights(swap_on_epoch), Averages()])
    assert history["loss"] == usual["loss"] and history["val_loss"] != usual["val_loss"]
    assert same(plain.get_weights(), swapped.get_weights())  # fit ends with the averages either way
    assert same(saved[-1], swapped.get_weights()) is swap_on_epoch
    assert history["val_loss"][-1] == swapped.evaluate(x, y, verbose=0)


def test_swapping_needs_averages():
    model = linear()
    model.compile("sgd", "mse")
    x, y = regression(8)
    with pytest.raises(ValueError, match="must be used when `use_ema=True`"):
        model.fit(x, y, validation_data=(x, y), callbacks=[keras.callbacks.SwapEMAWeights()], verbose=0)
