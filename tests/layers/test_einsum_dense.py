"""How `EinsumDense` scales the first values of its kernel."""

import numpy as np
import pytest

import fastk
from fastk import initializers, layers


@pytest.mark.parametrize(
    "equation, shape, output_shape, fan_in",
    (("abc,cd->abd", (None, 5, 64), (5, 32), 64), ("abc,cde->abde", (None, 5, 64), (5, 16, 32), 64),
     ("abcd,cde->abe", (None, 5, 16, 32), (5, 64), 512), ("...x,xy->...y", (None, 5, 64), (32,), 64)),
)  # fmt: skip
def test_values_are_scaled_by_the_inputs_of_a_sum(equation, shape, output_shape, fan_in):
    fastk.utils.set_random_seed(0)
    layer = layers.EinsumDense(equation, output_shape, kernel_initializer="lecun_normal")
    layer.build(shape)
    values = layer.kernel.numpy()
    # The deviation of n values is known to within a share of 1 / sqrt(2 n); five times that.
    assert abs(values.std() * np.sqrt(fan_in) - 1) < 5 / np.sqrt(2 * values.size)


def test_heads_of_attention_count_as_outputs():
    fastk.utils.set_random_seed(0)
    layer = layers.MultiHeadAttention(8, 16, kernel_initializer="lecun_normal")
    layer.build((None, 10, 32), (None, 10, 32))
    assert abs(layer.query_dense.kernel.numpy().std() * np.sqrt(32) - 1) < 0.1
    assert abs(layer.output_dense.kernel.numpy().std() * np.sqrt(128) - 1) < 0.1


def test_axes_that_were_given_are_kept_and_the_user_s_initializer_too():
    given = initializers.VarianceScaling(input_axes=[0, 1], output_axes=[2], distribution="untruncated_normal")
    layer = layers.EinsumDense("abc,cde->abde", (None, 64, 8), kernel_initializer=given)
    layer.build((None, 5, 32))
    assert abs(layer.kernel.numpy().std() * np.sqrt(32 * 64) - 1) < 0.05
    plain = initializers.GlorotUniform(seed=1)
    layer = layers.EinsumDense("abc,cde->abde", (None, 64, 8), kernel_initializer=plain)
    layer.build((None, 5, 32))
    assert layer.kernel_initializer is plain and plain.input_axes is None
