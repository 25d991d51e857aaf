"""Operations of the user's own: names, configurations, nodes, errors."""

import numpy as np
import pytest

from fastk import KerasTensor, Operation
from fastk.graph import Node
from fastk.graph.topology import map_graph


class Scale(Operation):
    def __init__(self, factor, shift=0.0, name=None):
        super().__init__(name=name)
        self.factor, self.shift = factor, shift

    def call(self, x):
        return x * self.factor + self.shift


def test_a_call_on_values_and_on_symbolic_tensors():
    scale = Scale(2.0)
    np.testing.assert_array_equal(scale(np.ones(2)), [2.0, 2.0])
    x = KerasTensor((None, 2))
    y = scale(x)
    assert y.shape == (None, 2)
    assert y._keras_history == (scale, 0, 0)
    assert scale.input is x
    assert scale.output is y


def test_a_configuration_is_made_of_the_constructors_arguments():
    scale = Scale(2.0, name="twice")
    assert scale.get_config() == {"name": "twice", "factor": 2.0, "shift": 0.0}
    again = Scale.from_config(scale.get_config())
    assert (again.name, again.factor) == ("twice", 2.0)


def test_arguments_that_no_file_holds_need_a_configuration():
    with pytest.raises(NotImplementedError, match="override"):
        Scale(object()).get_config()


def test_input_and_output_need_one_call():
    scale = Scale(1.0)
    with pytest.raises(AttributeError, match="never been called"):
        _ = scale.output
    scale(KerasTensor((1,)))
    scale(KerasTensor((1,)))
    with pytest.raises(AttributeError, match="several times"):
        _ = scale.input


def test_an_error_in_call_names_the_operation():
    class Broken(Operation):
        def call(self, x):
            return x.reshape(7)

    with pytest.raises(RuntimeError, match=r"'broken.*' \(of type Broken\)"):
        Broken()(KerasTensor((2,)))


def test_names_are_unique_and_one_path_element():
    assert Scale(1.0).name != Scale(1.0).name
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        Scale(1.0, name="a/b")


def test_a_node_takes_symbolic_outputs_only():
    with pytest.raises(ValueError, match="must be tensors"):
        Node(Scale(1.0), (KerasTensor((1,)),), {}, [np.ones(1)])


def test_nodes_come_after_those_they_depend_on():
    x = KerasTensor((2,))
    a = Scale(1.0, name="a")(x)
    b = Scale(1.0, name="b")(a)
    c = a + b
    topology = map_graph([x], [c])
    names = [node.operation.name for node in topology.nodes]
    assert names[:2] == ["a", "b"]
    assert len(names) == 3
    assert len(topology.operations) == 3
