"""Graphs of operations applied to values and to other symbolic tensors."""

import numpy as np
import pytest

from fastk import Function, Input, KerasTensor, Operation, ops
from fastk.graph import get_source_inputs


def test_structures_of_inputs_and_outputs():
    x, y = KerasTensor((None, 2)), KerasTensor((None, 2))
    function = Function({"x": x, "y": [y]}, (x + y, {"difference": x - y}))
    total, rest = function({"x": np.full((3, 2), 5.0, "float32"), "y": [np.full((3, 2), 2.0, "float32")]})
    np.testing.assert_array_equal(total, np.full((3, 2), 7.0))
    np.testing.assert_array_equal(rest["difference"], np.full((3, 2), 3.0))


def test_an_intermediate_tensor_as_the_input():
    x = KerasTensor((2,))
    middle = x * 2
    function = Function(middle, middle + 1)
    assert [operation.name.split("_")[0] for operation in function.operations] == ["add"]
    np.testing.assert_array_equal(function(np.zeros(2, "float32")), [1.0, 1.0])


def test_an_operation_with_several_outputs_of_which_one_is_used():
    x = KerasTensor((4,))
    function = Function(x, ops.split(x, 2)[1])
    np.testing.assert_array_equal(function(np.arange(4.0)), [2.0, 3.0])


def test_a_shared_operation_is_run_for_each_of_its_calls():
    class Doubled(Operation):
        runs = 0

        def call(self, x):
            Doubled.runs += not x.is_meta
            return x * 2

    doubled = Doubled()
    x, y = KerasTensor((2,)), KerasTensor((2,))
    function = Function([x, y], doubled(x) + doubled(y))
    np.testing.assert_array_equal(function([ops.ones(2), ops.full((2,), 3.0)]), [8.0, 8.0])
    assert Doubled.runs == 2
    assert function.operations.count(doubled) == 1


def test_a_function_is_an_operation():
    x = KerasTensor((None, 3))
    inner = Function(x, ops.sum(x * 2, axis=-1))
    y = KerasTensor((None, 3))
    outer = Function(y, inner(y + 1))
    np.testing.assert_array_equal(outer(np.zeros((2, 3), "float32")), [6.0, 6.0])


def test_other_sizes_are_inferred_again():
    x = KerasTensor((None, 3))
    function = Function(x, ops.concatenate([x, x], axis=1))
    assert function.compute_output_spec(KerasTensor((5, 3))).shape == (5, 6)
    assert function.compute_output_shape((7, 3)) == (7, 6)


def test_a_deep_graph_does_not_reach_the_recursion_limit():
    x = y = KerasTensor((1,))
    for _ in range(3000):
        y = y + 1
    np.testing.assert_array_equal(Function(x, y)(np.zeros(1, "float32")), [3000.0])


def test_wrong_inputs():
    x, y = KerasTensor((None, 2)), KerasTensor((None, 2))
    function = Function([x, y], x + y)
    with pytest.raises(ValueError, match="invalid input structure"):
        function(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="incompatible inputs"):
        function([np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(ValueError, match="must be KerasTensors"):
        Function(np.zeros(2), x)
    with pytest.raises(ValueError, match="cannot be empty"):
        Function([], x)


def test_an_output_that_the_inputs_do_not_lead_to():
    x, y = Input((2,)), Input((2,))
    for output in (x + y, y * 2, y):
        with pytest.raises(ValueError, match=r"Output .* is not connected to `inputs`"):
            Function(x, output)


def test_names_must_differ():
    class Named(Operation):
        def call(self, x):
            return x

    x = KerasTensor((2,))
    y = Named(name="same")(Named(name="same")(x))
    with pytest.raises(ValueError, match='"same" is used 2 times'):
        Function(x, y)


def test_the_inputs_that_a_tensor_comes_from():
    x, y, z = Input((2,)), Input((2,)), KerasTensor((2,))
    assert get_source_inputs(x) == [x]
    assert get_source_inputs(z) == [z]
    assert get_source_inputs(ops.concatenate([x * 2, y, x])) == [x, y]
    assert get_source_inputs(z + 1) == [z]
