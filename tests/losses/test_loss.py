"""The base of losses: weights, masks, reductions, dtypes, structures, what is handed to the user."""

import numpy as np
import pytest
import torch

import fastk
from fastk import losses
from fastk.losses.arrays import squeeze_or_expand_to_same_rank
from fastk.scopes import state
from fastk.tensor import set_keras_mask

EPS = float(np.finfo(np.float32).eps)


class SquaredError(losses.Loss):
    def call(self, y_true, y_pred):
        return (y_true - y_pred) ** 2


def close(actual, expected, n=1):
    """Within float32's rounding of a sum of `n` terms."""
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=4 * EPS * np.sqrt(n), atol=4 * EPS)


@pytest.fixture
def data(rng):
    y_true, y_pred = rng.random((6, 4)).astype("float32"), rng.random((6, 4)).astype("float32")
    values = (y_true.astype("float64") - y_pred) ** 2
    return y_true, y_pred, values


@pytest.mark.parametrize(
    ("reduction", "reduce"),
    [
        ("sum_over_batch_size", np.mean),
        ("mean", np.mean),
        ("mean_with_sample_weight", np.mean),  # without weights every entry weighs 1
        ("sum", np.sum),
        ("none", lambda v: v),
        (None, lambda v: v),
    ],
)
def test_reductions(data, reduction, reduce):
    y_true, y_pred, values = data
    close(SquaredError(reduction=reduction)(y_true, y_pred), reduce(values), values.size)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 4)], ids=["sample", "column", "entry"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
def test_sample_weights(data, rng, shape, reduction):
    y_true, y_pred, values = data
    weight = rng.random(shape)
    values = values if len(shape) == 2 else values.mean(1)
    loss = losses.MeanSquaredError(reduction=reduction) if len(shape) == 1 else SquaredError(reduction=reduction)
    weighted = values * weight
    expected = {
        "sum_over_batch_size": weighted.mean(),
        "sum": weighted.sum(),
        "mean_with_sample_weight": weighted.sum() / weight.sum(),
        None: weighted,
    }[reduction]
    close(loss(y_true, y_pred, sample_weight=weight), expected, values.size)


def test_zero_weights_give_zero_and_a_zero_gradient(data):
    y_true, y_pred, _ = data
    for reduction in ("sum_over_batch_size", "mean_with_sample_weight"):
        prediction = torch.tensor(y_pred, requires_grad=True)
        loss = SquaredError(reduction=reduction)(y_true, prediction, sample_weight=np.zeros((6, 1)))
        loss.backward()
        assert float(loss.detach()) == 0
        assert prediction.grad is not None and not prediction.grad.any()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_a_mask_leaves_entries_out(data, rng, reduction):
    y_true, y_pred, values = data
    mask = np.array([True, False, True, True, False, True])
    kept, weight = values.mean(1)[mask], rng.random(6)
    for sample_weight in (None, weight):
        prediction = torch.tensor(y_pred)
        set_keras_mask(prediction, torch.tensor(mask))
        weighted = kept if sample_weight is None else kept * weight[mask]
        divisor = mask.sum()
        if reduction == "mean_with_sample_weight" and sample_weight is not None:
            divisor = weight[mask].sum()
        expected = weighted.sum() / (1 if reduction == "sum" else divisor)
        close(losses.MeanSquaredError(reduction=reduction)(y_true, prediction, sample_weight), expected, 24)


def test_an_all_masked_batch_has_loss_zero():
    prediction = torch.ones(3, 2)
    set_keras_mask(prediction, torch.zeros(3, dtype=torch.bool))
    assert float(losses.MeanSquaredError()(np.zeros((3, 2)), prediction)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (7, 1), (3,)], ids=str)
def test_sizes_at_the_edge(shape):
    loss = losses.MeanSquaredError()(np.zeros(shape), np.ones(shape))
    assert loss.shape == () and float(loss) == 1


