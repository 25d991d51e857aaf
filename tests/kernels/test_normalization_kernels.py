# pyright: reportCallIssue=false
# (a list of tensors, of a length that the checker does not know, is unpacked into the first arguments)
"""Normalisation in Triton: launches, bytes against the least, races, program orders, and how rows are shared out."""

import pytest
import torch

if torch.cuda.is_available():
    pytest.skip("counts what the interpreter sees, on a machine without a GPU", allow_module_level=True)

pytest.importorskip("triton")

from fastk.kernels.batch_norm import configurations as batch_tiles
from fastk.kernels.batch_norm.triton_kernels import batch_norm_backward, batch_norm_forward
from fastk.kernels.layer_norm import configurations as row_tiles
from fastk.kernels.layer_norm.triton_kernels import layer_norm_backward, layer_norm_forward
from fastk.kernels.triton_runtime import pretend_multiprocessors
from fastk.kernels.verify import interpreter


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def traced(function):
    with interpreter.trace() as launches:
        result = function()
    assert all(launch.races == 0 for launch in launches)
    return result, launches


def test_layer_norm_moves_the_least():
    x, g, gamma, beta = normal(250, 1024), normal(250, 1024), normal(1024), normal(1024)
    (_, mean, r), (forward,) = traced(lambda: layer_norm_forward(x, gamma, beta, (1,), 1e-3))
    assert forward.grid[0] <= 3 * 4  # of a multiprocessor by multiprocessors: each reads gamma and beta once
    assert forward.requested - forward.grid[0] * 2 * gamma.nbytes == 2 * x.nbytes + 2 * mean.nbytes
    _, (backward, total) = traced(lambda: layer_norm_backward(g, x, gamma, mean, r, (1,), (True, True)))
    assert backward.grid[0] <= 2 * 4
    partial = backward.grid[0] * 2 * gamma.nbytes
    assert backward.requested - partial - backward.grid[0] * gamma.nbytes == 3 * x.nbytes + 2 * mean.nbytes
    assert total.loads.requested == partial


@pytest.mark.parametrize("masked", [False, True])
def test_batch_norm_of_few_rows_is_one_launch(masked):
    x, g, gamma, beta = normal(300, 40), normal(300, 40), normal(40), normal(40)
    mask = normal(300) > 0 if masked else None
    vectors = 4 * gamma.nbytes + 4 + 300 * 3  # the mask once for each of three tiles of channels
    (_, *statistics), (forward,) = traced(
        lambda: batch_norm_forward(x, gamma, beta, None, None, 1, 1e-3, True, mask, "relu")
    )
    assert forward.requested <= 2 * x.nbytes + vectors
    _, (backward,) = traced(
        lambda: batch_norm_backward(g, x, gamma, beta, *statistics, 1e-3, True, mask, "relu", (True, True))
    )
    assert backward.requested <= 3 * x.nbytes + 6 * gamma.nbytes + 3 * (300 + 4)


def test_batch_norm_of_many_rows_moves_the_least():
    x, g, gamma, beta = (normal(*shape) for shape in ((15_000, 16), (15_000, 16), (16,), (16,)))
    (_, *statistics), forward = traced(
        lambda: batch_norm_forward(x, gamma, beta, None, None, 1, 1e-3, True, None, "relu")
    )
    assert [launch.kernel for launch in forward] == ["moments_kernel", "combine_moments_kernel", "normalise_kernel"]
    assert sum(launch.requested for launch in forward) <= 1.01 * 3 * x.nbytes
    _, backward = traced(
        lambda: batch_norm_backward(g, x, gamma, beta, *statistics, 1e-3, True, None, "relu", (True, True))
    )
    assert [launch.kernel for launch in backward] == [
        "gradient_sums_kernel", "sum_partials_kernel", "input_gradient_kernel"
    ]  # fmt: skip
    assert sum(launch.requested for launch in backward) <= 1.01 * 5 * x.nbytes


