import itertools
import math

import numpy as np
import pytest
import torch

from fastk import autograd


def pads_of(padding, length: int, window: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """(before, after) and the number of outputs by definition: 'same' covers ceil(length / stride) of them."""
    reach = (window - 1) * dilation + 1
    if padding == "valid":
        return 0, 0, (length - reach) // stride + 1
    if padding == "same":
        outputs = math.ceil(length / stride)
        total = max(0, (outputs - 1) * stride + reach - length)
        return total // 2, total - total // 2, outputs
    before, after = padding
    return before, after, (length + before + after - reach) // stride + 1


def oracle(x, kernel, strides, padding, dilation, groups):
    """The definition, one output at a time."""
    x, kernel = x.numpy(), kernel.numpy()
    batch, height, width, _ = x.shape
    kh, kw, inner, filters = kernel.shape
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else padding
    top, bottom, rows = pads_of(vertical, height, kh, strides[0], dilation[0])
    left, right, columns = pads_of(horizontal, width, kw, strides[1], dilation[1])
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((batch, rows, columns, filters))
    per_group = filters // groups
    for i, j, f in itertools.product(range(rows), range(columns), range(filters)):
        first = f // per_group * inner
        for r, s in itertools.product(range(kh), range(kw)):
            seen = x[:, i * strides[0] + r * dilation[0], j * strides[1] + s * dilation[1], first : first + inner]
            y[:, i, j, f] += seen @ kernel[r, s, :, f]
    return y


CASES = {
    "1x1": ((5, 4), (1, 1), (1, 1), "valid", (1, 1), 1),
    "3x3 valid": ((5, 7), (3, 3), (1, 1), "valid", (1, 1), 1),
    "3x3 same": ((5, 4), (3, 3), (1, 1), "same", (1, 1), 1),
    "even window, same": ((5, 4), (2, 4), (1, 1), "same", (1, 1), 1),
    "strided same, even image: padded after alone": ((6, 8), (3, 3), (2, 2), "same", (1, 1), 1),
    "strided same, odd image": ((5, 7), (3, 3), (2, 2), "same", (1, 1), 1),
    "stride larger than window, same": ((7, 5), (1, 2), (3, 3), "same", (1, 1), 1),
    "strided valid, rest not seen": ((6, 6), (3, 2), (2, 3), "valid", (1, 1), 1),
    "dilated": ((7, 7), (3, 2), (1, 1), "same", (2, 3), 1),
    "groups": ((4, 4), (3, 3), (1, 1), "same", (1, 1), 2),
    "explicit, all sides different": ((4, 4), (3, 3), (2, 1), ((0, 1), (2, 3)), (1, 1), 1),
    "window as large as the image": ((4, 3), (4, 3), (1, 1), "valid", (1, 1), 1),
    "one pixel": ((1, 1), (3, 3), (1, 1), "same", (1, 1), 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case, normal, close):
    size, window, strides, padding, dilation, groups = case
    x, kernel, bias = normal(2, *size, 4), normal(*window, 4 // groups, 6), normal(6)
    y = autograd.conv2d(x, kernel, bias, strides, padding, dilation, groups)
    expected = oracle(x, kernel, strides, padding, dilation, groups)
    close(y, expected + bias.numpy(), terms=math.prod(window) * 4)
    close(autograd.conv2d(x, kernel, None, strides, padding, dilation, groups), expected, terms=math.prod(window) * 4)


@pytest.mark.parametrize("case", list(CASES.values())[2:11], ids=list(CASES)[2:11])
def test_gradient(case, normal, gradcheck):
    _, window, strides, padding, dilation, groups = case
    inputs = normal(1, 5, 4, 2), normal(*window, 2 // groups, 2), normal(2)
    options = {"strides": strides, "padding": padding, "dilation_rate": dilation, "groups": groups}
    gradcheck(lambda *a: autograd.conv2d(*a, **options, activation="tanh"), *inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype, normal, close):
    x, kernel, bias = normal(2, 7, 5, 3, dtype=dtype), normal(3, 3, 3, 8, dtype=dtype), normal(8, dtype=dtype)
    y = autograd.conv2d(x, kernel, bias, padding="same", activation="relu")
    assert y.dtype == dtype
    expected = oracle(x.double(), kernel.double(), (1, 1), "same", (1, 1), 1) + bias.double().numpy()
    close(y, np.maximum(expected, 0), terms=27)


def test_float32_gradients_follow_float64(normal, close):
    inputs = normal(8, 14, 14, 8), normal(3, 3, 8, 16), normal(16)
    wide = [tensor.clone().requires_grad_() for tensor in inputs]
    narrow = [tensor.float().requires_grad_() for tensor in inputs]
    for tensors in (wide, narrow):
        autograd.conv2d(*tensors, strides=2, padding="same", activation="sigmoid").sum().backward()
    for a, b, terms in zip(narrow, wide, (9 * 16, 8 * 49, 8 * 49), strict=True):
        close(a.grad, b.grad, terms=terms)


def test_results_are_channels_last_in_memory(normal):
    y = autograd.conv2d(normal(2, 5, 5, 3), normal(3, 3, 3, 4))
    assert y.is_contiguous()


def test_empty_batch(normal):
    x, kernel = normal(0, 5, 5, 3).requires_grad_(), normal(3, 3, 3, 4).requires_grad_()
    y = autograd.conv2d(x, kernel, padding="same")
    y.sum().backward()
    assert y.shape == (0, 5, 5, 4) and not kernel.grad.any()


def test_non_contiguous(normal, close):
    x, kernel = normal(2, 3, 6, 5).permute(0, 2, 3, 1), normal(4, 3, 3, 3).permute(2, 3, 1, 0)
    close(autograd.conv2d(x, kernel), oracle(x, kernel, (1, 1), "valid", (1, 1), 1), terms=27)


def test_nan_reaches_its_windows_alone():
    x = torch.zeros(1, 5, 5, 1)
    x[0, 0, 0, 0] = math.nan
    y = autograd.conv2d(x, torch.ones(3, 3, 1, 1), padding="same", activation="relu")[0, :, :, 0]
    assert y[:2, :2].isnan().all() and y.isnan().sum() == 4


def test_relu_overwrites_no_input(normal):
    x = normal(1, 4, 4, 2)
    copy = x.clone()
    autograd.conv2d(x, torch.eye(2, dtype=x.dtype).view(1, 1, 2, 2), activation="relu")
    assert torch.equal(x, copy)


@pytest.mark.parametrize("padding", ["valid", "same", "causal", (2, 1)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_conv1d(padding, stride, dilation, normal, close):
    x, kernel, bias = normal(2, 8, 4), normal(3, 2, 6), normal(6)
    sides = (2 * dilation, 0) if padding == "causal" else padding
    sides = pads_of(sides, 8, 3, stride, dilation)[:2]
    expected = oracle(x[:, None], kernel[None], (1, stride), ((0, 0), sides), (1, dilation), 2) + bias.numpy()
    close(autograd.conv1d(x, kernel, bias, stride, padding, dilation, groups=2), expected[:, 0], terms=12)


def test_causal_sees_no_later_step(normal):
    x, kernel = normal(1, 6, 2), normal(3, 2, 2)
    later = x.clone()
    later[:, 4:] += 1
    first, second = (autograd.conv1d(v, kernel, padding="causal", dilation_rate=2) for v in (x, later))
    assert torch.equal(first[:, :4], second[:, :4]) and not torch.equal(first[:, 4:], second[:, 4:])


def test_conv1d_gradient(normal, gradcheck):
    gradcheck(
        lambda *a: autograd.conv1d(*a, padding="causal", activation="relu"), normal(2, 5, 2), normal(3, 2, 3), normal(3)
    )


@pytest.mark.parametrize(("strides", "padding"), [(1, "valid"), (1, "same"), (2, "same"), ((2, 1), ((1, 0), (0, 2)))])
def test_depthwise(strides, padding, normal, close):
    x, kernel, bias = normal(2, 6, 5, 3), normal(3, 2, 3, 2), normal(6)
    both = strides if isinstance(strides, tuple) else (strides, strides)
    expected = [
        oracle(x[..., c : c + 1], kernel[:, :, c : c + 1], both, padding, (1, 1), 1) for c in range(3)
    ]  # channel c makes the outputs 2 c and 2 c + 1
    y = autograd.depthwise_conv2d(x, kernel, bias, strides, padding)
    close(y, np.concatenate(expected, -1) + bias.numpy(), terms=6)


def test_depthwise_gradient(normal, gradcheck):
    inputs = normal(1, 5, 4, 2), normal(3, 3, 2, 2), normal(4)
    gradcheck(lambda *a: autograd.depthwise_conv2d(*a, strides=2, padding="same", activation="gelu"), *inputs)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((2, 5, 5), (3, 3, 1, 1), {}, r"conv2d expects `x` of shape \[B, H, W, C\]. Received shape \(2, 5, 5\)"),
        ((2, 5, 5, 3), (3, 3, 3), {}, r"`kernel` of shape \[kh, kw, C / groups, F\]. Received shape \(3, 3, 3\)"),
        ((2, 5, 5, 3), (3, 3, 4, 8), {}, r"Received x of shape \(2, 5, 5, 3\) and a kernel of shape \(3, 3, 4, 8\)"),
        ((2, 5, 5, 4), (3, 3, 2, 3), {"groups": 2}, "F a multiple of groups"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"bias": torch.ones(7)}, r"`bias` of shape \(8,\)"),
        ((2, 2, 5, 3), (3, 3, 3, 8), {}, r"an image of \(2, 5\) \(height, width\), a window of \(3, 3\)"),
        ((2, 4, 4, 3), (3, 3, 3, 8), {"dilation_rate": 2}, "larger than the padded image"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"strides": 0}, "`strides` of conv2d must be a positive integer"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"strides": (1, 2, 3)}, "or two of them"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"padding": "causal"}, "`padding` of conv2d must be 'valid', 'same' or"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"padding": ((1, -1), (0, 0))}, "not negative"),
        ((2, 5, 5, 3), (3, 3, 3, 8), {"activation": "what"}, "Unknown activation of conv2d: 'what'"),
    ],
)
def test_errors(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        autograd.conv2d(torch.ones(x), torch.ones(kernel), **options)


def test_errors_of_the_others():
    with pytest.raises(ValueError, match=r"conv1d expects `x` of shape \[B, T, C\]"):
        autograd.conv1d(torch.ones(2, 3, 4, 5), torch.ones(3, 4, 4))
    with pytest.raises(ValueError, match="`padding` of conv1d"):
        autograd.conv1d(torch.ones(2, 3, 4), torch.ones(3, 4, 4), padding="full")
    with pytest.raises(ValueError, match=r"a kernel of shape \(3, 3, 2, 1\)"):
        autograd.depthwise_conv2d(torch.ones(2, 5, 5, 3), torch.ones(3, 3, 2, 1))
