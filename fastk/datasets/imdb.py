"""IMDB: reviews of films, good or bad."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastk.datasets.sequences import as_array, frequent, marked, shorter_than
from fastk.datasets.sources import fetch
from fastk.datasets.splits import Split
from fastk.datasets.unpickling import load_npz

__all__ = ["get_word_index", "load_data"]


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> Split:
    """25000 reviews to train on and 25000 to test on, as lists of words' numbers: the more frequent, the lower.

    Args:
        path: the file's name in the cache.
        num_words: words numbered below this are kept; None for all.
        skip_top: words numbered below this, the most frequent, are not kept.
        maxlen: reviews of fewer words than this are kept; None for all.
        seed: of the order of the reviews.
        start_char: the number that each review begins with; None for none.
        oov_char: the number in the place of words that are not kept; None to leave them out.
        index_from: what is added to words' numbers, so that lower ones have a meaning of their own.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: arrays of lists, and int64 labels, 1 for good.

    Raises:
        ValueError: where no review is as short as `maxlen` says.

    Source: Maas et al., 2011, https://ai.stanford.edu/~amaas/data/sentiment.
    """
    arrays = load_npz(fetch("imdb.npz", path))
    random = np.random.RandomState(seed)
    parts = []
    for part in ("train", "test"):
        texts, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        order = np.arange(len(texts))
        random.shuffle(order)
        sequences, labels = marked(texts[order], start_char, index_from), labels[order]
        if maxlen:
            sequences, labels = shorter_than(maxlen, sequences, labels)
            if not sequences:
                raise ValueError(
                    f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept. Increase "
                    "maxlen."
                )
        parts.append((sequences, labels))
    (train, y_train), (test, y_test) = parts
    kept = frequent(train + test, num_words, skip_top, oov_char)
    return (as_array(kept[: len(train)]), y_train), (as_array(kept[len(train) :]), y_test)


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, Any]:
    """Each word's number, to which `load_data` adds its `index_from`.

    Args:
        path: the file's name in the cache.
    """
    with open(fetch("imdb_word_index.json", path), encoding="utf-8") as file:
        return json.load(file)
