import itertools
import math

import numpy as np
import pytest
import torch

from fastk import autograd


def windows(length, window, stride, padding):
    """The slices that each output of one axis sees, cut at the border."""
    if padding == "valid":
        return [slice(i * stride, i * stride + window) for i in range((length - window) // stride + 1)]
    outputs = math.ceil(length / stride)
    before = max(0, (outputs - 1) * stride + window - length) // 2
    starts = [i * stride - before for i in range(outputs)]
    return [slice(max(0, start), min(length, start + window)) for start in starts]


def oracle(reduce, x, window, strides, padding):
    rows = windows(x.shape[1], window[0], strides[0], padding)
    columns = windows(x.shape[2], window[1], strides[1], padding)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]))
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        y[:, i, j] = reduce(x.numpy()[:, row, column], axis=(1, 2))
    return y


CASES = {
    "2x2": ((6, 4), (2, 2), (2, 2)),
    "2x2, rest": ((7, 5), (2, 2), (2, 2)),
    "overlapping": ((6, 5), (3, 3), (2, 2)),
    "stride 1, even window: same pads after alone": ((5, 4), (2, 4), (1, 1)),
    "stride 1, odd window": ((5, 4), (3, 3), (1, 1)),
    "axes of different kinds": ((5, 7), (2, 3), (1, 2)),
    "stride larger than window": ((7, 8), (1, 2), (3, 3)),
    "one pixel": ((1, 1), (1, 1), (1, 1)),
    "the whole image": ((4, 3), (4, 3), (1, 1)),
}


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case, padding, normal, close):
    size, window, strides = case
    x = normal(2, *size, 3)
    close(autograd.max_pool2d(x, window, strides, padding), oracle(np.max, x, window, strides, padding))
    close(autograd.average_pool2d(x, window, strides, padding), oracle(np.mean, x, window, strides, padding))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("case", list(CASES.values())[1:7], ids=list(CASES)[1:7])
def test_gradient(case, padding, normal, gradcheck):
    size, window, strides = case
    gradcheck(lambda x: autograd.max_pool2d(x, window, strides, padding), normal(1, *size, 2))
    gradcheck(lambda x: autograd.average_pool2d(x, window, strides, padding), normal(1, *size, 2))


def test_same_with_every_length(normal, close):
    for length, window, stride in itertools.product(range(1, 8), range(1, 5), range(1, 5)):
        x = normal(1, length, 4, 1)
        arguments = (window, 2), (stride, 1), "same"
        close(autograd.max_pool2d(x, *arguments), oracle(np.max, x, *arguments))
        close(autograd.average_pool2d(x, *arguments), oracle(np.mean, x, *arguments))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype, normal, close):
    x = normal(2, 5, 5, 3, dtype=dtype)
    arguments = (3, 3), (2, 2), "same"
    close(autograd.max_pool2d(x, *arguments), oracle(np.max, x.double(), *arguments))
    close(autograd.average_pool2d(x, *arguments), oracle(np.mean, x.double(), *arguments))
    assert autograd.max_pool2d(x).dtype == autograd.average_pool2d(x).dtype == dtype


def test_negative_images_are_not_beaten_by_padding():
    assert (autograd.max_pool2d(torch.full((1, 3, 3, 1), -5.0), 3, 1, "same") == -5).all()
    assert (autograd.average_pool2d(torch.full((1, 3, 3, 1), -5.0), 2, 1, "same") == -5).all()


def test_nan_and_infinity():
    x = torch.zeros(1, 2, 6, 1)
    x[0, 1, 1], x[0, 0, 2], x[0, :, 4:] = math.nan, math.inf, -math.inf
    y = autograd.max_pool2d(x).flatten()
    assert y[0].isnan() and y[1:].tolist() == [math.inf, -math.inf]


def test_the_first_of_equal_maxima_takes_the_gradient():
    x = torch.zeros(1, 2, 2, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(autograd.max_pool2d(x).sum(), x)
    assert gradient.flatten().tolist() == [1, 0, 0, 0]


def test_default_strides_are_the_window(normal):
    x = normal(1, 6, 6, 1)
    assert torch.equal(autograd.max_pool2d(x, (3, 2)), autograd.max_pool2d(x, (3, 2), (3, 2)))


def test_empty_batch_and_non_contiguous(normal, close):
    assert autograd.max_pool2d(normal(0, 4, 4, 3)).shape == (0, 2, 2, 3)
    assert autograd.average_pool2d(normal(0, 4, 4, 3)).shape == (0, 2, 2, 3)
    x = normal(2, 3, 6, 4).permute(0, 2, 3, 1)
    close(autograd.max_pool2d(x, 3, 2), oracle(np.max, x, (3, 3), (2, 2), "valid"))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_one_dimension(padding, normal, close):
    x = normal(2, 7, 3)
    expected = oracle(np.max, x[:, None], (1, 3), (1, 2), padding)[:, 0]
    close(autograd.max_pool1d(x, 3, 2, padding), expected)
    close(autograd.max_pool1d(x, (3,), (2,), padding), expected)
    expected = oracle(np.mean, x[:, None], (1, 3), (1, 3), padding)[:, 0]
    close(autograd.average_pool1d(x, 3, padding=padding), expected)


@pytest.mark.parametrize("pool", [autograd.max_pool2d, autograd.average_pool2d])
def test_errors(pool):
    with pytest.raises(ValueError, match=r"expects `x` of shape \[B, H, W, C\]. Received shape \(2, 3, 3\)"):
        pool(torch.ones(2, 3, 3))
    with pytest.raises(ValueError, match=r"an image of \(3, 1\) \(height, width\), a window of \(2, 2\)"):
        pool(torch.ones(1, 3, 1, 1))
    with pytest.raises(ValueError, match=r"`padding` of .* must be 'valid' or 'same'. Received: 'full'"):
        pool(torch.ones(1, 3, 3, 1), padding="full")
    with pytest.raises(ValueError, match=r"`pool_size` of .* must be a positive integer"):
        pool(torch.ones(1, 3, 3, 1), 0)
    with pytest.raises(ValueError, match="`strides` of max_pool1d must be a positive integer"):
        autograd.max_pool1d(torch.ones(1, 3, 1), strides=(1, 1))
