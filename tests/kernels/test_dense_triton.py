"""The matrix products of dense in Triton: each shipped tile, TMA, splits, the epilogue, and what they move."""

import pytest
import torch

pytest.importorskip("triton")

from fastk import config
from fastk.kernels.dense import aten
from fastk.kernels.dense.configurations import choose_configuration, shipped
from fastk.kernels.dense.triton_gemm import gemm
from fastk.kernels.dense.triton_kernels import dense_backward, dense_forward
from fastk.kernels.gemm_configurations import ARCHITECTURES, GemmConfiguration, splits_of
from fastk.kernels.triton_runtime import INTERPRETED, pretend_architecture

pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
DEVICE = "cpu" if INTERPRETED else "cuda"
SEED = torch.tensor([3, 4], device=DEVICE)
HALF = shipped("half", 90)
interpreted = pytest.mark.skipif(not INTERPRETED, reason="counts what the interpreter sees")


def normal(*shape, dtype=torch.bfloat16, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def close(actual, expected, terms):
    """Within the rounding of `actual`'s type and of sums of `terms` products, beside the largest result."""
    bound = 4 * torch.finfo(actual.dtype).eps * terms**0.5 * max(1.0, float(expected.abs().max()) / terms**0.5)
    assert (actual.double() - expected).abs().max() <= bound, (actual.double() - expected).abs().max()


@pytest.mark.parametrize("tile", HALF, ids=str)
@pytest.mark.parametrize(("trans_a", "trans_b"), [(False, False), (False, True), (True, False)])
def test_every_tile_and_order_of_operands(tile, trans_a, trans_b):
    M, N, K = 136, 264, 136  # one tile of the largest and a part, or several; sizes that 8 divides and 16 does not
    a, b = normal(M, K), normal(K, N, seed=2)
    c, saved = gemm(
        a.t().contiguous() if trans_a else a, b.t().contiguous() if trans_b else b, trans_a, trans_b, configuration=tile
    )
    assert saved is None
    close(c, a.double() @ b.double(), K)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [17, 40])
def test_odd_sizes_and_epilogue(dtype, size):
    a, b, bias = normal(33, size, dtype=dtype), normal(size, 40, dtype=dtype, seed=2), normal(40, dtype=dtype, seed=3)
    y, z = gemm(a, b, bias=bias, activation="gelu", seed=SEED, rate=0.25)
    exact = a.double() @ b.double() + bias.double()
    assert z is not None
    close(z, exact, size)
    expected = aten.dense(a.double(), b.double(), bias.double(), "gelu", 0.25, SEED)
    close(y, expected, size)
    dropped = aten.dropout(torch.ones_like(exact), 0.25, SEED, None) == 0
    assert dropped.any() and not y[dropped].any()


@pytest.mark.parametrize("tile", [HALF[0], HALF[1], HALF[-1]], ids=str)
def test_epilogue_of_tiles_in_pieces(tile):
    """Bias, activation and mask meet the right columns in each piece of a tile."""
    a, b, bias = normal(130, 64), normal(64, 272, seed=2), normal(272, seed=3)
    y, z = gemm(a, b, bias=bias, activation="gelu", seed=SEED, rate=0.5, configuration=tile)
    assert z is not None
    close(z, a.double() @ b.double() + bias.double(), 64)
    expected = aten.dense(a.double(), b.double(), bias.double(), "gelu", 0.5, SEED)
    close(y, expected, 64)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("rows", [2050, 4096])
def test_a_long_reduction_is_split(architecture, rows, monkeypatch):
    monkeypatch.setattr(config._settings, "float32_precision", "ieee")
    x, g = normal(rows, 16), normal(rows, 24, seed=2)
    with pretend_architecture(architecture):
        close(gemm(x, g, trans_a=True)[0], x.double().t() @ g.double(), rows)
    assert splits_of(1, 128, 4) == (8, 16)


