"""The order of calls, what reaches whom, and when the logs of a batch are read."""

import copy
import json

import numpy as np
import pytest

import fastk as keras
from fastk.callbacks.logs import LazyLogs
from tests.training.small import linear, regression


def model_and_data(samples=8):
    model = linear()
    model.compile("sgd", "mse")
    return model, regression(samples)


class Recorder(keras.callbacks.Callback):
    """Remembers every call."""

    def __init__(self):
        super().__init__()
        self.calls = []


def _record(name):
    def method(self, *args):
        *where, logs = args
        self.calls.append((name.removeprefix("on_"), *where, sorted(logs)))

    return method


for _name in [name for name in dir(keras.callbacks.Callback) if name.startswith("on_") and "on_batch" not in name]:
    setattr(Recorder, _name, _record(_name))


def test_calls_come_in_keras_order_with_keras_logs():
    model, (x, y) = model_and_data()
    recorder = Recorder()
    model.fit(x, y, batch_size=4, validation_data=(x[:2], y[:2]), callbacks=[recorder], verbose=0)
    results = ["loss", "val_loss"]
    assert recorder.calls == [
        ("train_begin", []),
        ("epoch_begin", 0, []),
        ("train_batch_begin", 0, []),
        ("train_batch_end", 0, ["loss"]),
        ("train_batch_begin", 1, []),
        ("train_batch_end", 1, ["loss"]),
        ("test_begin", []),
        ("test_batch_begin", 0, []),
        ("test_batch_end", 0, ["loss"]),
        ("test_end", ["loss"]),
        ("epoch_end", 0, results),
        ("train_end", results),
    ]
    recorder.calls.clear()
    model.predict(x, callbacks=[recorder], verbose=0)
    assert recorder.calls == [
        ("predict_begin", []),
        ("predict_batch_begin", 0, []),
        ("predict_batch_end", 0, ["outputs"]),
        ("predict_end", []),
    ]


def test_logs_of_a_batch_are_the_results_so_far_as_floats():
    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(logs)
            losses.append(logs["loss"])

    model, (x, y) = model_and_data(12)
    kept, losses = [], []
    history = model.fit(x, y, batch_size=4, shuffle=False, callbacks=[Keep()], verbose=0)
    assert all(type(loss) is float for loss in losses)
    assert losses[-1] == history.history["loss"][0] and len(set(losses)) == 3
    assert [logs["loss"] for logs in kept] == losses  # what is kept stays that batch's


def test_logs_kept_without_looking_stay_their_batchs_too():
    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(logs)

    model, (x, y) = model_and_data(12)
    kept = []
    model.fit(x, y, batch_size=4, callbacks=[Keep()], verbose=0)
    assert len({logs["loss"] for logs in kept}) == 3


