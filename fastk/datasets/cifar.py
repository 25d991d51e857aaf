"""The files of both CIFAR data sets."""

from __future__ import annotations

import os

import numpy as np

from fastk import config
from fastk.datasets.unpickling import load_pickle


def load_batch(folder: str, name: str, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """`(images, labels)` of a file: uint8 `(samples, 3, 32, 32)` and `(samples, 1)`."""
    with open(os.path.join(folder, name), "rb") as file:
        found = load_pickle(file, encoding="bytes")
    labels = np.array(found[label_key.encode()], dtype="uint8")
    return found[b"data"].reshape(-1, 3, 32, 32), labels.reshape(-1, 1)


def in_data_format(images: np.ndarray) -> np.ndarray:
    """The images with their channels where `config.image_data_format()` has them."""
    return images.transpose(0, 2, 3, 1) if config.image_data_format() == "channels_last" else images
