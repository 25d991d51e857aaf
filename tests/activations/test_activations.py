"""Each activation against NumPy in float64, and each gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from fastk import activations, serialization
from fastk.tensor import Tensor


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax(x, axis: int | tuple[int, ...] | None = -1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
erf = np.vectorize(math.erf)

# name, arguments, the same in NumPy
CASES = [
    ("linear", {}, lambda x: x),
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("relu", {"max_value": 2.0}, lambda x: np.clip(x, 0, 2)),
    ("relu", {"threshold": 1.0}, lambda x: np.where(x > 1, x, 0)),
    ("relu", {"negative_slope": 0.1}, lambda x: np.where(x > 0, x, 0.1 * x)),
    (
        "relu",
        {"negative_slope": 0.1, "threshold": 1.0, "max_value": 3.0},
        lambda x: np.where(x > 1, np.minimum(x, 3), 0.1 * (x - 1)),
    ),
    ("leaky_relu", {}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ("leaky_relu", {"negative_slope": 0.01}, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("relu6", {}, lambda x: np.clip(x, 0, 6)),
    ("elu", {"alpha": 0.5}, lambda x: elu(x, 0.5)),
    ("selu", {}, lambda x: SELU_SCALE * elu(x, SELU_ALPHA)),
    ("celu", {"alpha": 2.0}, lambda x: np.maximum(x, 0) + np.minimum(2 * np.expm1(np.minimum(x, 0) / 2), 0)),
    ("softplus", {}, softplus),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    ("squareplus", {}, lambda x: (x + np.sqrt(x**2 + 4)) / 2),
    ("squareplus", {"b": 1}, lambda x: (x + np.sqrt(x**2 + 1)) / 2),
    ("sparse_plus", {}, lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x))),
    ("silu", {}, lambda x: x * sigmoid(x)),
    ("gelu", {}, lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    ("gelu", {"approximate": True}, lambda x: x * (1 + np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3))) / 2),
    ("glu", {}, lambda x: np.split(x, 2, -1)[0] * sigmoid(np.split(x, 2, -1)[1])),
    ("glu", {"axis": 0}, lambda x: np.split(x, 2, 0)[0] * sigmoid(np.split(x, 2, 0)[1])),
    ("mish", {}, lambda x: x * np.tanh(softplus(x))),
    ("hard_silu", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    ("sigmoid", {}, sigmoid),
    ("hard_sigmoid", {}, lambda x: np.clip(x + 3, 0, 6) / 6),
    ("sparse_sigmoid", {}, lambda x: np.clip((x + 1) / 2, 0, 1)),
    ("log_sigmoid", {}, lambda x: -softplus(-x)),
    ("tanh", {}, np.tanh),
    ("hard_tanh", {}, lambda x: np.clip(x, -1, 1)),
    ("tanh_shrink", {}, lambda x: x - np.tanh(x)),
    ("soft_shrink", {}, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("soft_shrink", {"threshold": 1.0}, lambda x: np.sign(x) * np.maximum(np.abs(x) - 1.0, 0)),
    ("hard_shrink", {}, lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    ("threshold", {"threshold": 1.0, "default_value": -2.0}, lambda x: np.where(x > 1, x, -2.0)),
    ("exponential", {}, np.exp),
    ("softmax", {}, softmax),
    ("softmax", {"axis": 0}, lambda x: softmax(x, 0)),
    ("softmax", {"axis": None}, lambda x: softmax(x, None)),
    ("softmax", {"axis": (0, 2)}, lambda x: softmax(x, (0, 2))),
    ("softmax", {"axis": (-1, 0)}, lambda x: softmax(x, (0, 2))),
    ("log_softmax", {}, lambda x: np.log(softmax(x))),
    ("log_softmax", {"axis": (1, 2)}, lambda x: np.log(softmax(x, (1, 2)))),
    ("log_softmax", {"axis": None}, lambda x: np.log(softmax(x, None))),
]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in arguments.items())}" for name, arguments, _ in CASES]


@pytest.mark.parametrize(("name", "arguments", "reference"), CASES, ids=IDS)
class TestValues:
    def values(self, rng):
        # An even last axis, for glu, and no value within 0.01 of a kink (multiples of 0.5).
        x = rng.uniform(-5, 5, (4, 3, 6))
        return np.where(np.abs(2 * x - np.round(2 * x)) < 0.02, x + 0.02, x)

    def test_forward(self, rng, name, arguments, reference):
        x = self.values(rng)
        y = getattr(activations, name)(x.astype("float32"), **arguments)
        expected = reference(x.astype("float32").astype("float64"))
        assert y.dtype is torch.float32 if name != "linear" else True
        # A few roundings each: 16 eps of the values, and of the inputs where they cancel.
        bound = 16 * np.finfo(np.float32).eps * np.maximum(np.abs(expected), np.abs(x).max())
        assert y.shape == expected.shape and (np.abs(np.asarray(y, "float64") - expected) <= bound).all()

    def test_backward(self, rng, name, arguments, reference):
        x = torch.tensor(self.values(rng)[:2, :1], requires_grad=True)
        assert gradcheck(lambda t: getattr(activations, name)(t, **arguments), x)

    def test_tails(self, rng, name, arguments, reference):
        x = np.array([[-50.0, 50.0, -50.0, 50.0], [-80.0, 80.0, 80.0, -80.0]])[..., None].repeat(2, -1)
        t = torch.tensor(x.astype("float32"), requires_grad=True)
        y = getattr(activations, name)(t, **arguments)
        with np.errstate(divide="ignore"):
            expected = reference(x)
        finite = np.isfinite(expected)  # the logarithm of NumPy's softmax underflows
        # Relative, down to float32's smallest numbers; 100 is the condition of exp at these arguments.
        assert np.allclose(y.detach().numpy()[finite], expected[finite], rtol=100 * np.finfo(np.float32).eps, atol=1e-5)
        (gradient,) = torch.autograd.grad(y.sum(), t)
        assert torch.isfinite(gradient).all()

    def test_half_precision_and_empty(self, rng, name, arguments, reference):
        for dtype in (torch.float16, torch.bfloat16):
            y = getattr(activations, name)(torch.zeros(2, 3, 4, dtype=dtype), **arguments)
            assert y.dtype is dtype and torch.isfinite(y).all()
        if arguments.get("axis", 0) is not None:
            assert getattr(activations, name)(torch.zeros(0, 3, 4), **arguments).numel() == 0


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_sparsemax_is_the_projection_onto_the_simplex(rng, axis):
    x = rng.normal(size=(5, 7, 6)) * 2
    y = activations.sparsemax(torch.tensor(x), axis=axis).numpy()
    assert np.abs(y.sum(axis) - 1).max() < 1e-12 and (y >= 0).all() and (y == 0).any()
    # The projection's optimality: x - y is one constant on the support and not above it elsewhere.
    gap = np.moveaxis(x - y, axis, -1).reshape(-1, x.shape[axis])
    support = np.moveaxis(y, axis, -1).reshape(gap.shape) > 0
    tau = np.where(support, gap, -np.inf).max(-1, keepdims=True)
    assert np.abs(np.where(support, gap - tau, 0)).max() < 1e-12 and (gap <= tau + 1e-12).all()


def test_sparsemax_gradient(rng):
    x = torch.tensor(rng.normal(size=(2, 5)), requires_grad=True)
    assert gradcheck(activations.sparsemax, x)


def test_softmax_over_one_class_warns():
    with pytest.warns(UserWarning, match="always return the value 1"):
        activations.softmax(torch.zeros(3, 1))


def test_nan_and_infinity_pass():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf])
    for name in ("relu", "relu6", "leaky_relu", "elu", "softplus", "sigmoid", "tanh", "hard_tanh", "sparse_plus"):
        y = getattr(activations, name)(x)
        assert y[0].isnan() and not y[1:].isnan().any(), name
    assert activations.relu(x, threshold=1.0)[0].isnan()


def test_a_plain_tensor_stays_one_and_arrays_become_one():
    assert type(activations.relu(torch.ones(2).as_subclass(Tensor))) is torch.Tensor
    assert type(activations.relu([1.0])) is torch.Tensor
    assert type(activations.tanh(np.float32(1.0))) is torch.Tensor


BUILT_IN = [name for name in activations.__all__ if name not in ("get", "serialize", "deserialize")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_names(name):
    function = getattr(activations, name)
    assert activations.get(name) is activations.deserialize(name) is activations.get(function) is function
    written = activations.serialize(function)
    assert written == {"swish": "silu", "hard_swish": "hard_silu"}.get(name, name)
    assert activations.deserialize(written) is function
    as_function = {"module": "builtins", "class_name": "function", "config": written, "registered_name": "function"}
    assert activations.get(as_function) is function


def test_get():
    assert activations.get(None) is activations.linear
    with pytest.raises(ValueError, match=r"Unknown activation: 'rellu'.*'relu'"):
        activations.get("rellu")
    with pytest.raises(ValueError, match="Could not interpret activation"):
        activations.get(3)


def test_functions_of_the_caller():
    def relu(x):
        return x

    # A name that a built-in function also has does not make it that function.
    assert activations.serialize(relu) == {
        "module": "builtins",
        "class_name": "function",
        "config": "relu",
        "registered_name": "function",
    }
    with serialization.custom_object_scope({"twice": lambda x: 2 * x}):
        assert activations.get("twice")(3) == 6
