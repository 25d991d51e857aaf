"""What is particular to the CuPy kernels; the ops' own tests run them too, see `implementation` in tests/autograd."""

import itertools
import math

import pytest
import torch

from fastk import autograd
from fastk.kernels.activation import saves_input
from fastk.kernels.activation.aten import ACTIVATIONS
from fastk.kernels.conv2d import aten as conv2d_aten
from fastk.kernels.conv2d import cupy_kernels as conv2d
from fastk.kernels.cupy_epilogue import column_sums, epilogue_backward, epilogue_forward
from fastk.kernels.dense import cupy_kernels as dense
from fastk.kernels.max_pool2d import cupy_kernels as max_pool2d
from fastk.kernels.window import explicit_padding

pytestmark = pytest.mark.usefixtures("emulated_cupy")
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
HALVES = [torch.bfloat16, torch.float16]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(actual, expected, terms=1, scale=None):
    scale = scale or max(1.0, expected.abs().max().item() if expected.numel() else 0)
    bound = 4 * torch.finfo(actual.dtype).eps * terms**0.5 * scale
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=bound, equal_nan=True)


# ---------------------------------------------------------------- activations


def exp(x):
    return math.exp(min(x, 700.0))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def cubic(x):
    return 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def softplus(x):
    return x if x > 20 else math.log1p(exp(x))


def gelu_slope(x):
    return 0.5 * math.erfc(-x / math.sqrt(2)) + x * exp(-x * x / 2) / math.sqrt(2 * math.pi)


def gelu_tanh_slope(x):
    u, du = cubic(x), 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * du


def mish_slope(x):
    return math.tanh(softplus(x)) + x * sigmoid(x) / math.cosh(min(softplus(x), 300.0)) ** 2


SELU, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
ORACLES = {  # the activation and its derivative, off the kinks
    "linear": (lambda x: x, lambda x: 1),
    "relu": (lambda x: max(x, 0), lambda x: x > 0),
    "relu6": (lambda x: min(max(x, 0), 6), lambda x: 0 < x < 6),
    "leaky_relu": (lambda x: x if x > 0 else 0.2 * x, lambda x: 1 if x > 0 else 0.2),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else exp(x)),
    "selu": (
        lambda x: SELU * (x if x > 0 else ALPHA * math.expm1(x)),
        lambda x: SELU * (1 if x > 0 else ALPHA * exp(x)),
    ),
    "gelu": (lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)), gelu_slope),
    "gelu_tanh": (lambda x: x * sigmoid(cubic(x)), gelu_tanh_slope),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (math.tanh, lambda x: 1 / math.cosh(min(abs(x), 300.0)) ** 2),
    "softplus": (softplus, sigmoid),
    "hard_sigmoid": (lambda x: min(max(x + 3, 0), 6) / 6, lambda x: (-3 < x < 3) / 6),
    "mish": (lambda x: x * math.tanh(softplus(x)), mish_slope),
}
# Tails in which every type's exponential is 0 or infinite; none on a kink, and none that rounds to one in 16 bits.
POINTS = [-6e4, -1e4, -104, -88.8, -50, -20.1, *(k / 4 + 0.1 for k in range(-48, 48)), 20.1, 50, 88.8, 104, 1e4, 6e4]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_derivatives(name, dtype):
    """To some units in the last place; far from 0 there is neither NaN nor infinity."""
    x = torch.tensor([[*POINTS, math.nan]], dtype=dtype)
    expected, slope = (
        torch.tensor([float(f(v)) for v in x[0, :-1].tolist()], dtype=torch.float64) for f in ORACLES[name]
    )
    y, saved = epilogue_forward(x.clone(), None, name, 0.0, None)
    dz, _ = epilogue_backward(torch.ones_like(y), y, saved, name, 0.0, None, False)
    eps = torch.finfo(dtype).eps
    assert y[0, -1].isnan() and saves_input(name) == bool(saved.numel())
    assert ((y[0, :-1].double() - expected).abs() <= 8 * eps * expected.abs().clamp_min(0.1)).all()
    assert ((dz[0, :-1].double() - slope).abs() <= 8 * eps).all()


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "selu", "hard_sigmoid"])
def test_derivatives_at_the_kinks_are_those_of_torch(name):
    x = torch.tensor([[0.0, 6.0, -3.0, 3.0]], requires_grad=True)
    (expected,) = torch.autograd.grad(ACTIVATIONS[name](x).sum(), x)
    y, saved = epilogue_forward(x.detach().clone(), None, name, 0.0, None)
    dz, _ = epilogue_backward(torch.ones_like(y), y, saved, name, 0.0, None, False)
    close(dz, expected)


