"""The dtypes of results: Keras's, where torch's own promotion differs."""

import numpy as np
import pytest
import torch

from fastk import Variable, config, ops


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda: ops.divide(np.ones(2, "int32"), np.ones(2, "int32")), "float32"),
        (lambda: ops.mean(np.ones(2, "int64")), "float32"),
        (lambda: ops.mean(np.ones(2, "float16")), "float16"),
        (lambda: ops.sum(np.ones(2, "bool")), "int32"),
        (lambda: ops.sum(np.ones(2, "int8")), "int32"),
        (lambda: ops.sum(np.ones(2, "int64")), "int64"),
        (lambda: ops.prod(np.ones(2, "uint8")), "int32"),
        (lambda: ops.cumsum(np.ones(2, "bool")), "int32"),
        (lambda: ops.argmax(np.ones(2, "float32")), "int32"),
        (lambda: ops.sin(np.ones(2, "int64")), "float32"),
        (lambda: ops.add(np.ones(2, "bool"), 1), "int32"),
        (lambda: ops.add(1, np.ones(2, "bool")), "int32"),
        (lambda: ops.add(np.ones(2, "float16"), 1.5), "float16"),
        (lambda: ops.multiply(2.0, np.ones(2, "float16")), "float16"),
        (lambda: ops.multiply(2.0, np.ones(2, "int8")), "float32"),
        (lambda: ops.maximum(np.ones(2, "int32"), 0.5), "float32"),
        (lambda: ops.matmul(np.ones((2, 2), "int8"), np.ones((2, 2), "int8")), "int32"),
        (lambda: ops.matmul(np.ones((2, 2), "int32"), np.ones((2, 2), "float16")), "float16"),
        (lambda: ops.arange(3), "int32"),
        (lambda: ops.arange(3.0), "float32"),
        (lambda: ops.square(np.ones(2, "bool")), "int32"),
        (lambda: ops.where(np.ones(2, "bool"), 1, 2), "int32"),
        (lambda: ops.one_hot([1], 2), "float32"),
        (lambda: ops.var(np.ones(2, "int32")), "float32"),
        (lambda: ops.linspace(0, 1, 3), "float32"),
    ],
)
def test_dtype(call, dtype):
    assert ops.dtype(call()) == dtype


def test_a_python_float_takes_floatx():
    config.set_floatx("float16")
    try:
        assert ops.dtype(ops.add(np.ones(2, "int32"), 0.5)) == "float16"
        assert ops.dtype(ops.zeros(2)) == "float16"
    finally:
        config.set_floatx("float32")


@pytest.mark.parametrize(
    "x",
    [[1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0], "float32"), torch.tensor([1.0, 2.0]), Variable([1.0, 2.0])],
    ids=["list", "tuple", "array", "tensor", "variable"],
)
def test_what_may_stand_for_a_tensor(x):
    result = ops.add(ops.square(x), x)
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result.detach(), torch.tensor([2.0, 6.0]))


def test_gradients_flow_into_variables():
    weight = Variable([3.0])
    ops.sum(ops.square(weight)).backward()
    torch.testing.assert_close(weight.value.grad, torch.tensor([6.0]))