def test_empty_batches():
    """No sample, no loss to reduce; no entry, the loss 0: never NaN."""
    assert losses.MeanSquaredError()(np.zeros((0, 3)), np.ones((0, 3))).shape == (0,)
    assert float(SquaredError()(np.zeros((0, 3)), np.ones((0, 3)))) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtype(data, dtype):
    y_true, y_pred, values = data
    for made in (SquaredError(dtype=dtype), losses.MeanSquaredError(dtype=dtype)):
        loss = made(y_true, y_pred)
        assert str(loss.dtype) == f"torch.{dtype}"
        assert abs(float(loss) - values.mean()) < 4 * torch.finfo(loss.dtype).eps + 2 * EPS
    assert SquaredError(dtype=fastk.DTypePolicy("mixed_float16")).dtype == "float16"


def test_dtype_is_floatx_and_cannot_be_set():
    loss = SquaredError()
    assert loss.dtype == "float32"
    with pytest.raises(AttributeError):
        loss.dtype = "float16"  # pyright: ignore[reportAttributeAccessIssue]


def test_inputs_of_other_kinds(data):
    y_true, y_pred, values = data
    for kind in (np.asarray, torch.tensor, fastk.Variable, lambda x: x.tolist(), lambda x: x.astype("float64")):
        close(SquaredError()(kind(y_true), kind(y_pred)), values.mean(), 24)
    close(SquaredError()([1, 0, 3], [0.5, 0, 1]), (0.25 + 4) / 3)
    close(SquaredError()(list(y_true[0]), list(y_pred[0])), values[0].mean())


def test_structures_of_outputs(data):
    y_true, y_pred, values = data

    def difference(y_true, y_pred):
        return (y_true["a"] - y_pred["a"]) ** 2 + abs(y_true["b"] - y_pred["b"])

    loss = losses.LossFunctionWrapper(difference)
    expected = (values + np.abs(y_true.astype("float64") - y_pred)).mean()
    # The column of "b" is brought to the rank of its target.
    close(loss({"a": y_true, "b": y_true[..., None]}, {"a": y_pred, "b": y_pred}), expected, 24)


def test_boundary(data):
    y_true, y_pred, values = data
    prediction = torch.tensor(y_pred, requires_grad=True)
    loss = losses.MeanSquaredError()(y_true, prediction)
    assert type(loss) is fastk.Tensor and loss.requires_grad
    assert f"{loss.numpy():.4f}" == f"{values.mean():.4f}"
    assert type(losses.mean_squared_error(y_true, prediction)) is fastk.Tensor
    state.internal += 1
    try:
        assert type(losses.MeanSquaredError()(y_true, prediction)) is torch.Tensor
        assert type(losses.mean_squared_error(y_true, prediction)) is torch.Tensor
    finally:
        state.internal -= 1


def test_an_error_leaves_the_boundary_as_it_was():
    with pytest.raises(NotImplementedError, match="call"):
        losses.Loss()([1.0], [1.0])
    assert state.internal == 0


def test_arguments_are_not_written_to(data):
    y_true, y_pred, _ = data
    before = y_true.copy(), y_pred.copy()
    losses.MeanSquaredError()(torch.from_numpy(y_true), torch.from_numpy(y_pred), np.ones(6))
    assert np.array_equal(y_true, before[0]) and np.array_equal(y_pred, before[1])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((3,), (3, 1), ((3, 1), (3, 1))),
        ((3, 1), (3,), ((3, 1), (3, 1))),
        ((3, 2), (3, 2, 1), ((3, 2), (3, 2))),
        ((3, 2, 1), (3, 2), ((3, 2), (3, 2))),
        ((3,), (3, 2), ((3,), (3, 2))),  # not a matter of a last axis
        ((), (1,), ((), ())),
    ],
)
def test_ranks_are_matched(first, second, expected):
    result = squeeze_or_expand_to_same_rank(torch.ones(first), torch.ones(second))
    assert tuple(tuple(x.shape) for x in result) == expected


