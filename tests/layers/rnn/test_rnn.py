"""`RNN` with cells of any kind, and stacks of cells."""

import numpy as np
import pytest
import torch

import fastk
from tests.layers.rnn import oracle

layers = fastk.layers

B, T, K = 3, 5, 4


class Counting(layers.Layer):
    """Two states of different sizes, an output that is neither, and a layer inside."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, 1]
        self.output_size = 2 * units
        self.dense = layers.Dense(units, use_bias=False, dtype=self.dtype_policy)
        self.trainings = []

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs, states, training=False):
        self.trainings.append(training)
        total, count = states
        total = total + self.dense(inputs)
        count = count + 1
        return torch.cat([total, total * count], -1), [total, count]


class Plain:
    """A cell that is no layer, with one state given as it is."""

    state_size = K

    def call(self, inputs, states):
        h = inputs + 2 * states[0]
        return h, h


class OwnLSTMCell(layers.LSTMCell):
    """Computes its steps itself, from an input that it doubles."""

    def call(self, inputs, states, training=False):
        return super().call(2 * inputs, states, training)


def counting_oracle(x, kernel, mask, backwards, zero_output):
    def step(row, states, weights):
        total, count = states
        total, count = total + row @ weights, count + 1
        return np.concatenate([total, total * count]), [total, count]

    n = kernel.shape[1]
    return oracle.run(step, x, [np.zeros((len(x), n)), np.zeros((len(x), 1))], kernel, mask, backwards, zero_output)


@pytest.mark.parametrize("kind", ["none", "right", "left", "holes"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
def test_custom_cell(kind, backwards, zero_output, rng):
    cell = Counting(3, dtype="float64")
    layer = layers.RNN(
        cell,
        return_sequences=True,
        return_state=True,
        go_backwards=backwards,
        zero_output_for_mask=zero_output,
        dtype="float64",
    )
    x, mask = rng.normal(size=(B, T, K)), oracle.masks(rng, B, T)[kind]
    outputs, total, count = layer(x, mask=mask)
    (kernel,) = cell.get_weights()
    expected, final = counting_oracle(x, kernel, mask, backwards, zero_output)
    for value, one in ((outputs, expected), (total, final[0]), (count, final[1])):
        np.testing.assert_allclose(value.detach().numpy(), one, rtol=1e-13, atol=1e-13)
    layer.return_sequences = False
    np.testing.assert_allclose(layer(x, mask=mask)[0].detach().numpy(), expected[:, -1], rtol=1e-13, atol=1e-13)


def test_training_reaches_every_step_of_a_custom_cell(rng):
    cell = Counting(3)
    layers.RNN(cell)(rng.normal(size=(B, T, K)), training=True)
    assert cell.trainings[-T:] == [True] * T


def test_cell_that_is_no_layer(rng):
    x = rng.normal(size=(B, T, K)).astype("float32")
    expected = sum(2 ** (T - 1 - t) * x[:, t] for t in range(T))
    # Weights sum to 2**T, one rounding a step.
    np.testing.assert_allclose(layers.RNN(Plain())(x), expected, rtol=0, atol=T * 2**T * 2**-23)


def test_subclass_with_a_call_of_its_own_goes_step_by_step(rng):
    x = rng.normal(size=(B, T, K))
    own = layers.RNN(OwnLSTMCell(3, dtype="float64"), dtype="float64")
    plain = layers.RNN(layers.LSTMCell(3, dtype="float64"), dtype="float64")
    for layer in (own, plain):
        layer.build(x.shape)
    plain.set_weights(own.get_weights())
    np.testing.assert_allclose(own(x).detach().numpy(), plain(2 * x).detach().numpy(), rtol=0, atol=1e-14)


def test_cells_alone_agree_with_the_sequence(rng):
    x = torch.tensor(rng.normal(size=(B, T, K)))
    for name in ("LSTM", "GRU", "SimpleRNN"):
        cell = getattr(layers, f"{name}Cell")(3, dtype="float64")
        expected = layers.RNN(cell, dtype="float64")(x)
        states = cell.get_initial_state(B)
        for t in range(T):
            output, states = cell(x[:, t], states)
        np.testing.assert_allclose(output.detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-14)


def stack(names, **options):
    cells = [getattr(layers, f"{name}Cell")(3 + i, dtype="float64") for i, name in enumerate(names)]
    return layers.RNN(layers.StackedRNNCells(cells, dtype="float64"), dtype="float64", **options)


@pytest.mark.parametrize("kind", ["none", "right", "left", "holes"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("names", [("LSTM",), ("GRU", "LSTM", "SimpleRNN")])
def test_stack_of_cells(names, backwards, kind, rng):
    layer = stack(names, return_sequences=True, return_state=True, go_backwards=backwards, zero_output_for_mask=True)
    x, mask = rng.normal(size=(B, T, K)), oracle.masks(rng, B, T)[kind]
    outputs, *states = layer(x, mask=mask)
    expected = x
    for i, (name, cell) in enumerate(zip(names, layer.cell.cells, strict=True)):
        starts = [np.zeros((B, cell.units))] * oracle.STATES[name]
        sequence, final = oracle.run(
            oracle.STEPS[name],
            expected,
            starts,
            cell.get_weights(),
            mask if i == 0 or mask is None or not backwards else mask[:, ::-1],
            backwards and i == 0,
            zero_output=True,
        )
        expected = sequence
        for state, one in zip(states[i], final, strict=True):
            np.testing.assert_allclose(state.detach().numpy(), one, rtol=0, atol=1e-13)
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-13)
    # The same stack from the states it ended with, and from zeros given as such.
    again = layer(x, mask=mask, initial_state=layer.get_initial_state(B))
    np.testing.assert_allclose(again[0].detach().numpy(), expected, rtol=0, atol=1e-13)


def test_stack_with_a_custom_cell_goes_step_by_step(rng):
    cells = [layers.GRUCell(3), Plain.__new__(Plain), layers.SimpleRNNCell(2)]
    cells[1].state_size = 3
    layer = layers.RNN(cells, return_state=True)
    x = rng.normal(size=(B, T, K)).astype("float32")
    output, (h,), middle, (last,) = layer(x)
    assert (h.shape, middle.shape, last.shape) == ((B, 3), (B, 3), (B, 2))
    assert torch.equal(output, last)


def test_stateful_stack(rng):
    x = rng.normal(size=(B, 2 * T, K))
    layer = stack(("LSTM", "GRU"), stateful=True)
    layer(x[:, :T])
    second = layer(x[:, T:]).detach().numpy()
    layer.reset_state()
    np.testing.assert_allclose(layer(x).detach().numpy(), second, rtol=0, atol=1e-14)


def test_dropout_masks_do_not_outlive_a_failing_call():
    layer = layers.RNN([OwnLSTMCell(3, dropout=0.5), OwnLSTMCell(3, dropout=0.5)])
    with pytest.raises(ValueError, match="mask"):
        layer(torch.ones(B, T, K), training=True, mask=torch.ones(B, T + 1))
    layer(torch.ones(B, T, K), training=True)
    assert all("_dropout_mask" not in cell.__dict__ for cell in layer.cell.cells)


def test_shapes_without_values():
    x = fastk.Input((None, K))
    h, c = layers.Input((3,)), layers.Input((3,))
    outputs, *states = layers.LSTM(3, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    assert outputs.shape == (None, None, 3)
    assert [s.shape for s in states] == [(None, 3), (None, 3)]
    assert layers.RNN([layers.GRUCell(3), layers.GRUCell(2)])(x).shape == (None, 2)
    assert layers.RNN(Counting(3), return_sequences=True)(x).shape == (None, None, 6)
    assert layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode=None)(x)[1].shape == (None, None, 3)
    assert layers.TimeDistributed(layers.Dense(2))(x).shape == (None, None, 2)
    assert layers.ConvLSTM2D(2, 3, return_sequences=True)(layers.Input((None, 5, 6, 1))).shape == (None, None, 3, 4, 2)
    model = fastk.Model([x, h, c], [outputs, *states])
    values = model([torch.ones(2, 7, K), torch.zeros(2, 3), torch.zeros(2, 3)])
    assert [tuple(v.shape) for v in values] == [(2, 7, 3), (2, 3), (2, 3)]


def test_masks_reach_the_next_layer(rng):
    x = rng.normal(size=(B, T, K)).astype("float32")
    x[1, 3:] = 0
    masked = layers.Masking()(x)
    sequence = layers.GRU(3, return_sequences=True)(masked)
    assert torch.equal(sequence._keras_mask, torch.tensor(x.any(-1)))
    assert not hasattr(layers.GRU(3)(masked), "_keras_mask")
    output, state = layers.GRU(3, return_sequences=True, return_state=True)(masked)
    assert hasattr(output, "_keras_mask")
    assert not hasattr(state, "_keras_mask")
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode=None)(masked)
    assert all(hasattr(one, "_keras_mask") for one in both)


def test_a_mask_may_have_an_axis_of_features(rng):
    x, mask = rng.normal(size=(B, T, K)), rng.random((B, T)) < 0.5
    layer = layers.LSTM(3)
    assert torch.equal(layer(x, mask=mask), layer(x, mask=mask[..., None].astype("float32")))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.LSTM(0), "`units`"),
        (lambda: layers.GRUCell(2.5), "`units`"),
        (lambda: layers.LSTM(3, implementation=5), "implementation"),
        (lambda: layers.SimpleRNN(3, implementation=1), "implementation"),
        (lambda: layers.LSTM(3, reset_after=True), "reset_after"),
        (lambda: layers.RNN(object()), "call"),
        (lambda: layers.RNN(layers.Dense(3)), "state_size"),
        (lambda: layers.StackedRNNCells([layers.Dense(3)]), "state_size"),
        (lambda: layers.LSTM(3, unroll=True)(layers.Input((None, 4))), "unroll"),
        (lambda: layers.LSTM(3, stateful=True)(layers.Input((5, 4))), "batch size must be static"),
        (lambda: layers.LSTM(3)(np.ones((2, 4))), "ndim=3"),
        (lambda: layers.LSTM(3)(np.ones((2, 0, 4))), "step"),
        (lambda: layers.RNN(Counting(3))(np.ones((2, 0, 4))), "step"),
        (lambda: layers.GRU(3)(np.ones((2, 4, 4)), mask=np.ones((2, 3))), "mask"),
        (lambda: layers.GRU(3)(np.ones((2, 4, 4)), initial_state=[np.ones((2, 3))] * 2), "initial_state"),
        (lambda: layers.LSTMCell(3).get_initial_state(), "batch_size"),
    ],
)
def test_errors(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_stateful_layer_refuses_another_batch_size():
    layer = layers.LSTM(3, stateful=True)
    layer(np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match="Expected batch size: 2"):
        layer(np.ones((3, 4, 4)))
