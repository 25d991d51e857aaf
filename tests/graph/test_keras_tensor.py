"""The operators of symbolic tensors, and what they refuse."""

import operator

import numpy as np
import pytest
import torch

from fastk import Function, KerasTensor, ops
from fastk.graph import any_symbolic_tensors, is_keras_tensor

A = np.array([[1.0, -2.0], [3.0, 4.0]], "float32")
B = np.array([[2.0, 2.0], [-3.0, 0.5]], "float32")


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lt", "le", "gt", "ge", "ne"]
)
def test_binary_operators(name):
    operate = getattr(operator, name)
    x, y = KerasTensor((2, 2)), KerasTensor((2, 2))
    base = np.abs(A) if name == "pow" else A
    np.testing.assert_allclose(Function([x, y], operate(x, y))([base, B]), operate(base, B), rtol=1e-6)
    if name != "matmul":
        np.testing.assert_allclose(Function(x, operate(x, 2))(base), operate(base, 2), rtol=1e-6)
        np.testing.assert_allclose(Function(x, operate(2, x))(B), operate(2, B), rtol=1e-6)
    for constant in (base, torch.from_numpy(base)):
        np.testing.assert_allclose(Function(x, operate(constant, x))(B), operate(base, B), rtol=1e-6)


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
def test_logical_operators(name):
    operate = getattr(operator, name)
    x, y = KerasTensor((2, 2), dtype="bool"), KerasTensor((2, 2), dtype="bool")
    np.testing.assert_array_equal(Function([x, y], operate(x, y))([A > 0, B > 0]), operate(A > 0, B > 0))
    np.testing.assert_array_equal(Function(x, operate(True, x))(A > 0), operate(True, A > 0))


def test_unary_operators_and_methods():
    x = KerasTensor((2, 2))
    for output, expected in (
        (-x, -A),
        (abs(x), abs(A)),
        (x.T, A.T),
        (x.reshape((4,)), A.reshape(4)),
        (round(x / 3, 1), np.round(A / 3, 1)),
        (x[:, None].squeeze(1), A),
        (x[0, ::-1], A[0, ::-1]),
    ):
        np.testing.assert_allclose(Function(x, output)(A), expected, rtol=1e-6)
    flags = KerasTensor((2, 2), dtype="bool")
    np.testing.assert_array_equal(Function(flags, ~flags)(A > 0), A <= 0)


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda x: np.asarray(x), ValueError),
        (lambda x: torch.add(x, 1), TypeError),
        (lambda x: bool(x), TypeError),
        (lambda x: float(x), TypeError),
        (lambda x: int(x), TypeError),
        (lambda x: list(x), NotImplementedError),
        (lambda x: ops.convert_to_numpy(x), ValueError),
    ],
)
def test_a_symbolic_tensor_has_no_values(use, error):
    with pytest.raises(error):
        use(KerasTensor((2,)))


def test_symbolic_tensors_are_found_in_structures():
    x = KerasTensor((2,))
    assert is_keras_tensor(x)
    assert not is_keras_tensor(A)
    assert any_symbolic_tensors(({"a": [1, x]},))
    assert any_symbolic_tensors(kwargs={"a": x})
    assert not any_symbolic_tensors((A, None), {"b": "text"})


@pytest.mark.parametrize("arguments", [{"sparse": True}, {"ragged": True}, {"dtype": "nonsense"}])
def test_what_is_not_supported_is_refused(arguments):
    with pytest.raises(ValueError):
        KerasTensor((2,), **arguments)


def test_a_shape_must_be_sizes():
    with pytest.raises(ValueError, match="Negative"):
        KerasTensor((-1,))
    with pytest.raises(ValueError, match="Cannot convert"):
        KerasTensor("text")
