"""Dropout, pools and cross-entropy move each byte once, and give the same bits in any order of their programs."""

import pytest
import torch

pytest.importorskip("triton")

from fastk.kernels.average_pool2d import triton_kernels as average_pool2d
from fastk.kernels.dropout import triton_kernels as dropout
from fastk.kernels.max_pool2d import triton_kernels as max_pool2d
from fastk.kernels.softmax_cross_entropy import triton_kernels as cross_entropy
from fastk.kernels.triton_runtime import INTERPRETED

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="the interpreter counts the bytes")
BESIDE = (2, 2), (2, 2), (0, 0, 0, 0)


@pytest.fixture
def moved():
    """moved(function): the bytes that a launch asks for; none is out of bounds, and no order of programs matters."""
    from fastk.kernels.verify import interpreter

    def count(function):
        with interpreter.poison(), interpreter.trace() as launches:
            interpreter.check_program_order(function)
        assert not any(launch.races for launch in launches)
        return launches[0].requested

    return count


def image(channels, dtype=torch.bfloat16):
    return torch.randn(2, 8, 6, channels, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("size", [5000, 5003])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dropout(moved, size, dtype):
    x = torch.randn(size).to(dtype)
    seed = torch.tensor([1, 2])
    programs = 5
    seeds = 16 * (programs + bool(size % 8))
    assert moved(lambda: dropout.dropout_forward(x, 0.5, seed, None)) == 2 * x.nbytes + seeds


@pytest.mark.parametrize("channels", [8, 24, 40, 3])
def test_max_pools_side_by_side(moved, channels):
    x = image(channels)
    y, place = max_pool2d.max_pool2d_forward(x, *BESIDE, True)
    assert place.dtype == torch.uint8
    total = x.nbytes + y.nbytes + place.nbytes
    assert moved(lambda: max_pool2d.max_pool2d_forward(x, *BESIDE, True)) == total
    assert moved(lambda: max_pool2d.max_pool2d_forward(x, *BESIDE, False)[0]) == x.nbytes + y.nbytes
    assert moved(lambda: max_pool2d.max_pool2d_backward(y, place, x.shape, *BESIDE)) == total


@pytest.mark.parametrize("channels", [8, 3])
def test_average_pools_side_by_side(moved, channels):
    x = image(channels)
    y = average_pool2d.average_pool2d_forward(x, *BESIDE)
    assert moved(lambda: average_pool2d.average_pool2d_forward(x, *BESIDE)) == x.nbytes + y.nbytes
    assert moved(lambda: average_pool2d.average_pool2d_backward(y, x.shape, *BESIDE)) == x.nbytes + y.nbytes


def test_overlapping_pools(moved):
    """Each input is read by the windows that hold it, each output by the pixels of its window; the cache has them."""
    x, window = image(8), ((3, 3), (2, 2), (0, 1, 0, 1))
    y, place = max_pool2d.max_pool2d_forward(x, *window, True)
    forward = moved(lambda: max_pool2d.max_pool2d_forward(x, *window, True))
    backward = moved(lambda: max_pool2d.max_pool2d_backward(y, place, x.shape, *window))
    rows, columns = 11, 8  # of the 4 and 3 windows, each 3 but for the last, which the image cuts to 2
    pixels = rows * columns * 2
    assert forward == pixels * 8 * x.itemsize + y.nbytes + place.nbytes
    assert backward == pixels * 8 * (y.itemsize + place.itemsize) + x.nbytes


@pytest.mark.parametrize("classes", [10, 1000, 9000])
def test_cross_entropy(moved, classes):
    rows = 3
    logits = torch.randn(rows, classes)
    labels, g = torch.arange(rows), torch.randn(rows)
    options = True, 0.0, None
    loss, statistics = cross_entropy.softmax_cross_entropy_forward(logits, labels, *options)
    numbers = labels.nbytes + loss.nbytes + statistics.nbytes
    blocks = -(-classes // 4096)  # each has a program in backward, which reads the rows' numbers
    assert (
        moved(lambda: cross_entropy.softmax_cross_entropy_forward(logits, labels, *options)) == logits.nbytes + numbers
    )
    backward = moved(
        lambda: cross_entropy.softmax_cross_entropy_backward(g, logits, labels, statistics, *options, (True, False))[0]
    )
    assert backward == 2 * logits.nbytes + blocks * numbers
    both = moved(lambda: cross_entropy.softmax_cross_entropy_with_gradient(logits, labels, g, *options))
    read_again = logits.nbytes if blocks > 1 else 0  # from the cache
    assert both == 2 * logits.nbytes + read_again + labels.nbytes + loss.nbytes + g.nbytes
    dense = torch.full_like(logits, 1 / classes)
    both = moved(lambda: cross_entropy.softmax_cross_entropy_with_gradient(logits, dense, g, False, 0.1, None))
    assert both == 3 * logits.nbytes + 2 * read_again + loss.nbytes + g.nbytes
