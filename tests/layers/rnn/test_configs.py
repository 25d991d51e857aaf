"""Configurations, names of weights, first values, and files of the recurrent layers."""

import numpy as np
import pytest
import torch

import fastk

layers = fastk.layers

# As Keras 3.15 writes it: the keys that a layer has beside those of its cell.
OF_RNN = {"return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"}
OF_CELL = {
    "units", "activation", "use_bias", "dropout", "recurrent_dropout",
    *(f"{w}_{o}" for w in ("kernel", "recurrent", "bias") for o in ("initializer", "regularizer", "constraint")),
}  # fmt: skip
OF_LAYER = {"name", "trainable", "dtype"}


@pytest.mark.parametrize(
    ("layer", "keys"),
    [
        (layers.LSTM, {"recurrent_activation", "unit_forget_bias", "seed", "activity_regularizer"} | OF_RNN),
        (layers.GRU, {"recurrent_activation", "reset_after", "seed", "activity_regularizer"} | OF_RNN),
        (layers.SimpleRNN, {"activity_regularizer"} | OF_RNN),
        (layers.LSTMCell, {"recurrent_activation", "unit_forget_bias", "seed"}),
        (layers.GRUCell, {"recurrent_activation", "reset_after", "seed"}),
        (layers.SimpleRNNCell, {"seed"}),
    ],
)
def test_keys_of_configurations(layer, keys):
    assert layer(3).get_config().keys() == OF_LAYER | OF_CELL | keys


OPTIONS = {
    "activation": "relu",
    "use_bias": False,
    "kernel_initializer": "he_normal",
    "recurrent_regularizer": "l2",
    "bias_constraint": "non_neg",
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
}


def examples():
    yield layers.LSTM(3, unit_forget_bias=False, recurrent_activation="hard_sigmoid", seed=7, **OPTIONS)
    yield layers.GRU(3, reset_after=False, go_backwards=True, activity_regularizer="l1", **OPTIONS)
    yield layers.SimpleRNN(3, return_sequences=True, stateful=True, unroll=True, **OPTIONS)
    yield layers.LSTMCell(3, seed=7, **OPTIONS)
    yield layers.RNN([layers.LSTMCell(3), layers.GRUCell(2, **OPTIONS)], zero_output_for_mask=True)
    yield layers.Bidirectional(layers.GRU(3, return_state=True, **OPTIONS), merge_mode=None)
    yield layers.TimeDistributed(layers.Dense(3))
    yield layers.ConvLSTM2D(3, (2, 3), padding="same", data_format="channels_first", **OPTIONS)


@pytest.mark.parametrize("layer", list(examples()), ids=lambda layer: layer.name)
def test_configuration_makes_the_same_layer(layer):
    copy = layers.deserialize(layers.serialize(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()


def paths(layer, shape):
    layer.build(shape)
    return [w.path for w in layer.weights]


def test_paths_of_weights():
    names = ["kernel", "recurrent_kernel", "bias"]
    assert paths(layers.LSTM(2), (1, 2, 3)) == [f"lstm/lstm_cell/{n}" for n in names]
    assert paths(layers.GRU(2, name="g"), (1, 2, 3)) == [f"g/gru_cell/{n}" for n in names]
    assert paths(layers.SimpleRNN(2), (1, 2, 3)) == [f"simple_rnn/simple_rnn_cell/{n}" for n in names]
    assert paths(layers.ConvLSTM1D(2, 1), (1, 2, 3, 1)) == [f"conv_lstm1d/conv_lstm_cell/{n}" for n in names]
    assert paths(layers.Bidirectional(layers.LSTM(2, name="l"), name="b"), (1, 2, 3)) == [
        f"b/{way}_l/lstm_cell/{n}" for way in ("forward", "backward") for n in names
    ]
    cells = [layers.GRUCell(2, name="a"), layers.GRUCell(2, name="b")]
    assert paths(layers.RNN(cells, name="r"), (1, 2, 3)) == [
        f"r/stacked_rnn_cells/{cell}/{n}" for cell in "ab" for n in names
    ]
    assert paths(layers.TimeDistributed(layers.Dense(2, name="d"), name="t"), (1, 2, 3)) == ["t/d/kernel", "t/d/bias"]


def test_shapes_and_first_values():
    lstm = layers.LSTM(3)
    lstm.build((1, 2, 5))
    kernel, recurrent, bias = lstm.get_weights()
    assert (kernel.shape, recurrent.shape) == ((5, 12), (3, 12))
    np.testing.assert_array_equal(bias, [0] * 3 + [1] * 3 + [0] * 6)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(3), rtol=0, atol=12 * 2**-23)
    gru = layers.GRU(3)
    gru.build((1, 2, 5))
    assert [w.shape for w in gru.weights] == [(5, 9), (3, 9), (2, 9)]
    before = layers.GRU(3, reset_after=False, use_bias=False)
    before.build((1, 2, 5))
    assert [w.shape for w in before.weights] == [(5, 9), (3, 9)]
    assert not layers.LSTM(3, unit_forget_bias=False).cell.unit_forget_bias


def test_options_of_the_cell_can_be_read_from_the_layer():
    layer = layers.GRU(3, dropout=0.5, kernel_regularizer="l2")
    assert (layer.units, layer.dropout, layer.reset_after) == (3, 0.5, True)
    assert layer.kernel_regularizer is layer.cell.kernel_regularizer


def test_penalties_reach_the_losses():
    penalties = fastk.regularizers
    layer = layers.LSTM(3, kernel_regularizer=penalties.L2(0.5), activity_regularizer=penalties.L1(1.0))
    output = layer(np.ones((2, 4, 5), "float32"))
    penalty, activity = sorted(loss.item() for loss in layer.losses)
    expected = sorted([0.5 * np.square(layer.get_weights()[0]).sum(), np.abs(output.numpy()).sum() / 2])
    np.testing.assert_allclose([penalty, activity], expected, rtol=60**0.5 * 2**-22)


def test_trainable_and_dtype_reach_the_cell():
    layer = layers.LSTM(3, trainable=False, dtype="float64")
    layer.build((1, 2, 5))
    assert layer.trainable_weights == []
    assert layer.cell.dtype == "float64"


def test_model_is_saved_and_trained(tmp_path, rng):
    model = fastk.Sequential(
        [
            layers.Input((None, 4)),
            layers.Masking(),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True, recurrent_dropout=0.2)),
            layers.TimeDistributed(layers.Dense(4)),
            layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
        ]
    )
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(8, 5, 4)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    x[:, 3:] = 0
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = fastk.saving.load_model(tmp_path / "model.keras")
    assert torch.equal(loaded(x), model(x))
