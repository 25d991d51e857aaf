"""CIFAR-10: small photographs of ten classes."""

from __future__ import annotations

import os

import numpy as np

from fastk.datasets.cifar import in_data_format, load_batch
from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split

__all__ = ["load_data"]


def load_data() -> Split:
    """50000 photographs to train on and 10000 to test on.

    The classes: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 `(samples, 32, 32, 3)` (or channels first, as
        `config.image_data_format()` has it), and classes, uint8 `(samples, 1)`.

    Source: Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    folder = os.path.join(fetch("cifar-10-batches-py-target", extract=True), "cifar-10-batches-py")
    batches = [load_batch(folder, f"data_batch_{number}", "labels") for number in range(1, 6)]
    x_train, y_train = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    x_test, y_test = load_batch(folder, "test_batch", "labels")
    return (in_data_format(x_train), y_train), (in_data_format(x_test), y_test)
