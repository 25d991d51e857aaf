"""Each loss function against its equation in float64 NumPy, and its gradient against finite differences."""

from typing import Any

import numpy as np
import pytest
import torch

from fastk import losses

EPSILON = 1e-7
EPS = float(np.finfo(np.float32).eps)


def clip(p):
    return np.clip(p, EPSILON, 1 - EPSILON)


def unit(x, axis=-1):
    return x / np.sqrt((x**2).sum(axis, keepdims=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def signs(t):
    return 2 * t - 1 if np.isin(t, (0, 1)).all() else t


def bce(t, p):
    return -(t * np.log(clip(p)) + (1 - t) * np.log(1 - clip(p)))


def focal(t, p, alpha: Any = 0.25, gamma=2.0):
    q = clip(p / p.sum(-1, keepdims=True))
    return (alpha * (1 - q) ** gamma * -t * np.log(q)).sum(-1)


EQUATIONS = {
    "mean_squared_error": lambda t, p: ((t - p) ** 2).mean(-1),
    "mean_absolute_error": lambda t, p: np.abs(t - p).mean(-1),
    "mean_absolute_percentage_error": lambda t, p: 100 * np.abs((t - p) / np.maximum(np.abs(t), EPSILON)).mean(-1),
    "mean_squared_logarithmic_error": lambda t, p: (
        (np.log1p(np.maximum(t, EPSILON)) - np.log1p(np.maximum(p, EPSILON))) ** 2
    ).mean(-1),
    "log_cosh": lambda t, p: np.log(np.cosh(p - t)).mean(-1),
    "cosine_similarity": lambda t, p: -(unit(t) * unit(p)).sum(-1),
    "kl_divergence": lambda t, p: (
        np.clip(t, EPSILON, 1) * np.log(np.clip(t, EPSILON, 1) / np.clip(p, EPSILON, 1))
    ).sum(-1),
    "poisson": lambda t, p: (p - t * np.log(p + EPSILON)).mean(-1),
    "categorical_hinge": lambda t, p: np.maximum(((1 - t) * p).max(-1) - (t * p).sum(-1) + 1, 0),
    "hinge": lambda t, p: np.maximum(1 - signs(t) * p, 0).mean(-1),
    "squared_hinge": lambda t, p: (np.maximum(1 - signs(t) * p, 0) ** 2).mean(-1),
    "binary_crossentropy": lambda t, p: bce(t, p).mean(-1),
    "binary_focal_crossentropy": lambda t, p: ((1 - (t * p + (1 - t) * (1 - p))) ** 2 * bce(t, p)).mean(-1),
    "categorical_crossentropy": lambda t, p: -(t * np.log(clip(p / p.sum(-1, keepdims=True)))).sum(-1),
    "categorical_focal_crossentropy": focal,
    "dice": lambda t, p: 1 - 2 * (t * p).sum() / (t.sum() + p.sum() + EPSILON),
    "tversky": lambda t, p: 1 - (t * p).sum() / (0.5 * t.sum() + 0.5 * p.sum() + EPSILON),
    "huber": lambda t, p: np.where(np.abs(t - p) <= 1, 0.5 * (t - p) ** 2, np.abs(t - p) - 0.5).mean(-1),
}
SHAPES = [(5, 7), (2, 3, 5), (1, 1), (4, 1)]  # primes; a middle axis; one entry; one column


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.filterwarnings("ignore:In loss:SyntaxWarning")
def test_equation(rng, name, shape):
    y_true, y_pred = rng.random(shape), rng.random(shape)
    if "hinge" in name:
        y_true = np.round(y_true)
    expected = EQUATIONS[name](y_true, y_pred)
    actual = getattr(losses, name)(y_true, y_pred)
    assert actual.dtype == torch.float64 and actual.shape == expected.shape
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12, atol=1e-15)
    single = getattr(losses, name)(y_true.astype("float32"), y_pred.astype("float32"))
    n = np.prod(shape)
    scale = np.abs(expected).max() + 1
    np.testing.assert_allclose(
        single.numpy(), expected, rtol=0, atol=16 * EPS * np.sqrt(n) * scale * (100 if "perc" in name else 1)
    )


@pytest.mark.parametrize("name", sorted(set(EQUATIONS) - {"mean_absolute_percentage_error"}))
def test_gradient(rng, name):
    y_true, y_pred = rng.random((3, 4)), rng.uniform(0.1, 0.9, (3, 4))
    y_true = np.round(y_true) if "hinge" in name else y_true
    function = getattr(losses, name)
    prediction = torch.tensor(y_pred, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: function(y_true, p).as_subclass(torch.Tensor), prediction)


LOGITS = {"from_logits": True, "label_smoothing": 0.1}


@pytest.mark.parametrize(
    "loss",
    [
        losses.MeanSquaredError(dtype="float64"),
        losses.MeanAbsoluteError(dtype="float64"),
        losses.BinaryCrossentropy(dtype="float64"),
        losses.BinaryCrossentropy(dtype="float64", **LOGITS),
        losses.CategoricalCrossentropy(dtype="float64"),
        losses.CategoricalCrossentropy(dtype="float64", **LOGITS),
    ],
    ids=lambda loss: f"{loss.name}-{len(loss._fn_kwargs)}",
)
def test_the_fused_mean_is_the_mean(rng, loss):
    """Without weights another way is taken: it has to give what the weighted one gives for weights of 1."""
    y_true = unit(rng.random((5, 3)), -1) ** 2
    found = []
    for weight in (None, np.ones(5)):
        prediction = torch.tensor(np.linspace(0.05, 0.95, 15).reshape(5, 3), requires_grad=True)
        value = loss(y_true, prediction, sample_weight=weight)
        (gradient,) = torch.autograd.grad(value, prediction)
        found.append((value.detach().numpy(), gradient.numpy()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12, atol=1e-16)


def test_broadcast_predictions_take_the_general_way(rng):
    y_true, y_pred = rng.random((4, 3)), rng.random((1, 3))
    loss = losses.MeanSquaredError(dtype="float64")(y_true, y_pred)
    np.testing.assert_allclose(loss.numpy(), ((y_true - y_pred) ** 2).mean(), rtol=1e-12)


def test_a_column_matches_a_vector():
    """Targets (n,) and predictions (n, 1) are n pairs, not n x n."""
    y_true, y_pred = np.array([4.0, 8.0, 12.0]), np.array([[3.0], [0.0], [1.0]])
    np.testing.assert_allclose(losses.mean_squared_error(y_true, y_pred).numpy(), [1.0, 64.0, 121.0])
    np.testing.assert_allclose(losses.MeanSquaredError()(y_true, y_pred).numpy(), 62.0)


def test_integers_count_as_floats():
    assert losses.mean_squared_error([[0, 1]], [[1, 3]]).dtype == torch.float32


def test_extreme_values():
    big = np.array([[50.0, -50.0, 0.0, 1e4]])
    np.testing.assert_allclose(losses.log_cosh(np.zeros((1, 4)), big).numpy(), [(1e4 + 100 - 3 * np.log(2)) / 4])
    logits = torch.tensor([[500.0, -500.0]], requires_grad=True)
    losses.binary_crossentropy([[1.0, 1.0]], logits, from_logits=True).sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), [[0.0, -0.5]], atol=EPS)
    # Certain and wrong: the probability is clipped, the loss finite.
    assert float(losses.BinaryCrossentropy()([1.0], [0.0])) == pytest.approx(-np.log(EPSILON), rel=1e-5)
    assert np.isnan(float(losses.MeanSquaredError()([0.0], [np.nan])))


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_huber_delta(rng, delta):
    t, p = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    e = np.abs(t - p)
    expected = np.where(e <= delta, 0.5 * e**2, delta * e - 0.5 * delta**2).mean(-1)
    np.testing.assert_allclose(losses.huber(t, p, delta=delta).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(losses.Huber(delta, dtype="float64")(t, p).numpy(), expected.mean(), rtol=1e-12)


def test_cosine_similarity_axis_and_zero_vectors(rng):
    t, p = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    expected = -(unit(t, 0) * unit(p, 0)).sum(0)
    np.testing.assert_allclose(losses.cosine_similarity(t, p, axis=0).numpy(), expected, rtol=1e-12)
    prediction = torch.zeros(1, 3, requires_grad=True)
    loss = losses.cosine_similarity([[1.0, 2.0, 3.0]], prediction)
    loss.sum().backward()
    assert float(loss.detach()) == 0
    assert prediction.grad is not None and prediction.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[[-1.0, 1.0]], [[0.5, 0.0]]], ids=["signs", "soft"])
