"""F-scores, R2, correlations and intersections over unions against NumPy."""

import numpy as np
import pytest
import torch

from fastk import metrics

EPS = float(np.finfo(np.float32).eps)


def close(actual, expected, n=100):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=8 * EPS * np.sqrt(n), atol=8 * EPS)


def f_beta(t, decided, w, beta, average):
    tp, fp, fn = (
        (w[:, None] * x).sum(None if average == "micro" else 0) for x in (t * decided, (1 - t) * decided, t * ~decided)
    )
    # 1 / (b²/(1+b²)/recall + 1/(1+b²)/precision), written without the divisions that may be by 0.
    score = (1 + beta**2) * tp / np.maximum((1 + beta**2) * tp + beta**2 * fn + fp, 1e-30)
    if average == "weighted":
        return np.average(score, weights=(w[:, None] * t).sum(0))
    return score.mean() if average == "macro" else score


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("threshold", [None, 0.4])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_f_beta(rng, average, threshold, beta, weighted):
    metric = metrics.FBetaScore(average, beta, threshold)
    same = metrics.F1Score(average, threshold) if beta == 1 else metric
    batches = [
        (np.round(rng.random((n, 3))), rng.random((n, 3)), rng.random(n) if weighted else np.ones(n)) for n in (9, 4)
    ]
    for t, p, w in batches:
        for m in {metric, same}:
            m.update_state(t, p, w if weighted else None)
    t, p, w = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    decided = p > threshold if threshold else p == p.max(1, keepdims=True)
    expected = f_beta(t, decided, w, beta, average)
    # Keras adds epsilon to each divisor.
    np.testing.assert_allclose(metric.result().numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same.result().numpy(), expected, rtol=1e-5, atol=1e-6)
    metric.reset_state()
    assert not metric.result().any()


def test_f_score_without_a_prediction():
    """A row of zeros names no class, although all its entries are the largest."""
    metric = metrics.F1Score(average="micro")
    metric.update_state([[1, 0], [0, 1]], [[0.0, 0.0], [0.0, 1.0]])
    assert float(metric.result()) == pytest.approx(2 / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.FBetaScore(average="mean"), "Invalid `average`"),
        (lambda: metrics.FBetaScore(beta=2), "Python float"),
        (lambda: metrics.FBetaScore(beta=0.0), "should be > 0"),
        (lambda: metrics.F1Score(threshold=1), "Python float"),
        (lambda: metrics.F1Score(threshold=1.5), "0 < threshold <= 1"),
        (lambda: metrics.F1Score()([1], [0.5]), "expects 2D inputs"),
        (lambda: metrics.F1Score().result(), "before the first"),
        (lambda: metrics.R2Score(class_aggregation="mean"), "`class_aggregation`"),
        (lambda: metrics.R2Score(num_regressors=-1), "`num_regressors`"),
        (lambda: metrics.R2Score()([1.0], [1.0]), "expects 2D inputs"),
        (lambda: metrics.R2Score().result(), "before the first"),
        (lambda: metrics.IoU(2, [2]), "out of range"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def r2(t, p, w):
    mean = (w * t).sum(0) / w.sum(0)
    total = (w * (t - mean) ** 2).sum(0)
    return 1 - (w * (t - p) ** 2).sum(0) / total, total


@pytest.mark.parametrize("weighted", [False, True])
def test_r2(rng, weighted):
    made = {a: metrics.R2Score(a) for a in (None, "uniform_average", "variance_weighted_average")}
    batches = [(rng.random((n, 2)), rng.random((n, 2)), rng.random(n) if weighted else np.ones(n)) for n in (9, 5)]
    for t, p, w in batches:
        for metric in made.values():
            metric.update_state(t, p, w if weighted else None)
    t, p, w = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    scores, total = r2(t, p, w[:, None])
    # The sums of squares cancel: float32 leaves about 1e-5 of scores near -1.
    expected = {
        None: scores,
        "uniform_average": scores.mean(),
        "variance_weighted_average": np.average(scores, weights=total),
    }
    for aggregation, metric in made.items():
        np.testing.assert_allclose(metric.result().numpy(), expected[aggregation], rtol=1e-4)


def test_r2_adjusted_for_regressors(rng):
    t, p = rng.random((10, 1)), rng.random((10, 1))
    plain = float(metrics.R2Score()(t, p))
    np.testing.assert_allclose(metrics.R2Score(num_regressors=3)(t, p).numpy(), 1 - (1 - plain) * 9 / 6, rtol=1e-6)
    with pytest.warns(UserWarning, match="More independent predictors"):
        assert float(metrics.R2Score(num_regressors=10)(t, p)) == plain
    with pytest.warns(UserWarning, match="Division by zero"):
        assert float(metrics.R2Score(num_regressors=9)(t, p)) == plain


def test_r2_of_a_constant_target_is_zero():
    assert float(metrics.R2Score()([[1.0], [1.0]], [[0.5], [1.5]])) == 0


@pytest.mark.parametrize("axis", [-1, 0])
def test_correlations(rng, axis):
    t, p = rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    rows = zip(t, p, strict=True) if axis == -1 else zip(t.T, p.T, strict=True)
    pearson, concordance = [], []
    for a, b in rows:
        covariance = np.mean((a - a.mean()) * (b - b.mean()))
        pearson.append(np.corrcoef(a, b)[0, 1])
        concordance.append(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    np.testing.assert_allclose(metrics.pearson_correlation(t, p, axis).numpy(), pearson, rtol=1e-10)
    np.testing.assert_allclose(metrics.concordance_correlation(t, p, axis).numpy(), concordance, rtol=1e-6)
    close(metrics.PearsonCorrelation(axis=axis)(t, p), np.mean(pearson))
    close(metrics.ConcordanceCorrelation(axis=axis)(t, p), np.mean(concordance))


def iou(t, p, w, classes):
    """The mean over those classes that occur."""
    found = []
    for c in classes:
        union = (w * ((t == c) | (p == c))).sum()
        if union:
            found.append((w * ((t == c) & (p == c))).sum() / union)
    return np.mean(found)


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(17,), (3, 5)], ids=str)
def test_iou(rng, dtype, weighted, shape):
    t, p = rng.integers(0, 4, shape), rng.integers(0, 4, shape)
    w = rng.integers(0, 5, shape) if weighted else np.ones(shape)
    given = w if weighted else None
    close(metrics.IoU(5, [0, 2, 4], dtype=dtype)(t, p, given), iou(t, p, w, [0, 2]))
    close(metrics.MeanIoU(5, dtype=dtype)(t, p, given), iou(t, p, w, range(4)))
    one_hot_t, one_hot_p = np.eye(4)[t], rng.random((*shape, 4))
    chosen = one_hot_p.argmax(-1)
    close(metrics.OneHotIoU(4, [1, 3], dtype=dtype)(one_hot_t, one_hot_p, given), iou(t, chosen, w, [1, 3]))
    close(metrics.OneHotMeanIoU(4, dtype=dtype, sparse_y_pred=True)(one_hot_t, p, given), iou(t, p, w, range(4)))


