"""What only a GPU can show of the CuPy kernels: streams, graph capture, and cuBLAS itself."""

import pytest
import torch

from fastk import autograd
from fastk.kernels import cupy_runtime
from fastk.kernels.cupy_gemm import gemm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cupy_runtime.why_not("cuda") is not None, reason=str(cupy_runtime.why_not("cuda"))),
]


@pytest.fixture
def layer():
    """(a function of x: a convolution, a pooling and a dense layer; x; the parameters)."""
    generator = torch.Generator("cuda").manual_seed(0)
    sizes = (4, 8, 8, 8), (3, 3, 8, 16), (16,), (256, 32), (32,)
    tensors = [torch.randn(size, generator=generator, device="cuda", requires_grad=True) for size in sizes]
    x, kernel, bias, weights, offsets = tensors

    def run(x, implementation="cupy"):
        image = autograd.conv2d(x, kernel, bias, padding="same", activation="relu", implementation=implementation)
        flat = autograd.max_pool2d(image, implementation=implementation).flatten(1)
        return autograd.dense(flat, weights, offsets, "tanh", implementation=implementation)

    return run, x, tensors[1:]


def test_a_captured_step_is_the_step(layer):
    run, x, parameters = layer
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # compiles, makes handles and workspaces
        for _ in range(2):
            torch.autograd.grad(run(x).sum(), [x, *parameters])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run(x)
        gradients = torch.autograd.grad(y.sum(), [x, *parameters])
    with torch.no_grad():
        x.copy_(x.flip(0))
    graph.replay()
    again = run(x)
    assert torch.equal(y, again)
    for captured, eager in zip(gradients, torch.autograd.grad(again.sum(), [x, *parameters]), strict=True):
        torch.testing.assert_close(captured, eager)


def test_work_is_ordered_with_torch_on_its_stream(layer):
    run, x, _ = layer
    expected = run(x * 2, "aten")
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)  # a kernel on another stream would not wait for what follows
        doubled = x * 2
        y = run(doubled)
    torch.cuda.synchronize()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("transposed", [False, True])
def test_products(dtype, transposed):
    a = torch.randn(33, 65, device="cuda").to(dtype)
    b = (torch.randn(17, 65, device="cuda").t() if transposed else torch.randn(65, 17, device="cuda")).to(dtype)
    out = torch.empty(33, 17, device="cuda", dtype=dtype)
    gemm(a, b, out)
    bound = 4 * torch.finfo(dtype).eps * 65**0.5 * 8
    torch.testing.assert_close(out.double(), a.double() @ b.double(), rtol=0, atol=bound)
