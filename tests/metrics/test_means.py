"""Sums, means and accuracies against NumPy, with weights and masks."""

import numpy as np
import pytest
import torch

import fastk
from fastk import losses, metrics
from fastk.metrics.accuracy import matches
from fastk.tensor import set_keras_mask

EPS = float(np.finfo(np.float32).eps)


def close(actual, expected, n=64):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=4 * EPS * np.sqrt(n), atol=4 * EPS)


def expand(weight, ndim):
    return weight.reshape(weight.shape + (1,) * (ndim - weight.ndim))


# A weight for each sample, as a column, or for each step.
@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        ((7,), (7,)),
        ((7,), (7, 1)),
        ((7, 3), (7,)),
        ((7, 3), (7, 1)),
        ((7, 3), (7, 3)),
        ((7, 3, 2), (7,)),
        ((7, 3, 2), (7, 3)),
        ((7, 3, 2), (7, 3, 2)),
    ],
    ids=str,
)
def test_weighted_mean_and_sum(rng, shape, weights):
    mean, total = metrics.Mean(), metrics.Sum()
    numerator = denominator = summed = 0.0
    for _ in range(3):
        values, weight = rng.random(shape), rng.random(weights)
        mean.update_state(values, weight)
        total.update_state(values, weight)
        column = weight.reshape(7) if len(weights) > len(shape) else weight
        full = np.broadcast_to(expand(column, len(shape)), shape)
        # Axes that the weights lack count as means; each sample weighs the mean of its weights.
        numerator += (values * full).reshape(7, -1).mean(1).sum()
        denominator += full.reshape(7, -1).mean(1).sum()
        summed += (values * full).sum()
    close(mean.result(), numerator / denominator)
    close(total.result(), summed)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (7, 3), (7, 3, 2), (7, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "float16"])
def test_unweighted_mean(rng, shape, dtype):
    values = (rng.random(shape) * 4).astype(dtype)
    metric = metrics.Mean()
    metric.update_state(values)
    metric.update_state(values[:1] if shape else values)
    samples = values.astype("float64").reshape(*(shape[:1] or (1,)), -1).mean(-1)
    close(metric.result(), np.concatenate([samples, samples[:1]]).mean())


@pytest.mark.parametrize("value", [np.float32(0.25), np.array([0.25, 0.75], "float32")], ids=["scalar", "vector"])
@pytest.mark.parametrize("weight", [32, 0.5])
def test_numbers_as_weights(value, weight):
    """The loss of a batch is weighted by the size of the batch."""
    metric = metrics.Mean()
    metric.update_state(value, weight)
    metric.update_state(1.0, 2)
    close(metric.result(), (value.mean() * weight + 2) / (weight + 2))


def test_nothing_yet_is_zero_and_nan_is_not_hidden():
    metric = metrics.Mean()
    assert float(metric.result()) == 0
    metric.update_state([])
    metric.update_state([1.0], [0.0])
    assert float(metric.result()) == 0
    assert np.isnan(float(metric([np.nan])))


def test_whole_numbers_stay_whole():
    """An accuracy of 1 is 1, whatever the number of steps."""
    for steps in range(1, 60):
        metric = metrics.SparseCategoricalAccuracy()
        assert float(metric(np.ones((3, steps)), np.tile([0.2, 0.8], (3, steps, 1)))) == 1


def test_mean_of_an_integer_metric_is_a_fraction():
    assert float(metrics.Mean(dtype="int32")([1, 2])) == 1.5


