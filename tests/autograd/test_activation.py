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
def test_forward(name, dtype, close):
    x = torch.tensor(POINTS, dtype=dtype)
    expected = [ORACLES[name](value) for value in x.double().tolist()]
    # softplus is x from 20 on, where exp(-x) is 2e-9: seen in float64 alone.
    close(autograd.activation(x, name), expected, scale=1e8 if (name, dtype) == ("softplus", torch.float64) else None)
    close(EPILOGUES[name](x.clone()), autograd.activation(x, name).double())


@pytest.mark.parametrize("name", ORACLES)
def test_gradient(name, gradcheck):
    gradcheck(lambda x: autograd.activation(x, name), torch.tensor([-50.0, -2.1, -0.4, 0.3, 2.2, 50.0]).double())


@pytest.mark.parametrize("name", ORACLES)
def test_nan_stays_nan(name):
    assert autograd.activation(torch.tensor([math.nan]), name).isnan().all()


def test_infinity():
    ends = torch.tensor([-math.inf, math.inf])
    assert autograd.activation(ends, "tanh").tolist() == [-1.0, 1.0]
    assert autograd.activation(ends, "sigmoid").tolist() == [0.0, 1.0]
    assert autograd.activation(ends, "relu").tolist() == [0.0, math.inf]


def test_unknown_name():
    with pytest.raises(ValueError, match=r"Unknown activation of activation: 'swish2'. Expected None or one of linear"):
        autograd.activation(torch.ones(1), "swish2")
