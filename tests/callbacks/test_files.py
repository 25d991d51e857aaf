"""Callbacks that write files: `ModelCheckpoint`, `BackupAndRestore`, `CSVLogger`, `TensorBoard`, `RemoteMonitor`."""

import http.server
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest

import fastk as keras
from fastk import layers
from tests.training.small import linear, regression


def scripted(losses, callbacks, **arguments):
    """Trains a model whose validation losses are given."""
    model = linear()
    script = iter(losses)
    model.test_step = lambda data: {"loss": next(script)}
    model.compile("sgd", "mse")
    x, y = regression(4)
    model.fit(x, y, validation_data=(x, y), epochs=len(losses), callbacks=callbacks, verbose=0, **arguments)
    return model


# ---------------------------------------------------------------- ModelCheckpoint


def test_every_epoch_is_saved_under_its_name(tmp_path):
    path = tmp_path / "deep" / "{epoch:02d}-{val_loss:.1f}.keras"
    scripted([3.0, 2.0, 2.5], [keras.callbacks.ModelCheckpoint(path)])
    assert sorted(os.listdir(tmp_path / "deep")) == ["01-3.0.keras", "02-2.0.keras", "03-2.5.keras"]


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({}, [1, 2, 4]),
        ({"mode": "max"}, [1, 3]),
        ({"initial_value_threshold": 2.2}, [2, 4]),
        ({"monitor": "loss", "mode": "max"}, [1]),
    ],
)
def test_only_the_best_is_saved(tmp_path, options, saved):
    path = tmp_path / "{epoch}.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True, **options)
    scripted([3.0, 2.0, 3.5, 1.0], [checkpoint])
    assert sorted(os.listdir(tmp_path)) == [f"{epoch}.weights.h5" for epoch in saved]


def test_what_is_saved_is_the_model_of_that_epoch(tmp_path):
    weights = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    x, y = regression(8)
    model = linear()
    model.compile("adam", "mse", metrics=["mae"])
    checkpoints = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    model.fit(x, y, epochs=2, callbacks=[keep, *checkpoints], verbose=0)
    loaded = keras.saving.load_model(tmp_path / "1.keras")
    for a, b in zip(loaded.get_weights(), weights[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(loaded.optimizer.iterations) == 1  # and it goes on from there
    model.load_weights(tmp_path / "2.weights.h5")
    for a, b in zip(model.get_weights(), weights[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("steps", "saved"), [(1, [(1, 3), (2, 1), (2, 4)]), (2, [(1, 4), (2, 2), (2, 5)])])
def test_batches_are_counted_across_epochs(tmp_path, steps, saved):
    x, y = regression(20)
    model = linear()
    model.compile("sgd", "mse", steps_per_execution=steps)
    path = tmp_path / "{epoch}-{batch}.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=3)
    model.fit(x, y, batch_size=4, epochs=2, callbacks=[checkpoint], verbose=0)
    assert sorted(os.listdir(tmp_path)) == [f"{epoch}-{batch}.weights.h5" for epoch, batch in saved]


def test_what_a_checkpoint_says(tmp_path, capsys):
    path = tmp_path / "best.weights.h5"
    scripted(
        [2.0, 3.0], [keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True, verbose=1)]
    )
    assert capsys.readouterr().out.splitlines() == [
        "",
        f"Epoch 1: val_loss improved from None to 2.00000, saving model to {path}",
        "",
        f"Epoch 1: finished saving model to {path}",
        "",
        "Epoch 2: val_loss did not improve from 2.00000",
    ]
    scripted([2.0], [keras.callbacks.ModelCheckpoint(path, save_weights_only=True, verbose=1)])
    assert capsys.readouterr().out.splitlines()[1] == f"Epoch 1: saving model to {path}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "x.h5", "save_weights_only": True}, r"must end in `.weights.h5`.*filepath=x.h5"),
        ({"filepath": "x.weights"}, r"must end in `.keras`.*filepath=x.weights"),
        ({"filepath": "x.keras", "save_freq": "batch"}, "Unrecognized save_freq: batch"),
        ({"filepath": "x.keras", "save_freq": 0}, "Unrecognized save_freq: 0"),
    ],
)
def test_wrong_arguments_of_a_checkpoint_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras.callbacks.ModelCheckpoint(**arguments)


def test_names_and_folders_that_do_not_fit_are_explained(tmp_path):
    with pytest.raises(KeyError, match=r"Failed to format.*val_mae.* is none of.*val_loss"):
        scripted([1.0], [keras.callbacks.ModelCheckpoint(tmp_path / "{val_mae}.keras")])
    (tmp_path / "taken.keras").mkdir()
    with pytest.raises(OSError, match=r"non-directory filepath.*taken.keras"):
        scripted([1.0], [keras.callbacks.ModelCheckpoint(tmp_path / "taken.keras")])
    with pytest.warns(UserWarning, match="Can save best model only with val_mae available"):
        scripted([1.0], [keras.callbacks.ModelCheckpoint(tmp_path / "a.keras", "val_mae", save_best_only=True)])
    assert (tmp_path / "a.keras").exists()


