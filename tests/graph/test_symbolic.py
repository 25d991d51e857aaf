"""What is inferred about a function from shapes and dtypes alone."""

import numpy as np
import pytest
import torch

from fastk import KerasTensor, Variable, ops
from fastk.graph import compute_output_spec
from fastk.scopes import in_symbolic_scope


def test_an_unknown_size_stays_unknown_where_the_result_depends_on_it():
    x = KerasTensor((None, 4, 6))
    assert compute_output_spec(lambda v: v.sum(1), x).shape == (None, 6)
    assert compute_output_spec(lambda v: v.transpose(0, 2), x).shape == (6, 4, None)
    assert compute_output_spec(lambda v: v.reshape(-1, 6), x).shape == (None, 6)
    assert compute_output_spec(lambda v: v[0], x).shape == (4, 6)


@pytest.mark.parametrize("stride", [2, 8, 32, 200])
def test_strided_parts_of_an_unknown_size_are_of_unknown_size(stride):
    assert compute_output_spec(lambda v: v[::stride], KerasTensor((None,))).shape == (None,)


def test_structures_numbers_and_none_are_kept():
    spec = compute_output_spec(lambda a, b: {"x": (a, None), "n": b.shape[0]}, KerasTensor((2,)), b=KerasTensor((3,)))
    assert spec["x"][0].shape == (2,)
    assert spec["x"][1] is None
    assert (spec["n"].shape, spec["n"].dtype) == ((), "int32")


def test_nothing_is_computed():
    seen = []

    def function(x):
        seen.append((x.device.type, in_symbolic_scope(), torch.is_grad_enabled()))
        return x @ Variable(np.ones((4, 3))).value + ops.ones(3)

    assert compute_output_spec(function, KerasTensor((None, 4), dtype="float64")).shape == (None, 3)
    assert set(seen) == {("meta", True, False)}
    assert not in_symbolic_scope()


def test_masks_are_inferred_too():
    def function(x):
        from fastk.tensor import set_keras_mask

        y = x * 2
        set_keras_mask(y, x[:, :, 0] != 0)
        return y

    spec = compute_output_spec(function, KerasTensor((None, 5, 2)))
    assert (spec._keras_mask.shape, spec._keras_mask.dtype) == ((None, 5), "bool")


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="must return tensors"):
        compute_output_spec(lambda x: "text", KerasTensor((2,)))


def test_the_scope_ends_where_the_function_fails():
    with pytest.raises(RuntimeError):
        compute_output_spec(lambda x: x.reshape(7), KerasTensor((2,)))
    assert not in_symbolic_scope()
    assert ops.ones(2).device.type != "meta"
