"""Whole models in Keras's old HDF5 format; `test_exchange.py` compares with Keras itself."""

import json
import pathlib
from typing import Any

import h5py
import numpy as np
import pytest

import fastk
from fastk import layers
from fastk.errors import FileFormatError
from fastk.saving import legacy_h5


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "model.h5")


def test_a_model_goes_on_where_it_was(model, xy, path):
    model.save(path)
    loaded = fastk.saving.load_model(path)
    np.testing.assert_array_equal(loaded.predict(xy[0], verbose=0), model.predict(xy[0], verbose=0))
    assert model.train_on_batch(*xy) == loaded.train_on_batch(*xy)
    for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_what_is_in_the_file_is_what_keras_writes(model, path):
    model.save(path)
    with h5py.File(path) as opened:
        file: Any = opened
        config = json.loads(file.attrs["model_config"])
        assert [layer["class_name"] for layer in config["config"]["layers"]] == ["InputLayer", "Dense", "Dense"]
        assert "module" not in config["config"]["layers"][1]
        training = json.loads(file.attrs["training_config"])
        assert training["optimizer_config"]["class_name"] == "Adam"
        assert training["loss"] == "mean_squared_error"
        names = [layer.name for layer in model.layers]
        assert list(file["model_weights"].attrs["layer_names"]) == names
        group = file["model_weights"][names[0]]
        assert [group[name].shape for name in group.attrs["weight_names"]] == [(3, 4), (4,)]


def test_without_the_optimizer_the_model_is_not_compiled(model, path):
    model.save(path, include_optimizer=False)
    assert not fastk.saving.load_model(path).compiled
    model.save(path)
    assert not fastk.saving.load_model(path, compile=False).compiled


def test_custom_classes_and_functions(path):
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    def half(x):
        return x / 2

    model = fastk.Sequential([fastk.Input((2,)), Twice(), layers.Dense(1, activation=half)])
    model.save(path)
    with pytest.raises(TypeError, match="Could not locate class 'Twice'"):
        fastk.saving.load_model(path)
    loaded = fastk.saving.load_model(path, custom_objects={"Twice": Twice, "half": half})
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(loaded(x).numpy(), model(x).numpy())


def test_weights_of_the_model_itself(path):
    @fastk.saving.register_keras_serializable("test_legacy_h5")
    class Shifted(fastk.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(2)
            self.shift = self.add_weight(shape=(2,), initializer="ones", name="shift")

        def call(self, x):
            return self.dense(x) + self.shift

    model = Shifted()
    model(np.ones((1, 3), "float32"))
    model.shift.assign([3.0, 4.0])
    model.save(path)
    other = Shifted()
    other(np.ones((1, 3), "float32"))
    other.load_weights(path)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_lambdas_are_code(path):
    model = fastk.Sequential([fastk.Input((2,)), layers.Lambda(lambda x: x + 1)])
    model.save(path)
    with pytest.raises(ValueError, match="arbitrary code execution"):
        fastk.saving.load_model(path)
    loaded = fastk.saving.load_model(path, safe_mode=False)
    assert loaded(np.zeros((1, 2), "float32")).tolist() == [[1, 1]]


# As Keras 2 writes them.
OLD_SEQUENTIAL = {
    "class_name": "Sequential",
    "config": {
        "name": "sequential",
        "layers": [
            {
                "class_name": "LSTM",
                "config": {
                    "name": "lstm", "trainable": True, "batch_input_shape": [None, 5, 3], "dtype": "float32",
                    "units": 2, "return_sequences": False, "time_major": False, "implementation": 2,
                    "kernel_initializer": {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
                    "recurrent_regularizer": {"class_name": "L2", "config": {"l2": 0.5}},
                },
            },
            {
                "class_name": "BatchNormalization",
                "config": {"name": "bn", "axis": [1], "dtype": {"class_name": "Policy", "config": {"name": "float32"}}},
            },
            {"class_name": "Dense", "config": {"name": "dense", "units": 1, "activation": "sigmoid"}},
        ],
    },
}  # fmt: skip
OLD_TRAINING = {
    "loss": {"class_name": "BinaryCrossentropy", "config": {"reduction": "auto", "fn": "binary_crossentropy"}},
    "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "binary_accuracy"}}]],
    "weighted_metrics": None,
    "loss_weights": None,
    "sample_weight_mode": None,
    "optimizer_config": {"class_name": "Adam", "config": {"name": "Adam", "lr": 0.25, "decay": 0.0, "beta_1": 0.8}},
}


def old_file(path, config, training=None, weights=()):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["model_config"] = json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name, _ in weights]
        for name, arrays in weights:
            layer = group.create_group(name)
            names = [f"{name}/w{i}:0" for i in range(len(arrays))]
            layer.attrs["weight_names"] = [weight.encode() for weight in names]
            for weight, array in zip(names, arrays, strict=True):
                layer[weight] = array


def test_a_file_of_keras_2(path):
    rng = np.random.default_rng(0)
    lstm = [rng.normal(size=shape).astype("float32") for shape in ((3, 8), (2, 8), (8,))]
    norm = [np.full(2, value, "float32") for value in (1, 2, 3, 4)]
    dense = [np.ones((2, 1), "float32"), np.ones(1, "float32")]
    old_file(path, OLD_SEQUENTIAL, OLD_TRAINING, [("lstm", lstm), ("bn", norm), ("dense", dense)])
    model = fastk.saving.load_model(path)
    assert model.input_shape == (None, 5, 3)
    recurrent, normalization, _ = model.layers
    assert isinstance(recurrent.cell.kernel_initializer, fastk.initializers.Orthogonal)
    assert recurrent.cell.recurrent_regularizer.l2 == 0.5
    assert normalization.axis == 1
    for ours, saved in zip(model.get_weights(), [*lstm, *norm, *dense], strict=True):
        np.testing.assert_array_equal(ours, saved)
    assert float(model.optimizer.learning_rate.numpy()) == 0.25
    assert model.optimizer.beta_1 == 0.8
    assert isinstance(model.loss, fastk.losses.BinaryCrossentropy)
    assert model.loss.reduction == "sum_over_batch_size"
    results = model.evaluate(np.zeros((2, 5, 3)), np.ones((2, 1)), verbose=0, return_dict=True)
    assert set(results) == {"loss", "acc"}


def test_a_functional_model_of_keras_2(path):
    def layer(kind, name, inbound, **config):
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": inbound}

    config = {
        "class_name": "Model",
        "config": {
            "name": "model",
            "layers": [
                layer("InputLayer", "a", [], batch_input_shape=[None, 2], dtype="float32", sparse=False, ragged=False),
                layer("InputLayer", "b", [], batch_input_shape=[None, 2], dtype="float32", sparse=False, ragged=False),
                layer("Add", "sum", [[["a", 0, 0, {}], ["b", 0, 0, {}]]]),
                layer("Dense", "out", [[["sum", 0, 0, {}]]], units=1),
            ],
            "input_layers": [["a", 0, 0], ["b", 0, 0]],
            "output_layers": [["out", 0, 0]],
        },
    }
    kernel = np.array([[1.0], [10.0]], "float32")
    old_file(path, config, None, [("a", []), ("b", []), ("sum", []), ("out", [kernel, np.zeros(1, "float32")])])
    model = fastk.saving.load_model(path)
    x = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])]
    assert model.predict(x, verbose=0).item() == 64