# ---------------------------------------------------------------- BackupAndRestore

SCRIPT = """
import os, signal, sys
import numpy as np
import fastk as keras
from fastk import layers

folder, weights, crash = sys.argv[1:]
keras.utils.set_random_seed(3)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(40, 3)).astype("float32"), rng.normal(size=(40, 1)).astype("float32")
model = keras.Sequential([layers.Input((3,)), layers.Dense(8, activation="relu"), layers.Dropout(0.3), layers.Dense(1)])
model.compile("adam", "mse")

class Crash(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if crash == f"{self.epoch}-{batch}":
            os.kill(os.getpid(), signal.SIGKILL)
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

callbacks = [keras.callbacks.BackupAndRestore(folder), Crash()]
history = model.fit(x, y, batch_size=8, epochs=5, validation_split=0.2, callbacks=callbacks, verbose=0)
np.savez(weights, *model.get_weights(), epochs=history.epoch)
"""


def test_a_killed_process_goes_on_to_the_weights_of_one_that_was_not(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)

    def train(folder, crash=""):
        command = [sys.executable, str(script), str(tmp_path / folder), str(tmp_path / f"{folder}.npz"), crash]
        root = os.path.dirname(os.path.dirname(keras.__file__))
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, check=False).returncode

    assert train("whole") == 0
    assert train("cut", "2-1") == -signal.SIGKILL and train("cut", "4-0") == -signal.SIGKILL and train("cut") == 0
    whole, cut = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "cut.npz")
    assert cut["epochs"].tolist() == [4] and whole["epochs"].tolist() == [0, 1, 2, 3, 4]
    for name in whole.files:
        if name != "epochs":
            np.testing.assert_array_equal(whole[name], cut[name])
    assert not (tmp_path / "cut").exists()


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def interrupted(folder, epoch=3, **options):
    x, y = regression(8)
    model = linear()
    model.compile("adam", "mse")
    with pytest.raises(KeyboardInterrupt):
        callbacks = [keras.callbacks.BackupAndRestore(folder, **options), Interrupt(epoch)]
        model.fit(x, y, batch_size=4, epochs=5, callbacks=callbacks, verbose=0)
    return model


def resumed(folder, **options):
    x, y = regression(8)
    model = linear()
    model.compile("adam", "mse")
    callback = keras.callbacks.BackupAndRestore(folder, **options)
    return model, model.fit(x, y, batch_size=4, epochs=5, callbacks=[callback], verbose=0).epoch


def test_training_goes_on_where_it_was(tmp_path):
    interrupted(tmp_path / "backup")
    model, epochs = resumed(tmp_path / "backup")
    assert epochs == [3, 4] and int(model.optimizer.iterations) == 10 and not (tmp_path / "backup").exists()
    # Another fit, without the callback or with a new backup, starts from the start.
    assert model.fit(*regression(8), epochs=2, verbose=0).epoch == [0, 1]
    assert resumed(tmp_path / "backup")[1] == [0, 1, 2, 3, 4]


def test_the_backup_may_be_kept(tmp_path):
    resumed(tmp_path / "backup", delete_checkpoint=False)
    assert sorted(os.listdir(tmp_path / "backup")) == ["latest.weights.h5", "training_metadata.json"]
    assert resumed(tmp_path / "backup")[1] == []


def test_batches_may_be_backed_up(tmp_path):
    interrupted(tmp_path / "backup", save_freq=3)
    saved = json.loads((tmp_path / "backup" / "training_metadata.json").read_text())
    assert (saved["epoch"], saved["batch"], saved["iterations"]) == (2, 1, 6)
    assert resumed(tmp_path / "backup", save_freq=3)[1] == [2, 3, 4]


def test_the_backup_before_is_used_where_the_last_cannot_be_read(tmp_path):
    interrupted(tmp_path / "backup", double_checkpoint=True)
    (tmp_path / "backup" / "latest.weights.h5").write_bytes(b"half of a file")
    assert resumed(tmp_path / "backup", double_checkpoint=True)[1] == [2, 3, 4]


def test_a_crash_between_the_two_files_is_noticed(tmp_path):
    interrupted(tmp_path / "backup", epoch=2)
    before = (tmp_path / "backup" / "latest.weights.h5").read_bytes()
    interrupted(tmp_path / "backup", epoch=3)
    (tmp_path / "backup" / "latest.weights.h5").write_bytes(before)  # as if it had not been written yet
    assert resumed(tmp_path / "backup")[1] == [2, 3, 4]