def test_no_rows_no_columns_no_inputs():
    assert gemm(normal(0, 8), normal(8, 8))[0].shape == (0, 8)
    assert gemm(normal(8, 8), normal(8, 0))[0].shape == (8, 0)
    y, _ = gemm(normal(5, 0), normal(0, 8), bias=normal(8), activation="relu")
    assert torch.equal(y, normal(8).clamp(min=0).expand(5, 8))


@interpreted
@pytest.mark.parametrize("tile", [HALF[0], HALF[2]], ids=str)
def test_no_races_and_any_order_of_programs(tile):
    from fastk.kernels.verify import interpreter

    a, b, bias = normal(300, 72), normal(72, 264, seed=2), normal(264, seed=3)
    with interpreter.poison():
        y, _ = interpreter.check_program_order(
            lambda: gemm(a, b, bias=bias, activation="relu", seed=SEED, rate=0.5, configuration=tile)[:1] * 2
        )
        with interpreter.trace() as launches:
            gemm(a, b, bias=bias, activation="relu", configuration=tile)
    assert y.isfinite().all()
    (launch,) = launches
    assert launch.races == 0
    assert launch.stores.requested == 300 * 264 * 2  # each result once


@interpreted
@pytest.mark.parametrize(("rows", "sums"), [(32, 1), (256, 1), (264, 2)])
def test_launches_of_a_step(rows, sums):
    """Forward is one launch; backward the derivative with the bias sums, and a GEMM for each of dx and dW.

    Only the sums over many rows, more than 8 blocks of 32, come from two launches.
    """
    from fastk.kernels.verify import interpreter

    x, kernel, bias = normal(rows, 64), normal(64, 32, seed=2), normal(32, seed=3)
    g = normal(rows, 32, seed=4)
    with interpreter.trace() as forward:
        y, saved = dense_forward(x, kernel, bias, "relu", 0.5, SEED)
    with interpreter.trace() as backward:
        db = dense_backward(g, x, kernel, y, saved, "relu", 0.5, SEED, (True, True, True))[2]
    assert len(forward) == 1
    assert len(backward) == sums + 2
    close(db, (g.double() * 2 * (y != 0)).sum(0), rows)
    # g' is read from g and y and written once, whatever the activation and the dropout.
    derivative = backward[0]
    written = derivative.grid[1] * 32 * (4 if sums == 2 else 2)
    assert derivative.stores.requested == rows * 32 * 2 + written
    assert derivative.loads.requested == 2 * rows * 32 * 2 + 16 * -(-rows // 32)  # the seed, once a block
    assert forward[0].dot_flops == 2 * -(-rows // 64) * 64 * 64 * 32


def test_what_is_chosen():
    assert choose_configuration(8192, 8192, "half", True, 90, 132) == HALF[0]
    assert choose_configuration(8192, 8192, "half", False, 90, 132) == GemmConfiguration(128, 64, 64, 8, 4)
    assert choose_configuration(8192, 8192, "half", True, 80, 108) == GemmConfiguration(128, 128, 64, 8, 3, parts=2)
    assert choose_configuration(100352, 64, "half", True, 90, 132).block_n == 64
    assert choose_configuration(32, 10, "half", True, 90, 132).block_m == 64
    # 784 columns are 4 tiles of 256 or 7 of 128, which is less; 13 of 64 would be less still, and cost more.
    assert choose_configuration(8448, 784, "half", True, 90, 132) == HALF[1]
    assert choose_configuration(784, 256, "half", True, 90, 7).block_m == 128
    for kind, itemsize in (("half", 2), ("tf32", 4), ("tf32x3", 4), ("ieee", 4)):
        for architecture in ARCHITECTURES:
            for tile in shipped(kind, architecture):
                assert tile.why_invalid(itemsize, architecture) is None, tile


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (GemmConfiguration(48, 64, 64, 4, 3), "powers of two"),
        (GemmConfiguration(256, 256, 64, 4, 3), "512 accumulators"),
        (GemmConfiguration(128, 256, 128, 8, 4), "shared memory"),
        (GemmConfiguration(128, 128, 64, 8, 3, descriptors=True), "no TMA"),
    ],
)
def test_what_is_no_configuration(tile, message):
    assert message in str(tile.why_invalid(2, 80))
