import numpy as np
import pytest
import torch

from fastk import autograd, config, dispatch
from fastk.kernels.activation.aten import ACTIVATIONS

SEED = (5, 6)


def oracle(x, kernel, bias):
    x, kernel = x.double().cpu().numpy(), kernel.double().cpu().numpy()
    return np.einsum("...k,kn->...n", x, kernel) + (0 if bias is None else bias.double().cpu().numpy())


# No rows, one of everything, primes, leading axes, a vector.
@pytest.mark.parametrize("leading", [(0,), (1,), (7,), (2, 3), (2, 1, 3), ()])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (13, 11)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_forward(leading, k, n, with_bias, implementation, normal, close):
    x, kernel = normal(*leading, k, dtype=torch.float32), normal(k, n, dtype=torch.float32)
    bias = normal(n, dtype=torch.float32) if with_bias else None
    close(autograd.dense(x, kernel, bias, implementation=implementation), oracle(x, kernel, bias), terms=k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype, implementation, normal, close):
    x, kernel, bias = normal(5, 64, dtype=dtype), normal(64, 9, dtype=dtype), normal(9, dtype=dtype)
    y = autograd.dense(x, kernel, bias, implementation=implementation)
    assert y.dtype == dtype
    close(y, oracle(x, kernel, bias), terms=64)