def test_a_model_must_be_built_to_be_restored(tmp_path):
    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.build_from_config({})
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    backup.set_model(model)
    with pytest.raises(ValueError, match="your model must be built before you call"):
        backup.on_train_begin()
    with pytest.raises(ValueError, match="Empty `backup_dir`"):
        keras.callbacks.BackupAndRestore("")


# ---------------------------------------------------------------- CSVLogger


def test_results_are_written_line_by_line_and_appended(tmp_path):
    path = tmp_path / "log.csv"
    x, y = regression(8)
    model = linear()
    model.compile("sgd", "mse")
    first = model.fit(x, y, epochs=2, callbacks=[keras.callbacks.CSVLogger(path)], verbose=0).history["loss"]
    second = model.fit(x, y, callbacks=[keras.callbacks.CSVLogger(path, append=True)], verbose=0).history["loss"]
    rows = [f"{epoch},{loss}" for epoch, loss in ((0, first[0]), (1, first[1]), (0, second[0]))]
    assert path.read_text().splitlines() == ["epoch,loss", *rows]
    model.fit(x, y, callbacks=[keras.callbacks.CSVLogger(path, separator=";")], verbose=0)
    assert path.read_text().splitlines()[0] == "epoch;loss" and len(path.read_text().splitlines()) == 2


def test_columns_of_validation_are_there_from_the_start(tmp_path):
    x, y = regression(8)
    model = linear()
    model.compile("sgd", "mse")
    callback = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    model.fit(x, y, epochs=2, validation_data=(x, y), validation_freq=2, callbacks=[callback], verbose=0)
    header, first, second = (tmp_path / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,val_loss" and first.endswith(",NA") and not second.endswith(",NA")
    with pytest.warns(UserWarning, match=r"has no columns \['mae'\]"):
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(x, y, callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)], verbose=0)
    assert (tmp_path / "log.csv").read_text().splitlines()[-1].endswith(",NA")


# ---------------------------------------------------------------- TensorBoard


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the package tensorboard is not installed")
def test_results_and_weights_are_written_for_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    x, y = regression(8)
    model = linear()
    model.compile(keras.optimizers.SGD(0.25), "mse")
    callback = keras.callbacks.TensorBoard(
        tmp_path, histogram_freq=1, update_freq="batch", write_steps_per_second=True, profile_batch=2
    )
    history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), callbacks=[callback], verbose=0).history

    def read(name):
        events = EventAccumulator(str(tmp_path / name))
        events.Reload()
        return events

    def scalars(events, tag):
        return [event.value for event in events.Scalars(tag)]

    train, validation = read("train"), read("validation")
    np.testing.assert_allclose(scalars(train, "epoch_loss"), history["loss"], rtol=1e-6)
    np.testing.assert_allclose(scalars(validation, "epoch_loss"), history["val_loss"], rtol=1e-6)
    assert scalars(train, "epoch_learning_rate") == [0.25, 0.25] and len(scalars(train, "batch_loss")) == 4
    assert len(scalars(train, "epoch_steps_per_second")) == 2
    assert {tag.split("/")[-2] for tag in train.Tags()["histograms"]} == {"kernel", "bias"}
    assert train.Tags()["tensors"] and any(name.endswith(".pt.trace.json") for name in os.listdir(tmp_path / "train"))


def test_what_tensorboard_does_not_do_is_refused():
    with pytest.raises(ValueError, match="does not support `write_images`"):
        keras.callbacks.TensorBoard(write_images=True)
    with pytest.raises(ValueError, match="`update_freq` must be 'epoch', 'batch' or a positive integer"):
        keras.callbacks.TensorBoard(update_freq=0)


# ---------------------------------------------------------------- RemoteMonitor


@pytest.fixture
def server():
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.append((self.path, self.headers["Content-Type"], self.headers.get("Token"), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", received
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("send_as_json", [False, True])
def test_results_are_posted(server, send_as_json):
    root, received = server
    model = linear()
    model.compile("sgd", "mse")
    monitor = keras.callbacks.RemoteMonitor(root, "/epochs", "field", {"Token": "t"}, send_as_json)
    history = model.fit(*regression(4), callbacks=[monitor], verbose=0).history
    path, kind, token, body = received[0]
    assert (path, token) == ("/epochs", "t")
    assert kind == ("application/json" if send_as_json else "application/x-www-form-urlencoded")
    sent = json.loads(body if send_as_json else urllib.parse.parse_qs(body)["field"][0])
    assert sent == {"epoch": 0, "loss": history["loss"][0]}


def test_a_server_that_does_not_answer_is_warned_of():
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server"):
        keras.callbacks.RemoteMonitor("http://127.0.0.1:9").on_epoch_end(0, {"loss": np.float32(1.0)})
    with pytest.raises(ValueError, match="`root` must start with http"):
        keras.callbacks.RemoteMonitor("file:///tmp")
