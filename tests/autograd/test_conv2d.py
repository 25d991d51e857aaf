import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from fastk import autograd, config


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


def windows(x, kernel, strides, padding, dilation, groups) -> Any:
    """((rows, columns) of the result, padded x, (top, left), and what each output pixel, tap and group sees).

    The last is a list of (i, j, r, s, h, w, channels, filters), the two last being slices.
    """
    kh, kw, inner, filters = kernel.shape
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else padding
    top, bottom, rows = pads_of(vertical, x.shape[1], kh, strides[0], dilation[0])
    left, right, columns = pads_of(horizontal, x.shape[2], kw, strides[1], dilation[1])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    outer = filters // groups

    def cut(group, size):
        return slice(group * size, (group + 1) * size)

    seen = [
        (i, j, r, s, i * strides[0] + r * dilation[0], j * strides[1] + s * dilation[1], cut(g, inner), cut(g, outer))
        for i, j, r, s, g in itertools.product(range(rows), range(columns), range(kh), range(kw), range(groups))
    ]
    return (rows, columns), padded, (top, left), seen


def oracle(x, kernel, *options) -> Any:
    """The definition, one window at a time; options: strides, padding, dilation, groups."""
    x, kernel = x.double().cpu().numpy(), kernel.double().cpu().numpy()
    size, padded, _, seen = windows(x, kernel, *options)
    y = np.zeros((len(x), *size, kernel.shape[-1]))
    for i, j, r, s, h, w, channels, filters in seen:
        y[:, i, j, filters] += padded[:, h, w, channels] @ kernel[r, s, :, filters]
    return y


def gradient_oracle(g, x, kernel, *options):
    """The gradients of sum(g y) by x and kernel."""
    g, x, kernel = (t.double().cpu().numpy() for t in (g, x, kernel))
    _, padded, (top, left), seen = windows(x, kernel, *options)
    dx, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for i, j, r, s, h, w, channels, filters in seen:
        dx[:, h, w, channels] += g[:, i, j, filters] @ kernel[r, s, :, filters].T
        dkernel[r, s, :, filters] += padded[:, h, w, channels].T @ g[:, i, j, filters]
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dkernel


