import numpy as np
import pytest
import torch

from fastk import regularizers
from fastk.variable import Variable

EPS = np.finfo(np.float32).eps
CASES = [
    (regularizers.L1(0.1), lambda x: 0.1 * np.abs(x).sum()),
    (regularizers.L2(0.1), lambda x: 0.1 * (x**2).sum()),
    (regularizers.L1L2(0.1, 0.2), lambda x: 0.1 * np.abs(x).sum() + 0.2 * (x**2).sum()),
    (regularizers.L1L2(), lambda x: 0.0),
    (regularizers.L1(0.0), lambda x: 0.0),
]


@pytest.mark.parametrize(("regularizer", "reference"), CASES)
@pytest.mark.parametrize("shape", [(), (1,), (7, 5), (3, 3, 2, 4)])
def test_value(rng, regularizer, reference, shape):
    x = rng.normal(size=shape).astype("float32")
    expected = reference(x.astype("float64"))
    for given in (torch.tensor(x), Variable(x), x):
        y = regularizer(given)
        assert y.shape == () and y.dtype is torch.float32
        assert abs(y.item() - expected) <= EPS * np.sqrt(x.size) * max(expected, 1e-30) * 4


def test_gradient():
    x = Variable([-2.0, 0.0, 3.0])
    (gradient,) = torch.autograd.grad(regularizers.L1L2(0.5, 0.25)(x), x.value)
    assert gradient.tolist() == [-1.5, 0.0, 2.0]


def orthogonality(x):
    rows = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-7)
    pairs = [abs(rows[i] @ rows[j]) for i in range(len(x)) for j in range(i)]
    return np.mean(pairs) if pairs else 0.0


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (1, 5)])
def test_orthogonal(rng, shape):
    x = rng.normal(size=shape).astype("float32")
    rows = regularizers.OrthogonalRegularizer(0.3)(torch.tensor(x))
    columns = regularizers.OrthogonalRegularizer(0.3, mode="columns")(torch.tensor(x))
    for got, matrix in ((rows, x), (columns, x.T)):
        assert abs(float(got) - 0.3 * orthogonality(matrix.astype("float64"))) <= 4 * EPS * np.sqrt(x.size)


def test_orthogonal_of_a_zero_row_has_finite_gradients():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], requires_grad=True)
    y = regularizers.OrthogonalRegularizer(1.0)(x)
    (gradient,) = torch.autograd.grad(y, x)
    assert y == 0 and torch.isfinite(gradient).all()


def test_orthogonal_checks():
    with pytest.raises(ValueError, match="must have rank 2"):
        regularizers.OrthogonalRegularizer()(torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match=r'one of \{"rows", "columns"\}'):
        regularizers.OrthogonalRegularizer(mode="diagonal")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "0.1", [0.1]])
@pytest.mark.parametrize(
    "cls", [regularizers.L1, regularizers.L2, regularizers.L1L2, regularizers.OrthogonalRegularizer]
)
def test_factors_are_finite_and_not_negative(cls, value):
    with pytest.raises(ValueError, match="expected a non-negative float"):
        cls(value)


CONFIGS = [
    (regularizers.L1(), "L1", {"l1": 0.01}),
    (regularizers.L1(None), "L1", {"l1": 0.01}),
    (regularizers.L2(0.001), "L2", {"l2": 0.001}),
    (regularizers.L1L2(l2=1), "L1L2", {"l1": 0.0, "l2": 1.0}),
    (regularizers.L1L2(None, None), "L1L2", {"l1": 0.0, "l2": 0.0}),
    (regularizers.OrthogonalRegularizer(), "OrthogonalRegularizer", {"factor": 0.01, "mode": "rows"}),
]


@pytest.mark.parametrize(("regularizer", "name", "config"), CONFIGS)
def test_config(regularizer, name, config):
    written = regularizers.serialize(regularizer)
    assert written == {"module": "keras.regularizers", "class_name": name, "config": config, "registered_name": None}
    assert regularizers.serialize(regularizers.deserialize(written)) == written


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("l1", "L1"),
        ("L2", "L2"),
        ("l1l2", "L1L2"),
        ("l1_l2", "L1L2"),
        ("orthogonal_regularizer", "OrthogonalRegularizer"),
    ],
)
def test_get(name, cls):
    assert type(regularizers.get(name)) is getattr(regularizers, cls)


def test_get_of_others():
    def penalty(x):
        return x.sum()

    assert regularizers.get(None) is None and regularizers.get(penalty) is penalty
    assert regularizers.get({"class_name": "L2", "config": {"l2": 0.5}}).l2 == 0.5
    with pytest.raises(ValueError, match="Unknown regularizer"):
        regularizers.get("typo")
    with pytest.raises(ValueError, match="Could not interpret regularizer"):
        regularizers.get(0.01)


def test_base():
    assert regularizers.Regularizer()(torch.ones(2)) == 0.0
    with pytest.raises(NotImplementedError, match="get_config"):
        regularizers.Regularizer().get_config()
