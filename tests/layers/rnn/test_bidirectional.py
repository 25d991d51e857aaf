"""`Bidirectional` and `TimeDistributed`."""

import numpy as np
import pytest
import torch

import fastk
from tests.layers.rnn import oracle

layers = fastk.layers

B, T, K, H = 3, 5, 4, 2
MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], -1),
    "sum": np.add,
    "mul": np.multiply,
    "ave": lambda a, b: (a + b) / 2,
}


def both_ways(name, layer, x, mask, sequences, starts=None):
    """The oracle's outputs in both directions, in the order of the input, and the final states."""
    outputs, states = [], []
    for i, one in enumerate((layer.forward_layer, layer.backward_layer)):
        n = oracle.STATES[name]
        first = [np.zeros((B, H))] * n if starts is None else starts[i * n : i * n + n]
        values, final = oracle.run(
            oracle.STEPS[name], x, first, one.get_weights(), mask, bool(i), zero_output=sequences
        )
        values = values[:, ::-1] if i and sequences else values
        outputs.append(values if sequences else values[:, -1])
        states += final
    return outputs, states


@pytest.mark.parametrize("kind", ["none", "right", "left", "holes"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("sequences", [False, True])
def test_values(name, sequences, kind, rng):
    x, mask = rng.normal(size=(B, T, K)), oracle.masks(rng, B, T)[kind]
    starts = [rng.normal(size=(B, H)) for _ in range(2 * oracle.STATES[name])]
    for mode in (*MERGES, None):
        inner = getattr(layers, name)(H, return_sequences=sequences, return_state=True, dtype="float64")
        layer = layers.Bidirectional(inner, merge_mode=mode, dtype="float64")
        for given in (None, starts):
            results = [v.detach().numpy() for v in layer(x, mask=mask, initial_state=given)]
            outputs, states = both_ways(name, layer, x, mask, sequences, given)
            expected = [*outputs, *states] if mode is None else [MERGES[mode](*outputs), *states]
            assert len(results) == len(expected)
            for value, one in zip(results, expected, strict=True):
                np.testing.assert_allclose(value, one, rtol=0, atol=1e-13)


def test_own_backward_layer_and_first_weights(rng):
    x = rng.normal(size=(B, T, K))
    source = layers.Bidirectional(
        layers.GRU(H), backward_layer=layers.GRU(H, go_backwards=True, reset_after=False, name="other")
    )
    source(x)
    assert source.backward_layer.reset_after is False
    copy = layers.Bidirectional.from_config(source.get_config())
    assert copy.backward_layer.name == "other"
    first = layers.Bidirectional(layers.GRU(H), weights=source.get_weights()[:3] * 2)
    first(x)
    for a, b in zip(first.get_weights(), source.get_weights()[:3] * 2, strict=True):
        np.testing.assert_array_equal(a, b)


def test_stateful(rng):
    x = rng.normal(size=(B, T, K))
    layer = layers.Bidirectional(layers.GRU(H, stateful=True))
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    assert len(layer.states) == 2
    layer.reset_state()
    assert torch.equal(layer(x), first)
    with pytest.raises(AttributeError, match="stateful"):
        layers.Bidirectional(layers.GRU(H)).reset_state()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.Bidirectional("layer"), "instance"),
        (lambda: layers.Bidirectional(layers.GRU(2), merge_mode="max"), "merge mode"),
        (lambda: layers.Bidirectional(layers.GRU(2), backward_layer="x"), "backward_layer"),
        (lambda: layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2)), "go_backwards"),
        (
            lambda: layers.Bidirectional(
                layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True, return_sequences=True)
            ),
            "return_sequences",
        ),
        (lambda: layers.TimeDistributed(lambda x: x), "instance"),
        (lambda: layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3))), "at least 3 dimensions"),
        (lambda: layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3, 4)), mask=np.ones((2,), bool)), "at least 2D"),
        (
            lambda: layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3, 4)), mask=np.ones((2, 4), bool)),
            "incompatible",
        ),
    ],
)
def test_errors(make, match):
    with pytest.raises(ValueError, match=match):
        make()


class Centred(layers.Layer):
    """Depends on the whole batch of a step, on its mask and on `training`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, training=False, mask=None):
        outputs = inputs - inputs.mean(0, keepdim=True)
        if mask is not None:
            outputs = outputs * mask.unsqueeze(-1)
        return 2 * outputs if training else outputs


def test_time_distributed_treats_steps_one_by_one(rng):
    x, mask = rng.normal(size=(B, T, K)), rng.random((B, T)) < 0.5
    layer = layers.TimeDistributed(Centred(dtype="float64"), dtype="float64")
    centred = x - x.mean(0)
    for training in (False, True):
        expected = centred * (1 + training)
        np.testing.assert_allclose(layer(x, training=training).numpy(), expected, rtol=0, atol=1e-15)
        masked = layer(x, training=training, mask=mask).numpy()
        np.testing.assert_allclose(masked, expected * mask[..., None], rtol=0, atol=1e-15)


def test_time_distributed_calls_layers_of_examples_once(rng):
    x = rng.normal(size=(B, T, 6, 6, 2)).astype("float32")
    inner = layers.Conv2D(3, 3)
    layer = layers.TimeDistributed(inner)
    layer(x)
    calls = []
    inner.register_forward_hook(lambda *_: calls.append(1))
    outputs = layer(x)
    assert len(calls) == 1
    expected = torch.stack([inner(torch.tensor(x[:, t])) for t in range(T)], 1)
    # Sums of 18 products; another batch size may take another order.
    np.testing.assert_allclose(outputs.detach().numpy(), expected.detach().numpy(), rtol=0, atol=18**0.5 * 2**-22)
