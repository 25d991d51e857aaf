"""`StringLookup` and `IntegerLookup`: vocabularies, output modes, files."""

import math

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.errors import DeserializationError
from fastk.layers.preprocessing.farmhash import buckets


def test_indices_begin_with_the_mask_then_unknown_tokens():
    data = [["a", "c", "d"], ["m", "z", "b"]]
    vocabulary = ["a", "b", "c", "d"]
    assert layers.StringLookup(vocabulary=vocabulary)(data).tolist() == [[1, 3, 4], [0, 0, 2]]
    masked = layers.StringLookup(vocabulary=vocabulary, mask_token="m")
    assert masked(data).tolist() == [[2, 4, 5], [0, 1, 3]]
    assert masked.get_vocabulary() == ["m", "[UNK]", *vocabulary] and masked.vocabulary_size() == 6
    assert masked.get_vocabulary(include_special_tokens=False) == vocabulary
    whole = layers.StringLookup(vocabulary=["m", "[UNK]", *vocabulary], mask_token="m")
    assert whole(data).tolist() == masked(data).tolist()


@pytest.mark.parametrize(
    "data",
    [
        [["a", "b"]],
        (("a", "b"),),
        np.array([["a", "b"]]),
        np.array([[b"a", b"b"]]),
        np.array([["a", "b"]], dtype=object),
    ],
    ids=["lists", "tuples", "unicode", "bytes", "objects"],
)
def test_kinds_of_text(data):
    outputs = layers.StringLookup(vocabulary=["a", "b"])(data)
    assert outputs.tolist() == [[1, 2]] and outputs.dtype is torch.int64
    assert layers.StringLookup(vocabulary=["a", "b"])("b").item() == 2


@pytest.mark.parametrize("make", [layers.StringLookup, layers.IntegerLookup])
@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count", "tf_idf"])
def test_output_modes(make, mode):
    text = make is layers.StringLookup
    tokens = ["a", "b", "c"] if text else [10, 20, 30]
    rows = [[tokens[0], tokens[2], tokens[2]], [tokens[1], "zz" if text else 7, tokens[1]]]
    options = {"idf_weights": [0.5, 0.25, 2.0]} if mode == "tf_idf" else {}
    layer = make(vocabulary=tokens, output_mode=mode, **options)
    outputs = layer(rows if text else np.array(rows))
    counts = np.array([[0, 1, 0, 2], [1, 0, 2, 0]])
    if mode == "one_hot":
        expected = np.eye(4)[[[1, 3, 3], [2, 0, 2]]]
    elif mode == "multi_hot":
        expected = counts > 0
    else:
        expected = counts * (1 if mode == "count" else np.array([2.75 / 3, 0.5, 0.25, 2.0]))
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert layer.compute_output_shape((2, 3)) == ((2, 3, 4) if mode == "one_hot" else (2, 4))
    padded = make(vocabulary=tokens, output_mode=mode, max_tokens=7, pad_to_max_tokens=True, **options)
    assert padded(rows if text else np.array(rows)).shape[-1] == 7


def test_masked_tokens_count_for_nothing():
    layer = layers.StringLookup(vocabulary=["a"], mask_token="", output_mode="count")
    assert layer([["a", "", "x", ""]]).tolist() == [[1, 1]]
    numbers = layers.IntegerLookup(vocabulary=[5], mask_token=0, output_mode="multi_hot")
    assert numbers(np.array([[5, 0, 0]])).tolist() == [[0, 1]]


def test_adapt_sorts_by_frequency_then_by_token():
    layer = layers.StringLookup(max_tokens=4)
    layer.adapt(np.array(["d", "b", "c", "b", "a", "c", "b"]))
    assert layer.get_vocabulary() == ["[UNK]", "b", "c", "d"], "of equally frequent ones the greatest"
    numbers = layers.IntegerLookup()
    numbers.adapt(np.array([[7, 7, 1], [2, 2, 9]]))
    assert numbers.get_vocabulary() == [-1, 7, 2, 9, 1]


