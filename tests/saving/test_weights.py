"""Files of weights: types, sharding, what does not fit, and files that are not to be trusted."""

import json
import os
import re

import h5py
import numpy as np
import pytest

import fastk
from fastk.errors import FileFormatError, FileMissing
from fastk.saving.h5 import H5Reader, H5Writer


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights(), strict=True))


def stack(*units, dtype=None):
    return fastk.Sequential([fastk.Input((3,)), *(fastk.layers.Dense(n, dtype=dtype) for n in units)])


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.weights.h5")


# ---------------------------------------------------------------- what is kept


@pytest.mark.parametrize("kept", ("float64", "float32", "float16", "bfloat16"))
@pytest.mark.parametrize("read", ("float64", "float32", "float16", "bfloat16"))
def test_types_are_kept_and_cast(kept, read, path):
    saved, loaded = stack(4, dtype=kept), stack(4, dtype=read)
    saved.save_weights(path)
    loaded.load_weights(path)
    for a, b in zip(saved.weights, loaded.weights, strict=True):
        assert b.dtype == read
        assert np.array_equal(a.value.detach().to(b.value.dtype).double().cpu(), b.value.detach().double().cpu())


def test_bfloat16_is_stored_as_keras_stores_it(path):
    stack(4, dtype="bfloat16").save_weights(path)
    with h5py.File(path) as file:
        dataset = file["layers/dense/vars/0"]
        assert (
            isinstance(dataset, h5py.Dataset)
            and dataset.dtype == np.dtype("V2")
            and dict(dataset.attrs) == {"dtype": "bfloat16"}
        )


def test_a_store_takes_and_gives_numbers_of_all_kinds(path):
    values = {"b": True, "i": np.arange(3, dtype="int8"), "f": 1.5, "s": np.bytes_(b"text"), "e": np.zeros((0, 2))}
    with H5Writer(path) as writer:
        store = writer.group("a/b", "name")
        store.update(values)
        store["f"] = 2.5
        assert store["f"] == 2.5 and set(store) == set(values)
        with pytest.raises(TypeError, match="text belongs into `save_assets`"):
            store["u"] = "text"
    with H5Reader(path, path) as reader:
        store = reader.group("a/b")
        assert {key: store[key].tolist() for key in store} == {
            "b": True, "i": [0, 1, 2], "f": 2.5, "s": b"text", "e": [],
        }  # fmt: skip
        assert reader.has("a") and not reader.has("b") and len(reader.group("b")) == 0


def test_the_weights_of_a_whole_model_are_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    other = stack(4, 2)
    other.load_weights(tmp_path / "model.keras")
    assert same(model, other)


def test_the_optimizer_goes_with_the_weights(model, path, xy):
    model.save_weights(path)
    other = fastk.models.clone_model(model)
    other.compile("adam", "mse")
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    assert model.train_on_batch(*xy) == other.train_on_batch(*xy)
    assert same(model, other)


def test_objects_can_be_left_out(path):
    saved, loaded = stack(3, 3), stack(3, 3)
    before = loaded.get_weights()
    saved.save_weights(path)
    fastk.saving.load_weights(loaded, path, objects_to_skip=[loaded.layers[0]])
    assert np.array_equal(loaded.get_weights()[0], before[0])
    assert np.array_equal(loaded.get_weights()[2], saved.get_weights()[2])
    fastk.saving.save_weights(saved, path, objects_to_skip=[saved.layers[0]])
    with h5py.File(path) as file:
        assert "layers/dense" not in file and "layers/dense_1" in file  # its place in the model is what names it


def test_layers_within_containers_are_optional_in_old_files(path, zoo):
    saved, loaded = zoo.subclassed(fastk), zoo.subclassed(fastk)
    saved.towers = loaded.towers = []
    saved.save_weights(path)
    loaded.load_weights(path)
    assert same(saved, loaded)


# ---------------------------------------------------------------- shards


def test_shards_hold_what_one_file_would(model, tmp_path):
    path = tmp_path / "x.weights.json"
    model.save_weights(path, max_shard_size=100 / 2**30)
    names = sorted(os.listdir(tmp_path))
    described = json.loads(path.read_text())
    assert names[0] == "x.weights.json" and names[1] == "x_00000.weights.h5" and len(names) > 3
    assert described["metadata"]["total_size"] == sum(
        v.value.numel() * v.value.element_size() for v in [*model.weights, *model.optimizer.variables]
    )
    assert {name for names in described["weight_map"].values() for name in names} == set(names[1:])
    other = fastk.models.clone_model(model)
    other.compile("adam", "mse")
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    assert same(model, other)
    assert all(np.array_equal(a, b) for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True))


