"""`.keras` files: what they keep, and what is said about those that cannot be written or read."""

import io
import json
import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

import fastk
from fastk.errors import FileFormatError, FileMissing


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """The archive at `path` with its members, a dict of bytes by name, changed by `change`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)


# ---------------------------------------------------------------- what is kept


def test_what_is_frozen_stays_so_in_files_and_clones(tmp_path):
    layers = fastk.layers
    x = fastk.Input((4,))
    base = fastk.Sequential([fastk.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    base.trainable = False
    dense = layers.Dense(4)
    model = fastk.Model(x, layers.Dense(2)(base(dense(layers.Dense(4, trainable=False)(x)))))
    dense.enable_lora(2)  # freezes the kernel alone
    model.save(tmp_path / "model.keras")
    kept = [v.shape for v in model.trainable_variables]
    assert len(kept) == 5
    for other in (fastk.saving.load_model(tmp_path / "model.keras"), fastk.models.clone_model(model)):
        assert [v.shape for v in other.trainable_variables] == kept


def test_members_are_stored_in_the_order_of_keras(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("metadata.json"))["keras_version"] == "3.15.1"
        config = json.loads(archive.read("config.json"))
    assert (config["module"], config["class_name"], config["registered_name"]) == ("keras", "Sequential", None)
    assert config["compile_config"]["optimizer"]["class_name"] == "Adam"


def test_training_goes_on_as_if_nothing_had_happened(model, path, xy):
    loaded = fastk.models.load_model(path)
    assert same(model, loaded) and loaded.name == "small"
    for _ in range(2):
        assert model.train_on_batch(*xy) == loaded.train_on_batch(*xy)
    assert same(model, loaded)


def test_a_file_object_and_a_folder_hold_the_same(model, path, tmp_path):
    buffer = io.BytesIO()
    fastk.saving.save_model(model, buffer)
    buffer.seek(0)
    assert same(fastk.saving.load_model(buffer), model)
    folder = tmp_path / "folder"
    model.save(folder, zipped=False)
    model.save(folder, zipped=False)
    assert sorted(os.listdir(folder)) == ["config.json", "metadata.json", "model.weights.h5"]
    assert same(fastk.saving.load_model(folder), model)


def test_an_archive_that_was_compressed_since_is_read(model, path):
    rewritten(path, lambda members: None, zipfile.ZIP_DEFLATED)
    assert same(fastk.saving.load_model(path), model)


def test_the_optimizer_can_be_left_out(model, tmp_path):
    model.save(tmp_path / "model.keras", include_optimizer=False)
    with pytest.warns(UserWarning, match="optimizer"):
        loaded = fastk.saving.load_model(tmp_path / "model.keras")
    assert same(model, loaded) and int(loaded.optimizer.iterations) == 0


def test_a_model_within_two_others_stays_one(zoo, tmp_path):
    model, (x, _) = zoo.nested(fastk), zoo.data("nested")
    model.save(tmp_path / "model.keras")
    loaded = fastk.saving.load_model(tmp_path / "model.keras")
    assert same(model, loaded) and loaded.count_params() == model.count_params()
    assert loaded.get_layer("tower") is loaded.get_layer("inner").get_layer("tower")
    for a, b in zip(model.predict(x, verbose=0), loaded.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_of_one_model_differ_in_their_date_alone(model, tmp_path):
    configs = []
    for name in ("a.keras", "b.keras"):
        model.save(tmp_path / name)
        with zipfile.ZipFile(tmp_path / name) as archive:
            configs.append([archive.read(member) for member in ("config.json", "model.weights.h5")])
    assert configs[0] == configs[1]


class Vocabulary(fastk.layers.Layer):
    """Keeps words, in a file beside its variables."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.words = []

    def call(self, x):
        return x

    def save_assets(self, folder):
        with open(os.path.join(folder, "words.txt"), "w") as file:
            file.write("\n".join(self.words))

    def load_assets(self, folder):
        with open(os.path.join(folder, "words.txt")) as file:
            self.words = file.read().split("\n")


