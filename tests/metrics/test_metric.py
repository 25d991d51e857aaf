"""The base of metrics: state, tracking, stateless use, what is handed to the user, names and configurations."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import fastk
from fastk import metrics
from fastk.scopes import state


class SquaredErrorSum(metrics.Metric):
    more: Any
    inner: Any
    deeper: Any
    again: Any

    def __init__(self, name: str | None = "squares", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.count = self.add_weight(name="count", dtype="int32")

    def update_state(self, y_true, y_pred):
        self.total.assign(self.total + ((y_true - y_pred) ** 2).sum())
        self.count.assign_add(len(y_true))

    def result(self):
        return {"sum": self.total, "count": self.count.value}


def batch(rng, n=4):
    return torch.tensor(rng.random((n, 3)), dtype=torch.float32), torch.tensor(rng.random((n, 3)), dtype=torch.float32)


def test_update_result_reset(rng):
    metric = SquaredErrorSum()
    expected = 0.0
    for n in (4, 3):
        y_true, y_pred = batch(rng, n)
        metric.update_state(y_true, y_pred)
        expected += float(((y_true.double() - y_pred.double()) ** 2).sum())
    result = metric.result()
    assert float(result["sum"]) == pytest.approx(expected, rel=1e-6) and int(result["count"]) == 7
    metric.reset_state()
    assert [float(v.value) for v in metric.variables] == [0, 0]
    # A result is not the state: it stays when the state moves on.
    assert float(result["sum"]) == pytest.approx(expected, rel=1e-6) and int(result["count"]) == 7


def test_call_updates_and_returns(rng):
    metric = metrics.Mean()
    assert float(metric([1.0, 3.0])) == 2 and float(metric([5.0, 7.0])) == 4


def test_results_are_tensors_for_users(rng):
    for metric, expected in ((metrics.Mean(), 2.5), (metrics.Sum(), 5.0)):
        result = metric([2.0, 3.0])
        assert type(result) is fastk.Tensor and f"{result.numpy():.2f}" == f"{expected:.2f}"
    result = SquaredErrorSum()(*batch(rng))
    assert {type(value) for value in result.values()} == {fastk.Tensor}
    state.internal += 1
    try:
        assert type(metrics.Mean()([1.0])) is torch.Tensor
    finally:
        state.internal -= 1


def test_stateless_use_leaves_the_state(rng):
    metric = SquaredErrorSum()
    y_true, y_pred = batch(rng)
    values = metric.stateless_update_state(metric.variables, y_true, y_pred)
    values = metric.stateless_update_state(values, y_true, y_pred)
    assert [float(v.value) for v in metric.variables] == [0, 0]
    result = metric.stateless_result(values)
    metric.update_state(y_true, y_pred)
    metric.update_state(y_true, y_pred)
    assert float(result["sum"]) == pytest.approx(float(metric.result()["sum"])) and int(result["count"]) == 8
    assert [float(v) for v in metric.stateless_reset_state()] == [0, 0]
    assert int(metric.result()["count"]) == 8
    with pytest.raises(ValueError, match="length 1, but expected 2"):
        metric.stateless_result(values[:1])


@pytest.mark.parametrize(
    "make", [metrics.Mean, metrics.AUC, lambda: metrics.F1Score(threshold=0.5)], ids=["Mean", "AUC", "F1"]
)
def test_built_in_metrics_are_stateless_too(rng, make):
    y_true, y_pred = np.round(rng.random((6, 1))), rng.random((6, 1))
    arguments = (y_pred,) if make is metrics.Mean else (y_true, y_pred)
    first, second = make(), make()
    first.update_state(*arguments)
    second.update_state(*arguments)
    second.reset_state()
    values = second.stateless_update_state(second.variables, *arguments)
    np.testing.assert_allclose(second.stateless_result(values).numpy(), first.result().numpy(), rtol=1e-6)
    assert all(not v.value.any() for v in second.variables)


def test_variables_and_metrics_in_attributes_are_found():
    metric = SquaredErrorSum()
    own = metric.variables
    metric.more = [fastk.Variable(0.0), {"a": fastk.Variable(1.0)}]
    metric.inner = {"x": SquaredErrorSum("x"), "y": (SquaredErrorSum("y"),)}
    metric.inner["x"].deeper = SquaredErrorSum("deeper")
    metric.more.append(fastk.Variable(2.0))
    assert len(metric.variables) == 2 + 3 + 2 * 3
    assert metric.variables[:2] == own
    metric.again = own[0]
    assert len(metric.variables) == 11
    metric.variables[-1].assign(5)
    metric.reset_state()
    assert float(metric.variables[-1].value) == 0


def test_names_and_paths():
    assert metrics.MeanSquaredError().name == "mean_squared_error"
    assert [SquaredErrorSum(name=None).name for _ in range(2)] == ["squared_error_sum", "squared_error_sum_1"]
    assert [v.path for v in metrics.Mean(name="a/b").variables] == ["a>b/total", "a>b/count"]
    assert repr(metrics.Mean(name="m")) == "<Mean name=m>"
    assert not any(v.trainable for v in metrics.AUC().variables)


def test_dtype():
    assert metrics.Mean().dtype == "float32"
    assert metrics.Mean(dtype=fastk.DTypePolicy("mixed_float16")).dtype == "float16"
    assert metrics.Mean(dtype="float64")([1 / 3]).dtype == torch.float64
    with pytest.raises(AttributeError):
        metrics.Mean().dtype = "float16"  # pyright: ignore[reportAttributeAccessIssue]


def test_forgotten_super_is_named():
    class Bad(metrics.Metric):
        def __init__(self):
            self.total = self.add_variable(name="total")

    with pytest.raises(RuntimeError, match=r"super\(\).__init__\(\)"):
        Bad()


def test_unfinished_metrics_say_so():
    with pytest.raises(NotImplementedError, match="update_state"):
        metrics.Metric().update_state()
    with pytest.raises(NotImplementedError, match="result"):
        metrics.Metric().result()


def test_copies_have_a_state_of_their_own():
    metric = metrics.MeanSquaredError()
    metric.update_state([[1.0]], [[3.0]])
    for again in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert float(again.result()) == 4
        again.update_state([[0.0]], [[0.0]])
        assert float(again.result()) == 2
    assert float(metric.result()) == 4


def test_an_initializer_other_than_zero():
    metric = metrics.Metric()
    assert float(metric.add_variable((), "ones").value) == 1
    assert float(metric.add_variable((), fastk.initializers.Constant(3.0)).value) == 3


# ---------------------------------------------------------------- configurations and names

ARGUMENTS = {
    "AUC": {"num_thresholds": 7, "curve": "PR", "summation_method": "majoring", "multi_label": True, "num_labels": 2},
    "BinaryAccuracy": {"threshold": 0.3},
    "BinaryCrossentropy": {"from_logits": True, "label_smoothing": 0.1},
    "BinaryIoU": {"target_class_ids": [1], "threshold": 0.2},
    "CategoricalCrossentropy": {"from_logits": True, "label_smoothing": 0.1, "axis": 1},
    "ConcordanceCorrelation": {"axis": 1},
    "CosineSimilarity": {"axis": 1},
    "F1Score": {"average": "micro", "threshold": 0.3},
    "FBetaScore": {"average": "macro", "beta": 2.0, "threshold": 0.3},
    "FalseNegatives": {"thresholds": [0.2, 0.4]},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2], "ignore_class": 1, "sparse_y_true": False, "axis": 1},
    "MeanIoU": {"num_classes": 3, "ignore_class": 1, "sparse_y_pred": False},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [1], "sparse_y_pred": True},
    "OneHotMeanIoU": {"num_classes": 3, "ignore_class": 0},
    "PearsonCorrelation": {"axis": 1},
    "Precision": {"thresholds": 0.3, "top_k": 2, "class_id": 1},
    "PrecisionAtRecall": {"recall": 0.3, "num_thresholds": 9, "class_id": 1},
    "R2Score": {"class_aggregation": None, "num_regressors": 2},
    "Recall": {"top_k": 2},
    "RecallAtPrecision": {"precision": 0.3},
    "SensitivityAtSpecificity": {"specificity": 0.3},
    "SparseCategoricalCrossentropy": {"from_logits": True, "ignore_class": -1, "axis": 1},
    "SparseTopKCategoricalAccuracy": {"k": 2, "from_sorted_ids": True},
    "SpecificityAtSensitivity": {"sensitivity": 0.3},
    "TopKCategoricalAccuracy": {"k": 2},
}
CLASSES = sorted(
    name
    for name in metrics.__all__
    if isinstance(getattr(metrics, name), type) and name not in ("Metric", "MeanMetricWrapper")
)


@pytest.mark.parametrize("name", CLASSES)
def test_configurations_round_trip(name):
    cls = getattr(metrics, name)
    arguments = ARGUMENTS.get(name, {})
    made = cls(name="mine", dtype="float32", **arguments)
    config = metrics.serialize(made)
    assert (config["module"], config["class_name"]) == ("keras.metrics", name)
    again = metrics.deserialize(config)
    assert type(again) is cls and again.get_config() == made.get_config()
    assert made.get_config() | arguments | {"name": "mine", "dtype": "float32"} == made.get_config()


def test_default_configurations_are_keras_ones():
    assert metrics.Accuracy().get_config() == {"name": "accuracy", "dtype": "float32"}
    assert metrics.CosineSimilarity().get_config() == {"name": "cosine_similarity", "dtype": "float32"}
    assert metrics.SparseTopKCategoricalAccuracy().get_config() == {
        "name": "sparse_top_k_categorical_accuracy", "dtype": "float32", "k": 5,
    }  # fmt: skip
    assert metrics.F1Score().get_config() == {
        "name": "f1_score", "dtype": "float32", "average": None, "threshold": None,
    }  # fmt: skip


def test_wrapped_functions_round_trip():
    made = metrics.MeanMetricWrapper(fastk.losses.huber, name="mine", delta=2.0)
    again = metrics.MeanMetricWrapper.from_config(made.get_config())
    assert float(again([[0.0]], [[3.0]])) == 4 and again.name == "mine"


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("mse", metrics.MeanSquaredError),
        ("MAE", metrics.MeanAbsoluteError),
        ("bce", metrics.BinaryCrossentropy),
        ("accuracy", metrics.Accuracy),
        ("categorical_accuracy", metrics.CategoricalAccuracy),
        ("mean_squared_error", metrics.MeanSquaredError),
        ("SparseCategoricalAccuracy", metrics.SparseCategoricalAccuracy),
        ("auc", metrics.AUC),
        (metrics.Precision, metrics.Precision),
    ],
)
def test_get(name, cls):
    assert type(metrics.get(name)) is cls


def test_get_other_things():
    assert metrics.get(None) is None
    assert metrics.get(metrics.binary_accuracy) is metrics.binary_accuracy
    with pytest.raises(ValueError, match=r"Unknown metric: 'acuracy'.*accuracy"):
        metrics.get("acuracy")


@pytest.mark.parametrize(
    ("made", "direction"),
    [
        (metrics.MeanMetricWrapper(fastk.losses.poisson), "down"),
        (metrics.MeanMetricWrapper(fastk.losses.Poisson()), "down"),
        (metrics.MeanMetricWrapper(lambda y_true, y_pred: y_pred), None),
        (metrics.MeanSquaredError(), "down"),
        (metrics.AUC(), "up"),
        (metrics.BinaryAccuracy(), "up"),
        (metrics.RootMeanSquaredError(), "down"),
    ],
)
def test_direction(made, direction):
    assert made._direction == direction


@pytest.mark.parametrize(
    ("y_true", "y_pred", "kind"),
    [
        ((8,), (8, 1), "binary"),
        ((8, 1), (8, 1), "binary"),
        ((None, 1), (None, 1), "binary"),
        ((8,), (8, 3), "sparse_categorical"),
        ((8, 1), (8, 3), "sparse_categorical"),
        ((8, 5), (8, 5, 3), "sparse_categorical"),
        ((8, 3), (8, 3), "categorical"),
        ((8, 5, 3), (8, 5, 3), "categorical"),
    ],
)
def test_kind_of_labels(y_true, y_pred, kind):
    assert metrics.resolve.kind_of_labels(y_true, y_pred) == kind
    assert metrics.resolve.kind_of_labels(torch.Size(y_true), y_pred) == kind if None not in y_true else True
    assert callable(getattr(metrics, f"{kind}_accuracy")) and callable(getattr(fastk.losses, f"{kind}_crossentropy"))