def test_gradients_do_not_enter_the_state():
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    mean, error = metrics.Mean(), metrics.MeanSquaredError()
    assert not mean(value).requires_grad
    assert not error(np.zeros((1, 2)), value.unsqueeze(0)).requires_grad
    assert not any(v.value.requires_grad for v in (*mean.variables, *error.variables))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_mask_on_predictions_leaves_entries_out(rng, weighted):
    y_true, y_pred = rng.random((4, 3, 2)), rng.random((4, 3, 2))
    mask = rng.random((4, 3)) < 0.6
    weight = rng.random(4)
    prediction = torch.tensor(y_pred)
    set_keras_mask(prediction, torch.tensor(mask))
    full = mask * (weight[:, None] if weighted else 1.0)
    expected = (((y_true - y_pred) ** 2).mean(-1) * full).sum() / full.sum()
    metric = metrics.MeanSquaredError()
    close(metric(y_true, prediction, sample_weight=weight[:, None] if weighted else None), expected)


LOSSES = {
    "MeanSquaredError": "mean_squared_error",
    "MeanAbsoluteError": "mean_absolute_error",
    "MeanAbsolutePercentageError": "mean_absolute_percentage_error",
    "MeanSquaredLogarithmicError": "mean_squared_logarithmic_error",
    "LogCoshError": "log_cosh",
    "KLDivergence": "kl_divergence",
    "Poisson": "poisson",
    "BinaryCrossentropy": "binary_crossentropy",
    "CategoricalCrossentropy": "categorical_crossentropy",
    "Hinge": "hinge",
    "SquaredHinge": "squared_hinge",
    "CategoricalHinge": "categorical_hinge",
}


@pytest.mark.parametrize("name", LOSSES)
def test_metrics_of_losses_are_weighted_means_of_them(rng, name):
    metric, function = getattr(metrics, name)(), getattr(losses, LOSSES[name])
    values, weights = [], []
    for n in (5, 2):
        y_true, y_pred, weight = rng.random((n, 3)), rng.uniform(0.1, 1, (n, 3)), rng.random(n)
        metric.update_state(y_true, y_pred, weight)
        values.append(function(y_true, y_pred).numpy())
        weights.append(weight)
    expected = np.average(np.concatenate(values), weights=np.concatenate(weights))
    np.testing.assert_allclose(metric.result().numpy(), expected, rtol=20 * EPS)


def test_metrics_pass_arguments_on(rng):
    y_pred, labels = rng.normal(size=(5, 3)), np.array([0, 1, -1, 2, 1])
    metric = metrics.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    values = losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True, ignore_class=-1).numpy()
    close(metric(labels, y_pred), values.mean())
    metric.reset_state()
    close(metric(labels, y_pred, np.ones(5)), values.sum() / 4)


def test_functions_of_users_get_what_was_given():
    seen = []

    def own(y_true, y_pred, factor):
        seen.append((type(y_true), type(y_pred)))
        return factor * np.abs(y_true - y_pred)

    metric = metrics.MeanMetricWrapper(own, name="own", factor=2.0)
    close(metric(np.array([1.0, 2.0]), np.array([2.0, 4.0])), 3.0)
    assert seen == [(np.ndarray, np.ndarray)]


def test_a_function_may_use_structures():
    metric = metrics.MeanMetricWrapper(lambda y_true, y_pred: y_true["a"] + y_pred["b"])
    close(metric({"a": torch.ones(3)}, {"b": torch.ones(3)}), 2.0)


def test_root_mean_squared_error(rng):
    t, p = rng.random((5, 3)), rng.random((5, 3))
    close(metrics.RootMeanSquaredError()(t, p), np.sqrt(((t - p) ** 2).mean()))
    weight = rng.random(5)
    expected = np.sqrt(np.average(((t - p) ** 2).mean(1), weights=weight))
    close(metrics.RootMeanSquaredError()(t, p, weight), expected)
    close(metrics.RootMeanSquaredError()(t[:, 0], p[:, :1]), np.sqrt(((t - p)[:, 0] ** 2).mean()))


def test_cosine_similarity(rng):
    t, p = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    expected = (t * p).sum(0) / np.linalg.norm(t, axis=0) / np.linalg.norm(p, axis=0)
    close(metrics.CosineSimilarity(axis=0)(t, p), expected.mean())


# ---------------------------------------------------------------- accuracies


