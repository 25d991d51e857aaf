import math

import pytest
import torch

from fastk import autograd
from fastk.kernels.dropout import aten


def kept(shape, rate, seed, **options):
    return autograd.dropout(torch.ones(shape), rate, seed, **options) != 0


def test_same_numbers_same_mask():
    first = kept((64, 33), 0.5, (7, 9))
    assert torch.equal(first, kept((64, 33), 0.5, (7, 9)))
    assert torch.equal(first, kept((64, 33), 0.5, torch.tensor([7, 9])))
    for other in [(7, 10), (8, 9), (9, 7), (7, 9 + 2**32), (7 + 2**32, 9), (-7, 9)]:
        agree = (first == kept((64, 33), 0.5, other)).double().mean()
        assert abs(agree - 0.5) < 5 * 0.5 / math.sqrt(64 * 33), other  # independent masks agree on half


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    autograd.dropout(torch.ones(100), 0.5, (1, 2))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1 / 3])
def test_share_and_scale(rate):
    n = 100_003
    y = autograd.dropout(torch.ones(n, dtype=torch.float64), rate, (3, 4))
    assert abs((y == 0).double().mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    assert (y[y != 0] == 1 / (1 - rate)).all()


def test_edges():
    x = torch.ones(3, 0, 2)
    assert autograd.dropout(x, 0.5, (1, 2)).shape == x.shape
    assert autograd.dropout(x, 0.0, None) is x
    y = torch.tensor([1.0, math.inf, math.nan])
    assert autograd.dropout(y, 1.0, (1, 2)).tolist() == [0, 0, 0]
    assert kept((1000,), 1 - 1e-9, (1, 2)).sum() <= 1 and kept((1000,), 1e-9, (1, 2)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masks_do_not_depend_on_the_dtype(dtype):
    y = autograd.dropout(torch.ones(50, dtype=dtype), 0.5, (1, 2))
    assert y.dtype == dtype
    assert torch.equal(y.float(), autograd.dropout(torch.ones(50), 0.5, (1, 2)))


def test_noise_shape():
    mask = kept((4, 5, 6), 0.5, (1, 2), noise_shape=(4, 1, 6))
    assert (mask == mask[:, :1]).all() and not (mask == mask[:1]).all()
    assert torch.equal(mask, kept((4, 5, 6), 0.5, (1, 2), noise_shape=[None, 1, 6]))


def test_gradient_is_the_scaled_mask():
    x = torch.randn(40, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(autograd.dropout(x, 0.25, (1, 2)).sum(), x)
    assert torch.equal(gradient, kept((40,), 0.25, (1, 2)).double() / 0.75)


def test_non_contiguous():
    x = torch.arange(1.0, 13).view(3, 4)
    assert torch.equal(autograd.dropout(x.t(), 0.5, (1, 2)), x.t() * kept((4, 3), 0.5, (1, 2)) * 2)


@pytest.mark.parametrize(
    ("rate", "seed", "noise_shape", "message"),
    [
        (1.5, (1, 2), None, r"dropout must be in \[0, 1\]. Received: 1.5"),
        (-0.1, (1, 2), None, "Received: -0.1"),
        (0.5, None, None, "needs `seed`"),
        (0.5, torch.ones(2), None, r"an int64 tensor \(seed, offset\). Received shape \(2,\) and dtype torch.float32"),
        (0.5, torch.tensor([1, 2, 3]), None, r"Received shape \(3,\)"),
        (0.5, (1, 2), (2,), r"Received noise_shape=\(2,\) for x of shape \(2, 3\)"),
        (0.5, (1, 2), (2, 2), "the size 1 or that of x"),
    ],
)
def test_errors(rate, seed, noise_shape, message):
    with pytest.raises(ValueError, match=message):
        autograd.dropout(torch.ones(2, 3), rate, seed, noise_shape)


def test_counted_bits():
    """The hash used off the CPU: uniform, and without relation between neighbours, offsets and seeds."""
    n = 2**16

    def bits(seed, offset):
        return aten._bits_counter((n,), torch.tensor([seed, offset]), torch.device("cpu"))

    first = bits(1, 0)
    assert torch.equal(first, aten._bits_counter((n,), (1, 0), torch.device("cpu")))
    assert first.min() >= -(2**15) and first.max() < 2**15
    histogram = torch.bincount((first + 2**15) >> 8, minlength=256).double()
    assert ((histogram - 256) ** 2 / 256).sum() < 255 + 5 * math.sqrt(2 * 255)  # chi-squared with 255 degrees
    for other in (bits(1, 1), bits(2, 0), bits(1, 2**32), bits(2**32 + 1, 0), first.roll(1)):
        correlation = (first.double() * other.double()).mean() / first.double().square().mean()
        assert abs(correlation) < 5 / math.sqrt(n)