@pytest.fixture
def wide(implementation, device, monkeypatch):
    """The most exact dtype of an implementation: float64, but float32 multiplied as such for Triton on a GPU."""
    if implementation != "triton" or device.type == "cpu":
        return torch.float64
    monkeypatch.setattr(config._settings, "float32_precision", "ieee")
    return torch.float32


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
    "strides and dilation with a common divisor, and groups": ((9, 8), (3, 4), (4, 2), ((1, 2), (3, 0)), (2, 1), 2),
    "some pixels seen by no window": ((7, 6), (1, 1), (3, 2), "valid", (1, 1), 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case, implementation, wide, normal, close):
    size, window, *options = case
    x, kernel, bias = normal(2, *size, 4), normal(*window, 4 // options[-1], 6), normal(6)
    x, kernel, bias = x.to(wide), kernel.to(wide), bias.to(wide)
    expected = oracle(x, kernel, *options)
    y = autograd.conv2d(x, kernel, bias, *options, implementation=implementation)
    close(y, expected + bias.double().cpu().numpy(), terms=math.prod(window) * 4)
    if window == (3, 3):
        y = autograd.conv2d(x, kernel, None, *options, implementation=implementation)
        close(y, expected, terms=math.prod(window) * 4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients(case, implementation, wide, normal, close):
    size, window, *options = case
    inputs = normal(2, *size, 4), normal(*window, 4 // options[-1], 6), normal(6)
    inputs = [t.to(wide).requires_grad_() for t in inputs]
    y = autograd.conv2d(*inputs, *options, activation="tanh", implementation=implementation)
    g = normal(*y.shape).to(wide)
    dx, dkernel, dbias = torch.autograd.grad(y, inputs, g)
    gz = (g * (1 - y.detach() ** 2)).double()
    expected = gradient_oracle(gz, inputs[0].detach(), inputs[1].detach(), *options)
    close(dx, expected[0], terms=math.prod(window) * 6)
    close(dkernel, expected[1], terms=y[..., 0].numel())
    close(dbias, gz.sum((0, 1, 2)).cpu().numpy(), terms=y[..., 0].numel())


@pytest.mark.parametrize("case", list(CASES.values())[2:11], ids=list(CASES)[2:11])
def test_gradcheck(case, normal, gradcheck):
    _, window, strides, padding, dilation, groups = case
    inputs = normal(1, 5, 4, 2), normal(*window, 2 // groups, 2), normal(2)
    options = {"strides": strides, "padding": padding, "dilation_rate": dilation, "groups": groups}
    gradcheck(lambda *a: autograd.conv2d(*a, **options, activation="tanh"), *inputs)


@pytest.mark.parametrize("activation", ["gelu", "softplus"])
def test_gradcheck_of_kernels(activation, implementation, wide, normal):
    """Of an activation whose derivative needs its input, and of one whose derivative is taken from the result."""
    if wide != torch.float64:
        pytest.skip("differences of float32 say nothing about a derivative")
    inputs = [t.requires_grad_() for t in (normal(1, 4, 3, 2), normal(2, 2, 2, 3), normal(3))]

    def convolve(x, kernel, bias):
        return autograd.conv2d(x, kernel, bias, 2, "same", activation=activation, implementation=implementation)

    assert torch.autograd.gradcheck(convolve, inputs, fast_mode=True)


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2)])
def test_only_what_is_needed(needed, implementation, wide, normal):
    inputs = [t.to(wide) for t in (normal(1, 4, 3, 2), normal(2, 2, 2, 3), normal(3))]
    everything = [t.clone().requires_grad_() for t in inputs]
    autograd.conv2d(*everything, activation="relu", implementation=implementation).sum().backward()
    for i in needed:
        inputs[i].requires_grad_()
    autograd.conv2d(*inputs, activation="relu", implementation=implementation).sum().backward()
    for i, (some, every) in enumerate(zip(inputs, everything, strict=True)):
        assert some.grad is None if i not in needed else torch.equal(some.grad, every.grad)


# How an operand is rounded before it is multiplied, relative to its size; tf32x3 leaves what float32 leaves.
ROUNDINGS = {"ieee": 0.0, "tf32": 2**-10, "tf32x3": 2**-20}


# Channels: of an image, packed with their window in an unrolled loop; packed in one that is not; whole blocks of K;
# several with a rest. Filters: one, a few, a block and one more. Pixels: more than a block, and no multiple of it.
@pytest.mark.parametrize(
    ("channels", "filters", "strides"), [(3, 33, (1, 1)), (24, 1, (2, 2)), (64, 8, (2, 2)), (72, 65, (1, 2))]
)
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float32, p) for p in ROUNDINGS] + [(torch.bfloat16, "ieee"), (torch.float16, "ieee")],
)
def test_dtypes(dtype, precision, channels, filters, strides, implementation, normal, close, monkeypatch):
    monkeypatch.setattr(config._settings, "float32_precision", precision)
    inputs = normal(1, 9, 8, channels), normal(3, 3, channels, filters), normal(filters)
    x, kernel, bias = (t.to(dtype).requires_grad_() for t in inputs)
    options = strides, "same", (1, 1), 1
    y = autograd.conv2d(x, kernel, bias, *options, activation="relu", implementation=implementation)
    assert y.dtype == dtype
    expected = oracle(x.detach(), kernel.detach(), *options) + bias.detach().double().cpu().numpy()
    # Rounding the operands moves a sum of k products by about sqrt(k) roundings, and so does accumulating them.
    rounding = ROUNDINGS[precision] / torch.finfo(dtype).eps
    sums = 9 * channels, 9 * filters, y[..., 0].numel()
    scales = [
        (1 + rounding) * max(1.0, scale) for scale in (np.abs(expected).max(), 4 * sums[1] ** 0.5, 4 * sums[2] ** 0.5)
    ]
    close(y, np.maximum(expected, 0), terms=sums[0], scale=scales[0])
    g = normal(*y.shape).to(dtype)
    dx, dkernel, dbias = torch.autograd.grad(y, (x, kernel, bias), g)
    gz = torch.where(y > 0, g, 0).detach()
    expected_dx, expected_dkernel = gradient_oracle(gz, x.detach(), kernel.detach(), *options)
    close(dx, expected_dx, terms=sums[1], scale=scales[1])
    close(dkernel, expected_dkernel, terms=sums[2], scale=scales[2])
    close(dbias, gz.double().sum((0, 1, 2)).cpu().numpy(), terms=sums[2])


