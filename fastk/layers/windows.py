"""The sizes that convolutions and pools give, where sizes may be unknown (None)."""

from __future__ import annotations

from typing import Any


def window_length(length: int | None, window: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """The number of windows along an axis of `length`; not positive where no window fits.

    >>> from fastk.layers.windows import window_length
    >>> window_length(10, 3, 2, "valid"), window_length(10, 3, 2, "same"), window_length(None, 3, 2, "same")
    (4, 5, None)
    """
    if length is None:
        return None
    if padding == "valid":
        return (length - (window - 1) * dilation - 1) // stride + 1
    return (length - 1) // stride + 1


def transposed_length(
    length: int | None, window: int, stride: int, padding: str, output_padding: int | None, dilation: int = 1
) -> int | None:
    """The length of which a convolution with these arguments makes `length`; by default the largest one."""
    if length is None:
        return None
    window = (window - 1) * dilation + 1
    if padding == "valid":
        extra = max(window, stride) - window if output_padding is None else output_padding
        return (length - 1) * stride + window + extra
    if output_padding is None:
        return length * stride
    return (length - 1) * stride + window % 2 + output_padding


def split_shape(shape: Any, data_format: str) -> tuple[tuple, Any]:
    """The spatial sizes and the number of channels in `shape`."""
    return (tuple(shape[1:-1]), shape[-1]) if data_format == "channels_last" else (tuple(shape[2:]), shape[1])


def joined_shape(batch: int | None, spatial: Any, channels: int | None, data_format: str) -> tuple:
    """The shape that `split_shape` takes apart."""
    return (batch, *spatial, channels) if data_format == "channels_last" else (batch, channels, *spatial)


def windows_shape(
    shape: Any,
    channels: int | None,
    window: tuple,
    strides: tuple,
    padding: str,
    data_format: str,
    dilation: tuple = (),
) -> tuple:
    """The shape of what windows over inputs of `shape` give.

    Raises:
        ValueError: the input has another rank than the window, or is smaller.
    """
    spatial, _ = split_shape(shape, data_format)
    if len(spatial) != len(window):
        raise ValueError(
            f"Expected inputs of rank {len(window) + 2} for a window of {len(window)} axes. Received: input shape "
            f"{shape}, window {window}."
        )
    dilation = dilation or (1,) * len(window)
    lengths = [
        window_length(n, w, s, padding, d) for n, w, s, d in zip(spatial, window, strides, dilation, strict=True)
    ]
    if any(length is not None and length <= 0 for length in lengths):
        raise ValueError(
            f"Computed output size would be zero or negative. Received: inputs.shape={tuple(shape)}, window={window}, "
            f"strides={strides}, padding={padding!r}, dilation_rate={dilation}, data_format={data_format!r}. "
            "Use a smaller window, or padding='same'."
        )
    return joined_shape(shape[0], lengths, channels, data_format)
