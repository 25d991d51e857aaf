"""Texts as lists of words' numbers: marked, cut, and limited to the frequent words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def marked(sequences: Iterable[Any], start_char: int | None, index_from: int) -> list[list[int]]:
    """The numbers of words raised by `index_from`, after a number that marks the start.

    >>> marked([[1, 2]], start_char=1, index_from=3)
    [[1, 4, 5]]
    """
    start = [] if start_char is None else [start_char]
    return [start + [word + (index_from or 0) for word in words] for words in sequences]


def shorter_than(maxlen: int, sequences: list[list[int]], labels: Any) -> tuple[list[list[int]], np.ndarray]:
    """The sequences below a length, with their labels."""
    kept = [i for i, words in enumerate(sequences) if len(words) < maxlen]
    return [sequences[i] for i in kept], np.asarray(labels)[kept]


def frequent(sequences: list[list[int]], num_words: int | None, skip_top: int, oov_char: int | None) -> list[list[int]]:
    """The words numbered from `skip_top` to below `num_words`; others replaced by `oov_char`, or for None left out.

    >>> frequent([[1, 5, 9]], num_words=8, skip_top=2, oov_char=0), frequent([[1, 5, 9]], 8, 2, None)
    ([[0, 5, 0]], [[5]])
    """
    limit = num_words or max(max(words) for words in sequences)
    if oov_char is None:
        return [[word for word in words if skip_top <= word < limit] for words in sequences]
    return [[word if skip_top <= word < limit else oov_char for word in words] for words in sequences]


def as_array(sequences: Sequence[list[int]]) -> np.ndarray:
    """An array of lists, one axis also where they are of one length."""
    array = np.empty(len(sequences), dtype=object)
    array[:] = sequences
    return array
