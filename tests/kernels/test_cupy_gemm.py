"""cuBLAS as it is called for the CuPy kernels, against float64; on the CPU by functions with the checks of cuBLAS."""

import pytest
import torch

from fastk import config
from fastk.kernels import cupy_gemm
from fastk.kernels.cupy_gemm import gemm

pytestmark = pytest.mark.usefixtures("emulated_cupy")
HALVES = [torch.bfloat16, torch.float16]


def tensor(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64).to(dtype)


def close(actual, expected, terms, eps=None):
    """Rounding errors of a sum of `terms` products, each of the size of 1, and of the result."""
    bound = 4 * (eps or torch.finfo(actual.dtype).eps) * (terms**0.5) * max(1.0, expected.abs().max().item())
    assert (actual.double() - expected).abs().max().item() <= bound


# Each operand as it may come: rows; columns (a transposed view); a part of wider rows; every other column, which is
# neither and must be copied.
LAYOUTS = {
    "rows": lambda m, n, **o: tensor(m, n, **o),
    "columns": lambda m, n, **o: tensor(n, m, **o).t(),
    "part of rows": lambda m, n, **o: tensor(m, n + 3, **o)[:, 2 : n + 2],
    "part of columns": lambda m, n, **o: tensor(n + 3, m, **o)[2 : n + 2].t(),
    "every other column": lambda m, n, **o: tensor(m, 2 * n, **o)[:, ::2],
    "broadcast rows": lambda m, n, **o: tensor(1, n, **o).expand(m, n),
}


@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
def test_layouts(layout_a, layout_b):
    for m, k, n in [(2, 3, 5), (1, 4, 1), (1, 1, 3), (4, 1, 1), (1, 3, 2), (3, 2, 1)]:
        a, b = LAYOUTS[layout_a](m, k), LAYOUTS[layout_b](k, n, seed=1)
        wide = torch.full((m, n + 2), 7.0, dtype=torch.float64)
        gemm(a, b, wide[:, 1 : n + 1])
        close(wide[:, 1 : n + 1], a @ b, k)
        assert (wide[:, 0] == 7).all() and (wide[:, n + 1] == 7).all()


def test_batches_of_strided_matrices():
    """The views of grouped convolutions and of an LSTM's gates."""
    a, b = tensor(5, 3, 4).transpose(0, 1), tensor(4, 3, 2).transpose(0, 1)  # [3, 5, 4], [3, 4, 2]
    out = torch.zeros(5, 3, 2, dtype=torch.float64)
    gemm(a, b, out.transpose(0, 1))
    close(out.transpose(0, 1), a @ b, 4)
    gemm(a.transpose(1, 2), a, product := tensor(3, 4, 4))
    close(product, a.transpose(1, 2) @ a, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
def test_types(dtype):
    a, b = tensor(5, 64, dtype=dtype), tensor(64, 3, dtype=dtype)
    out = torch.empty(5, 3, dtype=dtype)
    gemm(a, b, out)
    close(out, a.double() @ b.double(), 64)


@pytest.mark.parametrize("dtype", HALVES)
def test_products_of_halves_are_kept_in_float32(dtype):
    a, b, out = tensor(5, 64, dtype=dtype), tensor(64, 3, dtype=dtype), torch.empty(5, 3)
    gemm(a, b, out)
    close(out, a.double() @ b.double(), 64)


def test_factors():
    a, b, out = tensor(2, 3), tensor(3, 4), tensor(2, 4)
    expected = 0.5 * (a @ b) - 2 * out
    gemm(a, b, out, 0.5, -2.0)
    close(out, expected, 3)


def test_at_beta_0_the_output_may_hold_anything():
    a, b, out = tensor(2, 3), tensor(3, 4), torch.full((2, 4), torch.nan, dtype=torch.float64)
    gemm(a, b, out)
    close(out, a @ b, 3)


def test_nothing_to_add():
    out = torch.full((2, 3), 5.0)
    gemm(torch.empty(2, 0), torch.empty(0, 3), out, 1.0, 1.0)
    assert (out == 5).all()
    gemm(torch.empty(2, 0), torch.empty(0, 3), out)
    assert not out.any()
    gemm(torch.empty(0, 4), torch.empty(4, 3), torch.empty(0, 3))


def test_float32_in_tf32_where_it_is_asked_for(monkeypatch):
    a, b, out = tensor(4, 32, dtype=torch.float32), tensor(32, 4, dtype=torch.float32), torch.empty(4, 4)
    expected = a.double() @ b.double()
    for precision, eps in [("tf32x3", 2**-23), ("ieee", 2**-23), ("tf32", 2**-10)]:
        monkeypatch.setattr(config._settings, "float32_precision", precision)
        gemm(a, b, out)
        close(out, expected, 32, eps)
    assert (out - expected).abs().max() > 2**-20  # tf32 was used


def test_output_must_have_rows():
    with pytest.raises(ValueError, match=r"`out` of shape \(2, 3\), strides \(1, 2\)"):
        gemm(tensor(2, 4), tensor(4, 3), tensor(3, 2).t())


def test_cublas_statuses_raise(emulated_cupy):
    library = emulated_cupy.cublas()
    gemm(tensor(2, 2), tensor(2, 2), tensor(2, 2))
    (handle,) = (handle for (name, _), handle in cupy_gemm._handles.by_device.items() if name == library._name)
    handle.stream = 1  # another stream: set anew, with its workspace
    gemm(tensor(2, 2), tensor(2, 2), tensor(2, 2))
    assert handle.stream == 0 and set(handle.workspaces) == {0}
    with pytest.raises(
        RuntimeError, match=r"cuBLAS failed on a product of shape \(2, 2\).*status 15 \(not supported\)"
    ):
        gemm(tensor(2, 2), tensor(2, 2), torch.empty(2, 2))  # float64 to float32
