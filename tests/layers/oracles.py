"""Convolutions and pools in float64 NumPy, channels last, for any number of spatial axes."""

import itertools

import numpy as np


def same_padding(length, window, stride, dilation=1):
    """TensorFlow's rule: the least padding that gives ceil(length / stride) windows, the odd entry after."""
    total = max((-(-length // stride) - 1) * stride + (window - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def padded(x, window, strides, dilation, padding, value=0.0):
    pads = [(0, 0)]
    for length, w, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True):
        if padding == "same":
            pads.append(same_padding(length, w, s, d))
        elif padding == "causal":
            pads.append(((w - 1) * d, 0))
        else:
            pads.append((0, 0))
    return np.pad(x.astype(np.float64), [*pads, (0, 0)], constant_values=value)


def windows(x, window, strides, dilation):
    """The entries of all windows, one array for each position in a window."""
    counts = [
        (n - (w - 1) * d - 1) // s + 1 for n, w, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    for offset in itertools.product(*map(range, window)):
        index = [
            slice(o * d, o * d + (count - 1) * s + 1, s)
            for o, d, count, s in zip(offset, dilation, counts, strides, strict=True)
        ]
        yield offset, x[(slice(None), *index)]


def conv(x, kernel, strides, padding="valid", dilation=None, groups=1):
    rank = x.ndim - 2
    dilation = dilation or (1,) * rank
    window = kernel.shape[:rank]
    x = padded(x, window, strides, dilation, padding)
    outputs = 0.0
    for offset, part in windows(x, window, strides, dilation):
        inputs = np.split(part, groups, axis=-1)
        kernels = np.split(kernel[offset].astype(np.float64), groups, axis=-1)
        outputs = outputs + np.concatenate([a @ b for a, b in zip(inputs, kernels, strict=True)], axis=-1)
    return outputs


def depthwise(x, kernel, strides, padding="valid", dilation=None):
    *window, channels, multiplier = kernel.shape
    full = np.zeros((*window, 1, channels * multiplier))
    full[...] = kernel.reshape(*window, 1, channels * multiplier)
    return conv(x, full, strides, padding, dilation, groups=channels)


def conv_transpose(x, kernel, strides, padding="valid", output_padding=None):
    """Each input entry adds its multiple of the kernel `(..., filters, channels)`; then cut as forwards."""
    rank = x.ndim - 2
    window = kernel.shape[:rank]
    lengths = [(n - 1) * s + max(w, s) for n, s, w in zip(x.shape[1:-1], strides, window, strict=True)]
    full = np.zeros((x.shape[0], *(n + max(strides) + max(window) for n in lengths), kernel.shape[-2]))
    for offset in itertools.product(*map(range, window)):
        index = [slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, x.shape[1:-1], strides, strict=True)]
        full[(slice(None), *index)] += x.astype(np.float64) @ kernel[offset].astype(np.float64).T
    cut = [slice(None)]
    for i, (n, s, w) in enumerate(zip(x.shape[1:-1], strides, window, strict=True)):
        extra = None if output_padding is None else output_padding[i]
        if padding == "valid":
            before, length = 0, lengths[i] if extra is None else (n - 1) * s + w + extra
        elif extra is None:
            before, length = same_padding(n * s, w, s)[0], n * s
        else:
            length = (n - 1) * s + w % 2 + extra
            cropped = (n - 1) * s + w - length
            before = cropped // 2 if cropped > 0 else 0
        cut.append(slice(before, before + length))
    return full[tuple(cut)]


def max_pool(x, window, strides, padding="valid"):
    ones = (1,) * len(window)
    return np.max(
        [part for _, part in windows(padded(x, window, strides, ones, padding, -np.inf), window, strides, ones)], 0
    )


def average_pool(x, window, strides, padding="valid"):
    """Padding does not count."""
    ones = (1,) * len(window)
    total = sum(part for _, part in windows(padded(x, window, strides, ones, padding), window, strides, ones))
    inside = padded(np.ones_like(x), window, strides, ones, padding)
    return total / sum(part for _, part in windows(inside, window, strides, ones))


def close(actual, expected, reductions=1, scale=None):
    """Equal up to float32's rounding of `reductions` sums of values of size `scale` (that of the result by default)."""
    expected = np.asarray(expected, np.float64)
    scale = max(1.0, np.abs(expected).max(initial=0.0)) if scale is None else scale
    tolerance = 8 * np.finfo(np.float32).eps * np.sqrt(reductions) * scale
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=tolerance)
