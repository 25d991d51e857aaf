"""Small data sets (`keras.datasets`), downloaded at first use into Keras's cache, `~/.keras/datasets` or `KERAS_HOME`.

sources.py       where each file comes from, and its checksum
unpickling.py    pickles of arrays and lists, read without running code
sequences.py     what the texts that are lists of words' numbers have in common
splits.py        one table of samples as two
"""

from fastk.datasets import (
    boston_housing,
    california_housing,
    cifar10,
    cifar100,
    fashion_mnist,
    imdb,
    mnist,
    reuters,
)

__all__ = [
    "boston_housing",
    "california_housing",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "imdb",
    "mnist",
    "reuters",
]
