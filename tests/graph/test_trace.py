"""Tracing: what the graph of a model is, how it is printed, and what cannot be known without running it."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers, naming, ops
from fastk.graph import Untraceable, trace
from fastk.graph.plan import Calls
from fastk.scopes import internal


def ops_of(graph):
    return [node.op for node in graph.nodes]


def test_printed():
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(3, activation="relu", name="hidden"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(2, use_bias=False, activation="softmax", name="out"),
        ],
        name="net",
    )
    assert str(model.graph()).splitlines() == [
        "net(%0: (None, 4) float32)",
        "  %1 = dense(%0, kernel=hidden/kernel[4,3], bias=hidden/bias[3], activation=relu)"
        "  # hidden  (None, 3) float32",
        "  %2 = dropout(%1, rate=0.5)  # drop  (None, 3) float32",
        "  %3 = dense(%2, kernel=out/kernel[3,2])  # out  (None, 2) float32",
        "  %4 = softmax(%3)  # out  (None, 2) float32",
        "  return %4",
    ]


def test_a_shared_layer_is_an_op_for_each_call():
    a, b, shared = layers.Input((3,)), layers.Input((3,)), layers.Dense(2, name="shared")
    graph = trace(keras.Model([a, b], [shared(a), shared(b)]))
    assert [node.layers for node in graph.nodes] == [("shared",), ("shared",)]
    assert [node.inputs for node in graph.nodes] == [[graph.inputs[1]], [graph.inputs[0]]]
    assert str(graph).endswith("return %3, %2")


def test_models_inside_models_are_their_ops():
    x = layers.Input((4,))
    inner = keras.Model(x, layers.ReLU()(layers.Dense(3)(x)), name="inner")
    stack = keras.Sequential([layers.Input((3,)), layers.Dense(3), layers.Dropout(0.1)], name="stack")
    y = layers.Input((4,))
    model = keras.Model(y, stack(inner(y)) + inner(y))
    graph = trace(model)
    assert ops_of(graph) == ["dense", "activation", "dense", "dropout", "dense", "activation", "add"]
    given = torch.ones(2, 4)
    with internal():
        np.testing.assert_array_equal(Calls(graph, False)([given]).detach(), model(given, training=False).detach())


def test_a_model_inside_with_hooks_is_called():
    inner = keras.Sequential([layers.Input((3,)), layers.Dense(3)], name="inner")
    inner.register_forward_hook(lambda *_: None)
    (node,) = trace(keras.Sequential([layers.Input((3,)), inner])).nodes
    assert node.opaque == "it has torch hooks"


def test_operations_and_constants():
    x = layers.Input((3,))
    table = ops.ones((3, 2))
    graph = trace(keras.Model(x, ops.concatenate([ops.matmul(x, table), 2.0 * x], axis=1)))
    assert sorted(ops_of(graph)) == ["concatenate", "matmul", "multiply"]
    assert "tensor[3, 2]" in str(graph) and "axis=1" in str(graph)
    with internal():
        assert Calls(graph, False)([torch.ones(1, 3)]).tolist() == [[3.0, 3.0, 2.0, 2.0, 2.0]]


def test_outputs_in_structures_and_an_op_with_several():
    x = layers.Input((6, 2))
    whole, h, c = layers.LSTM(3, return_sequences=True, return_state=True)(x)
    model = keras.Model(x, {"whole": whole, "states": [h, c]})
    graph = trace(model)
    assert str(graph).splitlines()[1].startswith("  %1, %2, %3 = lstm(%0")
    given = torch.randn(2, 6, 2)
    with internal():
        found = Calls(graph, False)([given])
    expected = model(given)
    assert found.keys() == expected.keys() and isinstance(found["states"], list)
    np.testing.assert_array_equal(found["states"][1].detach(), expected["states"][1].detach())


def test_masks_keep_layers_whole():
    model = keras.Sequential(
        [layers.Input((5,)), layers.Embedding(9, 4, mask_zero=True), layers.GRU(3), layers.Dense(2), layers.ReLU()]
    )
    graph = trace(model)
    assert [node.opaque for node in graph.nodes] == ["it makes masks", "its input has a mask", None, None]
    x = torch.tensor([[1, 2, 0, 0, 0], [3, 0, 0, 0, 0]], dtype=torch.float32)
    with internal():
        planned = model._run_planned(x, False)
    np.testing.assert_array_equal(planned.detach(), model(x, training=False).detach())


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (type("Mine", (layers.Dense,), {"call": lambda self, inputs: inputs})(3), "Mine is the user's own layer"),
        (layers.Dense(3, activity_regularizer="l2"), "its outputs are regularized"),
    ],
)
def test_what_keeps_a_layer_whole(layer, why):
    (node,) = trace(keras.Sequential([layers.Input((3,)), layer])).nodes
    assert node.opaque == why and node.spec.call is layer


class Residual(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(3, name="first")
        self.second = layers.Dense(3, activation="relu", name="second")
        self.drop = layers.Dropout(0.5, name="drop")
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x, training=None):
        self.calls.assign_add(1.0)
        y = self.second(ops.relu(self.first(x)))
        if training:
            y = self.drop(y)
        self.add_loss(ops.sum(y))
        return {"y": y + x}


def test_a_subclass_is_traced_without_a_trace():
    model = Residual()
    model(np.ones((2, 3), "float32"))
    losses, names = [float(x.detach()) for x in model.losses], naming._state.counts.copy()
    assert ops_of(trace(model)) == ["dense", "activation", "dense", "add"]
    assert ops_of(trace(model, training=True)) == ["dense", "activation", "dense", "dropout", "add"]
    for layer in (model.first, model.second, model.drop, model):
        assert layer._inbound_nodes == [] and layer._outbound_nodes == []
    assert float(model.calls) == 1.0 and [float(x.detach()) for x in model.losses] == losses
    assert naming._state.counts == names
    assert "%1 = dense(%0, kernel=first/kernel[3,3]" in str(model.graph())


def test_tracing_leaves_the_nodes_that_a_layer_has():
    shared = layers.Dense(3)
    x = layers.Input((3,))
    functional = keras.Model(x, shared(x))

    class Wrapping(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = shared

        def call(self, x):
            return self.inner(x)

    model = Wrapping()
    model(np.ones((1, 3), "float32"))
    nodes = list(shared._inbound_nodes)
    assert len(trace(model)) == 1
    assert shared._inbound_nodes == nodes and len(nodes) == 1
    assert len(trace(functional)) == 1 and functional.get_config()


class ReadsValues(keras.Model):
    def call(self, x):
        return x * 2 if float(x.sum()) > 0 else x


class CallsTorch(keras.Model):
    def call(self, x):
        return torch.relu(x)


@pytest.mark.parametrize(
    ("model", "why"),
    [(ReadsValues, "`call\\(\\)` asked for values"), (CallsTorch, "does not run on symbolic tensors: TypeError")],
)
def test_what_cannot_be_traced_says_why(model, why):
    model = model()
    with pytest.raises(Untraceable, match="not built"):
        trace(model)
    model(np.ones((2, 3), "float32"))
    with pytest.raises(Untraceable, match=why):
        trace(model)


def test_a_function_has_a_graph():
    a, b = keras.KerasTensor((None, 2)), keras.KerasTensor((None, 2))
    graph = trace(keras.Function([a, b], ops.relu(a - b), name="f"))
    assert ops_of(graph) == ["subtract", "activation"]
