"""What is particular to the Triton convolutions: their tiles, how work is split, and what they refuse."""

import math

import pytest
import torch

pytest.importorskip("triton")

from fastk.kernels.conv2d import configurations as tiles
from fastk.kernels.conv2d import triton_kernels as conv2d
from fastk.kernels.conv2d.triton_correlation import correlate, input_gradient
from fastk.kernels.conv2d.triton_kernel_gradient import kernel_gradient
from fastk.kernels.depthwise_conv2d import configurations as stencils
from fastk.kernels.depthwise_conv2d import triton_kernels as depthwise
from fastk.kernels.gemm_configurations import ARCHITECTURES, GemmConfiguration, splits_of

KINDS = ("half", "tf32", "tf32x3", "ieee")
PADDING = ((1, 1), (1, 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_shipped_tiles_are_valid(kind, architecture):
    for by_kernel in (False, True):
        for tile in tiles.shipped(kind, architecture, by_kernel):
            assert tile.why_invalid(2 if kind == "half" else 4, architecture) is None


def test_invalid_tiles_say_why():
    def tile(*sizes, architecture=90):
        return str(GemmConfiguration(*sizes).why_invalid(2, architecture))

    assert "powers of two" in tile(96, 64, 64, 4, 3)
    assert "256 accumulators" in tile(128, 256, 64, 4, 3)
    assert "196608 bytes of shared memory are more than the 166912 of sm_80" in tile(
        128, 128, 64, 8, 6, architecture=80
    )
    uneven = stencils.StencilConfiguration(1, 4, 16, 64, 4).why_invalid((2, 2), True)
    assert "multiples of the strides" in str(uneven)
    assert "512 sums a thread" in str(stencils.StencilConfiguration(8, 8, 16, 64, 4).why_invalid((1, 1), False))


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_has_a_tile(kind):
    for m in (1, 65, 10**6):
        for n in (1, 33, 64, 1000):
            for k in (1, 32, 96, 512):
                for saves in (False, True):
                    chosen = tiles.choose_configuration(m, n, k, 9, 1, k % 64 != 0, saves, kind, 90, 132)
                    assert chosen in tiles.shipped(kind, 90)
                    assert not saves or chosen.block_n <= 128


def test_large_products_take_large_tiles_and_small_ones_fill_the_device():
    choose = tiles.choose_configuration
    assert choose(10**6, 256, 256, 9, 1, True, False, "half", 90, 132).block_n == 256
    small = choose(32 * 7 * 7, 512, 512, 9, 1, True, False, "half", 90, 132)
    assert math.ceil(32 * 49 / small.block_m) * (512 // small.block_n) >= 132


def test_tiles_that_waste_little_are_taken():
    """Columns of a patch in blocks of K, or as rows of the gradient by the kernel."""
    choose = tiles.choose_configuration
    depths = {K: choose(10**6, 64, K, 9, 1, True, False, "half", 90, 132).block_k for K in (3, 24, 32, 64, 96)}
    assert depths == {3: 32, 24: 32, 32: 32, 64: 64, 96: 64}  # 27 and 288 columns are few blocks of 64, half empty
    assert choose(10**6, 256, 32, 9, 1, True, False, "half", 90, 132).block_n == 256  # worth an empty half block
    heights = {M: tiles.choose_gradient_configuration(M, 64, "half", 90).block_m for M in (9, 27, 64, 288, 576)}
    assert heights == {9: 32, 27: 32, 64: 64, 288: 64, 576: 128}


@pytest.mark.parametrize(("count", "blocks", "least"), [(1, 1, 1), (1, 7, 1), (36, 1568, 1), (600, 50, 1), (4, 100, 9)])
def test_splits_cover_every_block_once(count, blocks, least):
    splits, steps = splits_of(count, blocks, 132, least)
    assert (splits - 1) * steps < blocks <= splits * steps
    assert splits >= min(least, blocks) * 0.9


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (5, 5), (7, 7), (1, 9)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1), (4, 4)])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_stencils_are_valid(window, strides, itemsize):
    for channels in (1, 33, 1024):
        for gradient in (False, True):
            chosen = stencils.choose_configuration(window, strides, (1, 1), channels, 56, itemsize, gradient)
            assert chosen.why_invalid(strides, gradient) is None
        chosen = stencils.choose_gradient_configuration(window, channels, itemsize)
        assert chosen.why_invalid(strides, False) is None


