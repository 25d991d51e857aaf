"""Boston housing: prices of houses in the 1970s."""

from __future__ import annotations

import numpy as np

from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split, shuffled_split

__all__ = ["load_data"]


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """506 districts with 13 features each; prefer `california_housing`: a feature here is of race.

    Args:
        path: the file's name in the cache.
        test_split: the share to test on, from 0 to below 1.
        seed: of the order of the samples.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float64 `(samples, 13)`, and the median price in 1000 dollars.

    Raises:
        ValueError: a share out of range.

    Source: Harrison and Rubinfeld, 1978, Hedonic prices and the demand for clean air.
    """
    with np.load(fetch("boston_housing.npz", path), allow_pickle=False) as arrays:
        return shuffled_split(arrays["x"], arrays["y"], test_split, seed)
