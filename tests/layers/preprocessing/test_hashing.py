"""Hashes against those of TensorFlow 2.20, which were computed with it and are written here."""

import numpy as np
import pytest

import fastk as keras
from fastk import layers
from fastk.layers.preprocessing.farmhash import buckets, concatenated, fingerprint64

# Lengths on both sides of each case of the hash.
STRINGS = [
    s.encode()
    for s in ("", "a", "abc", "abcd", "abcdefg", "abcdefgh", "q" * 16, "0123456789abcdefg", "z" * 32, "y" * 33,
              "w" * 64, "v" * 65, "é" * 50, "u" * 129, "t" * 512)
]  # fmt: skip
BINS = 2**62
FAST = [
    1936946117179621455, 3694432073954588131, 2640714258260161385, 1897425971756105985, 4341691227789030229,
    4533385575889643785, 1528795190436746312, 2800675501336285770, 917556916822743649, 3999049019338133246,
    4555407945498560506, 978096718525207200, 2456893889797950300, 1186471084750925620, 3737917412912981763,
]  # fmt: skip
STRONG = [  # with the key (133, 137)
    316627932347062996, 2466253977694453450, 2288159068006480041, 3196519216900852167, 1733789709272385407,
    210173030064361732, 3239028789588563559, 2112349501170619355, 2755587857091745110, 3745711414651606668,
    702089228601891224, 3711674255615176459, 3941843015300446237, 2380275280373032663, 680899877466845447,
]  # fmt: skip
CROSSED = [  # each with its number less 5
    3923258894332052077, 2752765989548387175, 4076259696074339601, 1527473021719015867, 954107829257450640,
    3931358472404910031, 1881641401664233009, 1025308978011307468, 4192627362817237645, 781196752503619352,
    3964919347389824589, 4323101003072225399, 291896753410829818, 750156208004051873, 3635344844210662170,
]  # fmt: skip


def test_fingerprints_are_those_of_tensorflow():
    assert buckets(STRINGS, BINS).tolist() == FAST
    assert buckets(STRINGS, BINS, (133, 137)).tolist() == STRONG
    key = np.full(len(STRINGS), 0xDECAFCAFFE, np.uint64)
    numbers = (np.arange(len(STRINGS)) - 5).view(np.uint64)
    crossed = concatenated(concatenated(key, fingerprint64(STRINGS)), numbers)
    assert (crossed % np.uint64(BINS)).astype("int64").tolist() == CROSSED


def test_strings_are_hashed_in_any_order_and_number():
    shuffled = [*STRINGS[::-1], *STRINGS]
    assert buckets(shuffled, BINS).tolist() == [*FAST[::-1], *FAST]
    assert buckets([], 5).tolist() == []


def test_the_documented_examples():
    data = [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert layers.Hashing(num_bins=3)(data).flatten().tolist() == [1, 0, 1, 1, 2]
    assert layers.Hashing(num_bins=3, mask_value="")([["A"], ["B"], [""], ["C"], ["D"]]).flatten().tolist() == [
        1, 1, 0, 2, 2,
    ]  # fmt: skip
    assert layers.Hashing(num_bins=3, salt=[133, 137])(data).flatten().tolist() == [1, 2, 1, 0, 2]
    assert layers.Hashing(num_bins=3, salt=133)(data).flatten().tolist() == [0, 0, 2, 1, 0]


def test_numbers_are_hashed_by_their_digits():
    layer = layers.Hashing(num_bins=1000)
    expected = buckets([b"100", b"-7"], 1000).tolist()
    assert layer(np.array([100, -7])).tolist() == expected
    assert layer(np.array([100.9, -7.2])).tolist() == expected, "floats are cut"


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_output_modes(mode):
    layer = layers.Hashing(num_bins=4, output_mode=mode)
    data = np.array([["a"], ["b"]]) if mode == "one_hot" else np.array([["a", "b", "a"], ["c", "c", "c"]])
    indices = layers.Hashing(num_bins=4)(data).numpy()
    counts = np.stack([np.bincount(row, minlength=4) for row in indices])
    expected = counts if mode == "count" else counts > 0
    np.testing.assert_array_equal(layer(data), expected)
    assert layer(keras.Input(data.shape[1:], dtype="string")).shape == (None, 4)


def test_crossing():
    layer = layers.HashedCrossing(num_bins=5)
    features = np.array(["A", "B", "A", "B", "A"]), np.array([101, 101, 101, 102, 102])
    assert layer(features).tolist() == [1, 4, 1, 1, 3], "as documented"
    columns = tuple(x[:, None] for x in features)
    assert layer(columns).tolist() == [[1], [4], [1], [1], [3]]
    one_hot = layers.HashedCrossing(num_bins=5, output_mode="one_hot")
    np.testing.assert_array_equal(one_hot(features), np.eye(5)[[1, 4, 1, 1, 3]])
    assert layers.HashedCrossing.from_config(one_hot.get_config()).get_config() == one_hot.get_config()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.Hashing(0), "`num_bins`.*non-positive"),
        (lambda: layers.Hashing(2, salt="x"), "`salt`"),
        (lambda: layers.Hashing(2, output_mode="rows"), "`output_mode`"),
        (lambda: layers.Hashing(2, dtype="float32"), "integer type"),
        (lambda: layers.Hashing(2, output_mode="count", sparse=True), "outputs are dense"),
        (lambda: layers.HashedCrossing(2)(np.ones(3, "int64")), "list or tuple of inputs"),
        (lambda: layers.HashedCrossing(2)([np.ones(3, "int64")]), "at least two inputs"),
        (lambda: layers.HashedCrossing(2)([np.ones(3), np.ones(3)]), "integer or string dtype"),
        (lambda: layers.HashedCrossing(2)([np.ones(3, "int64"), np.ones(4, "int64")]), "equal shape"),
        (lambda: layers.HashedCrossing(2)([np.ones((3, 2), "int64")] * 2), "should have shape"),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()
