import itertools
import math

import pytest

from fastk.kernels.window import axis_padding, explicit_padding


def test_same_covers_every_stride_with_the_least_padding():
    for length, window, stride, dilation in itertools.product(range(1, 9), range(1, 5), range(1, 5), range(1, 3)):
        before, after = axis_padding(length, window, stride, dilation, "same")
        reach = (window - 1) * dilation + 1
        outputs = math.ceil(length / stride)
        assert (length + before + after - reach) // stride + 1 >= outputs
        assert before + after == 0 or length + before + after == (outputs - 1) * stride + reach
        assert 0 <= after - before <= 1


def test_valid_causal_and_given():
    assert axis_padding(5, 3, 1, 1, "valid") == (0, 0)
    assert axis_padding(5, 3, 2, 2, "causal") == (4, 0)
    assert axis_padding(5, 3, 1, 1, (2, 7)) == (2, 7)


def test_axes_are_independent():
    assert explicit_padding((6, 5), (3, 2), (2, 1), (1, 1), "same") == ((0, 1), (0, 1))
    assert explicit_padding((6, 5), (3, 2), (2, 1), (1, 1), ((1, 2), (3, 4))) == ((1, 2), (3, 4))


@pytest.mark.parametrize(
    ("size", "window", "dilation"), [((2, 5), (3, 3), (1, 1)), ((5, 4), (3, 3), (1, 2)), ((0, 4), (1, 1), (1, 1))]
)
def test_an_empty_output_is_an_error(size, window, dilation):
    with pytest.raises(ValueError, match="larger than the padded image"):
        explicit_padding(size, window, (1, 1), dilation, "valid")
