"""The fusion rules: fused is unfused, forward, backward and over training steps; what must not fuse does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import dtype_policies, layers, ops
from fastk.graph.fuse import RULES, fuse
from fastk.graph.plan import Calls
from fastk.graph.trace import trace
from fastk.scopes import internal
from tests.graph.reference import MODELS, build, data

EPS = float(np.finfo("float32").eps)


def ops_of(graph):
    return [node.op for node in graph.nodes]


def tensors(x):
    """Inputs as a plan takes them."""
    return [torch.as_tensor(one) for one in (x.values() if isinstance(x, dict) else [x])]


def forward_and_backward(model, calls, x):
    """Outputs, the gradients of a sum of them by every weight, and what the call did to the other variables."""
    variables = [v.value for v in model.trainable_variables]
    with internal():
        outputs = calls(x)
        weights = torch.linspace(-1.0, 1.0, outputs.numel()).view(outputs.shape)
        gradients = torch.autograd.grad((outputs * weights).sum(), variables, allow_unused=True)
    return [outputs.detach(), *gradients, *(v.value.clone() for v in model.non_trainable_variables)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_fused_is_unfused(name, training):
    x, _ = data(name)
    found = []
    for rewrite in (lambda graph: graph, lambda graph: fuse(graph, training)):
        model = build(name)
        # Outside of a call of the model a layer that is called as such would be an outermost call.
        found.append(forward_and_backward(model, Calls(rewrite(trace(model)), training), tensors(x)))
    folds = not training and name in ("mlp", "residual")  # other arithmetic: up to 27 products of up to about 4
    for unfused, fused in zip(*found, strict=True):
        np.testing.assert_allclose(fused, unfused, rtol=0, atol=EPS * 27**0.5 * 8 if folds else 0)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_ops(name):
    graph = trace(build(name))
    assert (len(graph), len(fuse(graph, True)), len(fuse(graph, False))) == MODELS[name][2]


@pytest.mark.parametrize("name", MODELS)
def test_ten_steps_of_training_are_those_of_the_layers(name):
    x, y = data(name, samples=40)
    results = []
    for eagerly in (True, False):
        model = build(name)
        model.run_eagerly = eagerly
        losses = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
        results.append((losses, model.get_weights(), model.evaluate(x, y, verbose=0), model.predict(x, verbose=0)))
    (losses, weights, evaluated, predicted), (own, own_weights, own_evaluated, own_predicted) = results
    assert own == losses
    for a, b in zip(own_weights, weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(own_evaluated, evaluated, rtol=1e-6)
    np.testing.assert_allclose(own_predicted, predicted, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- the rows


def stack(*stacked, shape=(8, 8, 3)):
    return keras.Sequential([layers.Input(shape), *stacked])


def norm(**options):
    return layers.BatchNormalization(**options)


relu, drop, pool = layers.ReLU, lambda: layers.Dropout(0.5), layers.MaxPooling2D
first = layers.Conv2D(2, 3, data_format="channels_first")

# Layers, then the ops left of them in training and in inference.
ROWS = {
    "dense, activation": ([layers.Dense(4), relu()], "dense", "dense"),
    "dense, gelu": ([layers.Dense(4), layers.Activation("gelu")], "dense", "dense"),
    "dense, dropout": ([layers.Dense(4, activation="relu"), drop()], "dense", "dense"),
    "dense, activation, dropout": ([layers.Dense(4), relu(), drop()], "dense", "dense"),
    "dense, norm": ([layers.Dense(4), norm(), relu()], "dense batch_norm", "dense"),
    "conv, activation": ([layers.Conv2D(4, 3), relu()], "conv2d", "conv2d"),
    "conv, norm": ([layers.Conv2D(4, 3), norm(), relu()], "conv2d batch_norm", "conv2d"),
    "conv channels first": ([first, norm(axis=1), relu()], "conv2d batch_norm", "conv2d"),
    "depthwise, activation": ([layers.DepthwiseConv2D(3), relu()], "depthwise_conv2d", "depthwise_conv2d"),
    "depthwise, norm": ([layers.DepthwiseConv2D(3), norm()], "depthwise_conv2d batch_norm", None),
    "pool": ([layers.Conv2D(4, 3, activation="relu"), pool()], "conv2d max_pool2d activation", None),
    "norm, pool": ([norm(), relu(), pool()], "batch_norm max_pool2d activation", None),
    "activation, pool": ([relu(max_value=6.0), pool()], "max_pool2d activation", None),
    "two pools": ([relu(), pool(), pool()], "max_pool2d max_pool2d activation", None),
    "dropout alone": ([drop()], "dropout", ""),
    "rate 0": ([layers.Dense(4), layers.Dropout(0.0)], "dense", None),
    "linear": ([layers.Dense(4), layers.Activation("linear"), relu()], "dense", None),
    # What stays apart.
    "tanh, pool": ([layers.Activation("tanh"), pool()], "activation max_pool2d", None),
    "two activations": ([layers.Dense(4, activation="relu"), relu()], "dense activation", None),
    "softmax": ([layers.Dense(4, activation="softmax")], "dense softmax", None),
    "another slope": ([layers.Dense(4), layers.LeakyReLU(0.3)], "dense leaky_re_lu", None),
    "noise of a shape": ([layers.Dense(4), layers.Dropout(0.5, noise_shape=(None, 1, 1, 4))], "dense dropout", "dense"),
    "spatial dropout": ([layers.Dense(4), layers.SpatialDropout2D(0.5)], "dense dropout", "dense"),
    "dropout between": ([layers.Dense(4), drop(), relu()], "dense activation", "dense"),
    "activation between": ([layers.Dense(4, activation="relu"), norm()], "dense batch_norm", None),
    "another axis": ([layers.Dense(4), norm(axis=1)], "dense batch_norm", None),
    "renorm": ([layers.Dense(4), norm(renorm=True), relu()], "dense batch_normalization activation", None),
    "two drops": ([layers.Dense(4), drop(), drop()], "dense dropout", "dense"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_rows(row):
    stacked, training, inference = ROWS[row]
    model = stack(*stacked)
    graph = trace(model)
    assert " ".join(ops_of(fuse(graph, True))) == training
    assert " ".join(ops_of(fuse(graph, False))) == (training if inference is None else inference)
    # Whatever was rewritten, the results are those of the layers.
    x = torch.randn(4, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    for is_training in (False, True):
        for layer in model.layers:  # the same masks again
            if isinstance(layer, layers.Dropout) and layer.rate:
                layer.seed_generator.state.assign([7, 1])
        expected = model(x, training=is_training)
        for layer in model.layers:
            if isinstance(layer, layers.Dropout) and layer.rate:
                layer.seed_generator.state.assign([7, 1])
        with internal():
            fused = Calls(fuse(graph, is_training), is_training)([x])
        if row == "renorm" and is_training:
            continue  # its moving statistics, which the first call moved, enter
        np.testing.assert_allclose(fused.detach(), expected.detach(), rtol=0, atol=EPS * 27**0.5 * 8)


def test_each_rule_says_what_it_does():
    assert len({rule.name for rule in RULES}) == len(RULES)
    used = set()
    for stacked, *_ in ROWS.values():
        graph = trace(stack(*stacked))
        used |= {name for training in (True, False) for node in fuse(graph, training).nodes for name in node.fused}
    x = layers.Input((3,))
    used |= {name for node in fuse(trace(keras.Model(x, ops.relu(x + x))), True).nodes for name in node.fused}
    assert used == {rule.name for rule in RULES} - {"identity"}  # which leaves nothing to be named at
    assert all(rule.says for rule in RULES)


def test_the_sum_is_overwritten_and_its_terms_are_not():
    x = layers.Input((3,))
    doubled = layers.Dense(3)(x)
    model = keras.Model(x, [layers.ReLU()(layers.Add()([x, doubled])), doubled])
    graph = fuse(trace(model), True)
    assert ops_of(graph) == ["dense", "add"]
    given = torch.tensor([[-1.0, 2.0, -3.0]])
    with internal():
        _, kept = Calls(graph, True)([given])
    assert given.tolist() == [[-1.0, 2.0, -3.0]]
    np.testing.assert_array_equal(kept.detach(), layers.Dense.call(model.layers[1], given).detach())


def test_a_result_that_is_used_elsewhere_stays():
    x = layers.Input((3,))
    hidden = layers.Dense(3, name="hidden")(x)
    used_twice = keras.Model(x, layers.ReLU()(hidden) + layers.Activation("tanh")(hidden))
    returned = keras.Model(x, [hidden, layers.ReLU()(hidden)])
    for model in (used_twice, returned):
        graph = fuse(trace(model), True)
        assert graph.nodes[0].op == "dense" and graph.nodes[0].attributes["activation"] is None
        assert any("the result of hidden is used elsewhere too" in why for _, why in graph.notes)


def test_dtypes_have_to_agree():
    model = stack(layers.Dense(4, dtype="float64"), layers.ReLU(dtype="float32"), shape=(3,))
    assert ops_of(fuse(trace(model), True)) == ["cast", "dense", "cast", "activation"]
    model = stack(layers.Dense(4, dtype="mixed_bfloat16"), layers.ReLU(dtype="bfloat16"), shape=(3,))
    graph = fuse(trace(model), True)
    assert ops_of(graph) == ["cast", "dense", "activation"]
    assert any("different dtypes" in why for _, why in graph.notes)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, training):
    dtype_policies.set_dtype_policy(policy)
    try:
        model = stack(
            layers.Conv2D(4, 3), layers.ReLU(), pool(), layers.Flatten(), layers.Dense(4, activation="softmax")
        )
    finally:
        dtype_policies.set_dtype_policy("float32")
    graph = fuse(trace(model), training)
    assert ops_of(graph) == ["cast", "conv2d", "max_pool2d", "activation", "flatten", "dense", "softmax"]
    x = torch.randn(4, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    expected = model(x, training=training)
    with internal():
        fused = model._run_planned(x, training)
    assert fused.dtype is expected.dtype
    np.testing.assert_array_equal(fused.detach().float(), expected.detach().float())


def test_where_kernels_apply_the_activation_the_pool_comes_after_it(monkeypatch):
    from fastk import dispatch

    monkeypatch.setattr(dispatch, "availability", lambda op, device_type: {"triton": None, "cupy": "x", "aten": None})
    model = stack(layers.Conv2D(4, 3, activation="relu"), pool())
    assert ops_of(fuse(trace(model), True, "cuda")) == ["conv2d", "max_pool2d"]
    assert ops_of(fuse(trace(stack(relu(), pool())), True, "cuda")) == ["max_pool2d", "activation"]


def test_batch_norm_with_fixed_statistics_keeps_them_in_training():
    model = stack(layers.Conv2D(4, 3), norm(), relu())
    model.compile("sgd", "mse")
    model.layers[1].trainable = False
    before = [w.copy() for w in model.layers[1].get_weights()]
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    with internal():
        planned = model._run_planned(torch.as_tensor(x), True)
    np.testing.assert_array_equal(planned.detach(), model(x, training=True).detach())
    for now, then in zip(model.layers[1].get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_page_names_every_rule():
    page = (Path(__file__).parents[2] / "docs" / "how_it_fuses.md").read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f"| {rule.name} |" not in page] == []
