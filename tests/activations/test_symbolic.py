"""On KerasTensors each activation is a node of the graph that computes the same."""

import inspect

import pytest

from fastk import activations

ops = pytest.importorskip("fastk.ops")

from fastk.graph import Function, KerasTensor  # noqa: E402
from fastk.tensor import convert_to_tensor  # noqa: E402

ARGUMENTS = {
    "threshold": {"threshold": 1.0, "default_value": 0.5},
    "relu": {"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.5},
    "gelu": {"approximate": True},
    "softmax": {"axis": (1, 2)},
}
NAMES = [name for name in activations.__all__ if name not in ("get", "serialize", "deserialize", "linear")]


@pytest.mark.parametrize("given", [False, True], ids=["defaults", "arguments"])
@pytest.mark.parametrize("name", NAMES)
def test_symbolic_is_the_same(rng, name, given):
    function = getattr(activations, name)
    arguments = ARGUMENTS.get(name, {}) if given or name == "threshold" else {}
    x = KerasTensor((None, 3, 4))
    y = function(x, **arguments)
    value = convert_to_tensor(rng.normal(size=(2, 3, 4)).astype("float32"))
    expected = function(value, **arguments)
    assert y.shape == (None, *expected.shape[1:]) and y.dtype == "float32"
    got = Function(x, y)(value)
    # ops may compute it by another formula: a few roundings.
    assert (got - expected).abs().max() <= 8 * 1.2e-7 * max(1.0, expected.abs().max().item())


def test_linear_is_the_tensor_itself():
    x = KerasTensor((None, 3))
    assert activations.linear(x) is x


def test_the_node_of_relu_is_written_as_keras_does():
    operation = activations.relu(KerasTensor((None, 3)), max_value=3.0)._keras_history.operation
    assert operation.get_config() | {"name": "n"} == {
        "name": "n",
        "negative_slope": 0.0,
        "max_value": 3.0,
        "threshold": 0.0,
    }
    assert type(operation)._keras_location == ("keras.src.activations.activations", "ReLU", "ReLU")


def test_defaults_are_this_module_s():
    # ops.gelu approximates by default, activations.gelu does not.
    assert inspect.signature(activations.gelu).parameters["approximate"].default is False
    x = KerasTensor((2,))
    value = convert_to_tensor([1.5, -1.5])
    assert (Function(x, activations.gelu(x))(value) - activations.gelu(value)).abs().max() < 1e-6
