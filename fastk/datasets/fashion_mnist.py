"""Fashion-MNIST: pictures of clothes."""

from __future__ import annotations

import gzip

import numpy as np

from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split
from fastk.errors import FileFormatError

__all__ = ["load_data"]


def load_data() -> Split:
    """60000 images of clothes to train on and 10000 to test on.

    The classes: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images, uint8 `(samples, 28, 28)`, and classes, uint8 `(samples,)`.

    Source: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747, MIT license.
    """
    train, test = (
        (_read(f"{part}-images-idx3-ubyte.gz", 3), _read(f"{part}-labels-idx1-ubyte.gz", 1))
        for part in ("train", "t10k")
    )
    return train, test


def _read(name: str, rank: int) -> np.ndarray:
    """An array of bytes in the format IDX: a number that names the type and the rank, the sizes, the values."""
    path = fetch(name)
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
        kind, *shape = np.frombuffer(content, ">i4", count=1 + rank)
        values = np.frombuffer(content, np.uint8, offset=4 * (1 + rank))
        if kind != 0x800 + rank:
            raise ValueError(f"it begins with {kind}")
        return values.reshape(shape).copy()
    except (OSError, EOFError, ValueError) as error:
        raise FileFormatError(f"{path} is damaged ({error}). Remove it, and it will be downloaded again.") from error
