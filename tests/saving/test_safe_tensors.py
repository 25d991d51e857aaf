"""Weights as `.safetensors` files: names, what does not fit, torch's files, and files that are not to be trusted."""

import os
import struct
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import fastk
from fastk.errors import FileFormatError, FileMissing

layers = fastk.layers


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights(), strict=True))


def make(units=4, name="net"):
    tower = fastk.Sequential([fastk.Input((3,)), layers.Dense(units), layers.BatchNormalization()], name="tower")
    x = fastk.Input((3,))
    model = fastk.Model(x, layers.Dense(2, name="head")(layers.Dropout(0.5)(tower(x))), name=name)
    model.set_weights([np.random.default_rng(len(w.shape)).normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "m.safetensors")


def test_names_are_the_paths_of_variables(path):
    model = make()
    model.save_weights(path)
    model.save_weights(f"{path}.weights.h5")
    assert os.stat(path).st_mode == os.stat(f"{path}.weights.h5").st_mode
    stored = safetensors.torch.load_file(path)
    assert list(stored) == sorted(variable.path for variable in model.weights)
    assert "tower/batch_normalization/moving_mean" in stored and "head/kernel" in stored
    for variable in model.weights:
        assert torch.equal(stored[variable.path], variable.value.detach().cpu())
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_weights_come_back_into_a_model_whose_layers_have_other_numbers(path):
    def stack():
        dense = [layers.Dense(3, use_bias=i % 2 > 0, kernel_initializer="glorot_normal") for i in range(12)]
        return fastk.Sequential([fastk.Input((3,)), *dense])

    saved, loaded = stack(), stack()
    loaded.set_weights([w * 0 for w in loaded.get_weights()])
    assert {v.path for v in saved.weights} != {v.path for v in loaded.weights}
    saved.save_weights(path)
    loaded.load_weights(path)
    assert same(saved, loaded)


def test_torch_reads_and_writes_them_without_keras(path):
    saved, loaded = make(), make()
    saved.save_weights(path)
    module = torch.nn.Linear(4, 2)
    stored = safetensors.torch.load_file(path)
    module.load_state_dict({"weight": stored["head/kernel"].T, "bias": stored["head/bias"]})
    safetensors.torch.save_file(saved.state_dict(), path)
    loaded.set_weights([w * 0 for w in loaded.get_weights()])
    loaded.load_weights(path)
    assert same(saved, loaded)


@pytest.mark.parametrize("dtype", ("float64", "float32", "float16", "bfloat16"))
def test_dtypes_are_kept_and_cast(dtype, path):
    def stack(dtype):
        return fastk.Sequential([fastk.Input((3,)), layers.Dense(2, dtype=dtype)])

    saved, loaded = stack(dtype), stack("float32")
    saved.save_weights(path)
    assert {str(v.dtype) for v in safetensors.torch.load_file(path).values()} == {f"torch.{dtype}"}
    loaded.load_weights(path)
    for a, b in zip(saved.weights, loaded.weights, strict=True):
        assert torch.equal(a.value.detach().float(), b.value.detach())


def test_variables_of_one_path_are_numbered(path):
    class Twins(fastk.Model):
        def __init__(self):
            super().__init__(name="twins")
            self.a, self.b = layers.Dense(2, name="same"), layers.Dense(2, name="same")

        def call(self, x):
            return self.b(self.a(x))

    saved, loaded = Twins(), Twins()
    for model in (saved, loaded):
        model(np.ones((1, 2), "float32"))
    saved.save_weights(path)
    assert len(safetensors.torch.load_file(path)) == 4
    loaded.load_weights(path)
    assert same(saved, loaded)


def test_an_adapted_layer_is_ready(path):
    saved, loaded = (fastk.Sequential([fastk.Input((2,)), layers.Normalization()]) for _ in range(2))
    saved.layers[0].adapt(np.arange(8.0).reshape(4, 2))
    saved.save_weights(path)
    loaded.load_weights(path)
    x = np.ones((3, 2), "float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), saved.predict(x, verbose=0))


def write(path, change):
    tensors = safetensors.numpy.load_file(path)
    change(tensors)
    safetensors.numpy.save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "says"),
    (
        (lambda tensors: tensors.pop("head/bias"), r"lacks 'head/bias'\."),
        (lambda tensors: tensors.update(more=np.zeros(2)), "the model has no 'more'"),
        (lambda tensors: tensors.update({"hedd/bias": tensors.pop("head/bias")}), "near 'head/bias' is 'hedd/bias'"),
        (
            lambda tensors: tensors.update({"head/bias": np.zeros((3,), "float32")}),
            r"\(2,\), and the file's has \(3,\)",
        ),
    ),
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(path, change, says):
    saved, loaded = make(), make()
    saved.save_weights(path)
    fastk.utils.clear_session(free_memory=False)
    loaded = make()
    loaded.set_weights([w * 0 for w in loaded.get_weights()])
    write(path, change)
    with pytest.raises(ValueError, match=f"{says}.*skip_mismatch=True"):
        loaded.load_weights(path)
    assert not any(np.any(w) for w in loaded.get_weights())
    with pytest.warns(UserWarning, match=says):
        loaded.load_weights(path, skip_mismatch=True)
    assert np.array_equal(loaded.get_layer("head").get_weights()[0], saved.get_layer("head").get_weights()[0])


def test_arguments_and_paths_are_checked(path, tmp_path):
    model = make()
    refused: list[dict[str, Any]] = [{"max_shard_size": 1}, {"objects_to_skip": [model.layers[0]]}]
    for arguments in refused:
        with pytest.raises(ValueError, match=r"are for `\.weights\.h5`"):
            fastk.saving.save_weights(model, path, **arguments)
    with pytest.raises(FileMissing, match="File not found"):
        model.load_weights(path)
    model.save_weights(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save_weights(path, overwrite=False)
    with pytest.raises(ValueError, match="by_name"):
        model.load_weights(path, by_name=True)
    with pytest.raises(ValueError, match=r"model\.load_weights"):
        fastk.saving.load_model(path)
    with pytest.raises(ValueError, match="not yet been built"):
        fastk.Sequential([layers.Dense(2)]).save_weights(path)


def test_without_the_package_the_error_says_how_to_get_it(path, monkeypatch):
    model = make()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        model.save_weights(path)


def test_a_checkpoint_may_be_one(tmp_path):
    model = make()
    model.compile("sgd", "mse")
    checkpoint = fastk.callbacks.ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_weights_only=True)
    model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=2, verbose=0, callbacks=[checkpoint])
    loaded = make()
    loaded.load_weights(tmp_path / "2.safetensors")
    assert same(model, loaded)


def header(text, data=b""):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "contents",
    (
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        header("{"),
        header("[" * 100000),
        header('{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}', b"\0" * 4),
        header('{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"\0" * 4),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', b"\0" * 4),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 3),
        header('{"a": {"dtype": "O8", "shape": [1], "data_offsets": [0, 8]}}', b"\0" * 8),
        header(
            '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
            ' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
            b"\0" * 4,
        ),
        b"PK\3\4" * 8,
        b"\x80\x04cos\nsystem\n",
    ),
)
def test_hostile_headers_are_refused(path, contents):
    with open(path, "wb") as file:
        file.write(contents)
    with pytest.raises(FileFormatError, match="not a readable safetensors file"):
        make().load_weights(path)
