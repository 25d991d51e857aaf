"""How a forward and a backward kernel become an op of torch, shown on y = scale * x^2 with kernels written in torch."""

import subprocess
import sys
import textwrap
from types import ModuleType

import pytest
import torch

from fastk.autograd import library


def square_forward(x, scale):
    return scale * x * x, 2 * scale * x


def square_backward(g, slope):
    return g * slope


def aten_square(x, scale):
    return scale * x.square()


def gradients(call, g):
    assert call.needed == (True, False, False)
    return (torch.ops.fastk.square_backward(g, call.outputs[1], call.arguments[-1]),)


@pytest.fixture(scope="module", autouse=True)
def kernels():
    module = ModuleType("fastk.kernels.square.triton_kernels")
    vars(module).update(square_forward=square_forward, square_backward=square_backward)
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def square():
    library.define("square_backward(Tensor g, Tensor slope) -> Tensor", lambda g, slope: torch.empty_like(g))
    forward = library.define(
        "square_forward(Tensor x, float scale) -> (Tensor, Tensor)",
        lambda x, scale: (torch.empty_like(x), torch.empty_like(x)),
    )
    return library.differentiate(forward, gradients, aten_square)


def test_derivatives(square, normal):
    x = normal(3, 4).requires_grad_()
    assert torch.equal(square(x, 3.0, "triton"), 3 * x * x)
    assert torch.autograd.gradcheck(lambda x: square(x, 3.0, "triton"), x)
    assert torch.autograd.gradgradcheck(lambda x: square(x, 3.0, "triton"), x)


def test_the_ops_pass_opcheck(square, normal):
    x = normal(3, 4)
    torch.library.opcheck(torch.ops.fastk.square_forward.default, (x.clone().requires_grad_(), 3.0, "triton"))
    torch.library.opcheck(torch.ops.fastk.square_backward.default, (x, x, "triton"))


def test_compiles_without_a_graph_break(square, normal):
    x = normal(3, 4, requires_grad=True)
    torch.compile(lambda x: square(x.sin(), 3.0, "triton").sum(), fullgraph=True, backend="aot_eager")(x).backward()
    (expected,) = torch.autograd.grad((3 * x.sin().square()).sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_choosing_is_traced_from_the_first_call():
    """In a process of its own, since choices are kept."""
    code = """
        import torch
        from fastk import autograd

        def network(x, kernel):
            return autograd.dense(autograd.dropout(x, 0.0, None), kernel, None, "relu")

        x, kernel = torch.ones(4, 3), torch.ones(3, 2)
        print(torch.compile(network, fullgraph=True, backend="eager")(x, kernel).sum().item())
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == 24


def test_seeds():
    cpu = torch.device("cpu")
    assert library.seed_tensor(None, cpu) is None
    seed = torch.tensor([1, 2])
    assert library.seed_tensor(seed, cpu) is seed
    made = library.seed_tensor((1, 2), cpu)
    assert made is not None and made.tolist() == [1, 2]


def test_autocast_casts_floats_alone():
    x, integers = torch.ones(2), torch.ones(2, dtype=torch.int64)
    assert library.autocast(x, None, integers) == (x, None, integers)
    with torch.autocast("cpu", torch.bfloat16):
        a, b, c, d = library.autocast(x, None, integers, x.double())
    assert (a.dtype, b, c.dtype, d.dtype) == (torch.bfloat16, None, torch.int64, torch.float64)