@pytest.mark.parametrize("zipped", (True, False))
def test_assets_and_own_ways_of_storing_are_honoured(zipped, tmp_path):
    class Own(fastk.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(2,), name="w")

        def call(self, x):
            return x * self.w

        def save_own_variables(self, store):
            store["twice"] = self.w.numpy() * 2
            store["gone"] = 1.0
            del store["gone"]

        def load_own_variables(self, store):
            assert list(store) == ["twice"] and len(store) == 1 and "twice" in store
            self.w.assign(store["twice"] / 2)

    model = fastk.Sequential([fastk.Input((2,)), Vocabulary(), Own()])
    model.layers[0].words = ["one", "two"]
    path = tmp_path / ("model.keras" if zipped else "model")
    model.save(path, zipped=zipped)
    loaded = fastk.saving.load_model(path, custom_objects={"Vocabulary": Vocabulary, "Own": Own})
    assert loaded.layers[0].words == ["one", "two"]
    assert same(model, loaded)


def test_a_registered_class_and_function_are_found(tmp_path):
    @fastk.saving.register_keras_serializable("test_keras_file")
    class Scale(fastk.layers.Layer):
        def __init__(self, factor, activation=None, **kwargs):
            super().__init__(**kwargs)
            self.factor, self.activation = factor, fastk.activations.get(activation)

        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return self.activation(x * self.w * self.factor)

        def get_config(self):
            activation = fastk.activations.serialize(self.activation)
            return {**super().get_config(), "factor": self.factor, "activation": activation}

    @fastk.saving.register_keras_serializable("test_keras_file")
    def squared(x):
        return x * x

    model = fastk.Sequential([fastk.Input((2,)), Scale(3.0, squared)])
    model.save(tmp_path / "model.keras")
    loaded = fastk.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is Scale
    np.testing.assert_array_equal(loaded.predict(np.ones((1, 2)), verbose=0), [[9.0, 9.0]])


def test_code_in_a_file_is_refused_unless_trusted(tmp_path):
    model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):
        fastk.saving.load_model(tmp_path / "model.keras")
    loaded = fastk.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded.predict(np.ones((1, 2)), verbose=0), [[2.0, 2.0]])


# ---------------------------------------------------------------- what cannot be written


def test_an_existing_file_is_kept_without_overwrite(model, path, tmp_path):
    before = pathlib.Path(path).read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, overwrite=False)
    assert pathlib.Path(path).read_bytes() == before
    model.save(path)


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(model, path, tmp_path):
    class Broken(fastk.layers.Layer):
        def call(self, x):
            return x

        def save_own_variables(self, store):
            raise RuntimeError("out of paper")

    before = pathlib.Path(path).read_bytes()
    broken = fastk.Sequential([fastk.Input((2,)), Broken()])
    with pytest.raises(RuntimeError, match="out of paper"):
        broken.save(path)
    with pytest.raises(RuntimeError, match="out of paper"):
        broken.save_weights(tmp_path / "x.weights.h5")
    assert pathlib.Path(path).read_bytes() == before
    assert os.listdir(tmp_path) == ["model.keras"]


def test_a_link_is_followed_and_the_mode_is_kept(model, path, tmp_path):
    os.chmod(path, 0o640)
    os.symlink(path, tmp_path / "link.keras")
    os.truncate(path, 0)
    model.save(tmp_path / "link.keras")
    assert os.path.islink(tmp_path / "link.keras") and os.path.getsize(path) > 0
    assert os.stat(path).st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "arguments", "error", "says"),
    (
        ("model.png", {}, ValueError, r"Invalid filepath extension.*model\.keras"),
        ("model", {}, ValueError, "zipped=False"),
        ("model.h5", {"zipped": True}, ValueError, "`zipped=True` is for"),
        ("model.keras", {"zipped": False}, ValueError, r"should not end in `\.keras`"),
        ("model.keras", {"random": 1}, ValueError, r"not supported: \['random'\]"),
        ("model.txt", {"save_format": "tf"}, ValueError, "`save_format` argument is deprecated"),
        ("no/folder/model.keras", {}, FileMissing, "does not exist.*makedirs"),
    ),
)
def test_what_cannot_be_saved_is_explained(model, tmp_path, name, arguments, error, says):
    with pytest.raises(error, match=says):
        fastk.saving.save_model(model, tmp_path / name, **arguments)
    assert os.listdir(tmp_path) == []


def test_remote_places_are_refused(model):
    with pytest.raises(ValueError, match="remote"):
        model.save("gs://bucket/model.keras")
    with pytest.raises(ValueError, match="remote"):
        fastk.saving.load_model("hf://somebody/model")


