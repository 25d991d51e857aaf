"""The convention `(x, y, sample_weight)` for what a batch holds."""

from __future__ import annotations

from typing import Any


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """`(x, y, sample_weight)` of a batch, None standing for what it lacks.

    Args:
        data: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`; a list counts as a tuple.

    Raises:
        ValueError: for a tuple of another length.

    >>> unpack_x_y_sample_weight(([1.0], [2.0]))
    ([1.0], [2.0], None)
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            f"A batch must be `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`. Received a {type(data).__name__} of "
            f"length {len(data)}. Several inputs or targets go into a list, tuple or dict of their own: `([x1, x2], "
            "y)`."
        )
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The shortest form of a batch that `unpack_x_y_sample_weight` reads back.

    A lone `x` stays bare unless it is a list or tuple, which would read as `(x, y)`.

    >>> pack_x_y_sample_weight(1.0), pack_x_y_sample_weight([1.0]), pack_x_y_sample_weight(1.0, 2.0)
    (1.0, ([1.0],), (1.0, 2.0))
    """
    if y is None:
        # As in Keras, weights without targets are dropped: nothing would use them.
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)
