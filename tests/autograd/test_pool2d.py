import itertools
import math

import numpy as np
import pytest
import torch

from fastk import autograd, dispatch


def windows(length, window, stride, padding):
    """The slices that each output of one axis sees, cut at the border."""
    if padding == "valid":
        padding = 0
    if isinstance(padding, int):
        starts = [i * stride - padding for i in range((length + 2 * padding - window) // stride + 1)]
        return [slice(max(0, start), min(length, start + window)) for start in starts]
    outputs = math.ceil(length / stride)
    before = max(0, (outputs - 1) * stride + window - length) // 2
    starts = [i * stride - before for i in range(outputs)]
    return [slice(max(0, start), min(length, start + window)) for start in starts]


def oracle(reduce, x, window, strides, padding="valid"):
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else (padding[0][0], padding[1][0])
    rows = windows(x.shape[1], window[0], strides[0], vertical)
    columns = windows(x.shape[2], window[1], strides[1], horizontal)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]))
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        y[:, i, j] = reduce(x.numpy()[:, row, column], axis=(1, 2))
    return y


REDUCTIONS = {"max_pool2d": np.max, "average_pool2d": np.mean}


@pytest.fixture(params=REDUCTIONS)
def op(request, implementation, device):
    """The name of each op that the implementation has."""
    refusal = dispatch.availability(request.param, device.type)[implementation]
    if refusal is not None:
        pytest.skip(refusal)
    return request.param


@pytest.fixture
def pool(op, implementation, device):
    """The op as a function of x, on any device, and its other arguments."""
    return lambda x, *arguments: getattr(autograd, op)(x.to(device), *arguments, implementation=implementation)


@pytest.fixture
def expected(op):
    """The oracle of the op."""
    return lambda x, *arguments: oracle(REDUCTIONS[op], x.detach().double(), *arguments)


def gradient_oracle(op, x, g, window, strides, padding):
    """dx, from the definition: of equal maxima the first takes the gradient."""
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else (padding[0][0], padding[1][0])
    rows = windows(x.shape[1], window[0], strides[0], vertical)
    columns = windows(x.shape[2], window[1], strides[1], horizontal)
    dx = np.zeros(x.shape)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        patch = x.numpy()[:, row, column]
        flat = patch.reshape(len(patch), -1, x.shape[3])
        first = np.arange(flat.shape[1])[:, None] == flat.argmax(1)[:, None]
        share = first.astype(float) if op == "max_pool2d" else np.full(flat.shape, 1 / flat.shape[1])
        dx[:, row, column] += (share * g.numpy()[:, None, i, j]).reshape(patch.shape)
    return dx


CASES = {
    "2x2": ((6, 4), (2, 2), (2, 2)),
    "2x2, rest": ((7, 5), (2, 2), (2, 2)),
    "wide overlap": ((6, 7), (4, 5), (1, 2)),
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
def test_forward_and_gradient(op, pool, expected, case, padding, normal, close):
    size, window, strides = case
    x = normal(2, *size, 3)
    x[:, ::2] = x[:, ::2].round()  # equal maxima
    y = pool(x.requires_grad_(), window, strides, padding)
    close(y, expected(x, window, strides, padding), terms=math.prod(window))
    g = normal(*y.shape)
    (dx,) = torch.autograd.grad(y, x, g.to(y.device))
    close(dx, gradient_oracle(op, x.detach(), g, window, strides, padding), terms=math.prod(window))


@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 0), (1, 1))])
@pytest.mark.parametrize("strides", [(2, 2), (1, 3)])
def test_padding_in_numbers(op, pool, expected, padding, strides, normal, close):
    x, window = normal(2, 6, 7, 3).requires_grad_(), (3, 3)
    y = pool(x, window, strides, padding)
    close(y, expected(x, window, strides, padding), terms=9)
    g = normal(*y.shape)
    (dx,) = torch.autograd.grad(y, x, g.to(y.device))
    close(dx, gradient_oracle(op, x.detach(), g, window, strides, padding), terms=9)


@pytest.mark.parametrize("padding", [((0, 1), (0, 0)), ((2, 2), (0, 0)), ((1, 1),), "full"])
def test_padding_that_is_refused(padding):
    with pytest.raises(ValueError, match="`padding` of max_pool2d must be"):
        autograd.max_pool2d(torch.ones(1, 4, 4, 1), 2, 2, padding)


@pytest.mark.parametrize("channels", [1, 2, 8, 13, 24, 40, 65])  # vectors of 1 to 8, blocks with a rest, two blocks
@pytest.mark.parametrize("arguments", [((2, 2), (2, 2), "same"), ((3, 3), (2, 2), "same")])
def test_channels(op, pool, expected, arguments, channels, normal, close):
    x = normal(3, 5, 7, channels, dtype=torch.float32).requires_grad_()
    y = pool(x, *arguments)
    close(y, expected(x, *arguments), terms=9)
    g = normal(*y.shape, dtype=torch.float32)
    (dx,) = torch.autograd.grad(y, x, g.to(y.device))
    close(dx, gradient_oracle(op, x.detach(), g, *arguments), terms=9)


@pytest.mark.parametrize("op", ["max_pool2d"], indirect=True)
def test_more_places_than_a_byte_counts(op, pool, expected, normal, close):
    x, arguments = normal(1, 1, 460, 1).requires_grad_(), ((1, 257), (1, 200), "valid")
    x.data[0, 0, 256] = 9  # the last place of the first window
    y = pool(x, *arguments)
    close(y, expected(x, *arguments))
    (dx,) = torch.autograd.grad(y.sum(), x)
    close(dx, gradient_oracle(op, x.detach(), torch.ones(y.shape), *arguments))


