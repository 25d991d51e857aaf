"""Convolutions and pooling over sequences, images and volumes.

One and two spatial dimensions go to fastk's own operations; three, and transposed convolutions, to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import autograd, config
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import promoted
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "max_pool",
    "separable_conv",
]


def _each(value: Any, rank: int, argument: str) -> tuple[int, ...]:
    """An int, or one for each spatial dimension, as a tuple."""
    values = (value,) * rank if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != rank or any(v < 1 for v in values):
        raise ValueError(f"`{argument}` must be a positive int, or {rank} of them. Received: {argument}={value}")
    return values


def _check_rank(shape: Sequence[Any], op: str) -> int:
    if len(shape) not in (3, 4, 5):
        raise ValueError(
            f"Inputs to {op} must have ndim=3, 4 or 5, corresponding to 1D, 2D and 3D inputs. "
            f"Received input shape: {tuple(shape)}."
        )
    return len(shape) - 2


def _check_padding(padding: Any, allowed: tuple[str, ...] = ("valid", "same")) -> str:
    if not isinstance(padding, str) or padding.lower() not in allowed:
        raise ValueError(f"`padding` must be one of {', '.join(map(repr, allowed))}. Received: padding={padding}")
    return padding.lower()


def _last(x: torch.Tensor, data_format: str) -> torch.Tensor:
    return x if data_format == "channels_last" else torch.movedim(x, 1, -1)


def _back(x: torch.Tensor, data_format: str) -> torch.Tensor:
    return x if data_format == "channels_last" else torch.movedim(x, -1, 1)


def _split(shape: Sequence[int | None], data_format: str | None) -> tuple[list[int | None], int | None, bool]:
    """Spatial sizes, channels, and whether these are last."""
    last = config.standardize_data_format(data_format) == "channels_last"
    return (list(shape[1:-1]), shape[-1], last) if last else (list(shape[2:]), shape[1], last)


def _output_shape(
    shape: Sequence[int | None],
    channels: int | None,
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str,
    data_format: str | None,
) -> tuple[int | None, ...]:
    spatial, _, last = _split(shape, data_format)
    sizes: list[int | None] = []
    for size, extent, stride, step in zip(spatial, window, strides, dilation, strict=True):
        if size is not None:
            size = -(-size // stride) if padding == "same" else (size - (extent - 1) * step - 1) // stride + 1
            if size <= 0:
                raise ValueError(
                    f"Computed output size would be zero or negative. Received: inputs.shape={tuple(shape)}, "
                    f"window={tuple(window)}, strides={tuple(strides)}, padding={padding!r}."
                )
        sizes.append(size)
    return (shape[0], *sizes, channels) if last else (shape[0], channels, *sizes)


def _zeros_around(
    x: torch.Tensor, window: Sequence[int], strides: Sequence[int], dilation: Sequence[int], value: float = 0.0
) -> torch.Tensor:
    """`x`, channels first, padded as `padding="same"` asks."""
    sides: list[int] = []
    for size, extent, stride, step in zip(x.shape[2:], window, strides, dilation, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (extent - 1) * step + 1 - size)
        sides = [total // 2, total - total // 2, *sides]
    return F.pad(x, sides, value=value) if any(sides) else x


# ---------------------------------------------------------------- pooling


def _pool_spec(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
) -> KerasTensor:
    rank = _check_rank(inputs.shape, "pooling op")
    window = _each(pool_size, rank, "pool_size")
    steps = window if strides is None else _each(strides, rank, "strides")
    channels = _split(inputs.shape, data_format)[1]
    padding = _check_padding(padding)
    shape = _output_shape(inputs.shape, channels, window, steps, (1,) * rank, padding, data_format)
    return KerasTensor(shape, dtype=inputs.dtype)


def _pool(
    functions: tuple[Callable, Callable, Callable],
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str,
    data_format: str | None,
) -> torch.Tensor:
    inputs = convert_to_tensor(inputs)
    rank = _check_rank(inputs.shape, "pooling op")
    layout = config.standardize_data_format(data_format)
    window = _each(pool_size, rank, "pool_size")
    steps = window if strides is None else _each(strides, rank, "strides")
    x = _last(inputs, layout)
    if rank == 1:
        y = functions[0](x, window[0], steps[0], _check_padding(padding))
    else:
        y = functions[rank - 1](x, window, steps, _check_padding(padding))
    return _back(y, layout)


def _max_pool3d(x: torch.Tensor, window: Any, strides: Any, padding: str) -> torch.Tensor:
    x = torch.movedim(x, -1, 1)
    if padding == "same":
        x = _zeros_around(x, window, strides, (1, 1, 1), value=-torch.inf)
    return torch.movedim(F.max_pool3d(x, window, strides), 1, -1)


def _average_pool3d(x: torch.Tensor, window: Any, strides: Any, padding: str) -> torch.Tensor:
    dtype = x.dtype
    # Half types are summed in float32, which torch's function for the CPU does not do by itself.
    x = torch.movedim(x, -1, 1).to(torch.promote_types(dtype, torch.float32))
    if padding == "valid":
        return torch.movedim(F.avg_pool3d(x, window, strides), 1, -1).to(dtype)
    # The mean of what lies inside: a mean with zeros around, divided by that of ones.
    inside = torch.ones_like(x[:1, :1])
    sums, counts = (F.avg_pool3d(_zeros_around(v, window, strides, (1, 1, 1)), window, strides) for v in (x, inside))
    return torch.movedim(sums / counts, 1, -1).to(dtype)


@operation("inputs", spec=_pool_spec)
def max_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
) -> torch.Tensor:
    """The largest element of each window.

    Args:
        inputs: (batch, ..., channels) with one to three spatial dimensions, or (batch, channels, ...).
        pool_size: the window's size, an int or one for each spatial dimension.
        strides: the distance of windows; their size by default.
        padding: `"valid"`, or `"same"`: windows may reach over the border, so that the size is that of the input
            divided by the strides.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
    """
    functions = (autograd.max_pool1d, autograd.max_pool2d, _max_pool3d)
    return _pool(functions, inputs, pool_size, strides, padding, data_format)


@operation("inputs", spec=_pool_spec)
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
) -> torch.Tensor:
    """The mean of each window, of the elements inside the input alone; arguments as in `max_pool`."""
    functions = (autograd.average_pool1d, autograd.average_pool2d, _average_pool3d)
    return _pool(functions, inputs, pool_size, strides, padding, data_format)


def _adaptive_spec(inputs: Any, output_size: Any, data_format: str | None = None) -> KerasTensor:
    rank = _check_rank(inputs.shape, "adaptive pooling")
    _, channels, last = _split(inputs.shape, data_format)
    sizes = _each(output_size, rank, "output_size")
    shape = (inputs.shape[0], *sizes, channels) if last else (inputs.shape[0], channels, *sizes)
    return KerasTensor(shape, dtype=inputs.dtype)


def _adaptive(
    functions: tuple[Callable, Callable, Callable], inputs: Any, output_size: Any, data_format: str | None
) -> torch.Tensor:
    inputs = convert_to_tensor(inputs)
    rank = _check_rank(inputs.shape, "adaptive pooling")
    sizes = _each(output_size, rank, "output_size")
    if config.standardize_data_format(data_format) == "channels_first":
        return functions[rank - 1](inputs, sizes)
    return torch.movedim(functions[rank - 1](torch.movedim(inputs, -1, 1), sizes), 1, -1)


@operation("inputs", spec=_adaptive_spec)
def adaptive_average_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> torch.Tensor:
    """The means of `output_size` windows that cover the input; layouts as in `max_pool`."""
    functions = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return _adaptive(functions, inputs, output_size, data_format)


@operation("inputs", spec=_adaptive_spec)
def adaptive_max_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> torch.Tensor:
    """The largest elements of `output_size` windows that cover the input; layouts as in `max_pool`."""
    functions = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
    return _adaptive(functions, inputs, output_size, data_format)


# ---------------------------------------------------------------- convolutions


def _conv_spec(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> KerasTensor:
    _check_channels(inputs, kernel, data_format, groups=True)
    return _spec_for(inputs, shape_of(kernel), shape_of(kernel)[-1], strides, padding, data_format, dilation_rate)


def _spec_for(
    inputs: Any,
    kernel: Any,
    filters: int | None,
    strides: Any,
    padding: str,
    data_format: str | None,
    dilation_rate: Any,
) -> KerasTensor:
    rank = _check_rank(inputs.shape, "conv operation")
    shape = _output_shape(
        inputs.shape,
        filters,
        kernel[:-2],
        _each(strides, rank, "strides"),
        _each(dilation_rate, rank, "dilation_rate"),
        _check_padding(padding),
        data_format,
    )
    return KerasTensor(shape, dtype=inputs.dtype)


def _conv3d(
    x: torch.Tensor, kernel: torch.Tensor, strides: Any, padding: str, dilation: Any, groups: int
) -> torch.Tensor:
    x = torch.movedim(x, -1, 1)
    if padding == "same":
        x = _zeros_around(x, kernel.shape[:3], strides, dilation)
    return torch.movedim(F.conv3d(x, kernel.permute(4, 3, 0, 1, 2), None, strides, 0, dilation, groups), 1, -1)


@operation("inputs kernel", spec=_conv_spec)
def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> torch.Tensor:
    """The convolution of `inputs` with `kernel`, which is not flipped.

    Args:
        inputs: (batch, ..., channels) with one to three spatial dimensions, or (batch, channels, ...).
        kernel: (..., channels, filters); with fewer channels than the input, in that many groups.
        strides: an int, or one for each spatial dimension.
        padding: `"valid"`, or `"same"`: zeros around, so that the size is that of the input divided by the strides.
        data_format: `"channels_last"` or `"channels_first"`; `keras.config.image_data_format()` by default.
        dilation_rate: the distance of the kernel's elements, an int or one for each spatial dimension.

    >>> from fastk import ops
    >>> ops.conv(ops.ones((1, 4, 1)), ops.ones((3, 1, 1))).flatten()
    tensor([3., 3.])
    """
    inputs, kernel = promoted(inputs, kernel)
    rank = _check_rank(inputs.shape, "conv operation")
    layout = config.standardize_data_format(data_format)
    x = _last(inputs, layout)
    if kernel.ndim != x.ndim:
        raise ValueError(
            f"Inputs and kernel must have the same rank. Received: inputs.shape={tuple(inputs.shape)}, "
            f"kernel.shape={tuple(kernel.shape)}."
        )
    _check_channels(inputs, kernel, layout, groups=True)
    steps, dilation = _each(strides, rank, "strides"), _each(dilation_rate, rank, "dilation_rate")
    arguments = {"strides": steps, "padding": _check_padding(padding), "groups": x.shape[-1] // kernel.shape[-2]}
    if rank == 3:
        y = _conv3d(x, kernel, dilation=dilation, **arguments)
    elif rank == 2:
        y = autograd.conv2d(x, kernel, dilation_rate=dilation, **arguments)
    else:
        y = autograd.conv1d(x, kernel, dilation_rate=dilation, **arguments)
    return _back(y, layout)


def _check_channels(inputs: Any, kernel: Any, data_format: str | None, axis: int = -2, groups: bool = False) -> None:
    channels = _split(shape_of(inputs), data_format)[1]
    own = shape_of(kernel)[axis]
    if groups and channels is not None and own and channels % own == 0:
        return
    if channels is not None and own is not None and channels != own:
        raise ValueError(
            f"The number of input channels must match the kernel's input channels. Received: inputs with {channels} "
            f"channels (shape {shape_of(inputs)}), a kernel for {own} (shape {shape_of(kernel)})."
        )


def _depthwise_spec(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> KerasTensor:
    _check_channels(inputs, kernel, data_format)
    shape = shape_of(kernel)
    filters = shape[-2] * shape[-1]  # type: ignore[operator]
    return _spec_for(inputs, shape, filters, strides, padding, data_format, dilation_rate)


@operation("inputs kernel", spec=_depthwise_spec)
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> torch.Tensor:
    """Each channel convolved with filters of its own; `kernel` is (..., channels, filters). Else as `conv`."""
    inputs, kernel = promoted(inputs, kernel)
    _check_channels(inputs, kernel, data_format)
    layout = config.standardize_data_format(data_format)
    x = _last(inputs, layout)
    if _check_rank(inputs.shape, "conv operation") == 2:
        steps, dilation = _each(strides, 2, "strides"), _each(dilation_rate, 2, "dilation_rate")
        y = autograd.depthwise_conv2d(x, kernel, strides=steps, padding=_check_padding(padding), dilation_rate=dilation)
        return _back(y, layout)
    grouped = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return _back(conv(x, grouped, strides, padding, "channels_last", dilation_rate), layout)


def _separable_spec(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> KerasTensor:
    between = _depthwise_spec(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return _conv_spec(between, pointwise_kernel, 1, "valid", data_format)


@operation("inputs depthwise_kernel pointwise_kernel", spec=_separable_spec)
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> torch.Tensor:
    """`depthwise_conv` with the first kernel, then `conv` with the second, whose spatial size is 1."""
    between = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(between, pointwise_kernel, 1, "valid", data_format)


def _transpose_sides(extent: int, stride: int, padding: str, output_padding: int | None) -> tuple[int, int]:
    """How much of the full result is cut off before and after; negative: zeros are added.

    The full result of a transposed convolution has (size - 1) * stride + extent elements. With "valid" all of them
    stay and `output_padding` is added after them, by default as much as makes windows of the stride whole. With "same"
    size * stride stay, or (size - 1) * stride + extent % 2 + output_padding.
    """
    if padding == "valid":
        return 0, -(max(extent, stride) - extent if output_padding is None else output_padding)
    kept = stride + extent - 2 if output_padding is None else extent + extent % 2 - 2 + output_padding
    before = min(kept // 2 + kept % 2, extent - 1)
    return extent - 1 - before, extent - 1 - (kept - before)


def _transpose_parts(
    shape: Any, kernel: Any, strides: Any, padding: str, output_padding: Any, dilation_rate: Any
) -> tuple[tuple[int, ...], tuple[int, ...], list[int], list[tuple[int, int]]]:
    """Strides, dilation, extents of the dilated kernel, and what is cut off, for each spatial dimension."""
    rank = _check_rank(shape, "conv transpose operation")
    steps, dilation = _each(strides, rank, "strides"), _each(dilation_rate, rank, "dilation_rate")
    extents = [(size - 1) * step + 1 for size, step in zip(kernel[:-2], dilation, strict=True)]
    extra = (
        [output_padding] * rank if output_padding is None or isinstance(output_padding, int) else list(output_padding)
    )
    padding = _check_padding(padding)
    cut = [_transpose_sides(e, s, padding, p) for e, s, p in zip(extents, steps, extra, strict=True)]
    return steps, dilation, extents, cut


def _conv_transpose_spec(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> KerasTensor:
    shape = inputs.shape
    _check_channels(inputs, kernel, data_format, axis=-1)
    steps, _, extents, cut = _transpose_parts(shape, shape_of(kernel), strides, padding, output_padding, dilation_rate)
    spatial, _, last = _split(shape, data_format)
    sizes = [
        None if size is None else (size - 1) * step + extent - before - after
        for size, step, extent, (before, after) in zip(spatial, steps, extents, cut, strict=True)
    ]
    filters = shape_of(kernel)[-2]
    result = (shape[0], *sizes, filters) if last else (shape[0], filters, *sizes)
    return KerasTensor(result, dtype=inputs.dtype)


@operation("inputs kernel", spec=_conv_transpose_spec)
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> torch.Tensor:
    """The transposed convolution: the gradient of `conv` with respect to its input.

    Args:
        inputs, strides, data_format, dilation_rate: as in `conv`.
        kernel: (..., filters, channels).
        padding: `"valid"`, or `"same"`: the size is that of the input times the strides.
        output_padding: how many elements are added after the result, an int or one for each spatial dimension.
    """
    inputs, kernel = promoted(inputs, kernel)
    steps, dilation, _, cut = _transpose_parts(
        inputs.shape, kernel.shape, strides, padding, output_padding, dilation_rate
    )
    layout = config.standardize_data_format(data_format)
    x = _last(inputs, layout)
    _check_channels(inputs, kernel, layout, axis=-1)
    rank = x.ndim - 2
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    weights = kernel.permute(rank + 1, rank, *range(rank))
    full = function(torch.movedim(x, -1, 1), weights, None, steps, 0, 0, 1, dilation)
    # A negative width of padding cuts off.
    full = F.pad(full, [-side for before, after in reversed(cut) for side in (before, after)])
    return full if layout == "channels_first" else torch.movedim(full, 1, -1)