def test_iou_along_another_axis(rng):
    scores_t, scores_p = rng.random((3, 4, 5)), rng.random((3, 4, 5))
    metric = metrics.MeanIoU(4, sparse_y_true=False, sparse_y_pred=False, axis=1)
    expected = iou(scores_t.argmax(1), scores_p.argmax(1), 1, range(4))
    close(metric(scores_t, scores_p), expected)


def test_iou_leaves_out_what_is_no_class_and_what_is_ignored():
    t = np.array([0, 1, 1, -1, 2, 0, 7])
    p = np.array([0, 1, 0, 0, 2, 9, 1])
    inside = np.array([1, 1, 1, 0, 1, 0, 0])
    close(metrics.MeanIoU(3)(t, p), iou(t, p, inside, range(3)))
    close(metrics.MeanIoU(3, ignore_class=2)(t, p), iou(t, p, inside * (t != 2), range(3)))


def test_iou_of_float_weights_warns():
    with pytest.warns(UserWarning, match="dtype is `int`"):
        metrics.MeanIoU(2)([0, 1], [0, 1], np.array([0.5, 1.0]))
    close(metrics.MeanIoU(2, dtype="float32")([0, 1], [1, 1], np.array([0.5, 1.5])), (0 + 1.5 / 2) / 2)


def test_binary_iou(rng):
    t, p = rng.integers(0, 2, 12), rng.random(12)
    p[0] = 0.25  # the threshold itself means 1
    close(metrics.BinaryIoU(threshold=0.25)(t, p), iou(t, p >= 0.25, 1, [0, 1]))
    close(metrics.BinaryIoU([1], threshold=0.25)(t[:, None], p[:, None]), iou(t, p >= 0.25, 1, [1]))


def test_confusion_matrix_is_kept():
    metric = metrics.MeanIoU(2)
    metric.update_state([0, 0, 1, 1], [0, 1, 0, 1])
    metric.update_state([1], [1])
    assert metric.total_cm.value.tolist() == [[1, 1], [1, 2]] and metric.total_cm.dtype == "int32"
    assert metric.result().dtype == torch.float32
