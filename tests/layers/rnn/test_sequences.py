"""LSTM, GRU and SimpleRNN over whole sequences, against the NumPy oracle in float64."""

import itertools

import numpy as np
import pytest
import torch

import fastk
from tests.layers.rnn import oracle

B, T, K, H = 4, 6, 3, 5
KINDS = [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})]
# Products of at most 5 terms over 6 steps, values below 3, all in float64.
TOLERANCE = {"rtol": 0, "atol": 1e-13}


def built(name, **options):
    """A float64 layer with random weights, and its weights as arrays."""
    layer = getattr(fastk.layers, name)(H, dtype="float64", **options)
    layer.build((B, T, K))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer, layer.get_weights()


def flat(outputs):
    return [x.detach().numpy() for x in (outputs if isinstance(outputs, tuple) else (outputs,))]


@pytest.mark.parametrize("kind", ["none", "right", "left", "holes"])
@pytest.mark.parametrize(("name", "options"), KINDS)
def test_values(name, options, kind, rng):
    mask = oracle.masks(rng, B, T)[kind]
    x = rng.normal(size=(B, T, K))
    given = [rng.normal(size=(B, H)) for _ in range(oracle.STATES[name])]
    for backwards, zero_output, starts in itertools.product((False, True), (False, True), (None, given)):
        layer, weights = built(
            name,
            go_backwards=backwards,
            zero_output_for_mask=zero_output,
            return_sequences=True,
            return_state=True,
            **options,
        )
        outputs, *states = flat(layer(x, mask=mask, initial_state=starts))
        zeros = [np.zeros((B, H)) for _ in given]
        expected, final = oracle.run(oracle.STEPS[name], x, starts or zeros, weights, mask, backwards, zero_output)
        np.testing.assert_allclose(outputs, expected, **TOLERANCE)
        for state, one in zip(states, final, strict=True):
            np.testing.assert_allclose(state, one, **TOLERANCE)
        layer.return_sequences = layer.return_state = False
        (last,) = flat(layer(x, mask=mask, initial_state=starts))
        np.testing.assert_allclose(last, expected[:, -1], **TOLERANCE)