def test_given_statistics_take_one_reading():
    x, vectors = normal(15_000, 16), [normal(16).square() + 1 for _ in range(4)]
    gamma, beta, mean, variance = vectors
    _, launches = traced(lambda: batch_norm_forward(x, gamma, beta, mean, variance, 1, 1e-3, False, None, "relu"))
    assert [launch.kernel for launch in launches] == ["normalise_kernel"]
    call = (x, x, gamma, beta, mean, variance, x.new_empty(0), 1e-3, False, None, "relu")
    (dx, _), launches = traced(lambda: batch_norm_backward(*call, (True, False)))
    assert [launch.kernel for launch in launches] == ["gradient_sums_kernel"]
    (same_dx, sums), launches = traced(lambda: batch_norm_backward(*call, (True, True)))
    assert [launch.kernel for launch in launches] == ["gradient_sums_kernel", "sum_partials_kernel"]
    assert sum(launch.requested for launch in launches) <= 1.01 * 3 * x.nbytes
    (empty, same_sums), _ = traced(lambda: batch_norm_backward(*call, (False, True)))
    assert empty.numel() == 0 and torch.equal(same_dx, dx) and torch.equal(same_sums, sums)
    h = torch.where((x - mean) * torch.rsqrt(variance + 1e-3) * gamma + beta > 0, x, 0.0)
    torch.testing.assert_close(dx, h * gamma * torch.rsqrt(variance + 1e-3))
    torch.testing.assert_close(sums[1], h.sum(0), rtol=0, atol=1e-2)


@pytest.mark.parametrize("rows", [50, 600])
def test_the_order_of_programs_does_not_matter(rows):
    x, g, gamma, beta = normal(rows, 12), normal(rows, 12), normal(12), normal(12)
    mask = normal(rows) > 0

    def run():
        y, *statistics = batch_norm_forward(x, gamma, beta, None, None, 1, 1e-3, True, mask, "tanh")
        dx, sums = batch_norm_backward(g, x, gamma, beta, *statistics, 1e-3, True, mask, "tanh", (True, True))
        z, mean, r = layer_norm_forward(x[:50], gamma, beta, (1,), 1e-3)
        dz, others = layer_norm_backward(g[:50], x[:50], gamma, mean, r, (1,), (True, True))
        return y, *statistics, dx, sums, z, dz, others

    interpreter.check_program_order(run)


@pytest.mark.parametrize("tile", dict.fromkeys(batch_tiles.SHIPPED), ids=str)
def test_every_tile_of_batch_norm(tile):
    """Fewer rows than each tile has, and as many and three more: the same result as float64."""
    for rows in (tile.BLOCK_R - 1, 2 * tile.BLOCK_R + 3):
        x = normal(rows, 24) + 2
        y, mean, variance, _ = batch_norm_forward(x, None, None, None, None, 1, 1e-3, True, None, None, tile)
        values = x.double()
        expected = (values - values.mean(0)) * torch.rsqrt(values.var(0, correction=0) + 1e-3)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(mean.double(), values.mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(variance.double(), values.var(0, correction=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile", row_tiles.SHIPPED[::3], ids=str)
def test_every_third_tile_of_layer_norm(tile):
    N = tile.BLOCK_N - 3
    programs = row_tiles.FORWARD_WARPS // tile.num_warps  # of one multiprocessor; some have two blocks to do
    x = normal((programs + 1) * tile.BLOCK_M + 1, N) + 2
    with pretend_multiprocessors(1):
        y, _, _ = layer_norm_forward(x, None, None, (1,), 1e-3, tile)
    torch.testing.assert_close(y.double(), torch.layer_norm(x.double(), [N], eps=1e-3), rtol=0, atol=2e-5)


def test_configurations():
    assert all(tile.why_invalid() is None for tile in batch_tiles.SHIPPED)
    assert all(tile.why_invalid(tile.BLOCK_N) is None for tile in row_tiles.SHIPPED)
    assert "sector" in str(batch_tiles.TileConfiguration(64, 8, 4).why_invalid())
    assert "elements a thread" in str(batch_tiles.TileConfiguration(512, 16, 4).why_invalid())
    assert "does not hold a row of 65" in str(row_tiles.RowConfiguration(1, 64, 1).why_invalid(65))
    assert "elements a thread" in str(row_tiles.RowConfiguration(64, 64, 4).why_invalid(64))
    for N in (1, 16, 17, 1000, 1024, 8192):
        for M in (1, 10_000):
            chosen = row_tiles.choose_configuration(M, N, 132)
            assert chosen in row_tiles.SHIPPED and chosen.why_invalid(N) is None
    for R in (1, 16, 17, 512, 513, 10**6):
        for C in (1, 16, 17, 1000):
            assert batch_tiles.choose_configuration(R, C) in batch_tiles.SHIPPED


@pytest.mark.parametrize("rows", [513, 10**4, 10**6, 10**8])
@pytest.mark.parametrize("channels", [1, 64, 1000, 10**5])
def test_rows_are_shared_out(rows, channels):
    tile = batch_tiles.choose_configuration(rows, channels)
    columns, programs, steps = batch_tiles.split_rows(rows, channels, tile, 132)
    assert columns * tile.BLOCK_C >= channels and 1 <= programs <= batch_tiles.MOST_PARTIALS
    blocks = -(-rows // tile.BLOCK_R)
    assert (programs - 1) * steps < blocks <= programs * steps