def test_results_are_channels_last_in_memory(normal):
    y = autograd.conv2d(normal(2, 5, 5, 3), normal(3, 3, 3, 4))
    assert y.is_contiguous()


def test_empty_batch(implementation, wide, normal):
    inputs = [t.to(wide).requires_grad_() for t in (normal(0, 5, 5, 3), normal(3, 3, 3, 4), normal(4))]
    y = autograd.conv2d(*inputs, padding="same", activation="relu", implementation=implementation)
    y.sum().backward()
    assert y.shape == (0, 5, 5, 4) and not any(t.grad.any() for t in inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])  # of torch's kernels
@pytest.mark.parametrize("window", [1, 3])
def test_non_contiguous(implementation, wide, window, layout, normal, close):
    x, weight = normal(2, 3, 6, 5).to(wide).permute(0, 2, 3, 1), normal(4, 3, window, window).to(wide)
    kernel = weight.to(memory_format=layout).permute(2, 3, 1, 0)
    x, kernel = x.requires_grad_(), kernel.requires_grad_()
    options = (1, 1), "valid", (1, 1), 1
    y = autograd.conv2d(x, kernel, None, *options, implementation=implementation)
    close(y, oracle(x.detach(), kernel.detach(), *options), terms=27)
    g = normal(2, 6 - window, 7 - window, 1).to(wide).transpose(1, 2).expand(2, 7 - window, 6 - window, 4)
    for actual, expected in zip(
        torch.autograd.grad(y, (x, kernel), g), gradient_oracle(g, x.detach(), kernel.detach(), *options), strict=True
    ):
        close(actual, expected, terms=36)


def test_nan_reaches_its_windows_alone(implementation, device):
    x = torch.zeros(1, 5, 5, 1, device=device)
    x[0, 0, 0, 0] = math.nan
    kernel = torch.ones(3, 3, 1, 1, device=device)
    y = autograd.conv2d(x, kernel, padding="same", activation="relu", implementation=implementation)[0, :, :, 0]
    assert y[:2, :2].isnan().all() and y.isnan().sum() == 4


def test_relu_overwrites_no_input(normal):
    x = normal(1, 4, 4, 2)
    copy = x.clone()
    autograd.conv2d(x, torch.eye(2, dtype=x.dtype).view(1, 1, 2, 2), activation="relu")
    assert torch.equal(x, copy)


