"""`pad_sequences`."""

import numpy as np
import pytest

from fastk.utils import pad_sequences

ROWS = [[1], [2, 3], [], [4, 5, 6]]


@pytest.mark.parametrize(
    "arguments, expected",
    (
        ({}, [[0, 0, 1], [0, 2, 3], [0, 0, 0], [4, 5, 6]]),
        ({"padding": "post", "value": -1}, [[1, -1, -1], [2, 3, -1], [-1, -1, -1], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [0, 0], [5, 6]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [0, 0], [4, 5]]),
        ({"maxlen": 4, "padding": "post"}, [[1, 0, 0, 0], [2, 3, 0, 0], [0, 0, 0, 0], [4, 5, 6, 0]]),
        ({"maxlen": 0}, [[], [], [], []]),
    ),
)
def test_rows_of_one_length(arguments, expected):
    padded = pad_sequences(ROWS, **arguments)
    assert padded.dtype == np.int32 and padded.tolist() == expected


def test_items_may_be_arrays_and_strings():
    padded = pad_sequences([np.ones((1, 2)), np.ones((3, 2))], dtype="float32")
    assert padded.shape == (2, 3, 2) and padded[0, :2].sum() == 0
    assert pad_sequences([["a"], ["bc", "d"]], dtype=object, value="pad").tolist() == [["pad", "a"], ["bc", "d"]]


@pytest.mark.parametrize(
    "sequences, arguments, message",
    (
        (iter([]), {}, "list of sequences"),
        ([1, 2], {}, "non-iterable: 1"),
        (ROWS, {"padding": "left"}, 'Padding type "left" not understood'),
        (ROWS, {"truncating": "left"}, 'Truncating type "left" not understood'),
        ([["a"]], {"value": "pad"}, "`dtype=object`"),
        ([np.ones((1, 2)), np.ones((1, 3))], {}, "different from expected shape"),
    ),
)
def test_what_cannot_be_padded_is_explained(sequences, arguments, message):
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences, **arguments)
