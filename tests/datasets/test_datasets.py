"""The data sets, from files of a few samples that lie where the real ones would be downloaded from."""

import gzip
import json
import pickle
import tarfile

import numpy as np
import pytest

import fastk
from fastk import datasets
from fastk.datasets import sources
from fastk.errors import FileFormatError
from fastk.utils.files import hash_file


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """`publish(name, path)` makes a local file the source of a name; the cache is empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "published"
    folder.mkdir()

    def publish(name, write, file_hash=True):
        path = folder / name
        write(path)
        source = sources.SOURCES[name]._replace(url=path.as_uri(), file_hash=hash_file(path) if file_hash else None)
        monkeypatch.setitem(sources.SOURCES, name, source)
        return path

    return publish


def npz(**arrays):
    return lambda path: np.savez(path.with_suffix(""), **arrays)


def objects(sequences):
    array = np.empty(len(sequences), dtype=object)
    array[:] = sequences
    return array


def test_mnist_is_downloaded_once(publish, tmp_path, capsys):
    arrays = {"x_train": np.ones((3, 28, 28), "uint8"), "y_train": np.arange(3, dtype="uint8")}
    arrays |= {"x_test": np.zeros((2, 28, 28), "uint8"), "y_test": np.arange(2, dtype="uint8")}
    published = publish("mnist.npz", npz(**arrays))
    (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data()
    for found, name in ((x_train, "x_train"), (y_train, "y_train"), (x_test, "x_test"), (y_test, "y_test")):
        np.testing.assert_array_equal(found, arrays[name])
    assert "Downloading data from file://" in capsys.readouterr().out
    assert (tmp_path / "home" / "datasets" / "mnist.npz").exists()
    published.unlink()
    datasets.mnist.load_data()
    assert capsys.readouterr().out == ""


def test_offline_the_error_says_where_to_put_the_file(publish, tmp_path):
    publish("mnist.npz", npz(x=np.zeros(1))).unlink()
    with pytest.raises(OSError, match=r"URL fetch failure.*put it at .*home.datasets.mnist\.npz"):
        datasets.mnist.load_data()


def test_fashion_mnist(publish, tmp_path):
    def idx(array):
        def write(path):
            head = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            with gzip.open(path, "wb") as file:
                file.write(head + array.astype("uint8").tobytes())

        return write

    images, labels = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256, np.array([7, 9])
    for part, count in (("train", 2), ("t10k", 1)):
        publish(f"{part}-images-idx3-ubyte.gz", idx(images[:count]), file_hash=False)
        publish(f"{part}-labels-idx1-ubyte.gz", idx(labels[:count]), file_hash=False)
    (x_train, y_train), (x_test, y_test) = datasets.fashion_mnist.load_data()
    np.testing.assert_array_equal(x_train, images)
    np.testing.assert_array_equal(y_train, labels)
    assert x_test.shape == (1, 28, 28) and y_test.tolist() == [7] and x_train.dtype == np.uint8

    cached = tmp_path / "home" / "datasets" / "fashion-mnist" / "train-labels-idx1-ubyte.gz"
    cached.write_bytes(cached.read_bytes()[:20])
    with pytest.raises(FileFormatError, match="Remove it"):
        datasets.fashion_mnist.load_data()


def cifar_archive(folder, batches):
    def write(path):
        members = path.parent / folder
        members.mkdir()
        for name, batch in batches.items():
            (members / name).write_bytes(pickle.dumps(batch))
        with tarfile.open(path, "w:gz") as tar:
            tar.add(members, arcname=folder)

    return write


def pixels(n, value):
    return np.full((n, 3072), value, "uint8")


def test_cifar10(publish):
    batches = {f"data_batch_{i}": {b"data": pixels(2, i), b"labels": [i, 0]} for i in range(1, 6)}
    red = np.concatenate([np.full(1024, channel) for channel in (10, 20, 30)]).astype("uint8")
    batches["test_batch"] = {b"data": red[None], b"labels": [4]}
    publish("cifar-10-batches-py-target", cifar_archive("cifar-10-batches-py", batches))
    (x_train, y_train), (x_test, y_test) = datasets.cifar10.load_data()
    assert x_train.shape == (10, 32, 32, 3) and y_train.shape == (10, 1) and y_train.dtype == np.uint8
    assert x_train[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert x_test[0, 5, 6].tolist() == [10, 20, 30] and y_test.tolist() == [[4]]
    fastk.config.set_image_data_format("channels_first")
    try:
        assert datasets.cifar10.load_data()[0][0].shape == (10, 3, 32, 32)
    finally:
        fastk.config.set_image_data_format("channels_last")


def test_cifar100(publish):
    batch = {b"data": pixels(1, 1), b"fine_labels": [99], b"coarse_labels": [19]}
    batches = dict.fromkeys(("train", "test"), batch)
    publish("cifar-100-python-target", cifar_archive("cifar-100-python", batches))
    assert datasets.cifar100.load_data()[0][1].tolist() == [[99]]
    assert datasets.cifar100.load_data("coarse")[1][1].tolist() == [[19]]
    with pytest.raises(ValueError, match="`label_mode` must be one of"):
        datasets.cifar100.load_data("medium")


class Attack:
    def __reduce__(self):
        return print, ("attacked",)


def test_pickles_run_no_code(publish, capsys):
    batches = {name: Attack() for name in ("train", "test")}
    publish("cifar-100-python-target", cifar_archive("cifar-100-python", batches))
    with pytest.raises(FileFormatError, match=r"asks for builtins\.print"):
        datasets.cifar100.load_data()
    assert "attacked" not in capsys.readouterr().out


TEXTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [10]]


@pytest.fixture
def imdb(publish):
    arrays = {"x_train": objects(TEXTS), "y_train": np.array([0, 1, 1, 0])}
    publish("imdb.npz", npz(**arrays, x_test=objects(TEXTS[:2]), y_test=np.array([1, 0])))


def keras_order(seed, *sizes):
    rng = np.random.RandomState(seed)
    orders = [np.arange(size) for size in sizes]
    for order in orders:
        rng.shuffle(order)
    return orders


def test_imdb_marks_and_shuffles_as_keras_does(imdb):
    (x_train, y_train), (x_test, y_test) = datasets.imdb.load_data()
    train, test = keras_order(113, 4, 2)
    # 13, the greatest number, is one too many where `num_words` is None, as in Keras.
    expected = [[1, *(2 if word == 10 else word + 3 for word in TEXTS[i])] for i in train]
    assert x_train.tolist() == expected and x_train.dtype == object
    assert y_train.tolist() == np.array([0, 1, 1, 0])[train].tolist()
    assert x_test.tolist() == [[1, *(word + 3 for word in TEXTS[i])] for i in test]
    assert y_test.tolist() == np.array([1, 0])[test].tolist()


def test_imdb_keeps_frequent_words(imdb):
    (x_train, _), _ = datasets.imdb.load_data(num_words=8, skip_top=5, oov_char=None, start_char=None, index_from=0)
    train, _ = keras_order(113, 4, 2)
    assert x_train.tolist() == [[word for word in TEXTS[i] if 5 <= word < 8] for i in train]
    (x_train, y_train), _ = datasets.imdb.load_data(maxlen=4, num_words=100)
    assert all(len(words) < 4 for words in x_train) and len(x_train) == len(y_train) == 2
    with pytest.raises(ValueError, match="Increase maxlen"):
        datasets.imdb.load_data(maxlen=1)


def test_reuters(publish):
    publish("reuters.npz", npz(x=objects(TEXTS), y=np.array([3, 4, 5, 6])))
    (x_train, y_train), (x_test, y_test) = datasets.reuters.load_data(test_split=0.25, num_words=100)
    (order,) = keras_order(113, 4)
    assert [*x_train, *x_test] == [[1, *(word + 3 for word in TEXTS[i])] for i in order]
    assert [*y_train, *y_test] == [[3, 4, 5, 6][i] for i in order]
    assert len(x_train) == 3


@pytest.mark.parametrize("module", (datasets.imdb, datasets.reuters))
def test_word_indices(publish, module):
    name = f"{module.__name__.rpartition('.')[2]}_word_index.json"
    publish(name, lambda path: path.write_text(json.dumps({"the": 1})))
    assert module.get_word_index() == {"the": 1}


def test_housing(publish):
    x, y = np.arange(2000.0).reshape(1000, 2), np.arange(1000.0)
    publish("california_housing.npz", npz(x=x, y=y))
    publish("boston_housing.npz", npz(x=x[:10], y=y[:10]))
    (x_train, y_train), (x_test, y_test) = datasets.california_housing.load_data("small")
    (order,) = keras_order(113, 600)
    np.testing.assert_array_equal([*y_train, *y_test], order)
    np.testing.assert_array_equal(x_train[:, 0], 2 * y_train)
    assert len(x_test) == 120
    assert len(datasets.california_housing.load_data(test_split=0)[0][0]) == 1000
    assert len(datasets.boston_housing.load_data(test_split=0.5)[1][0]) == 5
    with pytest.raises(ValueError, match="`version` must be one of"):
        datasets.california_housing.load_data("tiny")
    with pytest.raises(ValueError, match="Invalid `test_split`"):
        datasets.boston_housing.load_data(test_split=1)


def test_every_source_is_where_keras_has_it():
    for name, source in sources.SOURCES.items():
        assert source.url.startswith("https://"), name
        assert source.file_hash is None or len(source.file_hash) in (32, 64), name