def test_a_second_save_replaces_the_shards_of_the_first(tmp_path):
    """With other numbers: until the map is replaced, it leads to the first save's files, whole."""
    path, mine = tmp_path / "x.weights.json", tmp_path / "x_00005.weights.h5"
    mine.write_text("not a shard")
    seen = []
    for units in (40, 40, 30, 20):
        saved, loaded = stack(units, 3), stack(units, 3)
        saved.save_weights(path, max_shard_size=500 / 2**30)
        loaded.load_weights(path)
        assert same(saved, loaded)
        listed = {name for names in json.loads(path.read_text())["weight_map"].values() for name in names}
        assert not seen or not listed & seen[-1]
        seen.append(listed)
        # Keras opens the first shard, whatever the map says.
        assert set(os.listdir(tmp_path)) == {*listed, "x_00000.weights.h5", "x.weights.json", "x_00005.weights.h5"}
    assert mine.read_text() == "not a shard"


def test_a_map_that_is_replaced_takes_no_other_files_with_it(tmp_path):
    path, mine = tmp_path / "x.weights.json", tmp_path / "y_00000.weights.h5"
    mine.write_text("mine")
    path.write_text(json.dumps({"weight_map": {"/a/vars": ["y_00000.weights.h5", "x_0.weights.h5", "x.weights.h5"]}}))
    stack(4).save_weights(path, max_shard_size=1)
    assert mine.read_text() == "mine"
    path.write_text("no map")
    stack(4).save_weights(path, max_shard_size=1)
    stack(4).load_weights(path)


def test_shards_of_one_file_may_be_named_by_a_string(tmp_path):
    saved, loaded = stack(4), stack(4)
    saved.save_weights(tmp_path / "x.weights.json", max_shard_size=1)
    described = json.loads((tmp_path / "x.weights.json").read_text())
    described["weight_map"] = {key: names[0] for key, names in described["weight_map"].items()}
    (tmp_path / "x.weights.json").write_text(json.dumps(described))
    loaded.load_weights(tmp_path / "x.weights.json")
    assert same(saved, loaded)


def test_shards_that_cannot_be_written_or_read_are_explained(tmp_path):
    model, path = stack(4), tmp_path / "x.weights.json"
    with pytest.raises(ValueError, match="exceeds the maximum shard size of 8 bytes"):
        model.save_weights(path, max_shard_size=8 / 2**30)
    with pytest.raises(ValueError, match="positive number"):
        model.save_weights(path, max_shard_size=0)
    assert os.listdir(tmp_path) == []
    with pytest.warns(UserWarning, match=r"x\.weights\.json is used"):
        model.save_weights(tmp_path / "x.weights.h5", max_shard_size=1)
    os.unlink(tmp_path / "x_00000.weights.h5")
    with pytest.raises(FileMissing, match=r"x_00000\.weights\.h5, a part"):
        model.load_weights(path)
    for text, says in (
        ('{"weight_map": {"/vars": "../x.weights.h5"}}', "beside it"),
        ('{"weight_map": {"/vars": ["/etc/passwd"]}}', "beside it"),
        ('{"weight_map": {"/vars": 3}}', "no map"),
        ('{"weight_map": [1]}', "no map"),
        ("{}", "no map"),
        ("[" * 100000, "no map"),
    ):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=says):
            model.load_weights(path)


# ---------------------------------------------------------------- what does not fit


def test_each_layer_that_does_not_fit_is_named(path):
    stack(4, 5).save_weights(path)
    other = stack(4, 6)
    before = other.get_weights()
    with pytest.raises(ValueError) as caught:
        other.load_weights(path)
    said = str(caught.value)
    assert re.search(r"layers/dense_1 \(Dense '\w+'\)", said) and "layers/dense " not in said
    assert "(4, 6)" in said and "(4, 5)" in said and "(6,)" in said and "(5,)" in said and "skip_mismatch" in said
    assert np.array_equal(other.get_weights()[2], before[2])


def test_a_mismatch_can_be_skipped(path):
    saved, other = stack(4, 5), stack(4, 6)
    saved.save_weights(path)
    before = other.get_weights()
    with pytest.warns(UserWarning, match="1 objects could not be loaded"):
        other.load_weights(path, skip_mismatch=True)
    assert np.array_equal(other.get_weights()[0], saved.get_weights()[0])
    assert np.array_equal(other.get_weights()[2], before[2]) and np.array_equal(other.get_weights()[3], before[3])


