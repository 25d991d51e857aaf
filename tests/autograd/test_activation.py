import math

import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.kernels.activation.aten import ACTIVATIONS, EPILOGUES


def sigmoid(x):
    return 1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x))


def softplus(x):
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


ORACLES = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "softplus": softplus,
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "mish": lambda x: x * math.tanh(softplus(x)),
}
POINTS = [-50.0, -6.5, -3.0, -1.0, -0.01, 0.0, 0.01, 1.0, 3.0, 6.5, 50.0]  # both tails, kinks, around 0


def test_the_table_is_what_is_tested():
    assert set(ACTIVATIONS) == set(EPILOGUES) == set(ORACLES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ORACLES)
def test_forward(name, dtype, implementation, device, close):
    x = torch.tensor(POINTS, dtype=dtype, device=device)
    expected = [ORACLES[name](value) for value in x.double().tolist()]
    # softplus is x from 20 on, where exp(-x) is 2e-9: seen in float64 alone.
    scale = 1e8 if (name, dtype) == ("softplus", torch.float64) else None
    close(autograd.activation(x, name, implementation), expected, scale=scale)


@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues_are_the_activations(name):
    x = torch.tensor(POINTS)
    assert torch.equal(EPILOGUES[name](x.clone()), ACTIVATIONS[name](x))


@pytest.mark.parametrize("name", ORACLES)
def test_float32_near_zero(name, implementation, device):
    """The relative error: where formulas cancel, close to 0, an absolute one would hide it."""
    x = torch.tensor([-0.4, -1e-2, -1e-4, 1e-4, 1e-2, 0.4], device=device)
    expected = torch.tensor([ORACLES[name](value) for value in x.double().tolist()], dtype=torch.float64)
    torch.testing.assert_close(autograd.activation(x, name, implementation).cpu().double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ORACLES)
def test_gradient(name, implementation, device, gradcheck):
    x = torch.tensor([-50.0, -2.1, -0.4, 0.3, 2.2, 50.0], device=device).double()
    gradcheck(lambda x: autograd.activation(x, name, implementation), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ORACLES)
def test_gradient_is_that_of_float64(name, dtype, implementation, normal, close):
    x, g = normal(7, 3, dtype=dtype, requires_grad=True), normal(7, 3, dtype=dtype)
    (gradient,) = torch.autograd.grad(autograd.activation(x, name, implementation), x, g)
    exact = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(autograd.activation(exact, name, "aten"), exact, g.double())
    # Where the derivative is taken from the rounded result, that rounding comes on top.
    close(gradient, expected.cpu(), terms=4)


@pytest.mark.parametrize("shape", [(0,), (), (1023,), (2, 1, 5)])
def test_shapes(shape, implementation, normal):
    x = normal(*shape)
    assert torch.equal(autograd.activation(x, "relu", implementation), x.clamp(min=0))


def test_non_contiguous(implementation, normal):
    x = normal(5, 6, requires_grad=True)
    y = autograd.activation(x.t()[::2], "relu", implementation)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, x.t()[::2].clamp(min=0)) and torch.equal(gradient[:, ::2], (x[:, ::2] > 0).double())
    assert not gradient[:, 1::2].any()


@pytest.mark.parametrize("name", ORACLES)
def test_nan_stays_nan(name, implementation, device):
    assert autograd.activation(torch.tensor([math.nan], device=device), name, implementation).isnan().all()


def test_infinity(implementation, device):
    ends = torch.tensor([-math.inf, math.inf], device=device)
    assert autograd.activation(ends, "tanh", implementation).tolist() == [-1.0, 1.0]
    assert autograd.activation(ends, "sigmoid", implementation).tolist() == [0.0, 1.0]
    assert autograd.activation(ends, "relu", implementation).tolist() == [0.0, math.inf]


def test_unknown_name():
    with pytest.raises(ValueError, match=r"Unknown activation of activation: 'swish2'. Expected None or one of linear"):
        autograd.activation(torch.ones(1), "swish2")