def test_second_derivatives(pool, normal, gradcheck):
    x = normal(1, 3, 3, 1)
    gradcheck(lambda x: pool(x, 2, 1), x)
    assert torch.autograd.gradgradcheck(lambda x: pool(x * x, 2, 1), x[:, :2, :2].clone().requires_grad_())


def test_same_with_every_length(pool, expected, normal, close):
    for length, window, stride in itertools.product(range(1, 8), range(1, 5), range(1, 5)):
        x = normal(1, length, 4, 1)
        arguments = (window, 2), (stride, 1), "same"
        close(pool(x, *arguments), expected(x, *arguments), terms=8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(op, pool, expected, dtype, normal, close):
    x = normal(2, 5, 5, 3, dtype=dtype).requires_grad_()
    for arguments in [((3, 3), (2, 2), "same"), ((2, 2), (2, 2), "same")]:
        y = pool(x, *arguments)
        assert y.dtype == dtype
        close(y, expected(x, *arguments))
        g = normal(*y.shape, dtype=dtype)
        (dx,) = torch.autograd.grad(y, x, g.to(y.device))
        assert dx.dtype == dtype
        close(dx, gradient_oracle(op, x.detach().double(), g.double(), *arguments), terms=4)


def test_negative_images_are_not_beaten_by_padding(pool):
    assert (pool(torch.full((1, 3, 3, 1), -5.0), 3, 1, "same") == -5).all()
    assert (pool(torch.full((1, 3, 3, 1), -5.0), 2, 1, "same") == -5).all()


def test_nan_and_infinity(op, pool):
    x = torch.zeros(1, 2, 6, 1)
    x[0, 1, 1], x[0, 0, 2], x[0, :, 4:] = math.nan, math.inf, -math.inf
    y = pool(x).flatten()
    assert y[0].isnan() and y[1:].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("op", ["max_pool2d"], indirect=True)
@pytest.mark.parametrize("value", [0.0, -math.inf, math.inf])
@pytest.mark.parametrize("strides", [1, 2])
def test_the_first_of_equal_maxima_takes_the_gradient(op, pool, value, strides):
    x = torch.full((1, 2, 2, 1), value, requires_grad=True)
    (gradient,) = torch.autograd.grad(pool(x, 2, strides).sum(), x)
    assert gradient.flatten().tolist() == [1, 0, 0, 0]
    (gradient,) = torch.autograd.grad(pool(x, 3, 3, "same").sum(), x)  # its window begins in the padding
    assert gradient.flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("window", [(2, 2), (1, 3), (4, 1)])
def test_large_images_are_pooled_alike_with_and_without_a_gradient(window, normal):
    x = normal(3, 41, 39, 16, dtype=torch.float32)
    x[0, 5, 5, 3], x[1, 6, 7, 1], x[2, 3, 3, 0] = torch.nan, torch.inf, -torch.inf
    found = autograd.max_pool2d(x, window, implementation="aten")
    assert found.numel() and torch.isnan(found).any()
    with_gradient = autograd.max_pool2d(x.clone().requires_grad_(), window, implementation="aten")
    torch.testing.assert_close(found, with_gradient.detach(), rtol=0, atol=0, equal_nan=True)


def test_default_strides_are_the_window(pool, normal):
    x = normal(1, 6, 6, 1)
    assert torch.equal(pool(x, (3, 2)), pool(x, (3, 2), (3, 2)))


def test_empty_batch_and_non_contiguous(pool, expected, normal, close):
    empty = normal(0, 4, 4, 3).requires_grad_()
    assert pool(empty).shape == (0, 2, 2, 3)
    assert torch.autograd.grad(pool(empty).sum(), empty)[0].shape == empty.shape
    x = normal(2, 3, 6, 4).permute(0, 2, 3, 1)
    close(pool(x, 3, 2), expected(x, (3, 3), (2, 2), "valid"), terms=9)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_one_dimension(op, implementation, device, expected, padding, normal, close):
    x, pool = normal(2, 7, 3), getattr(autograd, op.replace("2d", "1d"))
    y = expected(x[:, None], (1, 3), (1, 2), padding)[:, 0]
    close(pool(x.to(device), 3, 2, padding, implementation), y, terms=3)
    close(pool(x.to(device), (3,), (2,), padding, implementation), y, terms=3)
    y = expected(x[:, None], (1, 3), (1, 3), padding)[:, 0]
    close(pool(x.to(device), 3, padding=padding, implementation=implementation), y, terms=3)


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


def test_the_ops_pass_opcheck(device):
    pytest.importorskip("triton")
    x = torch.rand(1, 3, 3, 2, device=device)
    options = [2, 2], [1, 1], [0, 0, 0, 0]
    ops = torch.ops.fastk
    torch.library.opcheck(ops.max_pool2d_forward.default, (x.clone().requires_grad_(), *options, True, "triton"))
    torch.library.opcheck(ops.average_pool2d_forward.default, (x.clone().requires_grad_(), *options, "triton"))
    y, place = ops.max_pool2d_forward(x, *options, True, "triton")
    torch.library.opcheck(ops.max_pool2d_backward.default, (y, place, x.shape, *options, "triton"))
    torch.library.opcheck(ops.average_pool2d_backward.default, (y, x.shape, *options, "triton"))
