"""`Cropping1D`, `2D`, `3D`: a sequence, an image, a volume without its borders."""

from __future__ import annotations

from typing import Any

from fastk.layers.reshaping.borders import Borders


class _Cropping(Borders):
    sign, argument = -1, "cropping"

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)
        inner = tuple(slice(before, -after or None) for before, after in self._pairs)
        self._index = (slice(None),) * self._first_axis + inner

    def call(self, inputs: Any) -> Any:
        """`inputs` without its borders."""
        outputs = inputs[self._index]
        if outputs.numel() == 0:
            self._check(tuple(inputs.shape), "inputs.shape")
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The input's sizes without the borders."""
        self._check(input_shape, "input_shape")
        return super().compute_output_shape(input_shape)

    def _check(self, shape: tuple, name: str) -> None:
        sizes = shape[self._first_axis : self._first_axis + self.rank]
        if any(size is not None and size <= sum(pair) for size, pair in zip(sizes, self._pairs, strict=True)):
            what = (
                "`cropping` parameter of `Cropping1D` layer must be smaller than the input length"
                if self.rank == 1
                else "Values in `cropping` argument should be smaller than the corresponding spatial dimension of the "
                "input"
            )
            raise ValueError(f"{what}. Received: {name}={shape}, cropping={self.cropping}")


class Cropping1D(_Cropping):
    """Sequences `(batch, steps, channels)` without their first and last steps.

    Args:
        cropping: the number of steps removed on both sides, or a pair `(before, after)`.

    >>> import fastk
    >>> fastk.layers.Cropping1D((1, 2))(fastk.ops.ones((2, 6, 4))).shape
    torch.Size([2, 3, 4])
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(cropping, "channels_last", **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "data_format"}


class Cropping2D(_Cropping):
    """Images without their borders.

    Args:
        cropping: one number for all sides, `(rows, columns)`, or `((top, bottom), (left, right))`.
        data_format: `"channels_last"`: `(batch, rows, columns, channels)`, or `"channels_first"`.

    >>> import fastk
    >>> fastk.layers.Cropping2D(((1, 0), (2, 2)))(fastk.ops.ones((2, 4, 7, 4))).shape
    torch.Size([2, 3, 3, 4])
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Volumes without their borders.

    Args:
        cropping: one number for all sides, one for each axis, or a pair `(before, after)` for each axis.
        data_format: `"channels_last"`: `(batch, depth, rows, columns, channels)`, or `"channels_first"`.

    >>> import fastk
    >>> fastk.layers.Cropping3D(1)(fastk.ops.ones((2, 5, 5, 5, 4))).shape
    torch.Size([2, 3, 3, 3, 4])
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)
