"""California housing: prices of houses in 1990."""

from __future__ import annotations

import numpy as np

from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split, shuffled_split

__all__ = ["load_data"]


def load_data(
    version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2, seed: int = 113
) -> Split:
    """20640 districts with eight features each.

    The features: median income, median age of houses, average numbers of rooms and of bedrooms, population, average
    members of a household, latitude, longitude.

    Args:
        version: `"large"`, or `"small"` for the first 600 districts.
        path: the file's name in the cache.
        test_split: the share to test on, from 0 to below 1.
        seed: of the order of the samples.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 `(samples, 8)`, and the median price in dollars.

    Raises:
        ValueError: another `version`, or a share out of range.

    Source: Pace and Barry, 1997, Sparse spatial autoregressions.
    """
    if version not in ("small", "large"):
        raise ValueError(f"Argument `version` must be one of 'small', 'large'. Received: version={version}")
    with np.load(fetch("california_housing.npz", path), allow_pickle=False) as arrays:
        rows = slice(600 if version == "small" else None)
        return shuffled_split(arrays["x"][rows], arrays["y"][rows], test_split, seed)