def test_hinge_leaves_other_labels_alone(labels):
    expected = np.maximum(1 - np.array(labels) * 0.25, 0).mean(-1)
    np.testing.assert_allclose(losses.hinge(labels, [[0.25, 0.25]]).numpy(), expected)


def test_binary_focal_balancing(rng):
    t, p = np.round(rng.random((4, 5))), rng.random((4, 5))
    p_t = t * p + (1 - t) * (1 - p)
    expected = ((0.3 * t + 0.7 * (1 - t)) * (1 - p_t) ** 1.5 * bce(t, p)).mean(-1)
    actual = losses.binary_focal_crossentropy(t, p, apply_class_balancing=True, alpha=0.3, gamma=1.5)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    logits = np.log(p / (1 - p))
    from_logits = losses.binary_focal_crossentropy(t, logits, True, 0.3, 1.5, from_logits=True)
    np.testing.assert_allclose(from_logits.numpy(), expected, rtol=1e-9)


def test_categorical_focal_weights_of_classes(rng):
    t, p = np.eye(3)[[0, 1, 2, 1]], rng.uniform(0.1, 1, (4, 3))
    expected = focal(t, p, np.array([0.2, 0.3, 0.5]), 1.0)
    for alpha in ([0.2, 0.3, 0.5], np.array([0.2, 0.3, 0.5])):
        actual = losses.categorical_focal_crossentropy(t, p, alpha=alpha, gamma=1.0)
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
        assert losses.CategoricalFocalCrossentropy(alpha=alpha).get_config()["alpha"] is alpha


