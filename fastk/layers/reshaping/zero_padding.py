"""`ZeroPadding1D`, `2D`, `3D`: zeros around a sequence, an image, a volume."""

from __future__ import annotations

from typing import Any

from torch.nn import functional

from fastk.layers.reshaping.borders import Borders


class _ZeroPadding(Borders):
    sign, argument = 1, "padding"

    def __init__(self, padding: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)
        # torch counts axes from the last one, which is not padded in "channels_last".
        pads = [width for pair in reversed(self._pairs) for width in pair]
        self._pads = pads if self._first_axis == 2 else [0, 0, *pads]

    def call(self, inputs: Any) -> Any:
        """`inputs` with zeros around it."""
        return functional.pad(inputs, self._pads)


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps of a sequence.

    Args:
        padding: the number of zeros on both sides, or a pair `(before, after)`.
        data_format: `"channels_last"`: `(batch, steps, channels)`, or `"channels_first"`: `(batch, channels, steps)`.

    >>> import fastk
    >>> fastk.layers.ZeroPadding1D((1, 2))(fastk.ops.ones((2, 3, 4))).shape
    torch.Size([2, 6, 4])
    """

    rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images.

    Args:
        padding: one number for all sides, `(rows, columns)`, or `((top, bottom), (left, right))`.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.

    >>> import fastk
    >>> fastk.layers.ZeroPadding2D(((1, 0), (2, 2)))(fastk.ops.ones((2, 3, 3, 4))).shape
    torch.Size([2, 4, 7, 4])
    """

    rank = 2

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes.

    Args:
        padding: one number for all sides, one for each axis, or a pair `(before, after)` for each axis.
        data_format: `"channels_last"`: `(batch, depth, rows, columns, channels)`, or `"channels_first"`.

    >>> import fastk
    >>> fastk.layers.ZeroPadding3D(1)(fastk.ops.ones((2, 3, 3, 3, 4))).shape
    torch.Size([2, 5, 5, 5, 4])
    """

    rank = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)
