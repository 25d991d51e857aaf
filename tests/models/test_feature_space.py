import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.utils import FeatureSpace

DATA = {
    "size": [1.0, 2.0, 3.0, 6.0],
    "color": ["red", "blue", "red", "green"],
    "code": [3, 3, 4, 5],
    "share": [0.1, 0.2, 0.3, 0.9],
}


def space(output_mode="concat", **kwargs):
    features = {
        "size": "float_normalized",
        "color": "string_categorical",
        "code": FeatureSpace.integer_categorical(),
        "share": FeatureSpace.float_discretized(num_bins=2, bin_boundaries=None),
    }
    return FeatureSpace(features, output_mode=output_mode, **kwargs)


def adapted(**kwargs):
    made = space(**kwargs)
    made.adapt(DATA)
    return made


def test_each_column_by_its_kind():
    outputs = adapted(output_mode="dict", crosses=[("color", "code")], crossing_dim=8)(DATA)
    size = np.array(DATA["size"])
    np.testing.assert_allclose(outputs["size"][:, 0], (size - size.mean()) / size.std(), rtol=1e-5)
    np.testing.assert_array_equal(outputs["color"], np.eye(4)[[1, 3, 1, 2]])  # unknown, red, green, blue
    np.testing.assert_array_equal(outputs["code"], np.eye(4)[[1, 1, 3, 2]])  # unknown, 3, 5, 4
    assert outputs["share"].shape == (4, 2) and outputs["share"].sum(1).tolist() == [1, 1, 1, 1]
    crossed = layers.HashedCrossing(8)([np.array([1, 3, 1, 2]), np.array([1, 1, 3, 2])])
    np.testing.assert_array_equal(outputs["color_X_code"], np.eye(8)[crossed])


def test_columns_are_joined_in_the_order_of_their_names():
    vectors, parts = adapted()(DATA), adapted(output_mode="dict")(DATA)
    np.testing.assert_array_equal(vectors, np.concatenate([parts[name] for name in sorted(parts)], axis=1))


def test_one_row():
    made = adapted()
    row = {name: column[1] for name, column in DATA.items()}
    np.testing.assert_array_equal(made(row), made(DATA)[1])


def test_adapt_takes_rows_and_batches():
    expected = adapted()(DATA)
    rows = [{name: column[i] for name, column in DATA.items()} for i in range(4)]
    arrays = {name: np.array(column) for name, column in DATA.items()}
    batches = [{name: column[i : i + 2] for name, column in arrays.items()} for i in (0, 2)]
    loader = torch.utils.data.DataLoader(rows, batch_size=2)  # type: ignore[arg-type]
    for data in (iter(rows), batches, loader):
        made = space()
        made.adapt(data)
        np.testing.assert_allclose(made(DATA), expected, atol=1e-6)


def test_a_model_on_top_and_files(tmp_path):
    made = adapted(crosses=[("color", "code")])
    model = keras.Model(made.get_inputs(), layers.Dense(1)(made.get_encoded_features()))
    model.compile("sgd", "mse")
    data = {name: np.array(column) for name, column in DATA.items()}
    model.fit(data, np.zeros((4, 1)), verbose=0)
    assert model.predict(data, verbose=0).shape == (4, 1)
    made.save(tmp_path / "space.keras")
    loaded = keras.models.load_model(tmp_path / "space.keras")
    np.testing.assert_array_equal(loaded(DATA), made(DATA))
    assert loaded.preprocessors["color"].get_vocabulary() == made.preprocessors["color"].get_vocabulary()


def test_a_layer_of_ones_own():
    text = layers.TextVectorization(output_mode="count")
    made = FeatureSpace({"text": FeatureSpace.feature("string", text, "float")})
    made.adapt({"text": ["a b", "b c c"]})
    assert made({"text": ["c c x"]}).sum().item() == 3


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: FeatureSpace({}), "cannot be None or empty"),
        (lambda: FeatureSpace({"a": "number"}), "Invalid feature type: number"),
        (lambda: space(output_mode="rows"), "`output_mode`"),
        (lambda: space(crosses=[("color", "shape")]), "unknown features"),
        (lambda: space(crosses=[("color", "code")], crossing_dim=None), "`crossing_dim`"),
        (lambda: space()(DATA), r"You need to call `.adapt\(dataset\)`"),
        (lambda: space().adapt(3), "dict of arrays/lists"),
        (lambda: adapted()([1]), "only be called with a dict"),
        (
            lambda: FeatureSpace({"a": FeatureSpace.integer_hashed(4, output_mode="int")}).get_encoded_features(),
            "has not been encoded",
        ),
    ],
)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()