class Counted:
    """A function that computes logs, and how often it did."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"loss": float(self.times)}


@pytest.mark.parametrize(
    ("body", "times"),
    [
        (lambda self, batch, logs=None: None, 0),
        (lambda self, batch, logs=None: logs or {}, 0),
        (lambda self, batch, logs=None: logs.get("loss"), 1),
        (lambda self, batch, logs=None: dict(logs), 1),
        (lambda self, batch, logs: "loss" in logs, 1),
    ],
)
def test_logs_are_computed_where_a_callback_looks_at_them(body, times):
    kind = type("Kind", (keras.callbacks.Callback,), {"on_train_batch_end": body})
    compute = Counted()
    keras.callbacks.CallbackList([kind(), kind()]).on_train_batch_end(0, compute)
    assert compute.times == times


def test_callbacks_without_batch_methods_compute_nothing():
    compute = Counted()
    several = keras.callbacks.CallbackList(
        [keras.callbacks.EarlyStopping(), keras.callbacks.ModelCheckpoint("x.keras"), keras.callbacks.History()],
        add_progbar=True,
        verbose=2,
        steps=10,
    )
    several.on_epoch_begin(0)
    for batch in range(9):
        several.on_train_batch_begin(batch)
        several.on_train_batch_end(batch, compute)
    assert compute.times == 0


def test_a_fit_reads_its_results_once_an_epoch(monkeypatch):
    model, (x, y) = model_and_data(40)
    read = []
    results = model._results
    monkeypatch.setitem(model.__dict__, "_results", lambda: read.append(1) or results())
    model.fit(x, y, batch_size=4, epochs=3, callbacks=[keras.callbacks.EarlyStopping("loss")], verbose=2)
    assert len(read) == 3


def test_the_older_names_of_the_batch_methods_are_called():
    class Older(keras.callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch, list(logs or ())))

    model, (x, y) = model_and_data()
    seen = []
    model.fit(x, y, batch_size=4, validation_data=(x, y), callbacks=[Older()], verbose=0)
    assert seen == [("begin", 0), ("end", 0, ["loss"]), ("begin", 1), ("end", 1, ["loss"])]


def test_defaults_are_added_once_and_parameters_handed_on():
    history = keras.callbacks.History()
    several = keras.callbacks.CallbackList([history, None], add_history=True, add_progbar=True, epochs=3, steps=7)
    assert [type(c).__name__ for c in several.callbacks] == ["History", "ProgbarLogger"]
    assert history.params == {"epochs": 3, "steps": 7}
    model, (x, y) = model_and_data()
    assert model.fit(x, y, callbacks=history, verbose=0) is history is model.history
    several = keras.callbacks.CallbackList(model=model)
    several.append(history)
    several.set_params({"epochs": 1})
    assert history.params == {"epochs": 1}


def test_what_is_no_callback_is_refused():
    model, (x, y) = model_and_data()
    with pytest.raises(ValueError, match=r"`callbacks` takes `keras.callbacks.Callback` objects. Received: <class"):
        model.fit(x, y, callbacks=[keras.callbacks.EarlyStopping], verbose=0)


def test_lazy_logs_are_a_dict_in_every_respect():
    def lazy():
        return LazyLogs(lambda: {"loss": 0.5, "mae": 1.0})

    plain = {"loss": 0.5, "mae": 1.0}
    assert isinstance(lazy(), dict) and lazy() == plain and plain == lazy() and lazy() != {}
    assert {**lazy()} == dict(lazy()) == lazy().copy() == copy.deepcopy(lazy()) == plain
    assert json.loads(json.dumps(lazy())) == plain
    assert list(lazy()) == list(lazy().keys()) == ["loss", "mae"] and len(lazy()) == 2
    assert lazy() | {"a": 1.0} == plain | {"a": 1.0} and repr(lazy()) == repr(plain)
    logs = lazy()
    logs["loss"] = 2.0
    assert logs == {"loss": 2.0, "mae": 1.0}
    assert [f"{value}" for value in lazy().values()] == ["0.5", "1.0"] and bool(lazy())


def test_history_collects_and_starts_its_epochs_anew():
    model, (x, y) = model_and_data()
    history = keras.callbacks.History()
    model.fit(x, y, epochs=2, callbacks=[history], verbose=0)
    model.fit(x, y, epochs=3, initial_epoch=2, callbacks=[history], verbose=0)
    assert history.epoch == [2] and len(history.history["loss"]) == 3


def test_functions_are_called_by_the_lambda_callback():
    model, (x, y) = model_and_data()
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append("epoch"),
        on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]),
        on_train_end=lambda logs: seen.append("end"),
        on_test_end=lambda logs: seen.append("test"),
    )
    model.fit(x, y, validation_data=(x, y), callbacks=[callback], verbose=0)
    assert seen[0] == "epoch" and np.isfinite(seen[1]) and seen[2:] == ["test", "end"]
    with pytest.raises(ValueError, match=r"Received also: \['on_epoch_finish'\]"):
        keras.callbacks.LambdaCallback(on_epoch_finish=print)
