"""One table of samples as samples to train on and samples to test on."""

from __future__ import annotations

import numpy as np

Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def shuffled_split(x: np.ndarray, y: np.ndarray, test_split: float, seed: int) -> Split:
    """`(x_train, y_train), (x_test, y_test)` in the order that Keras gives to a seed.

    Raises:
        ValueError: a share that is not from 0 to below 1.

    >>> (x_train, _), (x_test, _) = shuffled_split(np.arange(5), np.arange(5), 0.4, seed=0)
    >>> len(x_train), len(x_test)
    (3, 2)
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"Invalid `test_split` argument: {test_split}. It must be between 0 and 1 (exclusive of 1).")
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    trained = int(len(x) * (1 - test_split))
    return (x[order[:trained]], y[order[:trained]]), (x[order[trained:]], y[order[trained:]])