@pytest.mark.parametrize("padding", ["valid", "same", "causal", (2, 1)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_conv1d(padding, stride, dilation, implementation, wide, normal, close):
    x, kernel, bias = (t.to(wide) for t in (normal(2, 8, 4), normal(3, 2, 6), normal(6)))
    sides = (2 * dilation, 0) if padding == "causal" else padding
    sides = pads_of(sides, 8, 3, stride, dilation)[:2]
    expected = oracle(x[:, None], kernel[None], (1, stride), ((0, 0), sides), (1, dilation), 2)
    y = autograd.conv1d(x, kernel, bias, stride, padding, dilation, groups=2, implementation=implementation)
    close(y, expected[:, 0] + bias.double().cpu().numpy(), terms=12)


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


DEPTHWISE = {  # window, multiplier, and options but groups
    "3x3 valid": ((3, 3), 1, (1, 1), "valid", (1, 1)),
    "3x2 same, two filters a channel": ((3, 2), 2, (1, 1), "same", (1, 1)),
    "strided": ((3, 3), 1, (2, 2), "same", (1, 1)),
    "strides of their own, explicit padding": ((3, 2), 3, (2, 1), ((1, 0), (0, 2)), (1, 1)),
    "stride larger than window": ((1, 2), 1, (3, 3), "same", (1, 1)),
    "dilated and strided": ((2, 3), 1, (2, 3), "same", (3, 2)),
    "5x5": ((5, 5), 1, (1, 1), "same", (1, 1)),
    "7x7 on a smaller image": ((7, 7), 1, (1, 1), "same", (1, 1)),
    "one row": ((1, 5), 1, (1, 1), ((0, 0), (4, 0)), (1, 1)),
}


@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE)
def test_depthwise(case, implementation, wide, normal, close):
    window, multiplier, *options = case
    size = (1, 9) if window[0] == 1 and options[0] == (1, 1) else (6, 5)
    inputs = normal(2, *size, 3), normal(*window, 3, multiplier), normal(3 * multiplier)
    x, kernel, bias = (t.to(wide).requires_grad_() for t in inputs)
    y = autograd.depthwise_conv2d(x, kernel, bias, *options, activation="gelu", implementation=implementation)
    grouped = kernel.detach().flatten(2)[:, :, None]  # a group a channel
    z = oracle(x.detach(), grouped, *options, 3) + bias.detach().double().cpu().numpy()
    erf = np.vectorize(math.erf)(z / math.sqrt(2))
    close(y, z * (1 + erf) / 2, terms=math.prod(window))
    g = normal(*y.shape).to(wide)
    slope = (1 + erf) / 2 + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    gz = g.double().cpu() * torch.from_numpy(slope)
    dx, dkernel = gradient_oracle(gz, x.detach(), grouped, *options, 3)
    gradients = torch.autograd.grad(y, (x, kernel, bias), g)
    close(gradients[0], dx, terms=math.prod(window) * multiplier)
    close(gradients[1], dkernel.reshape(kernel.shape), terms=y[..., 0].numel())
    close(gradients[2], gz.sum((0, 1, 2)).numpy(), terms=y[..., 0].numel())


# A block of channels and one more; one channel, and more positions than a program takes.
@pytest.mark.parametrize(("size", "channels"), [((5, 3), 65), ((33, 9), 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_depthwise_dtypes(dtype, size, channels, implementation, normal, close):
    inputs = normal(2, *size, channels), normal(3, 3, channels, 1), normal(channels)
    x, kernel, bias = (t.to(dtype).requires_grad_() for t in inputs)
    y = autograd.depthwise_conv2d(x, kernel, bias, 1, "same", 1, "relu", implementation)
    options = (1, 1), "same", (1, 1), channels
    grouped = kernel.detach().flatten(2)[:, :, None]
    expected = oracle(x.detach(), grouped, *options) + bias.detach().double().cpu().numpy()
    assert y.dtype == dtype
    close(y, np.maximum(expected, 0), terms=9)
    gz = (y > 0).to(dtype)
    gradients = torch.autograd.grad(y.sum(), (x, kernel, bias))
    dx, dkernel = gradient_oracle(gz, x.detach(), grouped, *options)
    close(gradients[0], dx, terms=9)
    close(gradients[1], dkernel.reshape(kernel.shape), terms=y[..., 0].numel())
    close(gradients[2], gz.double().sum((0, 1, 2)).cpu().numpy(), terms=y[..., 0].numel())


def test_depthwise_of_nothing(implementation, wide, normal):
    inputs = [t.to(wide).requires_grad_() for t in (normal(0, 5, 5, 3), normal(3, 3, 3, 2))]
    y = autograd.depthwise_conv2d(*inputs, implementation=implementation)
    y.sum().backward()
    assert y.shape == (0, 3, 3, 6) and not inputs[1].grad.any()


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
