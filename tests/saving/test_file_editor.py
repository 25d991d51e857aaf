"""Files of weights compared, changed and saved again."""

from typing import Any

import h5py
import numpy as np
import pytest

import fastk
from fastk.errors import FileFormatError
from fastk.saving import KerasFileEditor


def net(*names):
    return fastk.Sequential([fastk.Input((2,)), *(fastk.layers.Dense(3 if n != "first" else 2, name=n) for n in names)])


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "model.weights.h5")


def test_a_layer_is_added_to_a_file(path, tmp_path):
    net("first", "last").save(tmp_path / "model.keras")
    editor = KerasFileEditor(tmp_path / "model.keras")
    assert editor.metadata is not None and "keras_version" in editor.metadata
    assert editor.config is not None and editor.config["class_name"] == "Sequential"
    assert editor.compare(net("first", "last")) == {"status": "success", "error_count": 0, "match_count": 4}
    longer = net("first", "middle", "last")
    assert editor.compare(longer)["error_count"] == 1

    editor.rename_object("dense_1", "dense_2")
    editor.add_object("layers/dense_1", {"0": np.ones((2, 3))})
    assert editor.compare(longer)["error_count"] == 2  # no bias, and the last kernel takes two
    editor.add_weights("layers/dense_1", {"1": np.full(3, 5.0)})
    editor.delete_weight("dense_2", "0")
    editor.add_weights("dense_2", {"0": np.ones((3, 3))})
    assert editor.compare(longer)["status"] == "success"
    editor.save(path)
    longer.load_weights(path)
    np.testing.assert_array_equal(longer.layers[1].bias.numpy(), [5, 5, 5])
    assert KerasFileEditor(path).compare(longer)["status"] == "success"


def test_the_state_of_the_optimizer_is_there(model, path, capsys):
    model.save_weights(path)
    editor = KerasFileEditor(path)
    assert editor.compare(model)["status"] == "success"
    editor.summary()
    printed = capsys.readouterr().out
    assert "  optimizer" in printed
    assert "0: shape=(), dtype=int32" in printed
    editor.delete_object("optimizer")
    result = editor.compare(model)
    assert (result["status"], result["error_count"]) == ("error", 1)
    assert "Object /optimizer present in reference model, missing from saved file" in capsys.readouterr().out


def test_what_cannot_be_edited_is_explained(path, tmp_path):
    net("first", "last").save_weights(path)
    editor: Any = KerasFileEditor(path)
    for edit, message in (
        (lambda: editor.delete_object("0"), "occurs more than once"),
        (lambda: editor.delete_object("nothing"), "does not appear"),
        (lambda: editor.delete_object("layers/nothing"), "not found in model"),
        (lambda: editor.add_object("nowhere/dense", {}), "not found in model"),
        (lambda: editor.rename_object("dense", "layers/dense"), "leaf name"),
        (lambda: editor.add_object("layers/x", [1]), "should be a dict"),
        (lambda: editor.delete_weight("dense", "7"), "Weight 7 not found"),
        (lambda: editor.save(tmp_path / "x.h5"), "expected a `.weights.h5`"),
        (lambda: KerasFileEditor(tmp_path / "x.txt"), "Invalid filename"),
    ):
        with pytest.raises(ValueError, match=message):
            edit()


@pytest.mark.parametrize("link", (h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/other")))
def test_links_are_not_followed(path, link):
    with h5py.File(path, "w") as file:
        file["layers"] = link
    with pytest.raises(FileFormatError, match="Link"):
        KerasFileEditor(path)