def test_accuracy():
    assert f"{metrics.Accuracy()([1, 2, 3, 4], [0, 2, 3, 4]).numpy():.2f}" == "0.75"
    assert float(metrics.Accuracy()([[1], [2], [3], [4]], [0, 2, 3, 4])) == 0.75
    assert float(metrics.Accuracy()([[1], [2], [3], [4]], [[0], [2], [3], [4]], [1, 1, 0, 0])) == 0.5


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 1.0])
def test_binary_accuracy(rng, threshold):
    t, p = np.round(rng.random((9, 1))), rng.random((9, 1))
    p[0] = threshold  # not above it
    expected = t == (p > threshold)
    close(metrics.BinaryAccuracy(threshold=threshold)(t, p), expected.mean())
    close(metrics.BinaryAccuracy(threshold=threshold)(t[:, 0], p), expected.mean())
    assert np.array_equal(metrics.binary_accuracy(t, p, threshold).numpy(), expected.astype("float32"))


@pytest.mark.parametrize("shape", [(9,), (4, 3)], ids=str)
def test_categorical_accuracies(rng, shape):
    labels, p = rng.integers(0, 4, shape), rng.random((*shape, 4))
    right = labels == p.argmax(-1)
    weight = rng.random(shape)
    expected = (right * weight).sum() / weight.sum()
    close(metrics.SparseCategoricalAccuracy()(labels, p, weight), expected)
    close(metrics.SparseCategoricalAccuracy()(labels[..., None], p), right.mean())
    close(metrics.CategoricalAccuracy()(np.eye(4)[labels], p, weight), expected)
    for dtype in ("int32", "float32", "uint8"):
        found = metrics.sparse_categorical_accuracy(labels.astype(dtype), p)
        assert found.dtype == torch.float32 and np.array_equal(found.numpy(), right)
    assert np.array_equal(metrics.categorical_accuracy(np.eye(4)[labels], p).numpy(), right)


def test_labels_beyond_the_exact_floats():
    """16777217 is no float32: labels are compared as integers."""
    labels, ids = np.array([16777217]), np.array([[16777216]])
    y_pred = torch.zeros(1, 2)
    y_pred[0, 1] = 1
    assert float(metrics.sparse_categorical_accuracy(labels - 16777216, y_pred)) == 1
    assert not matches(labels, ids).any()


@pytest.mark.parametrize("k", [1, 2, 5, 7])
@pytest.mark.parametrize("shape", [(9,), (4, 3)], ids=str)
def test_top_k(rng, k, shape):
    labels, p = rng.integers(0, 5, shape), rng.permuted(np.tile(np.arange(5.0), (*shape, 1)), axis=-1)
    best = np.argsort(-p, -1)[..., :k]
    expected = (best == labels[..., None]).any(-1)
    assert np.array_equal(metrics.sparse_top_k_categorical_accuracy(labels, p, k).numpy(), expected)
    assert np.array_equal(metrics.top_k_categorical_accuracy(np.eye(5)[labels], p, k).numpy(), expected)
    ranked = np.argsort(-p, -1)
    found = metrics.sparse_top_k_categorical_accuracy(labels, ranked, k, from_sorted_ids=True)
    assert np.array_equal(found.numpy(), expected)
    close(metrics.TopKCategoricalAccuracy(k)(np.eye(5)[labels], p), expected.mean())
    close(metrics.SparseTopKCategoricalAccuracy(k)(labels, p), expected.mean())


def test_top_k_ties_count_and_nan_does_not():
    p = np.array([[0.5, 0.5, 0.5, 0.1]])
    assert [float(metrics.sparse_top_k_categorical_accuracy([c], p, k=1)) for c in range(4)] == [1, 1, 1, 0]
    assert float(metrics.sparse_top_k_categorical_accuracy([1], p * np.nan, k=3)) == 0


def test_functions_return_floatx():
    fastk.config.set_floatx("float64")
    try:
        assert metrics.binary_accuracy([1], [0.9]).dtype == torch.float64
    finally:
        fastk.config.set_floatx("float32")
