"""CIFAR-100: small photographs of a hundred classes."""

from __future__ import annotations

import os

from fastk.datasets.cifar import in_data_format, load_batch
from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split

__all__ = ["load_data"]


def load_data(label_mode: str = "fine") -> Split:
    """50000 photographs to train on and 10000 to test on.

    Args:
        label_mode: `"fine"` for 100 classes, `"coarse"` for 20 groups of them.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 `(samples, 32, 32, 3)` (or channels first, as
        `config.image_data_format()` has it), and classes, uint8 `(samples, 1)`.

    Raises:
        ValueError: another `label_mode`.

    Source: Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f'`label_mode` must be one of `"fine"`, `"coarse"`. Received: label_mode={label_mode}.')
    folder = os.path.join(fetch("cifar-100-python-target", extract=True), "cifar-100-python")
    x_train, y_train = load_batch(folder, "train", f"{label_mode}_labels")
    x_test, y_test = load_batch(folder, "test", f"{label_mode}_labels")
    return (in_data_format(x_train), y_train), (in_data_format(x_test), y_test)