@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_dropout_uses_one_mask_for_all_steps(name, options, rates, rng):
    layer, weights = built(name, dropout=rates[0], recurrent_dropout=rates[1], return_sequences=True, **options)
    x, mask = rng.normal(size=(B, T, K)), oracle.masks(rng, B, T)["holes"]
    gates = oracle.GATES[name] if rates[1] and name != "SimpleRNN" else 1
    x_masks, h_masks = ((rng.random((gates, B, n)) < 0.5) * 2.0 for n in (K, H))
    for attribute, rate, factors in (
        ("_dropout_mask", rates[0], x_masks),
        ("_recurrent_dropout_mask", rates[1], h_masks),
    ):
        if rate:
            layer.cell.__dict__[attribute] = torch.tensor(factors if gates > 1 else factors[0])
    outputs = layer(x, mask=mask, training=True).detach().numpy()
    wide = (oracle.GATES[name], 1, 1)
    if gates == 1:
        x_masks, h_masks = np.tile(x_masks, wide), np.tile(h_masks, wide)
    starts = [np.zeros((B, H))] * oracle.STATES[name]
    expected, _ = oracle.run(
        oracle.STEPS[name],
        x,
        starts,
        weights,
        mask,
        x_masks=x_masks if rates[0] else None,
        h_masks=h_masks if rates[1] else None,
    )
    np.testing.assert_allclose(outputs, expected, **TOLERANCE)
    assert not {"_dropout_mask", "_recurrent_dropout_mask"} & layer.cell.__dict__.keys()


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_dropout_is_drawn_anew_and_only_in_training(name, options, rng):
    layer, _ = built(name, dropout=0.5, recurrent_dropout=0.5, seed=3, **options)
    x = rng.normal(size=(B, T, K))
    first, second = (layer(x, training=True) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(layer(x), layer(x, training=False))
    again, _ = built(name, dropout=0.5, recurrent_dropout=0.5, seed=3, **options)
    assert torch.equal(again(x, training=True), first)


def test_implementation_1_gives_each_gate_a_mask(rng):
    layer, _ = built("LSTM", dropout=0.5, implementation=1)
    assert layer.cell.get_dropout_mask(torch.ones(B, K)).shape == (4, B, K)
    layer, _ = built("LSTM", dropout=0.5)
    assert layer.cell.get_dropout_mask(torch.ones(B, K)).shape == (B, K)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_stateful_layer_goes_on_where_it_stopped(name, options, rng):
    layer, weights = built(name, stateful=True, return_sequences=True, **options)
    x, mask = rng.normal(size=(B, 3 * T, K)), rng.random((B, 3 * T)) < 0.7
    starts = [np.zeros((B, H))] * oracle.STATES[name]
    expected, final = oracle.run(oracle.STEPS[name], x, starts, weights, mask, zero_output=True)
    layer.zero_output_for_mask = True
    for t in range(0, 3 * T, T):
        outputs = layer(x[:, t : t + T], mask=mask[:, t : t + T])
        outputs.sum().backward()  # the states of this batch must still be what the backward pass saved
        np.testing.assert_allclose(outputs.detach().numpy(), expected[:, t : t + T], **TOLERANCE)
    for state, one in zip(layer.states, final, strict=True):
        np.testing.assert_allclose(state.numpy(), one, **TOLERANCE)
    layer.reset_state()
    assert all(not state.numpy().any() for state in layer.states)
    np.testing.assert_allclose(layer(x[:, :T], mask=mask[:, :T]).detach().numpy(), expected[:, :T], **TOLERANCE)


def test_states_are_not_weights_and_follow_the_layer():
    layer, _ = built("LSTM", stateful=True)
    assert len(layer.weights) == 3
    assert len(layer.non_trainable_variables) == 1  # the seed
    layer.to(torch.float32)
    assert all(state.value.dtype is torch.float32 for state in layer.states)


@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(name, options, masked, rng):
    layer, _ = built(name, return_sequences=True, return_state=True, dropout=0.5, recurrent_dropout=0.5, **options)
    mask = torch.tensor(oracle.masks(rng, 2, 3)["holes"]) if masked else None
    gates = oracle.GATES[name]
    shape = (gates, 2) if gates > 1 else (2,)
    factors = [torch.tensor((rng.random((*shape, n)) < 0.5) * 2.0) for n in (K, H)]
    variables = layer.trainable_variables

    def run(x, *values):
        states, values = values[: -len(variables)], values[-len(variables) :]
        layer.cell.__dict__.update(_dropout_mask=factors[0], _recurrent_dropout_mask=factors[1])
        mapping = zip(variables, values, strict=True)
        with fastk.StatelessScope(state_mapping=mapping):
            outputs = layer(x, initial_state=list(states), mask=mask, training=True)
        return tuple(y.as_subclass(torch.Tensor) for y in outputs)

    states = [torch.tensor(rng.normal(size=(2, H)), requires_grad=True) for _ in range(oracle.STATES[name])]
    x = torch.tensor(rng.normal(size=(2, 3, K)), requires_grad=True)
    weights = [v.value.detach().clone().requires_grad_() for v in variables]
    assert torch.autograd.gradcheck(run, (x, *states, *weights))


@pytest.mark.parametrize("activation", ["relu", None, lambda x: x.sin()])
def test_other_activations(activation, rng):
    layer, (kernel, recurrent, bias) = built("SimpleRNN", activation=activation, return_sequences=True)
    x = rng.normal(size=(1, T, K))
    function = {"relu": lambda v: np.maximum(v, 0), None: lambda v: v}.get(activation, np.sin)
    h, expected = np.zeros(H), []
    for t in range(T):
        h = function(x[0, t] @ kernel + h @ recurrent + bias)
        expected.append(h)
    outputs = layer(x).detach().numpy()[0]
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_use_cudnn_changes_the_way_and_not_the_values(name, rng):
    x = rng.normal(size=(B, T, K))
    outputs = [built(name, use_cudnn=choice)[0](x).detach().numpy() for choice in ("auto", True, False)]
    np.testing.assert_allclose(outputs[1], outputs[0], **TOLERANCE)
    np.testing.assert_allclose(outputs[2], outputs[0], **TOLERANCE)
    for options in ({"activation": "relu"}, {"recurrent_dropout": 0.5}):
        layer, _ = built(name, use_cudnn=True, **options)
        with pytest.raises(ValueError, match="use_cudnn='auto'"):
            layer(x)
    with pytest.raises(ValueError, match="use_cudnn"):
        built(name, use_cudnn="yes")


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_mixed_precision(name, rng):
    x = rng.normal(size=(B, T, K)).astype("float32")
    exact = getattr(fastk.layers, name)(H, return_sequences=True)
    exact(x)
    layer = getattr(fastk.layers, name)(
        H, return_sequences=True, dtype="mixed_bfloat16", dropout=0.1, recurrent_dropout=0.1
    )
    layer.build((B, T, K))
    layer.set_weights(exact.get_weights())
    mask = rng.random((B, T)) < 0.7
    outputs = layer(x, mask=mask)
    assert outputs.dtype is torch.bfloat16
    # Values up to 1, rounded to 8 bits at each of 6 steps with a gain below 2.
    np.testing.assert_allclose(
        outputs.float().detach().numpy(), exact(x, mask=mask).detach().numpy(), rtol=0, atol=2 * T * 2**-8
    )
    layer(x, training=True).float().sum().backward()
    assert all(w.value.grad.dtype is torch.float32 for w in layer.trainable_weights)
