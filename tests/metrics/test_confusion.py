"""Counts, precision, recall and their kin, and areas under curves, against loops over thresholds in NumPy."""

import numpy as np
import pytest
import torch

from fastk import metrics

EPS = float(np.finfo(np.float32).eps)
THRESHOLDS = [None, 0.3, [0.2, 0.5, 0.7], [0.0, 0.25, 0.5, 0.75, 1.0], [0.5, 0.5]]


def counts(t, p, thresholds, weight=None):
    """tp, fp, tn, fn at each threshold."""
    weight = np.ones(t.shape) if weight is None else np.broadcast_to(weight, t.shape)
    found = []
    for h in np.asarray(thresholds, "float32"):  # as the metric keeps them
        above = p.astype("float32") > h
        found.append([(weight * side).sum() for side in (t * above, (1 - t) * above, (1 - t) * ~above, t * ~above)])
    return np.array(found).T


def close(actual, expected, n=100):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=4 * EPS * np.sqrt(n), atol=EPS * n)


@pytest.fixture
def data(rng):
    """Two batches, with predictions at 0, at 1, and at the thresholds."""
    batches = []
    for n in (13, 6):
        t, p, w = np.round(rng.random((n, 3))), np.round(rng.random((n, 3)), 2), rng.random((n, 1))
        p[0], p[1, 0], p[2] = [0.0, 0.5, 1.0], 0.25, p[3]
        batches.append((t, p.astype("float32").astype("float64"), w))
    return batches