# ---------------------------------------------------------------- what follows a product


@pytest.mark.parametrize("columns", [1, 7, 8, 1000, 2056])
@pytest.mark.parametrize("rows", [1, 33, 1100])  # one part, two, more than 32: the parts are added in two launches
def test_sums_of_columns(rows, columns, emulated_cupy):
    x = draw(rows, columns, dtype=torch.float32)
    close(column_sums(x), x.double().sum(0), rows)
    assert all("sums" in launch.expression for launch in emulated_cupy.launches[1:])


def test_sums_of_columns_do_not_depend_on_the_order_of_the_threads():
    x = draw(1100, 24, dtype=torch.float32)
    first, *others = (column_sums(x) for _ in range(3))  # forwards, backwards, in steps
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", [None, "tanh", "gelu"])
@pytest.mark.parametrize("columns", [16, 11])  # with dropout's groups in rows, and across them
def test_dense_with_dropout(name, columns):
    x, kernel, bias = draw(5, 9), draw(9, columns), draw(columns)
    seed = torch.tensor([2**40 + 1, 3])

    def run(implementation):
        inputs = [t.clone().requires_grad_() for t in (x, kernel, bias)]
        y = autograd.dense(*inputs, activation=name, dropout_rate=0.4, seed=seed, implementation=implementation)
        return y, *torch.autograd.grad(y, inputs, draw(5, columns, seed=1))

    for found, expected in zip(run("cupy"), run("aten"), strict=True):
        close(found.detach(), expected.detach(), 9)


def test_dropping_everything():
    x, kernel = draw(2, 3).requires_grad_(), draw(3, 4).requires_grad_()
    y = autograd.dense(x, kernel, None, None, 1.0, (1, 2), "cupy")
    y.sum().backward()
    assert not y.any() and x.grad is not None and not x.grad.any()


def test_inputs_anywhere_in_memory():
    """Tensors that start between multiples of 16 bytes, which vector loads need."""
    x, kernel, bias = draw(37)[1:].view(4, 9), draw(9 * 8 + 1)[1:].view(9, 8), draw(9)[1:]
    y = autograd.dense(x, kernel, bias, "gelu", implementation="cupy")
    close(y, autograd.dense(x, kernel, bias, "gelu"), 9)
    image = draw(2 * 4 * 4 * 8 + 1)[1:].view(2, 4, 4, 8)
    close(autograd.conv2d(image, draw(3, 3, 8, 8), implementation="cupy"), autograd.conv2d(image, draw(3, 3, 8, 8)), 72)
    close(autograd.max_pool2d(image, implementation="cupy"), autograd.max_pool2d(image))


# ---------------------------------------------------------------- convolution in pieces

WINDOWS = {  # kernel, strides, padding, dilation, groups, channels, filters
    "3x3": ((3, 3), (1, 1), "same", (1, 1), 1, 8, 8),
    "strided": ((3, 3), (2, 2), "same", (1, 1), 1, 3, 4),
    "1x1": ((1, 1), (1, 1), "valid", (1, 1), 1, 5, 7),
    "1x1 in groups": ((1, 1), (1, 1), "valid", (1, 1), 2, 16, 6),
    "1x1 strided": ((1, 1), (2, 1), "valid", (1, 1), 1, 8, 7),
    "asymmetric": ((3, 2), (1, 2), ((2, 0), (1, 3)), (2, 1), 2, 16, 6),
    "each channel alone": ((2, 3), (3, 1), "valid", (1, 2), 4, 4, 8),
    "holes between windows": ((2, 2), (3, 3), "valid", (1, 1), 1, 2, 2),
}