# Forward, and both gradients, of every tile: sizes of one tile and a bit, so that each has rests in M, N and K.
@pytest.mark.parametrize("tile", dict.fromkeys(t for k in KINDS[:2] for t in tiles.shipped(k, 90)), ids=str)
def test_every_tile_gives_the_same(tile):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (1, 12, tile.block_m // 8, 24), generator=generator).float()
    kernel = torch.randint(-3, 4, (1, 2, 24, tile.block_n + 3), generator=generator).float()
    y = torch.empty(1, 14, tile.block_m // 8 + 1, tile.block_n + 3)
    rival = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=(1, 1))
    correlate(y, None, x, kernel, None, (1, 1), PADDING, (1, 1), 1, None, "ieee", tile)
    assert torch.equal(y, rival.permute(0, 2, 3, 1))  # integers: every order of summation gives the same
    dx = torch.empty_like(x)
    input_gradient(dx, y, kernel, (1, 1), PADDING, (1, 1), 1, "ieee", tile)
    back = torch.nn.functional.conv_transpose2d(rival, kernel.permute(3, 2, 0, 1), padding=(1, 1))
    assert torch.equal(dx, back.permute(0, 2, 3, 1))


@pytest.mark.parametrize("tile", dict.fromkeys(t for k in KINDS[:2] for t in tiles.shipped(k, 90, True)), ids=str)
def test_every_tile_of_the_kernel_gradient_gives_the_same(tile):
    generator = torch.Generator().manual_seed(0)
    channels = tile.block_m // 2 + 5
    x = torch.randint(-3, 4, (2, 5, 7, channels), generator=generator).float()
    g = torch.randint(-3, 4, (2, 5, 6, tile.block_n + 3), generator=generator).float()
    dkernel = kernel_gradient(x, g, (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, "ieee", tile)
    for s in (0, 1):
        assert torch.equal(dkernel[0, s], torch.einsum("bijc,bijf->cf", x[:, :, s : s + 6], g))


def refusal(module, op, x, kernel, strides=(1, 1), padding=PADDING, dilation=(1, 1), groups=(1,)):
    return str(module.supports(op, x, kernel, None, strides, padding, dilation, *groups, None))


def test_what_is_refused(monkeypatch):
    def empty(*shape, dtype=torch.bfloat16):
        return torch.empty(shape, dtype=dtype, device="meta")

    assert refusal(conv2d, "conv2d", empty(1, 8, 8, 3), empty(3, 3, 3, 4)) == "None"
    large = empty(1, 32768, 32768, 3)
    assert "2^29" in refusal(conv2d, "conv2d", large, empty(3, 3, 3, 4))
    assert "65535 groups" in refusal(conv2d, "conv2d", empty(1, 4, 4, 70000), empty(1, 1, 1, 70000), groups=(70000,))
    assert refusal(depthwise, "depthwise_conv2d", empty(1, 8, 8, 3), empty(3, 3, 3, 1), groups=()) == "None"
    assert "2^30" in refusal(depthwise, "depthwise_conv2d", large, empty(3, 3, 3, 1), groups=())
    assert "not for 31x31" in refusal(depthwise, "depthwise_conv2d", empty(1, 8, 8, 3), empty(31, 31, 3, 1), groups=())
    double = empty(1, 8, 8, 3, dtype=torch.float64)
    for module, op, groups in ((conv2d, "conv2d", (1,)), (depthwise, "depthwise_conv2d", ())):
        monkeypatch.setattr(module, "INTERPRETED", False)
        assert "float" in refusal(module, op, double, empty(3, 3, 3, 1), groups=groups)


@pytest.mark.parametrize("architecture", [80, 86, 89, 90, 100, 120])
@pytest.mark.parametrize("kind", ["half", "tf32", "tf32x3", "ieee"])
@pytest.mark.parametrize("by_kernel", [False, True])
def test_tiles_fit_the_shared_memory_of_the_device(architecture, kind, by_kernel):
    known = tiles.shipped(kind, architecture, by_kernel)
    assert known and all(t.why_invalid(2 if kind == "half" else 4, architecture) is None for t in known)
