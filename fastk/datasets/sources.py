"""Where the files of the data sets come from."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from fastk.utils.files import get_file

_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"


class Source(NamedTuple):
    """A file: its URL, its checksum (None where its publisher states none), and where in the cache it is kept."""

    url: str
    file_hash: str | None
    folder: str = "datasets"


_FASHION = os.path.join("datasets", "fashion-mnist")
SOURCES = {
    "boston_housing.npz": Source(
        f"{_KERAS}boston_housing.npz", "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"
    ),
    "california_housing.npz": Source(
        f"{_KERAS}california_housing.npz", "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
    ),
    "cifar-10-batches-py-target": Source(
        f"{_TORONTO}cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    ),
    "cifar-100-python-target": Source(
        f"{_TORONTO}cifar-100-python.tar.gz", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    ),
    **{
        name: Source(f"{_KERAS}{name}", None, _FASHION)
        for name in (
            "train-labels-idx1-ubyte.gz",
            "train-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
        )
    },
    "imdb.npz": Source(f"{_KERAS}imdb.npz", "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"),
    "imdb_word_index.json": Source(f"{_KERAS}imdb_word_index.json", "bfafd718b763782e994055a2d397834f"),
    "mnist.npz": Source(f"{_KERAS}mnist.npz", "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"),
    "reuters.npz": Source(f"{_KERAS}reuters.npz", "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"),
    "reuters_word_index.json": Source(f"{_KERAS}reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921"),
}
"""Each file, by its name in the cache, which is Keras's: what Keras downloaded is found."""


def fetch(name: str, path: Any = None, extract: bool = False) -> str:
    """The path of a file in the cache, downloaded where it is not there.

    Args:
        name: a name in `SOURCES`.
        path: another name for it in the cache.
        extract: whether it is an archive, of which the folder with its contents is returned.

    Raises:
        OSError: where it cannot be downloaded; says where to put a file got otherwise.
        ValueError: where its checksum is wrong.
    """
    source = SOURCES[name]
    return get_file(
        path or name, origin=source.url, file_hash=source.file_hash, cache_subdir=source.folder, extract=extract
    )
