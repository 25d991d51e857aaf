import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.kernels.activation.aten import ACTIVATIONS


def oracle(x, kernel, bias):
    return np.einsum("...k,kn->...n", x.numpy(), kernel.numpy()) + (0 if bias is None else bias.numpy())


# No rows, one of everything, primes, leading axes, a vector.
@pytest.mark.parametrize("leading", [(0,), (1,), (7,), (2, 3), (2, 1, 3), ()])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (13, 11)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_forward(leading, k, n, with_bias, normal, close):
    x, kernel, bias = normal(*leading, k), normal(k, n), normal(n) if with_bias else None
    close(autograd.dense(x, kernel, bias), oracle(x, kernel, bias), terms=k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype, normal, close):
    x, kernel, bias = normal(5, 64, dtype=dtype), normal(64, 9, dtype=dtype), normal(9, dtype=dtype)
    y = autograd.dense(x, kernel, bias)
    assert y.dtype == dtype
    close(y, oracle(x.double(), kernel.double(), bias.double()), terms=64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_follows(name, normal, close):
    x, kernel, bias = normal(3, 4), normal(4, 5), normal(5)
    expected = autograd.activation(autograd.dense(x, kernel, bias), name)
    close(autograd.dense(x, kernel, bias, name), expected.numpy())


@pytest.mark.parametrize("name", [None, "relu", "tanh", "gelu"])
@pytest.mark.parametrize("leading", [(3,), (2, 2)])
def test_gradient(name, leading, normal, gradcheck):
    gradcheck(lambda *a: autograd.dense(*a, activation=name), normal(*leading, 4), normal(4, 5), normal(5))
    gradcheck(lambda x, kernel: autograd.dense(x, kernel, None, name), normal(*leading, 4), normal(4, 5))


def test_second_derivative(normal):
    inputs = [normal(3, 4).requires_grad_(), normal(4, 2).requires_grad_()]
    assert torch.autograd.gradgradcheck(lambda x, kernel: autograd.dense(x, kernel, None, "tanh"), inputs)


def test_non_contiguous(normal, close):
    x, kernel = normal(4, 6).t(), normal(5, 8).t()[::2]
    close(autograd.dense(x, kernel), oracle(x, kernel, None), terms=4)


def test_inputs_are_not_overwritten(normal):
    x, kernel, bias = normal(3, 4), normal(4, 4), normal(4)
    copies = [tensor.clone() for tensor in (x, kernel, bias)]
    autograd.dense(x, kernel, bias, "relu", 0.5, (1, 2))
    assert all(map(torch.equal, (x, kernel, bias), copies))


def test_nan_and_infinity_arrive():
    x = torch.tensor([[np.nan], [np.inf], [-np.inf]])
    y = autograd.dense(x, torch.ones(1, 1), torch.ones(1), "relu").flatten()
    assert y[0].isnan() and y[1:].tolist() == [np.inf, 0.0]


def test_dropout_is_that_of_dropout(normal):
    x, kernel, seed = normal(3, 4), normal(4, 50), torch.tensor([5, 6])
    expected = autograd.dropout(autograd.dense(x, kernel, None, "relu"), 0.4, seed)
    assert torch.equal(autograd.dense(x, kernel, None, "relu", 0.4, seed), expected)


@pytest.mark.parametrize(
    ("x", "kernel", "bias", "message"),
    [
        ((2, 3), (4, 5), None, r"Received x of shape \(2, 3\) and a kernel of shape \(4, 5\)"),
        ((2, 3), (3,), None, r"a kernel \[K, N\]"),
        ((), (3, 4), None, r"x \[..., K\]"),
        ((2, 3), (3, 4), (3,), r"`bias` of shape \(4,\). Received shape \(3,\)"),
        ((2, 3), (3, 4), (1, 4), r"`bias` of shape \(4,\). Received shape \(1, 4\)"),
    ],
)
def test_shapes_that_do_not_fit(x, kernel, bias, message):
    with pytest.raises(ValueError, match=message):
        autograd.dense(torch.ones(x), torch.ones(kernel), bias if bias is None else torch.ones(bias))


def test_arguments_out_of_range():
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match="Unknown activation of dense: 'softmax'"):
        autograd.dense(x, x, None, "softmax")
    with pytest.raises(ValueError, match="needs `seed`"):
        autograd.dense(x, x, dropout_rate=0.5)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]. Received: 1.5"):
        autograd.dense(x, x, dropout_rate=1.5, seed=(1, 2))
