"""`steps_per_execution`: several steps as one replay, to the numbers of the single steps."""

import numpy as np
import pytest

import fastk as keras
from fastk.training import executions
from tests.training.step_models import MODELS, data, mlp


@pytest.fixture
def on_cpu(monkeypatch):
    """Has the CPU run steps together, as a GPU does."""
    monkeypatch.setitem(executions.STEPS_TOGETHER, "cpu", 3)


def fitted(make, together: int | str = "auto", samples=70, callbacks=None, **options):
    keras.utils.set_random_seed(3)
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], steps_per_execution=together)
    x, y = data(samples)
    weight = np.linspace(0.5, 2.0, samples)
    options = {"batch_size": 8, "epochs": 3, "verbose": 0, "validation_data": (x, y), **options}
    return model, model.fit(x, y, sample_weight=weight, callbacks=callbacks, **options).history


def together_of(model, mode="train"):
    return [step for key, step in model._steps.items() if key.startswith(f"{mode} of")]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_steps_together_give_the_numbers_of_single_steps(on_cpu, make):
    model, history = fitted(make)
    expected, expected_history = fitted(make, 1)
    (train,), (test,) = together_of(model), together_of(model, "test")
    assert len(train.programs) == len(test.programs) == 1
    assert not together_of(expected)
    assert history == expected_history
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_replay_makes_the_calls_of_three_steps(on_cpu):
    model, _ = fitted(mlp)
    (train,) = together_of(model)
    ((single, program, _),) = train._programs.values()
    assert program.calls == 3 * single.calls


class Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)


def test_a_callback_that_follows_batches_is_called_at_each(on_cpu):
    follows = Batches()
    model, history = fitted(mlp, callbacks=[follows], epochs=1)
    assert follows.ends == list(range(9))
    assert not together_of(model) and together_of(model, "test")  # the callback has no method for validation
    assert history == fitted(mlp, 1, epochs=1)[1]


def test_a_number_of_steps_holds_whatever_follows(on_cpu):
    follows = Batches()
    model, history = fitted(mlp, 3, callbacks=[follows], epochs=2, samples=76)
    assert follows.ends == 2 * [2, 5, 8, 9]  # ten batches, the last of four samples
    assert together_of(model)[0].programs
    assert history == fitted(mlp, 1, epochs=2, samples=76)[1]


def test_what_is_not_resident_arrays_goes_step_by_step(on_cpu):
    x, y = data(64)

    def batches():
        for _ in range(3):
            yield x[:8], y[:8]

    model = mlp()
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution="auto")
    model.fit(batches(), verbose=0)
    model.fit(x, y, steps_per_epoch=3, verbose=0)
    assert not together_of(model)


def test_on_the_cpu_auto_is_one_step():
    assert not together_of(fitted(mlp)[0])


def test_a_model_that_changes_is_recorded_anew(on_cpu):
    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[1].rate = 0.6

    _, history = fitted(mlp, callbacks=[Freeze()], epochs=5)
    assert history == fitted(mlp, 1, callbacks=[Freeze()], epochs=5)[1]


def test_stopping_amid_an_epoch_and_going_on(on_cpu):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model, history = fitted(mlp, callbacks=[Stop()], epochs=4)
    assert len(history["loss"]) == 2
    x, y = data()
    model.fit(x, y, batch_size=8, verbose=0)
    assert model.optimizer.iterations.numpy() == 27


def test_a_source_of_the_users_gives_single_batches_again(on_cpu):
    from fastk.training.data import make_source

    x, y = data()
    source = make_source(x, y, batch_size=8)
    model = mlp()
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution="auto")
    model.fit(source, epochs=3, verbose=0)
    assert together_of(model)[0].programs
    assert [len(batch[0]) for batch in source.epoch()] == [8] * 8 + [6]
    assert model.predict(source, verbose=0).shape == (70, 3)


def test_several_inputs_and_outputs_go_together(on_cpu):
    def make():
        first, second = keras.Input((12,), name="first"), keras.Input((12,), name="second")
        a = keras.layers.Dense(1, name="a")(first)
        b = keras.layers.Dense(2, name="b")(keras.layers.Add()([first, second]))
        return keras.Model({"first": first, "second": second}, [a, b])

    x, _ = data()
    histories = []
    for together in ("auto", 1):
        keras.utils.set_random_seed(3)
        model = make()
        model.compile("sgd", ["mse", "mae"], steps_per_execution=together)
        labels = [x[:, :1], x[:, 1:3]]
        histories.append(model.fit({"first": x, "second": x * 2}, labels, batch_size=8, epochs=4, verbose=0).history)
        assert bool(together_of(model)) is (together == "auto")
        assert together == 1 or together_of(model)[0].programs
    assert histories[0] == histories[1]
