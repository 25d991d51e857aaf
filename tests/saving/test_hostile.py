"""Files made to run code, to read other files, or to fill the memory; `fuzz_files.py` has those made by chance."""

import base64
import json
import sys
import types
import zipfile

import fuzz_mutations
import h5py
import numpy as np
import pytest

import fastk
from fastk import budget
from fastk.errors import FileFormatError
from fastk.saving import KerasFileEditor, archive

layers = fastk.layers


@pytest.fixture
def path(tmp_path):
    """A model of a layer with 3 units."""
    model = fastk.Sequential([fastk.Input((2,)), layers.Dense(3, name="dense")])
    model.compile("adam", "mse")
    model.save(tmp_path / "x.keras")
    return tmp_path / "x.keras"


def configured(path, change):
    """Has `change` change the configuration of the file's layer; returns the path."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = json.loads(members["config.json"])
    change(config["config"]["layers"][1])
    with zipfile.ZipFile(path, "w") as file:
        for name, contents in {**members, "config.json": json.dumps(config)}.items():
            file.writestr(name, contents)
    return path


def of(cls, **config):
    return lambda layer: layer.update(class_name=cls, config={"name": "x", **config})


@pytest.mark.parametrize("units", (10**9, 10**12, 10**30))
def test_a_layer_of_a_billion_units_is_refused(path, units):
    configured(path, lambda layer: layer["config"].update(units=units))
    with pytest.raises(ValueError, match=r"kernel' of shape .* would take .*safe_mode=False|too large|overflow"):
        fastk.saving.load_model(path)


@pytest.mark.parametrize(
    "change",
    (
        of("Embedding", input_dim=10**6, output_dim=10**6),
        of("Dense", units=10**8),
        of("IntegerLookup", num_oov_indices=10**12),
        of("Dense", units=10**5, kernel_initializer="orthogonal", lora_rank=10**9),
    ),
)
def test_other_gigantic_layers_are_refused(path, change):
    with pytest.raises((ValueError, TypeError), match=r"would take \d+ bytes"):
        fastk.saving.load_model(configured(path, change))


@pytest.mark.parametrize("metric", ("AUC", "PrecisionAtRecall"))
def test_a_metric_of_a_billion_thresholds_is_refused(metric):
    config = {"num_thresholds": 10**9, **({} if metric == "AUC" else {"recall": 0.5})}
    described = {"module": "keras.metrics", "class_name": metric, "config": config, "registered_name": None}
    with (
        budget.limited_to(1 << 28, "There is a limit."),
        pytest.raises(FileFormatError, match=f"{metric} with num_thr"),
    ):
        fastk.saving.deserialize_keras_object(described)


def test_the_limit_goes_with_the_size_of_the_file_and_with_safe_mode(path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_MEMORY", 0)
    with pytest.warns(UserWarning, match="Skipping variable loading"):  # the optimizer was not built
        fastk.saving.load_model(path)  # what was saved fits, with room for its state
    monkeypatch.setattr(archive, "MEMORY_PER_BYTE", 0)
    with pytest.raises(FileFormatError, match=r"stores \d+ bytes, so that no such model was saved in it"):
        fastk.saving.load_model(path)
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        fastk.saving.load_model(path, safe_mode=False)
    layers.Dense(3).build((None, 2))  # and outside of loading there is none


def test_sizes_that_are_no_numbers_are_refused_too():
    with budget.limited_to(100, "Why."), pytest.raises(FileFormatError, match=r"Why\."):
        budget.take((1,), float("nan"), "x")
    with budget.limited_to(100, "Why."):
        budget.take((-(10**9),), 4, "x")
        with pytest.raises(FileFormatError, match="100 are left"):
            budget.take((26,), 4, "x")


def test_json_that_would_fill_the_memory_is_not_parsed(path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_VALUES", 20)
    with pytest.raises(FileFormatError, match="more than any model in use has"):
        fastk.saving.load_model(path)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_CONFIG", 100)
    with pytest.raises(FileFormatError, match="JSON of 101 bytes"):
        fastk.saving.load_model(path)


@pytest.mark.parametrize(
    ("change", "says"),
    (
        (of("TorchModuleWrapper", module=base64.b64encode(fuzz_mutations.PICKLE).decode()), "safe_mode=False"),
        (of("Lambda", function=fuzz_mutations.LAMBDA), "safe_mode=False"),
        (of("Activation", activation=fuzz_mutations.LAMBDA), "safe_mode=False"),
        (of("StringLookup", vocabulary="/etc/passwd"), "vocabulary file outside of the model archive"),
        (of("TextVectorization", vocabulary="/etc/passwd"), "vocabulary file outside of the model archive"),
        (lambda layer: layer.update(module="os", class_name="system"), "Could not locate class 'system'"),
        (lambda layer: layer.update(module="builtins", class_name="eval"), "Could not locate class 'eval'"),
        (
            of("Activation", activation={"module": "os", "class_name": "function", "config": "system"}),
            "Could not locate function 'system'",
        ),
        (of("Activation", activation="get_file"), "get_file"),
    ),
)
def test_code_and_other_files_are_refused(path, change, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=says):
        fastk.saving.load_model(configured(path, change))
    assert not (tmp_path / fuzz_mutations.CANARY).exists()


def test_classes_of_keras_itself_are_not_used(path, monkeypatch):
    """Where both are imported: Keras's ask Keras's safe mode, which nobody has set."""

    class Foreign:
        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            raise AssertionError("it was called")

    class Own(layers.Layer):
        def call(self, x):
            return x

    module = types.ModuleType("keras.src.foreign")
    module.Foreign, module.Own = Foreign, Own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    described = {"module": module.__name__, "config": {}, "registered_name": None}
    with pytest.raises(TypeError, match="Could not locate class 'Foreign'"):
        fastk.saving.deserialize_keras_object({**described, "class_name": "Foreign"})
    assert type(fastk.saving.deserialize_keras_object({**described, "class_name": "Own"})) is Own


# ---------------------------------------------------------------- the editor, which reads all that a file has


def hdf5(path, make):
    with h5py.File(path, "w") as file:
        make(file)
    return path


def cycle(file):
    file["layers/dense/vars/0"] = np.zeros(3)
    file["layers/dense/again"] = file["layers"]


def deep(file):
    for _ in range(3000):
        file = file.create_group("x")


def empty(file):
    for i in range(50):
        file.create_dataset(f"layers/vars/{i}", ((1 << 20) - 1,), "float64", chunks=(1 << 10,))


@pytest.mark.parametrize(
    ("make", "says"), ((cycle, "several places"), (deep, "without end"), (empty, "would take 8388600 bytes"))
)
def test_the_editor_refuses_what_has_no_end(make, says, tmp_path, monkeypatch):
    monkeypatch.setattr("fastk.saving.file_editor.FREE_MEMORY", 1 << 25)
    with pytest.raises(FileFormatError, match=says):
        KerasFileEditor(hdf5(tmp_path / "x.weights.h5", make))
