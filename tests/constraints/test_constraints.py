import numpy as np
import pytest
import torch

from fastk import constraints
from fastk.variable import Variable

EPSILON = 1e-7
EPS = np.finfo(np.float32).eps


def norms(w, axis):
    return np.sqrt((w**2).sum(axis, keepdims=True))


def min_max(w, low, high, rate, axis):
    n = norms(w, axis)
    return w * ((rate * np.clip(n, low, high) + (1 - rate) * n) / (EPSILON + n))


AXES = [0, 1, -1, (0, 1), [0, 2], None]


def max_norm(w, axis):
    return w * np.minimum(norms(w, axis), 1.5) / (EPSILON + norms(w, axis))


CASES = [
    *((constraints.MaxNorm(1.5, axis), max_norm) for axis in AXES),
    *((constraints.UnitNorm(axis), lambda w, a: w / (EPSILON + norms(w, a))) for axis in AXES),
    *((constraints.MinMaxNorm(0.5, 1.5, 1.0, axis), lambda w, a: min_max(w, 0.5, 1.5, 1.0, a)) for axis in AXES),
    (constraints.MinMaxNorm(0.5, 1.5, 0.3, 0), lambda w, a: min_max(w, 0.5, 1.5, 0.3, a)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("constraint", "reference"), CASES, ids=lambda c: f"{type(c).__name__}-{getattr(c, 'axis', '')}"
)
def test_value(rng, constraint, reference):
    w = rng.normal(size=(4, 5, 6)).astype("float32")
    w[:, 1, 2] = 0.0  # a zero vector stays one
    axis = tuple(constraint.axis) if isinstance(constraint.axis, list) else constraint.axis
    expected = reference(w.astype("float64"), axis)
    for given in (torch.tensor(w), Variable(w), w):
        got = constraint(given)
        assert got.dtype is torch.float32 and got.shape == w.shape
        assert np.abs(got.detach().numpy() - expected).max() < EPS * np.sqrt(w.size) * np.abs(expected).max()


def test_the_weight_is_not_overwritten():
    w = torch.tensor([[-3.0], [4.0]])
    for constraint in (constraints.NonNeg(), constraints.MaxNorm(1), constraints.UnitNorm(), constraints.MinMaxNorm()):
        constraint(w)
    assert w.tolist() == [[-3.0], [4.0]]


def test_non_neg():
    assert constraints.NonNeg()(torch.tensor([-1.0, -0.0, 2.0])).tolist() == [0.0, 0.0, 2.0]


def test_base_changes_nothing():
    w = torch.ones(3)
    assert constraints.Constraint()(w) is w


CONFIGS = [
    (constraints.MaxNorm(), "MaxNorm", {"max_value": 2, "axis": 0}),
    (constraints.NonNeg(), "NonNeg", {}),
    (constraints.UnitNorm([0, 1, 2]), "UnitNorm", {"axis": [0, 1, 2]}),
    (constraints.MinMaxNorm(), "MinMaxNorm", {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0}),
]


@pytest.mark.parametrize(("constraint", "name", "config"), CONFIGS)
def test_config(constraint, name, config):
    written = constraints.serialize(constraint)
    assert written == {"module": "keras.constraints", "class_name": name, "config": config, "registered_name": None}
    assert constraints.serialize(constraints.deserialize(written)) == written


@pytest.mark.parametrize("name", ["MaxNorm", "max_norm", "non_neg", "unit_norm", "min_max_norm"])
def test_get(name):
    assert isinstance(constraints.get(name), constraints.Constraint)
    alias = getattr(constraints, name)
    assert isinstance(constraints.get(name), alias)


def test_get_of_others():
    assert constraints.get(None) is None and constraints.get(torch.abs) is torch.abs
    with pytest.raises(ValueError, match="Unknown constraint"):
        constraints.get("typo")