@pytest.mark.parametrize("piece", [2**25, 9000, 1], ids=["one piece", "some", "as many as can be"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_convolution_in_pieces(window, piece, monkeypatch):
    monkeypatch.setattr(conv2d, "_PIECE", piece)
    size, strides, padding, dilation, groups, channels, filters = window
    pads = explicit_padding((9, 8), size, strides, dilation, padding)
    inputs = draw(3, 9, 8, channels), draw(*size, channels // groups, filters), draw(filters)
    options = (strides, (*pads[0], *pads[1]), dilation, groups, "tanh")
    y, saved = conv2d.conv2d_forward(*inputs, *options)
    g = draw(*y.shape, seed=1)
    found = y, *conv2d.conv2d_backward(g, *inputs[:2], y, saved, *options, (True, True, True))
    wide = x, kernel, bias = tuple(t.requires_grad_() for t in inputs)
    expected = conv2d_aten.conv2d(x, kernel, bias, strides, pads, dilation, groups, "tanh")
    for actual, value in zip(found, (expected, *torch.autograd.grad(expected, wide, g)), strict=True):
        close(actual, value.detach(), 300)


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=3)))
def test_only_the_gradients_asked_for(needed, emulated_cupy):
    x, kernel, bias = draw(2, 6, 6, 8), draw(3, 3, 8, 8), draw(8)
    for tensor, need in zip((x, kernel, bias), needed, strict=True):
        tensor.requires_grad_(need)
    y = autograd.conv2d(x, kernel, bias, implementation="cupy")
    emulated_cupy.launches.clear()
    if any(needed):
        y.sum().backward()
    names = {launch.expression.partition("<")[0] for launch in emulated_cupy.launches}
    wanted = {"col2im": needed[0], "im2col": needed[1], "epilogue_backward": needed[2], "column_sums": needed[2]}
    assert names == {name for name, need in wanted.items() if need}


# ---------------------------------------------------------------- pooling


@pytest.mark.parametrize(("window", "places"), [((16, 16), torch.uint8), ((16, 17), torch.int32)])
def test_places_take_a_byte_if_they_can(window, places):
    x = draw(1, 20, 20, 8)
    y, found = max_pool2d.max_pool2d_forward(x, window, (1, 1), (0, 0, 0, 0), True)
    assert found.dtype == places
    wide = x.requires_grad_()
    expected = autograd.max_pool2d(wide, window, 1)
    g = draw(*y.shape, seed=1)
    close(y, expected.detach())
    dx = max_pool2d.max_pool2d_backward(g, found, x.shape, window, (1, 1), (0, 0, 0, 0))
    close(dx, torch.autograd.grad(expected, wide, g)[0], 256)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_ties_and_infinities(dtype):
    x = torch.tensor([[1.0, 1, torch.nan, 5, torch.nan], [-torch.inf] * 5, [0.0, -0.0, 2, torch.inf, torch.inf]])
    y, places = max_pool2d.max_pool2d_forward(x.to(dtype).view(3, 1, 5, 1), (1, 5), (1, 5), (0, 0, 0, 0), True)
    assert y.isnan().flatten().tolist() == [True, False, False]
    assert y.flatten()[1:].tolist() == [-torch.inf, torch.inf]
    assert places.flatten().tolist() == [2, 0, 3]


# ---------------------------------------------------------------- types and sizes


@pytest.mark.parametrize("dtype", HALVES)
def test_dense_backward_in_halves(dtype):
    x, kernel = draw(9, 64, dtype=dtype).requires_grad_(), draw(64, 16, dtype=dtype).requires_grad_()
    g = draw(9, 16, dtype=dtype, seed=1)
    found = torch.autograd.grad(autograd.dense(x, kernel, implementation="cupy"), [x, kernel], g)
    for actual, expected in zip(found, (g.double() @ kernel.double().t(), x.double().t() @ g.double()), strict=True):
        close(actual, expected.detach(), 16)


def test_refusals():
    x = torch.ones(2, 3)
    with pytest.raises(Exception, match=r"not torch\.float64 beside torch\.float32"):
        autograd.dense(x, torch.ones(3, 2, dtype=torch.float64), implementation="cupy")
    with pytest.raises(Exception, match="one is a function"):
        autograd.lstm(draw(1, 2, 3), draw(3, 8), draw(2, 8), activation=torch.tanh, implementation="cupy")
    with pytest.raises(Exception, match="no derivative by a dropout mask"):
        mask = draw(1, 3).requires_grad_()
        autograd.lstm(draw(1, 2, 3), draw(3, 8), draw(2, 8), dropout_mask=mask, implementation="cupy")
    x, kernel = torch.empty(2**16, 1), torch.empty(1, 2**15)
    assert "32 bits" in str(dense.supports("dense", x, kernel, None, None, 0.0, None))


def test_launches_of_a_step(emulated_cupy):
    """A dense layer is a product and a kernel forward, two products and a kernel and its sums backward."""
    x, kernel, bias = draw(40, 8).requires_grad_(), draw(8, 8).requires_grad_(), draw(8).requires_grad_()
    autograd.dense(x, kernel, bias, "relu", 0.5, (1, 2), "cupy").sum().backward()
    names = [launch.expression.partition("<")[0] for launch in emulated_cupy.launches]
    assert names == ["epilogue_forward", "epilogue_backward", "column_sums"]
