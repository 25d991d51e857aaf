"""Checks of the arguments that augmentation layers share."""

from __future__ import annotations

from typing import Any

from fastk.ops.image.warp import ORDERS

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = tuple(ORDERS)


def factor_range(
    value: Any,
    name: str = "factor",
    bounds: tuple[float, float] = (-1.0, 1.0),
    *,
    lowest: float | None = None,
    open_below: bool = False,
    overlapping: bool = False,
) -> tuple[float, float]:
    """The range that a factor is drawn from, of a number or of two.

    Args:
        value: what was passed: a number f stands for (-f, f).
        name: the argument's name.
        bounds: what the numbers must lie in.
        lowest: the least value of a range that a number stands for.
        open_below: whether the lower bound itself is excluded.
        overlapping: whether two numbers need only reach into the bounds.

    Raises:
        ValueError: other types, other lengths, numbers out of bounds.

    >>> from fastk.layers.preprocessing.images.arguments import factor_range
    >>> factor_range(0.2), factor_range([0.5, 0.1]), factor_range(0.2, lowest=0)
    ((-0.2, 0.2), (0.1, 0.5), (0, 0.2))
    """
    low, high = bounds
    message = (
        f"The `{name}` argument should be a number (or a list of two numbers) in the range "
        f"{'(' if open_below else '['}{low}, {high}]. Received: {name}={value}"
    )
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(message)
        first, second = value
        if overlapping:
            if first > high or second < low:
                raise ValueError(message)
        elif any(v > high or v < low or (open_below and v == low) for v in value):
            raise ValueError(message)
        return (first, second) if first <= second else (second, first)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(message)
    if value > high or value < low or (open_below and value == low):
        raise ValueError(message)
    size = abs(value)
    return (-size if lowest is None else max(-size, lowest), size)


def checked_value_range(value: Any) -> list[float]:
    """Two numbers, the lower one first."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"The `value_range` argument should be a list of two numbers. Received: value_range={value}")
    return sorted(value)


def check_warp(interpolation: str, fill_mode: str | None = None, fill_modes: tuple[str, ...] = FILL_MODES) -> None:
    """Raises `NotImplementedError` for a fill mode or an interpolation that is not known."""
    if fill_mode is not None and fill_mode not in fill_modes:
        raise NotImplementedError(f"Unknown `fill_mode` {fill_mode}. Expected of one {fill_modes}.")
    if interpolation not in INTERPOLATIONS:
        raise NotImplementedError(f"Unknown `interpolation` {interpolation}. Expected of one {INTERPOLATIONS}.")
