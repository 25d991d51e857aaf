"""`FeatureSpace`: each feature in its own way, joined."""

import numpy as np
import pytest

import fastk
from fastk.utils import Dataset, FeatureSpace

DATA = {
    "size": [1.0, 3.0, 1.0, 3.0],
    "colour": ["red", "blue", "red", "red"],
    "age": [7, 7, 8, 7],
    "price": [1.0, 2.0, 3.0, 4.0],
}


def features(**others):
    return {"size": "float_normalized", "colour": "string_categorical", "age": "integer_categorical", **others}


@pytest.mark.parametrize(
    "given",
    (
        DATA,
        Dataset.from_tensor_slices(DATA),
        Dataset.from_tensor_slices(DATA).batch(3),
        [{key: values[i] for key, values in DATA.items()} for i in range(4)],
    ),
)
def test_values_of_each_kind(given):
    space = FeatureSpace(features(price="float"), output_mode="dict")
    space.adapt(given)
    found = space(DATA)
    assert found["size"].ravel().tolist() == [-1, 1, -1, 1]
    # The most frequent word has number 1; 0 is for words that were not seen.
    assert found["colour"].tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert found["age"].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert found["price"].ravel().tolist() == [1, 2, 3, 4]


def test_joined_in_the_order_of_names_crosses_last():
    space = FeatureSpace(features(price="float"), crosses=[("colour", "age")], crossing_dim=5)
    space.adapt(DATA)
    whole = space(DATA)
    assert whole.shape == (4, 3 + 3 + 1 + 1 + 5) and space.get_encoded_features().shape == (None, 13)
    parts = FeatureSpace(features(price="float"), output_mode="dict")
    parts.adapt(DATA)
    found = parts(DATA)
    joined = np.concatenate([found[key].numpy() for key in ("age", "colour", "price", "size")], axis=1)
    np.testing.assert_array_equal(whole[:, :8].numpy(), joined)
    assert (whole[:, 8:].sum(1) == 1).all() and (whole[0, 8:] == whole[3, 8:]).all()
    one = space({key: values[1] for key, values in DATA.items()})
    np.testing.assert_array_equal(one.numpy(), whole[1].numpy())


def test_features_of_ones_own():
    space = FeatureSpace(
        {
            "size": FeatureSpace.float_rescaled(scale=2.0, offset=1.0),
            "price": FeatureSpace.float_discretized(2, bin_boundaries=[2.5]),
            "colour": FeatureSpace.string_hashed(3, output_mode="int"),
            "age": FeatureSpace.feature("int32", fastk.layers.CategoryEncoding(9, "one_hot"), "float"),
        },
        output_mode="dict",
    )
    found = space(DATA)  # nothing has to be learnt
    assert found["size"].ravel().tolist() == [3, 7, 3, 7]
    assert found["price"].argmax(-1).tolist() == [0, 0, 1, 1] and found["price"].shape == (4, 2)
    assert found["age"].argmax(-1).tolist() == DATA["age"]
    assert set(found["colour"].ravel().tolist()) <= {0, 1, 2}


def test_in_a_dataset_and_in_a_model():
    space = FeatureSpace(features())
    space.adapt(DATA)
    data = Dataset.from_tensor_slices((DATA, [0.0, 1.0, 0.0, 1.0])).batch(2)
    encoded = data.map(lambda x, y: (space(x), y), num_parallel_calls=2)
    inner = fastk.Sequential([fastk.Input((7,)), fastk.layers.Dense(1)])
    inner.compile("sgd", "mse")
    inner.fit(encoded, epochs=2, verbose=0)
    whole = fastk.Model(space.get_inputs(), inner(space.get_encoded_features()))
    batch = {key: np.array(DATA[key], dtype=object if key == "colour" else None)[:, None] for key in features()}
    expected = inner.predict(encoded.map(lambda x, y: x), verbose=0)
    np.testing.assert_allclose(whole.predict(batch, verbose=0), expected, rtol=1e-5)


def test_saved_with_what_was_learnt(tmp_path):
    space = FeatureSpace(features(price="float_discretized"), crosses=[("colour", "age")], num_discretization_bins=2)
    space.adapt(DATA)
    space.save(tmp_path / "space.keras")
    loaded = fastk.saving.load_model(tmp_path / "space.keras")
    np.testing.assert_array_equal(loaded(DATA).numpy(), space(DATA).numpy())


@pytest.mark.parametrize(
    "call, message",
    (
        (lambda: FeatureSpace({}), "cannot be None or empty"),
        (lambda: FeatureSpace({"a": "number"}), "Invalid feature type: number"),
        (lambda: FeatureSpace({"a": "float"}, output_mode="list"), "Invalid value for argument `output_mode`"),
        (lambda: FeatureSpace({"a": "float"}, crosses=[("a", "b")]), r"unknown features: \['b'\]"),
        (lambda: FeatureSpace.cross(("a", "b"), 3, "float"), "Invalid value for argument `output_mode`"),
        (lambda: FeatureSpace({"a": "float_normalized"})({"a": 1.0}), "You need to call `.adapt"),
        (lambda: FeatureSpace({"a": "float"})([1.0]), "only be called with a dict"),
        (lambda: FeatureSpace({"a": "float", "b": "float"})({"a": 1.0}), r"lacks the features \['b'\]"),
        (lambda: FeatureSpace({"a": "float_normalized"}).adapt("text"), "dict of arrays/lists"),
        (lambda: FeatureSpace({"a": FeatureSpace.integer_hashed(3, "int")})({"a": 1}), "has not been encoded"),
        (
            lambda: FeatureSpace({"a": FeatureSpace.feature("float32", fastk.layers.Identity(), "one_hot")})({"a": 1}),
            "isn't a standard feature",
        ),
    ),
)
def test_what_is_wrong_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