@pytest.mark.parametrize("thresholds", THRESHOLDS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("place", range(4))
def test_counts(data, thresholds, weighted, place):
    name = ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")[place]
    metric = getattr(metrics, name)(thresholds=thresholds)
    listed = [0.5] if thresholds is None else np.atleast_1d(thresholds)
    expected = np.zeros(len(listed))
    for t, p, w in data:
        metric.update_state(t, p, w[:, 0] if weighted else None)
        expected += counts(t, p, listed, w if weighted else None)[place]
    result = metric.result()
    assert result.shape == (() if len(listed) == 1 else (len(listed),))
    close(result, expected[0] if len(listed) == 1 else expected)
    metric.reset_state()
    assert not metric.result().any()


def divide(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


@pytest.mark.parametrize("thresholds", THRESHOLDS, ids=str)
@pytest.mark.parametrize("class_id", [None, 1])
@pytest.mark.parametrize("name", ["Precision", "Recall"])
def test_precision_and_recall(data, thresholds, class_id, name):
    metric = getattr(metrics, name)(thresholds=thresholds, class_id=class_id)
    listed = [0.5] if thresholds is None else np.atleast_1d(thresholds)
    total = np.zeros((4, 1))
    for t, p, w in data:
        metric.update_state(t, p, w[:, 0])
        total = total + counts(*((t, p) if class_id is None else (t[:, [1]], p[:, [1]])), listed, w)
    tp, fp, _, fn = total
    expected = divide(tp, tp + (fp if name == "Precision" else fn))
    close(metric.result(), expected[0] if len(listed) == 1 else expected)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("thresholds", [None, 0.6])
def test_top_k_precision(rng, k, thresholds):
    t, p = np.round(rng.random((8, 4))), rng.random((8, 4))
    chosen = np.zeros_like(p, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-p, 1)[:, :k], True, 1)
    chosen &= p > (-np.inf if thresholds is None else thresholds)
    close(metrics.Precision(thresholds, top_k=k)(t, p), (t * chosen).sum() / chosen.sum())
    close(metrics.Recall(thresholds, top_k=k)(t, p), (t * chosen).sum() / t.sum())


def test_nothing_to_divide_by_is_zero():
    for metric in (metrics.Precision(), metrics.Recall(), metrics.PrecisionAtRecall(0.5), metrics.AUC()):
        assert float(metric.result()) == 0
        assert float(metric([0, 0], [0.1, 0.2])) == 0


RATES = {
    "sensitivity": lambda tp, fp, tn, fn: divide(tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: divide(tn, tn + fp),
    "precision": lambda tp, fp, tn, fn: divide(tp, tp + fp),
    "recall": lambda tp, fp, tn, fn: divide(tp, tp + fn),
}


@pytest.mark.parametrize(
    ("name", "best", "constrained"),
    [
        ("SensitivityAtSpecificity", "sensitivity", "specificity"),
        ("SpecificityAtSensitivity", "specificity", "sensitivity"),
        ("PrecisionAtRecall", "precision", "recall"),
        ("RecallAtPrecision", "recall", "precision"),
    ],
)
@pytest.mark.parametrize("num_thresholds", [1, 2, 11, 200])
@pytest.mark.parametrize("value", [0.0, 0.55, 1.0])
def test_best_rate_under_a_constraint(data, name, best, constrained, num_thresholds, value):
    metric = getattr(metrics, name)(value, num_thresholds=num_thresholds)
    thresholds = [0.5] if num_thresholds == 1 else np.linspace(0, 1, num_thresholds)
    total = np.zeros((4, 1))
    for t, p, _ in data:
        metric.update_state(t, p)
        total = total + counts(t, p, thresholds)
    feasible = RATES[constrained](*total) >= value
    close(metric.result(), RATES[best](*total)[feasible].max(initial=0))


def roc_auc(t, p, w):
    """The probability that a positive ranks above a negative, ties counting half (Mann-Whitney)."""
    pos, neg = t == 1, t == 0
    above = (p[pos, None] > p[None, neg]) + 0.5 * (p[pos, None] == p[None, neg])
    return (w[pos, None] * w[None, neg] * above).sum() / (w[pos].sum() * w[neg].sum())


@pytest.mark.parametrize("given", [False, True], ids=["even", "given"])
@pytest.mark.parametrize("weighted", [False, True])
def test_roc_area_is_the_rank_statistic(rng, given, weighted):
    """Predictions between neighbouring thresholds: the area through the thresholds is that of all predictions."""
    n = 60
    p, t, w = (rng.integers(0, 20, n) + 0.5) / 20, np.round(rng.random(n)), rng.random(n)
    p = 0.7 * p + 0.3 * t
    thresholds = sorted({*np.linspace(0, 1, 199)[1:-1], 0.123}) if given else None
    metric = metrics.AUC(num_thresholds=200, thresholds=thresholds)
    area = metric(t, p, w if weighted else None)
    np.testing.assert_allclose(float(area), roc_auc(t, p, w if weighted else np.ones(n)), rtol=2e-3)


def curve(kind, tp, fp, tn, fn):
    recall, precision = divide(tp, tp + fn), divide(tp, tp + fp)
    if kind == "ROC":
        return divide(fp, fp + tn), recall
    if kind == "PR":
        return recall, precision
    odds = (tp + fn) / (tn + fp)
    gain = np.where(tp == 0, 0, 1 - odds * divide(fn, tp))
    return np.maximum(gain, 0), np.where(tp == 0, 1, 1 - odds * divide(fp, tp))


def area(kind, method, total):
    tp, fp, _, fn = total
    if (kind, method) == ("PR", "interpolation"):
        return davis_goadrich(tp, fp, fn)
    x, y = curve(kind, *total)
    height = {"interpolation": lambda a, b: (a + b) / 2, "majoring": np.maximum, "minoring": np.minimum}[method]
    return ((x[:-1] - x[1:]) * height(y[:-1], y[1:])).sum()


def davis_goadrich(tp, fp, fn):
    """The integral of TP / P over the true positives gained, by the trapezoid rule on a fine grid."""
    found = 0.0
    positives = tp + fp
    for i in range(len(tp) - 1):
        gained, p_gained = tp[i] - tp[i + 1], positives[i] - positives[i + 1]
        if gained == 0 or tp[i + 1] + fn[i + 1] == 0:
            continue
        s = np.linspace(0, 1, 20001)
        ratio = (tp[i + 1] + s * gained) / np.maximum(positives[i + 1] + s * p_gained, 1e-12)
        if positives[i + 1] == 0:
            ratio[0] = gained / p_gained
        found += np.trapezoid(ratio, s) * gained / (tp[i + 1] + fn[i + 1])
    return found


@pytest.mark.parametrize("kind", ["ROC", "PR", "PRGAIN"])
@pytest.mark.parametrize("method", ["interpolation", "majoring", "minoring"])
@pytest.mark.parametrize("thresholds", [None, [0.25, 0.5, 0.75], [0.3, 0.6]], ids=str)
def test_curves_and_summations(data, kind, method, thresholds):
    metric = metrics.AUC(num_thresholds=21, curve=kind, summation_method=method, thresholds=thresholds)
    inner = np.linspace(0, 1, 21)[1:-1] if thresholds is None else np.array(thresholds)
    listed = np.concatenate([[-1e-7], inner, [1 + 1e-7]])
    total = np.zeros((4, 1))
    for t, p, w in data:
        metric.update_state(t, p, w[:, 0])
        total = total + counts(t, p, listed, w)
    # 1e-4: the oracle's integration of the interpolated curve.
    np.testing.assert_allclose(float(metric.result()), area(kind, method, total), rtol=1e-4, atol=10 * EPS)
    assert metric.num_thresholds == len(listed)


@pytest.mark.parametrize("thresholds", [None, [0.3, 0.6]], ids=str)
@pytest.mark.parametrize("label_weights", [None, [0.2, 0.3, 0.5]])
@pytest.mark.parametrize("num_labels", [None, 3])
def test_multi_label_area_is_the_mean_over_columns(data, thresholds, label_weights, num_labels):
    arguments = {"num_thresholds": 11, "thresholds": thresholds}
    metric = metrics.AUC(**arguments, multi_label=True, num_labels=num_labels, label_weights=label_weights)
    columns = [metrics.AUC(**arguments) for _ in range(3)]
    for t, p, w in data:
        metric.update_state(t, p, w[:, 0])
        for i, column in enumerate(columns):
            column.update_state(t[:, i], p[:, i], w[:, 0])
    expected = np.average([float(c.result()) for c in columns], weights=label_weights)
    close(metric.result(), expected)
    assert metric.true_positives.shape == (metric.num_thresholds, 3)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_label_weights_of_one_curve(data):
    t, p, _ = data[0]
    weights = np.array([0.2, 0.3, 0.5])
    metric = metrics.AUC(num_thresholds=11, label_weights=weights)
    metric.update_state(t, p)
    listed = np.concatenate([[-1e-7], np.linspace(0, 1, 11)[1:-1], [1 + 1e-7]])
    close(metric.result(), area("ROC", "interpolation", counts(t, p, listed, weights)))


def test_area_from_logits(rng):
    t, logits = np.round(rng.random(30)), rng.normal(size=30) * 2
    expected = metrics.AUC()(t, 1 / (1 + np.exp(-logits)))
    close(metrics.AUC(from_logits=True)(t, logits), float(expected))


@pytest.mark.parametrize("n", [0, 1])
def test_small_batches(n):
    metric = metrics.AUC(num_thresholds=3)
    metric.update_state(np.ones(n), np.full(n, 0.9))
    assert float(metric.true_positives.value.sum()) == 2 * n


def test_nan_predictions_count_as_nothing_above():
    for metric in (metrics.AUC(num_thresholds=5), metrics.Precision(), metrics.TruePositives(thresholds=[0, 0.5, 1.0])):
        metric.update_state([1.0, 1.0], [np.nan, 0.9])
        assert torch.isfinite(metric.result()).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.Precision(thresholds=[0.5, -0.1]), r"must be in \[0, 1\]. Received: \[-0.1\]"),
        (lambda: metrics.FalsePositives(thresholds=[None]), r"Received: \[None\]"),
        (lambda: metrics.AUC(num_thresholds=1), "integer > 1"),
        (lambda: metrics.AUC(curve="RO"), "Invalid AUC curve"),
        (lambda: metrics.AUC(summation_method="mean"), "Invalid AUC summation method"),
        (lambda: metrics.AUC(num_labels=3), "only when `multi_label`"),
        (lambda: metrics.AUC(multi_label=True)([1.0], [0.5]), "must have rank 2"),
        (lambda: metrics.SensitivityAtSpecificity(1.5), r"`specificity` must be in the range \[0, 1\]"),
        (lambda: metrics.RecallAtPrecision(0.5, num_thresholds=0), "integer > 0"),
        (lambda: metrics.Precision(class_id=1)([1.0], [0.5]), "must be a 2D array"),
        (lambda: metrics.Precision()(np.ones((3, 1)), np.ones((3, 4))), r"\(3, 1\).*\(3, 4\).*one-hot"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
