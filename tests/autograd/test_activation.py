import math

import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.kernels import triton_runtime
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


DERIVATIVES = {
    "linear": lambda x: 1.0,
    "relu": lambda x: float(x > 0),
    "relu6": lambda x: float(0 < x < 6),
    "leaky_relu": lambda x: 1.0 if x > 0 else 0.2,
    "elu": lambda x: 1.0 if x > 0 else math.exp(x),
    "selu": lambda x: 1.0507009873554805 * (1.0 if x > 0 else 1.6732632423543772 * math.exp(x)),
    "gelu": lambda x: (1 + math.erf(x / math.sqrt(2))) / 2 + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gelu_tanh": lambda x: gelu_tanh_derivative(x, math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
    "sigmoid": lambda x: sigmoid(x) * sigmoid(-x),
    "tanh": lambda x: 1 / math.cosh(x) ** 2,
    "softplus": sigmoid,
    "hard_sigmoid": lambda x: (-3 < x < 3) / 6,
    "mish": lambda x: math.tanh(softplus(x)) + x * sigmoid(x) / math.cosh(min(softplus(x), 300.0)) ** 2,
}


def gelu_tanh_derivative(x, t):
    return (1 + t) / 2 + x * (1 - t * t) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


POINTS = [-50.0, -6.5, -3.0, -1.0, -0.01, 0.0, 0.01, 1.0, 3.0, 6.5, 50.0]  # both tails, kinks, around 0
SMOOTH = [-50.0, -6.5, -2.9, -1.0, -0.01, 0.01, 1.0, 2.9, 6.5, 50.0]  # without the kinks
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def test_the_table_is_what_is_tested():
    assert set(ACTIVATIONS) == set(EPILOGUES) == set(ORACLES) == set(DERIVATIVES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ORACLES)
def test_forward(name, dtype, close, implementation, device):
    x = torch.tensor(POINTS, dtype=dtype, device=device)
    expected = [ORACLES[name](value) for value in x.double().tolist()]
    # ATen's softplus is x from 20 on, where exp(-x) is 2e-9: seen in float64 alone.
    scale = 1e8 if (name, dtype) == ("softplus", torch.float64) else None
    close(autograd.activation(x, name, implementation), expected, scale=scale)


@pytest.mark.parametrize("name", ORACLES)
def test_epilogue_is_the_activation(name):
    x = torch.tensor(POINTS)
    assert torch.equal(EPILOGUES[name](x.clone()), autograd.activation(x, name))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ORACLES)
def test_derivative(name, dtype, close, implementation, device):
    x = torch.tensor(SMOOTH, dtype=dtype, device=device, requires_grad=True)
    (slope,) = torch.autograd.grad(autograd.activation(x, name, implementation).sum(), x)
    # ATen's float64 hard_sigmoid has the 1/6 of float32. Five roundings at the size of y and of x f''.
    scale = 1e8 if (name, dtype) == ("hard_sigmoid", torch.float64) else None
    close(slope, [DERIVATIVES[name](value) for value in x.double().tolist()], terms=5, scale=scale)


@pytest.mark.parametrize("name", ["elu", "selu", "tanh", "softplus", "silu", "mish", "sigmoid"])
@pytest.mark.parametrize("implementation", ["triton"], indirect=True)
def test_small_results_keep_their_digits(name, implementation, device):
    """Close to 0, where exp(x) - 1 and its like cancel, and far in the tails."""
    x = torch.tensor([1e-6, -1e-6, 1e-3, -1e-3, 0.05, -0.05, 0.59, 0.61, -0.49, -0.51, -15.0], device=device)
    expected = np.array([ORACLES[name](value) for value in x.double().tolist()])
    y = autograd.activation(x, name, implementation).double().cpu().numpy()
    np.testing.assert_allclose(y, expected, rtol=4 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("name", ["selu", "gelu", "softplus", "mish"])  # of all, see test_derivative
def test_gradient(name, gradcheck, implementation, device):
    points = torch.tensor([-50.0, -2.1, -0.4, 0.3, 2.2, 50.0], dtype=torch.float64, device=device)
    gradcheck(lambda x: autograd.activation(x, name, implementation), points)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus"])  # ATen has none of hard_sigmoid
def test_second_derivative(name, implementation, device):
    x = torch.tensor([-2.1, -0.4, 0.3, 2.2], dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: autograd.activation(x, name, implementation), x)


@pytest.mark.parametrize("name", ORACLES)
def test_nan_stays_nan(name, implementation, device):
    assert autograd.activation(torch.tensor([math.nan], device=device), name, implementation).isnan().all()


def test_infinity(implementation, device):
    ends = torch.tensor([-math.inf, math.inf], device=device)
    limits = {
        "tanh": [-1.0, 1.0],
        "sigmoid": [0.0, 1.0],
        "hard_sigmoid": [0.0, 1.0],
        "relu": [0.0, math.inf],
        "relu6": [0.0, 6.0],
        "elu": [-1.0, math.inf],
        "softplus": [0.0, math.inf],
    }
    for name, expected in limits.items():
        assert autograd.activation(ends, name, implementation).tolist() == expected, name


# Nothing, one, around the unit of 8 and the programs of 512 and 2048.
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 511, 512, 520, 2049])
def test_sizes(size, normal, close, implementation):
    x = normal(size, dtype=torch.float32).requires_grad_()
    y = autograd.activation(x, "leaky_relu", implementation)
    (dx,) = torch.autograd.grad(y.sum(), x)
    close(y, [ORACLES["leaky_relu"](value) for value in x.tolist()])
    close(dx, [DERIVATIVES["leaky_relu"](value) for value in x.tolist()])


@pytest.mark.parametrize("name", ["relu", "gelu"])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[:1].expand(5, -1),
        lambda x: x.view(2, 3, 4, 2).to(memory_format=torch.channels_last),
    ],
)
def test_layouts(name, view, normal, close, implementation):
    """Transposed, with gaps, broadcast, channels last; the gradient arrives in another layout than the result's."""
    x = view(normal(6, 8, dtype=torch.float32)).detach().requires_grad_()
    g = normal(*x.shape, dtype=torch.float32)
    y = autograd.activation(x, name, implementation)
    (dx,) = torch.autograd.grad(y, x, g)
    assert y.stride() == torch.empty_like(x).stride()
    values = x.detach().double().cpu()
    close(y, values.clone().apply_(ORACLES[name]))
    close(dx, values.apply_(DERIVATIVES[name]) * g.double().cpu(), terms=2)


def test_input_is_not_overwritten(normal, implementation):
    x = normal(9)
    copy = x.clone()
    autograd.activation(x, "relu", implementation)
    assert torch.equal(x, copy)


@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_is_an_op_of_torch(name, normal, device):
    if refusal := triton_runtime.why_not(device.type):
        pytest.skip(refusal)
    x = normal(5, 3, dtype=torch.float32).requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.fastk.activation_forward.default, (x, name, "triton"), test_utils=checks)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"Unknown activation of activation: 'swish2'. Expected None or one of linear"):
        autograd.activation(torch.ones(1), "swish2")
