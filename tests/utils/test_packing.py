import numpy as np
import pytest

from fastk.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight

X, Y, W = np.ones(1), np.zeros(1), np.full(1, 2.0)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (X, (X, None, None)),
        ({"a": X}, ({"a": X}, None, None)),
        ((X,), (X, None, None)),
        ([X, Y], (X, Y, None)),
        ((X, Y, W), (X, Y, W)),
        (([X, Y],), ([X, Y], None, None)),
        ((X, None, W), (X, None, W)),
    ],
)
def test_unpack(data, parts):
    got = unpack_x_y_sample_weight(data)
    assert isinstance(got, tuple) and all(a is b or a == b for a, b in zip(got, parts, strict=True))


@pytest.mark.parametrize("data", [(), (1, 2, 3, 4)])
def test_wrong_length(data):
    with pytest.raises(ValueError, match=f"tuple of length {len(data)}"):
        unpack_x_y_sample_weight(data)


@pytest.mark.parametrize("parts", [(X, None, None), ([X], None, None), ((X, Y), None, None), (X, Y, None), (X, Y, W)])
def test_pack_and_back(parts):
    assert unpack_x_y_sample_weight(pack_x_y_sample_weight(*parts)) == parts


def test_a_lone_input_stays_bare():
    assert pack_x_y_sample_weight(X) is X