def test_another_number_of_variables_is_named(path):
    fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(4, use_bias=False)]).save_weights(path)
    with pytest.raises(ValueError, match="expected 2 variables, but received 1"):
        stack(4).load_weights(path)
    with pytest.raises(ValueError, match="expected 2 variables, but received 0"):
        stack(4, 4).load_weights(path)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "says"),
    (
        ("x.h5", {}, FileMissing, r"File not found.*Did you mean x\.weights\.h5"),
        ("x.pkl", {}, ValueError, r"File format not supported.*\.weights\.json"),
        ("x.weights.h5", {"by_name": True}, ValueError, "skip_mismatch"),
        ("x.weights.h5", {"wrong": 1}, ValueError, "Invalid keyword arguments"),
        ("x.keras", {"objects_to_skip": []}, ValueError, r"only supports loading '\.weights\.h5'"),
        ("y.weights.h5", {}, FileMissing, r"File not found.*Did you mean x\.weights\.h5"),
        ("x.keras", {}, FileMissing, "File not found"),
    ),
)
def test_what_cannot_be_loaded_is_explained(path, tmp_path, name, arguments, error, says):
    model = stack(4)
    model.save_weights(path)
    with pytest.raises(error, match=says):
        model.load_weights(tmp_path / name, **arguments)


def test_what_cannot_be_saved_is_explained(path, tmp_path):
    with pytest.raises(ValueError, match=r"must end in `\.weights\.h5`.*model\.keras.*model\.save"):
        stack(4).save_weights(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"must end in `\.weights\.json`"):
        stack(4).save_weights(tmp_path / "model.h5", max_shard_size=1)
    unbuilt = fastk.Sequential([fastk.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"not yet been built.*model\.build"):
        unbuilt.save_weights(path)
    with pytest.raises(ValueError, match=r"not yet been built.*model\.build"):
        unbuilt.load_weights(path)
    stack(4).save_weights(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        stack(4).save_weights(path, overwrite=False)


# ---------------------------------------------------------------- what is not to be trusted


def replace(path, name, make):
    """Puts what `make(parent, last part)` makes in the place of an item."""
    with h5py.File(path, "a") as file:
        del file[name]
        parent, _, last = name.rpartition("/")
        make(file[parent or "/"], last)


def external_link(group, name):
    group[name] = h5py.ExternalLink("other.h5", "/x")


def soft_link(group, name):
    group[name] = h5py.SoftLink("/layers/dense/vars/1")


def external_data(group, name):
    group.create_dataset(name, (3, 4), "float32", external=[("/etc/passwd", 0, 48)])


def virtual(group, name):
    layout = h5py.VirtualLayout((3, 4), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 4))
    group.create_virtual_dataset(name, layout)


def reference(group, name):
    group.create_dataset(name, data=np.array([group.ref] * 3, object), dtype=h5py.ref_dtype)


def text(group, name):
    group.create_dataset(name, data=["a"], dtype=h5py.string_dtype())


def compound(group, name):
    group.create_dataset(name, (3, 4), np.dtype([("a", "f4")]))


def huge(group, name):
    group.create_dataset(name, (1 << 40,), "float32", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("make", "says"),
    (
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (external_data, "another file"),
        (virtual, "another file"),
        (reference, "Expected numbers"),
        (text, "Expected numbers"),
        (compound, "Expected numbers"),
        (huge, "shape bomb"),
        (lambda group, name: group.create_group(name), "no dataset"),
    ),
)
def test_datasets_that_lead_elsewhere_are_refused(path, make, says):
    model = stack(4)
    model.save_weights(path)
    replace(path, "layers/dense/vars/0", make)
    for skip_mismatch in (False, True):
        with pytest.raises(FileFormatError, match=says):
            model.load_weights(path, skip_mismatch=skip_mismatch)


@pytest.mark.parametrize("make", (external_link, soft_link))
@pytest.mark.parametrize("name", ("layers", "layers/dense", "layers/dense/vars"))
def test_groups_that_lead_elsewhere_are_refused(path, make, name):
    model = stack(4)
    model.save_weights(path)
    replace(path, name, make)
    with pytest.raises(FileFormatError, match="Link, which could lead anywhere"):
        model.load_weights(path)


def test_compressed_datasets_are_read(path):
    """Other programs may have packed the file; a variable bounds how large it can become."""
    model = fastk.Sequential([fastk.Input((3000,)), fastk.layers.Dense(1000, kernel_initializer="zeros")])
    model.save_weights(path)
    packed = np.ones((3000, 1000), "float32")
    replace(
        path, "layers/dense/vars/0", lambda group, name: group.create_dataset(name, data=packed, compression="gzip")
    )
    model.load_weights(path)
    assert model.layers[0].kernel.value.detach().sum().item() == 3_000_000


def test_a_file_of_another_kind_is_refused(path):
    for contents in (b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"x" * 5000):
        with open(path, "wb") as file:
            file.write(contents)
        with pytest.raises(FileFormatError, match="not a readable HDF5 file"):
            stack(4).load_weights(path)
