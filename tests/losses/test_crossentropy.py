"""Cross-entropies: from logits and probabilities, any class axis, ignored classes, labels out of range."""

import numpy as np
import pytest
import torch

import fastk
from fastk import losses
from fastk.errors import ImplementationUnavailable
from fastk.losses.crossentropy import FEW_CLASSES
from fastk.tensor import get_keras_mask

EPSILON = 1e-7


def log_shares(y_pred, from_logits):
    """Logarithms of the predicted distribution over the last axis."""
    if from_logits:
        shifted = y_pred - y_pred.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.log(np.clip(y_pred / y_pred.sum(-1, keepdims=True), EPSILON, 1 - EPSILON))


def predictions(rng, shape, from_logits):
    return rng.normal(size=shape) * 3 if from_logits else rng.uniform(0.01, 1, shape)


# 3: few classes; FEW_CLASSES + 1: the way for many; 2: the least
@pytest.mark.parametrize("classes", [2, 3, FEW_CLASSES, FEW_CLASSES + 1])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("shape", [(5,), (2, 3)], ids=str)
def test_sparse(rng, classes, from_logits, shape):
    y_pred = predictions(rng, (*shape, classes), from_logits)
    labels = rng.integers(0, classes, shape)
    expected = -np.take_along_axis(log_shares(y_pred, from_logits), labels[..., None], -1)[..., 0]
    actual = losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=from_logits)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12, atol=1e-15)
    loss = losses.SparseCategoricalCrossentropy(from_logits=from_logits, dtype="float64")
    np.testing.assert_allclose(loss(labels, y_pred).numpy(), expected.mean(), rtol=1e-12)
    weight = rng.random(shape)
    np.testing.assert_allclose(loss(labels, y_pred, weight).numpy(), (expected * weight).mean(), rtol=1e-12)


@pytest.mark.parametrize("classes", [3, FEW_CLASSES + 1])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", None])
@pytest.mark.parametrize("ignore_class", [None, 1])
def test_sparse_gradient(rng, classes, from_logits, reduction, ignore_class):
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, reduction, dtype="float64")
    labels = np.array([0, 1, 2, 1])
    y_pred = torch.tensor(predictions(rng, (4, classes), from_logits), requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: loss(labels, p).as_subclass(torch.Tensor), y_pred)


@pytest.mark.parametrize("axis", [1, 2, -2, 3], ids=str)
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_class_axis(rng, axis, from_logits):
    y_pred = predictions(rng, (2, 3, 4, 5), from_logits)
    moved = np.moveaxis(y_pred, axis, -1)
    labels = rng.integers(0, moved.shape[-1], moved.shape[:-1])
    log_p = log_shares(moved, from_logits)
    expected = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    actual = losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=from_logits, axis=axis)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    one_hot = np.moveaxis(np.eye(moved.shape[-1])[labels], -1, axis)
    soft = losses.categorical_crossentropy(one_hot, y_pred, from_logits=from_logits, axis=axis)
    np.testing.assert_allclose(soft.numpy(), expected, rtol=1e-12)
    mean = losses.CategoricalCrossentropy(from_logits, axis=axis, dtype="float64")(one_hot, y_pred)
    np.testing.assert_allclose(mean.numpy(), expected.mean(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float32"])
@pytest.mark.parametrize("column", [False, True], ids=["vector", "column"])
def test_label_dtypes_and_a_column_of_labels(rng, dtype, column):
    y_pred = rng.random((4, 3)).astype("float32")
    labels = np.array([0, 2, 1, 2])
    expected = -log_shares(y_pred.astype("float64"), False)[np.arange(4), labels].mean()
    given = labels.astype(dtype)[:, None] if column else labels.astype(dtype)
    assert float(losses.SparseCategoricalCrossentropy()(given, y_pred)) == pytest.approx(expected, rel=1e-6)


def test_large_labels_stay_exact():
    """Class numbers are not rounded to the loss's dtype on the way: 2049 is no float16."""
    y_pred = torch.full((1, 2050), -10.0)
    y_pred[0, 2049] = 5.0
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float16")(np.array([2049]), y_pred)
    assert float(loss) < 0.01


@pytest.mark.parametrize("classes", [3, FEW_CLASSES + 1])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("ignored", [-1, 1, 255])
def test_ignored_class(rng, classes, from_logits, ignored):
    y_pred = predictions(rng, (2, 4, classes), from_logits)
    labels = rng.integers(0, 3, (2, 4))
    labels[0, 1] = labels[1, 3] = ignored
    kept = labels != ignored
    safe = np.where(kept, labels, 0)
    expected = np.where(kept, -np.take_along_axis(log_shares(y_pred, from_logits), safe[..., None], -1)[..., 0], 0)
    actual = losses.sparse_categorical_crossentropy(labels, y_pred, from_logits, ignore_class=ignored)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    mask = get_keras_mask(actual)
    assert mask is not None and np.array_equal(mask.numpy(), kept)
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignored, dtype="float64")
    np.testing.assert_allclose(loss(labels, y_pred).numpy(), expected[kept].mean(), rtol=1e-12)
    assert float(loss(np.full((2, 4), ignored), y_pred)) == 0


@pytest.mark.parametrize("classes", [3, FEW_CLASSES + 1])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("filling", [0.0, np.nan])
def test_an_ignored_row_may_hold_anything(classes, from_logits, filling):
    y_pred = torch.ones(2, classes, dtype=torch.float64)
    y_pred[1] = filling
    y_pred.requires_grad_()
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class=-1, dtype="float64")([0, -1], y_pred)
    (gradient,) = torch.autograd.grad(loss, y_pred)
    assert float(loss.detach()) == pytest.approx(np.log(classes))
    assert gradient.isfinite().all() and gradient[0].any() and not gradient[1].any()


