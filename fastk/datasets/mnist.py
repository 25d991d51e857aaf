"""MNIST: handwritten digits."""

from __future__ import annotations

import numpy as np

from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split

__all__ = ["load_data"]


def load_data(path: str = "mnist.npz") -> Split:
    """60000 images of digits to train on and 10000 to test on.

    Args:
        path: the file's name in the cache.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 `(samples, 28, 28)`, and digits, uint8 `(samples,)`.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist, CC BY-SA 3.0.
    """
    with np.load(fetch("mnist.npz", path), allow_pickle=False) as arrays:
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
