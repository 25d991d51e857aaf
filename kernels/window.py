"""Where the windows of convolutions and pools lie: explicit padding and output lengths, per axis.

    out = floor((length + before + after - ((window - 1) dilation + 1)) / stride) + 1

'valid' pads nothing. 'same' makes out = ceil(length / stride) with the least padding, the odd element after
(TensorFlow's rule), so that strided windows are padded asymmetrically. 'causal' pads before alone.
"""

from __future__ import annotations

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def axis_padding(length: int, window: int, stride: int, dilation: int, padding: str | Pair) -> Pair:
    """(before, after) of one axis.

    >>> axis_padding(8, window=3, stride=2, dilation=1, padding="same")
    (0, 1)
    """
    if not isinstance(padding, str):
        return padding
    reach = (window - 1) * dilation
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach, 0
    total = max(0, (-(-length // stride) - 1) * stride + reach + 1 - length)
    return total // 2, total - total // 2


def explicit_padding(size: Pair, window: Pair, strides: Pair, dilation: Pair, padding: str | Padding) -> Padding:
    """((top, bottom), (left, right)) of windows over an image of `size`.

    Raises:
        ValueError: the window is larger than the padded image.

    >>> explicit_padding((5, 5), (2, 2), (1, 1), (1, 1), "same")
    ((0, 1), (0, 1))
    """
    (height, width), (rows, columns) = size, window
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else padding
    top, bottom = axis_padding(height, rows, strides[0], dilation[0], vertical)
    left, right = axis_padding(width, columns, strides[1], dilation[1], horizontal)
    if height + top + bottom <= (rows - 1) * dilation[0] or width + left + right <= (columns - 1) * dilation[1]:
        raise ValueError(
            f"The window is larger than the padded image: the output would be empty. Received an image of {size} "
            f"(height, width), a window of {window}, dilation {dilation}, padding={padding!r}. "
            "Use a smaller window, or padding='same'."
        )
    return (top, bottom), (left, right)


def output_size(size: Pair, window: Pair, strides: Pair, dilation: Pair, padding: Padding) -> Pair:
    """The numbers of windows that lie over an image of `size`.

    >>> output_size((5, 6), (3, 3), (2, 2), (1, 1), ((0, 0), (1, 1)))
    (2, 3)
    """
    rows, columns = (
        (length + sum(sides) - (extent - 1) * step_inside - 1) // step + 1
        for length, extent, step, step_inside, sides in zip(size, window, strides, dilation, padding, strict=True)
    )
    return rows, columns