@pytest.mark.parametrize("classes", [4, FEW_CLASSES + 6])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [(0, "Labels counted from 1"), (5, "a unit for each class"), (-101, "ignore_class"), (-3, "ignore_class")],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_out_of_range(classes, from_logits, wrong, hint, weighted):
    """`wrong` counts from the number of classes; -100, which torch ignores by default, is no exception."""
    label = classes + wrong if wrong >= 0 else wrong + 1
    loss = losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    with pytest.raises(ValueError, match=rf"A label is {label}, but `y_pred` has {classes} classes.*{hint}"):
        loss([1, label], np.full((2, classes), 0.5), np.ones(2) if weighted else None)


def test_labels_out_of_range_beside_an_ignored_class():
    with pytest.raises(ValueError, match="A label is 7, but `y_pred` has 3 classes"):
        losses.sparse_categorical_crossentropy([-1, 7], np.ones((2, 3)), ignore_class=-1)


@pytest.mark.parametrize(
    ("y_true", "y_pred"),
    [((4, 3), (4, 3)), ((3,), (4, 3)), ((4, 2), (4, 3)), ((), (4, 3))],
    ids=["one-hot", "fewer", "other", "scalar"],
)
def test_sparse_shapes(y_true, y_pred):
    with pytest.raises(ValueError, match=r"class numbers in `y_true`.*categorical_crossentropy"):
        losses.sparse_categorical_crossentropy(np.zeros(y_true), np.ones(y_pred))


def test_a_single_sample_without_batch():
    assert float(losses.sparse_categorical_crossentropy(1, [0.25, 0.75])) == pytest.approx(-np.log(0.75))


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_categorical(rng, from_logits, label_smoothing):
    y_pred = predictions(rng, (5, 3), from_logits)
    y_true = rng.dirichlet(np.ones(3), 5)
    smooth = y_true * (1 - label_smoothing) + label_smoothing / 3
    expected = -(smooth * log_shares(y_pred, from_logits)).sum(-1)
    arguments = {"from_logits": from_logits, "label_smoothing": label_smoothing}
    actual = losses.categorical_crossentropy(y_true, y_pred, **arguments)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    loss = losses.CategoricalCrossentropy(**arguments, dtype="float64")
    np.testing.assert_allclose(loss(y_true, y_pred).numpy(), expected.mean(), rtol=1e-12)
    weight = rng.random(5)
    np.testing.assert_allclose(loss(y_true, y_pred, weight).numpy(), (expected * weight).mean(), rtol=1e-12)


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_label_smoothing_is_over_the_classes(rng, from_logits):
    y_pred, y_true = predictions(rng, (2, 3, 5), from_logits), rng.dirichlet(np.ones(3), (2, 5)).swapaxes(1, 2)
    expected = losses.categorical_crossentropy(
        y_true.swapaxes(1, 2), y_pred.swapaxes(1, 2), from_logits, label_smoothing=0.2
    )
    actual = losses.categorical_crossentropy(y_true, y_pred, from_logits, label_smoothing=0.2, axis=1)
    np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-12)