def test_a_value_that_json_cannot_hold_is_named(tmp_path):
    class Odd(fastk.layers.Layer):
        def call(self, x):
            return x

        def get_config(self):
            return {**super().get_config(), "odd": {"inner": [1, float]}}

    odd = fastk.Sequential([fastk.Input((2,)), Odd()])
    with pytest.raises((TypeError, ValueError), match=r"float"):
        odd.save(tmp_path / "x.keras")
    assert os.listdir(tmp_path) == []


def test_saving_an_unbuilt_model_warns(tmp_path):
    with pytest.warns(UserWarning, match="not yet been built"):
        fastk.Sequential([fastk.layers.Dense(2)]).save(tmp_path / "x.keras")


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("name", "error", "says"),
    (
        ("mdel.keras", FileMissing, r"File not found.*Did you mean model\.keras"),
        ("model.pkl", ValueError, "File format not supported.*`.keras`"),
        ("model.h5", FileMissing, r"File not found.*Did you mean model\.keras"),
        ("model.weights.h5", ValueError, r"File format not supported.*model\.load_weights"),
    ),
)
def test_paths_that_cannot_be_read_are_explained(path, tmp_path, name, error, says):
    with pytest.raises(error, match=says):
        fastk.saving.load_model(tmp_path / name)


def test_a_folder_without_a_model_is_explained(tmp_path):
    with pytest.raises(FileFormatError, match=r"no file `config\.json`"):
        fastk.saving.load_model(tmp_path)


@pytest.mark.parametrize(
    ("contents", "says"),
    (
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5 file"),
        (b"<html>", "begins with"),
        (b"PK\3\4" * 9, "end is missing"),
    ),
)
def test_what_is_no_archive_is_explained(tmp_path, contents, says):
    (tmp_path / "x.keras").write_bytes(contents)
    with pytest.raises(FileFormatError, match=says):
        fastk.saving.load_model(tmp_path / "x.keras")


@pytest.mark.parametrize("part", (0.1, 0.5, 0.9, 0.999))
def test_a_truncated_archive_is_refused(path, part):
    os.truncate(path, int(os.path.getsize(path) * part))
    with pytest.raises(FileFormatError, match="end is missing"):
        fastk.saving.load_model(path)


def change(name, value):
    return lambda members: members.pop(name) if value is None else members.update({name: value})