def test_adapt_takes_batches():
    expected = ["[UNK]", "b", "a", "c"]

    def generator():
        yield np.array(["a", "b"])
        yield np.array(["b", "c"])
        yield np.array(["b", "a"])

    class Words(torch.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return "abbcba"[i], i

    class Pairs(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return np.array(["ab", "bc", "ba"][i : i + 1]).view("U1"), np.zeros(2)

    for data in (generator(), torch.utils.data.DataLoader(Words(), batch_size=2), Pairs(workers=1), list("abbcba")):
        layer = layers.StringLookup()
        layer.adapt(data)
        assert layer.get_vocabulary() == expected
    layer = layers.StringLookup()
    layer.adapt(generator(), steps=1)
    assert set(layer.get_vocabulary()) == {"[UNK]", "a", "b"}


def test_adapt_learns_document_frequencies():
    layer = layers.StringLookup(output_mode="tf_idf")
    layer.adapt([["a", "a", "b"], ["a", "c", "c"], ["a", "b", "b"]])
    idf = {token: math.log(1 + 3 / (1 + n)) for token, n in {"a": 3, "b": 2, "c": 1}.items()}
    assert layer.get_vocabulary() == ["[UNK]", "a", "b", "c"]
    outputs = layer([["a", "a", "c"], ["x", "b", "x"]])
    mean = np.mean(list(idf.values()))
    np.testing.assert_allclose(outputs, [[0, 2 * idf["a"], 0, idf["c"]], [2 * mean, 0, idf["b"], 0]], rtol=1e-6)


def test_unknown_tokens_of_several_indices():
    text = layers.StringLookup(vocabulary=["a"], num_oov_indices=3)
    words = ["x", "y", "zebra", "a"]
    expected = [*buckets([b"x", b"y", b"zebra"], 3), 3]
    assert text(words).tolist() == expected
    salted = layers.StringLookup(vocabulary=["a"], num_oov_indices=3, salt=[5, 6])
    assert salted(words).tolist() == [*buckets([b"x", b"y", b"zebra"], 3, [5, 6]), 3]
    numbers = layers.IntegerLookup(vocabulary=[10], num_oov_indices=4)
    assert numbers(np.array([10, 7, -3, 8])).tolist() == [4, 3, 1, 0]
    # The values that Keras's documentation shows.
    hashed = layers.IntegerLookup(vocabulary=[10, 20, 30], num_oov_indices=4, oov_method="farmhash")
    assert hashed(np.array([100, 300, 700, 1100, 1700, 2000])).tolist() == [3, 3, 2, 2, 0, 1]


def test_without_an_index_for_them_unknown_tokens_are_an_error():
    with pytest.raises(ValueError, match=r"found OOV values \['x'\].*`num_oov_indices=1`"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "x"])
    with pytest.raises(ValueError, match=r"found OOV values \[7\]"):
        layers.IntegerLookup(vocabulary=[1], num_oov_indices=0)(np.array([1, 7]))


def test_inverse_lookup():
    words = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    outputs = words(np.array([[1, 0], [2, 9]]))
    assert outputs.tolist() == [["a", "[UNK]"], ["b", "[UNK]"]]
    masked = layers.StringLookup(vocabulary=["a", "b"], invert=True, mask_token="m")
    assert masked([0, 1, 2]).tolist() == ["m", "[UNK]", "a"]
    numbers = layers.IntegerLookup(vocabulary=[12, 36], invert=True)
    assert numbers(np.array([[1, 2], [0, 5]])).tolist() == [[12, 36], [-1, -1]]


def test_a_vocabulary_in_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("earth\nwind\nfire\n", encoding="utf-8")
    assert layers.StringLookup(vocabulary=str(path))(["fire", "water"]).tolist() == [3, 0]
    path.write_text("5\n7\n", encoding="utf-8")
    assert layers.IntegerLookup(vocabulary=str(path))(np.array([7, 6])).tolist() == [2, 0]
    with pytest.raises(ValueError, match="does not exist"):
        layers.StringLookup(vocabulary=str(tmp_path / "none.txt"))


@pytest.mark.parametrize("mode", ["int", "tf_idf"])
def test_a_learned_vocabulary_is_saved_with_its_model(mode, tmp_path):
    lookup = layers.StringLookup(output_mode=mode, mask_token="", num_oov_indices=2)
    lookup.adapt([["a", "b", "b"], ["é", "b", "two words"]])
    inputs = keras.Input((3,), dtype="string")
    model = keras.Model(inputs, lookup(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    data = np.array([["é", "", "two words"], ["b", "zz", "yy"]])
    np.testing.assert_array_equal(loaded(data), model(data))
    assert loaded.layers[-1].get_vocabulary() == lookup.get_vocabulary()


def test_a_file_named_in_a_configuration_is_not_read_in_safe_mode(tmp_path):
    (tmp_path / "secret.txt").write_text("a\n")
    config = layers.StringLookup().get_config() | {"vocabulary": str(tmp_path / "secret.txt")}
    written = {"module": "keras.layers", "class_name": "StringLookup", "config": config, "registered_name": None}
    with pytest.raises(DeserializationError, match="outside of the model archive"):
        keras.layers.deserialize(written)


@pytest.mark.parametrize("make", [layers.StringLookup, layers.IntegerLookup])
def test_configuration(make):
    tokens = ["a", "b"] if make is layers.StringLookup else [4, 5]
    layer = make(vocabulary=np.array(tokens), num_oov_indices=2, name="lookup")
    clone = make.from_config(layer.get_config())
    assert clone.get_config() == layer.get_config() and clone.get_vocabulary() == layer.get_vocabulary()
    assert layer.get_config()["vocabulary"] == tokens
    outputs = layer(keras.Input((3,), dtype="string"))
    assert outputs.shape == (None, 3) and outputs.dtype == "int64"


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: layers.StringLookup(max_tokens=1), ValueError, "`max_tokens`.*greater than 1"),
        (lambda: layers.StringLookup(pad_to_max_tokens=True), ValueError, "must set `max_tokens`"),
        (lambda: layers.StringLookup(num_oov_indices=-1), ValueError, "`num_oov_indices`"),
        (lambda: layers.StringLookup(output_mode="rows"), ValueError, "`output_mode`"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), ValueError, "must be `'int'` when `invert`"),
        (lambda: layers.StringLookup(sparse=True), ValueError, "outputs are dense"),
        (lambda: layers.StringLookup(vocabulary=["a", "a"]), ValueError, r"repeated terms are: \['a'\]"),
        (lambda: layers.StringLookup(vocabulary=["a", "m"], mask_token="m"), ValueError, "mask token at unexpected"),
        (lambda: layers.StringLookup(vocabulary=[]), ValueError, "empty vocabulary"),
        (lambda: layers.StringLookup(vocabulary=list("abc"), max_tokens=3), ValueError, "size is 4; `max_tokens` is 3"),
        (lambda: layers.StringLookup(output_mode="tf_idf", vocabulary=["a"]), ValueError, "`idf_weights`"),
        (lambda: layers.StringLookup(color="red"), ValueError, r"Unrecognized keyword argument\(s\): .*color"),
        (lambda: layers.StringLookup(vocabulary=["a"]).adapt(["b"]), ValueError, "static vocabulary"),
        (lambda: layers.StringLookup(output_mode="count")(["a"]), RuntimeError, "vocabulary before calling"),
        (
            lambda: layers.StringLookup(vocabulary=["a"])([1, 2]),
            TypeError,
            r"Expected strings. Received: 1 \(of type int",
        ),
        (lambda: layers.StringLookup(vocabulary=["a"])([["a"], ["a", "b"]]), ValueError, "ragged"),
        (lambda: layers.IntegerLookup(vocabulary_dtype="int32"), ValueError, "int64"),
        (lambda: layers.IntegerLookup(salt=3), ValueError, "oov_method='farmhash'"),
    ],
)
def test_what_is_wrong_is_said(act, error, message):
    with pytest.raises(error, match=message):
        act()