# One tile and less, one more than a tile, several along each axis, and a reduction that is split.
@pytest.mark.parametrize(("rows", "k", "n"), [(64, 64, 32), (63, 31, 33), (65, 129, 66), (600, 24, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_float64(rows, k, n, dtype, implementation, normal, close):
    x, kernel, bias = (normal(*shape, dtype=dtype, requires_grad=True) for shape in ((rows, k), (k, n), (n,)))
    g = normal(rows, n, dtype=dtype)
    y = autograd.dense(x, kernel, bias, "relu", implementation=implementation)
    gradients = torch.autograd.grad(y, (x, kernel, bias), g)
    masked = torch.where(y > 0, g, 0.0).double().cpu().numpy()  # where rounding decides the sign, the result does
    a, b = x.detach().double().cpu().numpy(), kernel.detach().double().cpu().numpy()
    close(y, np.maximum(oracle(x.detach(), kernel.detach(), bias.detach()), 0), terms=k)
    for actual, expected, terms in zip(
        gradients, (masked @ b.T, a.T @ masked, masked.sum(0)), (n, rows, rows), strict=True
    ):
        close(actual, expected, terms=terms)


def test_gradients_that_are_not_asked_for(implementation, normal):
    x, kernel, bias = normal(3, 4), normal(4, 8), normal(8)
    for wanted in (x, kernel, bias):
        wanted.requires_grad_()
        y = autograd.dense(x, kernel, bias, "tanh", 0.5, SEED, implementation=implementation)
        y.sum().backward()
        assert all((t.grad is not None) == (t is wanted) for t in (x, kernel, bias))
        wanted.grad = None
        wanted.requires_grad_(False)


@pytest.mark.parametrize("precision", ["ieee", "tf32", "tf32x3"])
def test_float32_precisions(precision, normal, monkeypatch, device):
    if (refusal := dispatch._why_not_on("triton", device.type)) is not None:
        pytest.skip(refusal)
    monkeypatch.setattr(config._settings, "float32_precision", precision)
    x, kernel = normal(40, 200, dtype=torch.float32), normal(200, 40, dtype=torch.float32)
    error = abs(autograd.dense(x, kernel, implementation="triton").double().cpu().numpy() - oracle(x, kernel, None))
    # tf32 keeps 10 bits of each factor, the others float32's 23: the error of a sum of 200 products of about 1.
    bits = 10 if precision == "tf32" else 22
    assert 2.0**-bits * 0.5 < error.max() * (1 if precision == "tf32" else 1e9)
    assert error.max() < 2.0**-bits * 4 * np.sqrt(200)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_follows(name, normal, close):
    x, kernel, bias = normal(3, 4), normal(4, 5), normal(5)
    expected = autograd.activation(autograd.dense(x, kernel, bias), name)
    close(autograd.dense(x, kernel, bias, name), expected.numpy())


@pytest.mark.parametrize("name", [None, "tanh", "gelu"])
@pytest.mark.parametrize("leading", [(2,), (2, 1)])
def test_gradient(name, leading, implementation, normal, gradcheck):
    def dense(x, kernel, bias=None):
        return autograd.dense(x, kernel, bias, name, implementation=implementation)

    gradcheck(dense, normal(*leading, 2), normal(2, 3), normal(3))
    gradcheck(dense, normal(*leading, 2), normal(2, 3))


def test_second_derivative(normal):
    inputs = [normal(3, 4).requires_grad_(), normal(4, 2).requires_grad_()]
    assert torch.autograd.gradgradcheck(lambda x, kernel: autograd.dense(x, kernel, None, "tanh"), inputs)


def test_non_contiguous(implementation, normal, close):
    x, kernel = normal(4, 6, dtype=torch.float32).t(), normal(5, 8, dtype=torch.float32).t()[::2]
    bias = normal(10, dtype=torch.float32)[::2]
    close(autograd.dense(x, kernel, bias, implementation=implementation), oracle(x, kernel, bias), terms=4)


@pytest.mark.parametrize("rows", [1, 40])
def test_a_kernel_as_torchs_linear_has_it(implementation, rows, normal, close, device):
    x, weight, bias = (normal(*shape, dtype=torch.float32).requires_grad_() for shape in ((rows, 6), (5, 6), (5,)))
    y = autograd.dense(x, weight.t(), bias, "tanh", implementation=implementation)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected = torch.tanh(torch.nn.functional.linear(*exact))
    close(y, expected.detach(), terms=6)
    g = normal(rows, 5, dtype=torch.float32)
    grads = torch.autograd.grad(y, (x, weight, bias), g)
    for grad, other in zip(grads, torch.autograd.grad(expected, exact, g.double()), strict=True):
        close(grad, other, terms=rows + 6)
    assert grads[1].is_contiguous()


def test_unaligned(implementation, normal, close):
    """Tensors that begin in the middle of 16 bytes, in shapes for which TMA would be used."""
    x, kernel, bias = (
        normal(size + 1, dtype=torch.bfloat16)[1:].view(shape)
        for size, shape in ((512 * 16, (512, 16)), (16 * 256, (16, 256)), (256, (256,)))
    )
    for arguments in ((x, kernel, bias), (x.clone(), kernel.clone(), bias)):
        y = autograd.dense(*arguments, implementation=implementation)
        close(y, oracle(x, kernel, bias), terms=16)


def test_inputs_are_not_overwritten(implementation, normal):
    x, kernel, bias = normal(3, 4), normal(4, 4), normal(4)
    copies = [tensor.clone() for tensor in (x, kernel, bias)]
    autograd.dense(x, kernel, bias, "relu", 0.5, (1, 2), implementation)
    assert all(map(torch.equal, (x, kernel, bias), copies))


def test_nan_and_infinity_arrive(implementation, device):
    x = torch.tensor([[np.nan], [np.inf], [-np.inf]], device=device)
    one = torch.ones(1, device=device)
    y = autograd.dense(x, one[None], one, "relu", implementation=implementation).flatten()
    assert y[0].isnan() and y[1:].tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("columns", [50, 64])  # with the mask in a pass of its own, and in the epilogue
@pytest.mark.parametrize("rate", [0.4, 1.0])
@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_dropout_is_that_of_dropout(columns, rate, name, implementation, normal):
    x, kernel, bias = normal(3, 4), normal(4, columns), normal(columns)
    inputs = [tensor.requires_grad_() for tensor in (x, kernel, bias)]
    fused = autograd.dense(x, kernel, bias, name, rate, SEED, implementation)
    undropped = autograd.dense(x, kernel, bias, name, implementation="aten")
    apart = autograd.dropout(undropped, rate, SEED, implementation="aten")
    torch.testing.assert_close(fused, apart)
    grads = [torch.autograd.grad(y, inputs, torch.ones_like(y)) for y in (fused, apart)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["relu6", "hard_sigmoid"])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_dropout_keeps_bounds(dtype, name, rate, implementation, device):
    """At the upper bound the derivative is 0, also where the bound / (1 - rate) has been rounded."""
    x = torch.full((2, 8), 9.0, dtype=dtype, device=device, requires_grad=True)
    y = autograd.dense(x, torch.eye(8, dtype=dtype, device=device), None, name, rate, SEED, implementation)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert y.any() and not dx.any()


def test_nothing_to_sum(implementation, device):
    """K = 0: the bias alone, for a tile's worth of results and for many."""
    for rows, columns in ((2, 3), (512, 512)):
        x, kernel = torch.ones(rows, 0, device=device), torch.ones(0, columns, device=device)
        bias = torch.arange(float(columns), device=device)
        assert torch.equal(autograd.dense(x, kernel, bias, implementation=implementation), bias.expand(rows, columns))


@pytest.mark.parametrize("sizes", [(0, 3, 5), (4, 0, 5), (4, 3, 0)])
def test_gradients_of_nothing(sizes, implementation, normal):
    """A size of 0 leaves sums of nothing, which are 0."""
    rows, k, n = sizes
    inputs = [normal(*shape, dtype=torch.float32, requires_grad=True) for shape in ((rows, k), (k, n), (n,))]
    x, kernel, bias = inputs
    y = autograd.dense(x, kernel, bias, "tanh", implementation=implementation)
    for gradient, like in zip(torch.autograd.grad(y.sum(), inputs), inputs, strict=True):
        assert gradient.shape == like.shape
        assert not gradient.any() or (k == 0 and like is inputs[2])


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