def test_generalized_cross_entropy(rng):
    p, labels = rng.uniform(0.1, 0.9, (4, 3)), np.array([0, 2, 1, 1])
    expected = (1 - p[np.arange(4), labels] ** 0.3) / 0.3
    actual = losses.categorical_generalized_cross_entropy(labels, p, q=0.3)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="q must be in the interval"):
        losses.CategoricalGeneralizedCrossEntropy(q=1)


@pytest.mark.parametrize("axis", [None, (1, 2)], ids=str)
def test_region_losses(rng, axis):
    t, p = rng.random((2, 4, 3)), rng.random((2, 4, 3))
    both = (t * p).sum(axis)
    dice = 1 - 2 * both / (t.sum(axis) + p.sum(axis) + EPSILON)
    tversky = 1 - both / (both + 0.3 * ((1 - p) * t).sum(axis) + 0.7 * (p * (1 - t)).sum(axis) + EPSILON)
    np.testing.assert_allclose(losses.dice(t, p, axis=axis).numpy(), dice, rtol=1e-12)
    np.testing.assert_allclose(losses.tversky(t, p, 0.3, 0.7, axis).numpy(), tversky, rtol=1e-12)


def circle_by_pairs(labels, x, gamma, margin, against=None):
    """The double loop of the paper's equation (6), on distances 1 - s."""
    others, references = against or (labels, x)
    found = []
    for i in range(len(x)):
        pulls, pushes = [], []
        for j in range(len(references)):
            d = max(1 - x[i] @ references[j], 0)
            if labels[i] == others[j]:
                if against or i != j:
                    pulls.append(np.exp(-gamma * max(margin + d, 0) * (margin - d)))
            else:
                pushes.append(np.exp(gamma * max(1 + margin - d, 0) * (1 - margin - d)))
        found.append(np.log1p(sum(pulls) * sum(pushes)))
    return np.array(found)


def test_circle(rng):
    x, labels = unit(rng.normal(size=(7, 4))), np.array([0, 1, 0, 2, 1, 0, 3])
    expected = circle_by_pairs(labels, x, 5.0, 0.4)
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(losses.circle(labels, x, gamma=5.0).numpy(), expected, rtol=1e-9, atol=1e-12)
    # Samples without loss do not count in the mean.
    mean = losses.Circle(gamma=5.0, dtype="float64")(labels, x)
    np.testing.assert_allclose(mean.numpy(), expected[expected > 0].mean(), rtol=1e-9)
    against = losses.circle(labels, x, labels[:3], x[:3], remove_diagonal=False, gamma=5.0)
    np.testing.assert_allclose(against.numpy(), circle_by_pairs(labels, x, 5.0, 0.4, (labels[:3], x[:3])), rtol=1e-9)


def test_circle_gradient_without_positives_is_zero():
    x = torch.eye(3, dtype=torch.float64, requires_grad=True)
    losses.Circle(dtype="float64")([0, 1, 2], x).backward()
    assert x.grad is not None and not x.grad.any()


def ctc_by_paths(label, probabilities):
    """Minus the log of the summed probability of all paths that collapse to `label`."""
    time, classes = probabilities.shape
    total = 0.0
    for path in np.ndindex(*[classes] * time):
        collapsed = [c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        if collapsed == label:
            total += np.prod(probabilities[np.arange(time), path])
    return -np.log(total)


def test_ctc(rng):
    logits = rng.normal(size=(2, 5, 3))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [ctc_by_paths([1, 2], softmax[0]), ctc_by_paths([2], softmax[1])]
    np.testing.assert_allclose(losses.ctc([[1, 2], [2, 0]], logits).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(
        losses.CTC(dtype="float64")([[1, 2], [2, 0]], logits).numpy(), np.mean(expected), rtol=1e-9
    )
    with pytest.raises(ValueError, match=r"Targets `y_true`.*\(2,\)"):
        losses.ctc([1, 2], logits)
    with pytest.raises(ValueError, match=r"Logits `y_pred`.*\(5, 3\)"):
        losses.ctc([[1, 2]], logits[0])