def test_ranks_are_matched_without_expanding():
    result = squeeze_or_expand_to_same_rank(torch.ones(3), torch.ones(3, 1), expand_rank_1=False)
    assert [tuple(x.shape) for x in result] == [(3,), (3,)]


def test_unknown_reduction():
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        SquaredError(reduction="average")


# ---------------------------------------------------------------- configurations and names

ARGUMENTS = {
    "BinaryCrossentropy": {"from_logits": True, "label_smoothing": 0.1, "axis": 1},
    "BinaryFocalCrossentropy": {"gamma": 3.0, "alpha": 0.5, "apply_class_balancing": True},
    "CategoricalCrossentropy": {"from_logits": True, "label_smoothing": 0.1},
    "CategoricalFocalCrossentropy": {"alpha": 0.5, "gamma": 1.0},
    "CategoricalGeneralizedCrossEntropy": {"q": 0.25},
    "Circle": {"gamma": 5.0, "margin": 0.3, "remove_diagonal": False},
    "Dice": {"axis": (1,)},
    "Huber": {"delta": 2.0},
    "SparseCategoricalCrossentropy": {"from_logits": True, "ignore_class": -1, "axis": 1},
    "Tversky": {"alpha": 0.2, "beta": 0.8},
}
CLASSES = sorted(
    name
    for name in losses.__all__
    if isinstance(getattr(losses, name), type) and name not in ("Loss", "LossFunctionWrapper")
)


@pytest.mark.parametrize("name", CLASSES)
def test_configurations_round_trip(name):
    cls = getattr(losses, name)
    made = cls(reduction="sum", name="mine", **ARGUMENTS.get(name, {}))
    config = losses.serialize(made)
    assert (config["module"], config["class_name"]) == ("keras.losses", name)
    again = losses.deserialize(config)
    assert type(again) is cls
    assert again.get_config() == made.get_config() == {"name": "mine", "reduction": "sum"} | made.get_config()
    assert again._fn_kwargs.keys() == made._fn_kwargs.keys()
    for key, value in ARGUMENTS.get(name, {}).items():
        assert again.get_config()[key] == value or list(again.get_config()[key]) == list(value)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (losses.Huber(), {"name": "huber_loss", "reduction": "sum_over_batch_size"}),
        (losses.CosineSimilarity(axis=2), {"name": "cosine_similarity", "reduction": "sum_over_batch_size"}),
        (
            losses.SparseCategoricalCrossentropy(),
            {
                "name": "sparse_categorical_crossentropy",
                "reduction": "sum_over_batch_size",
                "from_logits": False,
                "ignore_class": None,
            },
        ),
    ],
)
def test_default_configurations_are_keras_ones(made, expected):
    assert made.get_config() == expected


def test_wrapped_functions_round_trip():
    made = losses.LossFunctionWrapper(losses.huber, delta=2.0, name="mine")
    again = losses.LossFunctionWrapper.from_config(made.get_config())
    assert again.fn is losses.huber and again._fn_kwargs == {"delta": 2.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", losses.mean_squared_error),
        ("MAE", losses.mean_absolute_error),
        ("bce", losses.binary_crossentropy),
        ("KLD", losses.kl_divergence),
        ("mape", losses.mean_absolute_percentage_error),
        ("msle", losses.mean_squared_logarithmic_error),
        ("huber", losses.huber),
        ("sparse_categorical_crossentropy", losses.sparse_categorical_crossentropy),
        (losses.hinge, losses.hinge),
        (None, None),
    ],
)
def test_get(name, expected):
    assert losses.get(name) is expected


def test_get_classes_and_unknown_names():
    assert type(losses.get("MeanSquaredError")) is losses.MeanSquaredError
    assert type(losses.get(losses.Poisson)) is losses.Poisson
    assert losses.get({"class_name": "Huber", "config": {"delta": 3.0}}).delta == 3.0
    with pytest.raises(ValueError, match=r"Unknown loss: 'mean_squared_eror'.*mean_squared_error"):
        losses.get("mean_squared_eror")