def test_categorical_mistakes():
    with pytest.raises(
        ValueError, match=r"must have the same shape.*\(2,\).*\(2, 3\).*sparse_categorical_crossentropy"
    ):
        losses.CategoricalCrossentropy()([0, 1], np.ones((2, 3)))
    with pytest.raises(ValueError, match="`axis` must be of type `int`"):
        losses.categorical_crossentropy(np.ones((2, 3)), np.ones((2, 3)), axis=True)
    with pytest.warns(SyntaxWarning, match="binary_crossentropy"):
        losses.categorical_crossentropy(np.ones((2, 1)), np.ones((2, 1)))


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(7,), (7, 1), (4, 3)], ids=str)
def test_binary(rng, from_logits, label_smoothing, shape):
    y_true = np.round(rng.random(shape))
    y_pred = rng.normal(size=shape) * 3 if from_logits else rng.random(shape)
    t = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        values = np.logaddexp(0, y_pred) - t * y_pred
    else:
        p = np.clip(y_pred, EPSILON, 1 - EPSILON)
        values = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    loss = losses.BinaryCrossentropy(from_logits, label_smoothing, dtype="float64")
    np.testing.assert_allclose(loss(y_true, y_pred).numpy(), values.mean(), rtol=1e-12)
    actual = losses.binary_crossentropy(y_true, y_pred, from_logits, label_smoothing)
    np.testing.assert_allclose(actual.numpy(), values.mean(-1), rtol=1e-12)


def test_binary_axis(rng):
    t, p = np.round(rng.random((4, 3))), rng.uniform(0.1, 0.9, (4, 3))
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(0)
    np.testing.assert_allclose(losses.binary_crossentropy(t, p, axis=0).numpy(), expected, rtol=1e-6)


def test_binary_shapes():
    with pytest.raises(ValueError, match=r"must have the same shape.*\(3, 1\).*\(3, 2\)"):
        losses.BinaryCrossentropy()(np.ones((3, 1)), np.ones((3, 2)))


def test_functions_named_in_compile_take_the_same_ways(rng):
    """A loss made from the function alone, as `compile(loss="...")` makes it, equals the class."""
    y_pred, labels = rng.random((5, 4)).astype("float32"), rng.integers(0, 4, 5)
    made = losses.LossFunctionWrapper(losses.get("sparse_categorical_crossentropy"))
    assert float(made(labels, y_pred)) == float(losses.SparseCategoricalCrossentropy()(labels, y_pred))
    one_hot = np.eye(4)[labels]
    for name in ("categorical_crossentropy", "binary_crossentropy", "mean_squared_error"):
        function = losses.get(name)
        expected = function(one_hot.astype("float32"), y_pred).numpy().mean()
        assert float(losses.LossFunctionWrapper(function)(one_hot, y_pred)) == pytest.approx(expected, rel=1e-6)


def test_an_implementation_asked_for_by_name_is_not_passed_over():
    loss, labels, logits = losses.SparseCategoricalCrossentropy(from_logits=True), [0], torch.zeros(1, 2)
    fastk.config.set_kernels("cupy")
    try:
        with pytest.raises(ImplementationUnavailable):
            loss(labels, logits)
    finally:
        fastk.config.set_kernels("auto")


@pytest.mark.parametrize("sparse", [True, False])
def test_softmax_and_its_loss_are_computed_from_the_logits(rng, sparse):
    """Exact where probabilities underflow, for the values and the gradients."""
    logits = torch.tensor(rng.normal(size=(5, 4)) * 100, dtype=torch.float32, requires_grad=True)
    labels = rng.integers(0, 4, 5)
    probabilities = fastk.activations.softmax(logits)
    targets = labels if sparse else np.eye(4, dtype="float32")[labels]
    function = losses.sparse_categorical_crossentropy if sparse else losses.categorical_crossentropy
    values = function(targets, probabilities)
    wide = logits.detach().double().numpy()
    expected = np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1)) + wide.max(1) - wide[np.arange(5), labels]
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    shares = np.exp(wide - wide.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shares[np.arange(5), labels] -= 1
    np.testing.assert_allclose(gradient.numpy(), shares, atol=1e-6)


def test_changed_probabilities_are_taken_as_they_are():
    halved = fastk.activations.softmax(torch.zeros(1, 2)) * torch.tensor([1.0, 3.0])
    value = losses.sparse_categorical_crossentropy([1], halved)
    np.testing.assert_allclose(value.numpy(), [-np.log(0.75)], rtol=1e-6)