@pytest.mark.parametrize(
    ("change", "says"),
    (
        (change("config.json", None), r"no member `config\.json`"),
        (change("model.weights.h5", None), r"no member `model\.weights\.h5`"),
        (change("config.json", b"{"), "not valid JSON"),
        (change("config.json", b"\xff\xfe"), "not valid JSON"),
        (change("config.json", b"[" * 100000), "not valid JSON"),
        (change("config.json", b"[1]"), "does not describe a model.*a list"),
        (change("config.json", b'{"config": {}}'), r"does not describe a model.*\['config'\]"),
        (change("config.json", b'{"class_name": "__ellipsis__", "config": {}}'), "not a model"),
        (change("model.weights.h5", b"nothing"), "not a readable HDF5 file"),
        (change("model.weights.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 600), "not a readable HDF5 file"),
        (change("../evil", b""), r"outside of its folder"),
        (change("/etc/evil", b""), r"outside of its folder"),
        (change("assets/../../evil", b""), r"outside of its folder"),
        (change("assets\\..\\evil", b""), r"outside of its folder"),
        (change("c:/evil", b""), r"outside of its folder"),
    ),
)
def test_a_malformed_archive_is_refused(path, change, says):
    rewritten(path, change)
    with pytest.raises(FileFormatError, match=says):
        fastk.saving.load_model(path)


def test_weights_as_npz_are_refused(path):
    rewritten(path, lambda members: members.update({"model.weights.npz": members.pop("model.weights.h5")}))
    with pytest.raises(FileFormatError, match="npz"):
        fastk.saving.load_model(path)


def test_members_of_one_name_are_refused(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    with pytest.raises(FileFormatError, match="two members of one name"):
        fastk.saving.load_model(path)


@pytest.mark.parametrize("name", ("config.json", "model.weights.h5", "assets/x"))
def test_members_that_would_fill_the_memory_are_refused(path, name):
    rewritten(path, change(name, b"\0" * (16 << 20)), zipfile.ZIP_DEFLATED)
    with pytest.raises(FileFormatError, match="decompression bomb"):
        fastk.saving.load_model(path)


def test_members_that_lie_in_one_place_are_refused(path):
    """Many entries of one compressed block: each is small, and their sum is not."""
    data = pathlib.Path(path).read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, weights = archive.start_dir, archive.getinfo("model.weights.h5")
    entries = data[start:-22]
    last = entries[entries.rindex(b"PK\1\2") :]
    copies = b"".join(last.replace(b"model.weights.h5", f"assets/{i:09}".encode()) for i in range(9))
    end = bytearray(data[-22:])
    end[8:10] = end[10:12] = (3 + 9).to_bytes(2, "little")
    end[12:16] = (len(entries) + len(copies)).to_bytes(4, "little")
    with open(path, "wb") as file:
        file.write(data[:start] + entries + copies + bytes(end))
    assert weights.file_size > 1000
    with pytest.raises(FileFormatError, match="share their place"):
        fastk.saving.load_model(path)


def test_an_unknown_class_is_named_once(path):
    def rename(members):
        members["config.json"] = members["config.json"].replace(b'"class_name": "Dense"', b'"class_name": "Danse"')

    rewritten(path, rename)
    with pytest.raises(TypeError, match="Could not locate class 'Danse'") as caught:
        fastk.saving.load_model(path)
    assert str(caught.value).count("Could not locate") == 1
    assert len(str(caught.value)) < 2000


def test_a_registered_class_is_not_mistaken_for_one_of_the_same_name(path):
    def rename(members):
        old, new = b'"registered_name": null, "build_config"', b'"registered_name": "mine>Dense", "build_config"'
        members["config.json"] = members["config.json"].replace(old, new)

    rewritten(path, rename)
    with pytest.raises(ValueError, match=r"mine>Dense.*resolved to a Keras built-in"):
        fastk.saving.load_model(path)


def test_a_class_that_is_not_public_is_never_imported(path):
    def rename(members):
        old, new = b'"module": "keras.layers", "class_name": "Dense"', b'"module": "subprocess", "class_name": "Popen"'
        assert old in members["config.json"]
        members["config.json"] = members["config.json"].replace(old, new)

    rewritten(path, rename)
    with pytest.raises(TypeError, match="Could not locate class 'Popen'"):
        fastk.saving.load_model(path)


# ---------------------------------------------------------------- damage


def test_damaged_bytes_never_give_another_model(model, path, tmp_path):
    """Each member has a checksum: a changed byte is either noticed, or in a place that means nothing."""
    rng = np.random.default_rng(7)
    data = pathlib.Path(path).read_bytes()
    noticed = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            loaded = fastk.saving.load_model(io.BytesIO(bytes(damaged)))
        except FileFormatError:
            noticed += 1
        else:
            assert same(loaded, model)
    assert noticed > 250


@pytest.mark.filterwarnings("ignore:Skipping variable loading")  # the optimizer may have become another
def test_a_damaged_configuration_raises_what_is_expected(path):
    """Keys and values of the configuration are replaced; the checksums are right."""
    rng = np.random.default_rng(8)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    raised = 0
    for _ in range(200):
        config = json.loads(members["config.json"])
        _spoil(config, rng)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, contents in {**members, "config.json": json.dumps(config).encode()}.items():
                archive.writestr(name, contents)
        try:
            fastk.saving.load_model(buffer)
        except (ValueError, TypeError) as error:
            assert str(error)
            raised += 1
    assert raised > 100


def _spoil(config, rng):
    """Changes one value somewhere in `config`."""
    places = []

    def collect(value):
        items = (
            list(value.items())
            if isinstance(value, dict)
            else list(enumerate(value))
            if isinstance(value, list)
            else []
        )
        for key, child in items:
            places.append((value, key))
            collect(child)

    collect(config)
    container, key = places[rng.integers(len(places))]
    values = [None, -1, 0, 1.5, "", "x", [], [None], {}, {"class_name": "x"}, True]
    if isinstance(container, dict) and rng.random() < 0.3:
        del container[key]
    else:
        container[key] = values[rng.integers(len(values))]


def test_a_folder_keeps_what_else_is_in_it(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model.save(tmp_path, zipped=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    shutil.rmtree(tmp_path)