def test_arguments_that_mean_something_no_more_are_named(path):
    config = json.loads(json.dumps(OLD_SEQUENTIAL))
    config["config"]["layers"][0]["config"]["time_major"] = True
    with pytest.warns(UserWarning, match="LSTM took arguments.*time_major"):
        legacy_h5._rebuild(config, path)


def net(*units, name="net"):
    stack = [layers.Dense(n, name=f"dense_{n}") for n in units]
    return fastk.Sequential([fastk.Input((3,)), *stack], name=name)


def test_weights_by_order_and_by_name(path):
    model = net(4, 2)
    model.save(path)
    other = net(4, 2)
    other.load_weights(path)
    np.testing.assert_array_equal(other.get_weights()[2], model.get_weights()[2])
    longer = net(4, 5)
    with pytest.raises(ValueError, match=r"Shape mismatch in layer #1 \(named dense_5"):
        longer.load_weights(path)
    with pytest.warns(UserWarning, match="Shape mismatch in layer #1"):
        longer.load_weights(path, skip_mismatch=True)
    named = net(6, 4, 2)
    with pytest.raises(ValueError, match=r"Layer count mismatch.*expected 3 layers, found 2"):
        named.load_weights(path)
    with pytest.warns(UserWarning, match="dense_4"):
        named.load_weights(path, by_name=True, skip_mismatch=True)
    with pytest.raises(ValueError, match="dense_4"):
        named.load_weights(path, by_name=True)


def test_many_layers(path):
    model = fastk.Sequential([fastk.Input((1,)), *(layers.Identity(name=f"{'x' * 200}_{i}") for i in range(400))])
    model.add(layers.Dense(1))
    model.save(path)
    with h5py.File(path) as file:
        assert {"layer_names0", "layer_names1"} <= set(file["model_weights"].attrs)
    loaded = fastk.saving.load_model(path)
    assert len(loaded.layers) == 401
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    "damage, message",
    (
        (lambda file: file.attrs.pop("model_config"), "No model config found"),
        (lambda file: file.attrs.update(model_config="{"), "not valid JSON"),
        (lambda file: file.attrs.update(model_config="[]"), "should be an object"),
        (lambda file: file.pop("model_weights"), "no group 'model_weights'"),
        (lambda file: file["model_weights"].pop("dense_4"), "no group 'model_weights/dense_4'"),
    ),
)
def test_damaged_files_are_refused(path, damage, message):
    net(4).save(path)
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(FileFormatError, match=message):
        fastk.saving.load_model(path)


def test_links_out_of_the_file_are_refused(tmp_path, path):
    net(4).save(path)
    other = str(tmp_path / "other.h5")
    with h5py.File(other, "w") as file:
        file["model_weights"] = h5py.ExternalLink(path, "/model_weights")
    with pytest.raises(FileFormatError, match="ExternalLink"):
        net(4).load_weights(other)


def test_a_state_that_does_not_fit_is_left_out(model, path):
    model.save(path)
    with h5py.File(path, "a") as opened:
        file: Any = opened
        names = list(file["optimizer_weights"].attrs["weight_names"])
        file["optimizer_weights"].attrs["weight_names"] = names[:-1]
    with pytest.warns(UserWarning, match="freshly initialized optimizer"):
        loaded = fastk.saving.load_model(path)
    assert int(loaded.optimizer.iterations.numpy()) == 0


def test_a_failed_save_leaves_the_old_file(model, path, monkeypatch):
    model.save(path)
    before = pathlib.Path(path).read_bytes()
    monkeypatch.setattr(legacy_h5, "_write_variables", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save(path)
    assert pathlib.Path(path).read_bytes() == before
    with pytest.raises(FileExistsError):
        model.save(path, overwrite=False)
