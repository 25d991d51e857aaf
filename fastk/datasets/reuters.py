"""Reuters: newswires of 46 topics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastk.datasets.sequences import as_array, frequent, marked, shorter_than
from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split
from fastk.datasets.unpickling import load_npz

__all__ = ["get_label_names", "get_word_index", "load_data"]

_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass "
    "crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi "
    "iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"
)


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> Split:
    """11228 newswires as lists of words' numbers: the more frequent, the lower.

    Args:
        path: the file's name in the cache.
        num_words: words numbered below this are kept; None for all.
        skip_top: words numbered below this, the most frequent, are not kept.
        maxlen: newswires of fewer words than this are kept; None for all.
        test_split: the share to test on.
        seed: of the order of the newswires.
        start_char: the number that each newswire begins with; None for none.
        oov_char: the number in the place of words that are not kept; None to leave them out.
        index_from: what is added to words' numbers, so that lower ones have a meaning of their own.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: arrays of lists, and int64 topics, named by `get_label_names`.

    Source: Reuters-21578, https://archive.ics.uci.edu/dataset/137.
    """
    arrays = load_npz(fetch("reuters.npz", path))
    texts, labels = arrays["x"], arrays["y"]
    order = np.arange(len(texts))
    np.random.RandomState(seed).shuffle(order)
    sequences, labels = marked(texts[order], start_char, index_from), labels[order]
    if maxlen:
        sequences, labels = shorter_than(maxlen, sequences, labels)
    kept = frequent(sequences, num_words, skip_top, oov_char)
    trained = int(len(kept) * (1 - test_split))
    return (as_array(kept[:trained]), labels[:trained]), (as_array(kept[trained:]), labels[trained:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, Any]:
    """Each word's number, to which `load_data` adds its `index_from`.

    Args:
        path: the file's name in the cache.
    """
    with open(fetch("reuters_word_index.json", path), encoding="utf-8") as file:
        return json.load(file)


def get_label_names() -> tuple[str, ...]:
    """The topics, in the order of their numbers.

    >>> len(get_label_names()), get_label_names()[3]
    (46, 'earn')
    """
    return tuple(_TOPICS.split())
