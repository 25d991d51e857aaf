"""Networks train with Triton's kernels to the losses of ATen's, step by step; on the CPU under the interpreter."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import config, dispatch, layers
from fastk.kernels import triton_runtime

REFUSAL = triton_runtime.why_not("cuda" if torch.cuda.is_available() else "cpu")
pytestmark = [
    pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL)),
    *([pytest.mark.gpu] if torch.cuda.is_available() else []),
]


def mlp():
    return [
        layers.Input((20,)),
        layers.Dense(16, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]


def cnn():
    return [
        layers.Input((12, 12, 1)),
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 3),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def lstm():
    return [
        layers.Input((6, 5)),
        layers.LSTM(8, dropout=0.1, return_sequences=True),
        layers.LSTM(8),
        layers.LayerNormalization(),
        layers.Dense(10, activation="softmax"),
    ]


def gru():
    return [layers.Input((6, 5)), layers.GRU(8), layers.Dense(10, activation="softmax")]


def depthwise():
    return [
        layers.Input((8, 8, 3)),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        layers.AveragePooling2D(2),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="gelu"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]


MODELS = {
    "mlp": (mlp, "adam", {"dense", "softmax_cross_entropy", "adam_"}),  # dropout is part of the product
    "cnn": (cnn, keras.optimizers.SGD, {"conv2d", "max_pool2d", "batch_norm", "dropout", "sgd_"}),
    "lstm": (lstm, keras.optimizers.AdamW, {"lstm", "layer_norm", "adam_"}),
    "gru": (gru, keras.optimizers.RMSprop, {"gru", "rmsprop_"}),
    "depthwise": (depthwise, "adam", {"depthwise_conv2d", "average_pool2d", "conv2d"}),
}


class Losses(keras.callbacks.Callback):
    """The loss of every batch, not the running mean."""

    def on_train_begin(self, logs=None):
        self.seen, self.sum = [], 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = float((logs or {})["loss"]) * (batch + 1)
        self.seen.append(total - self.sum)
        self.sum = total


def train(name, kernels):
    """The losses of five steps, and which implementation each op ran with."""
    build, optimizer, _ = MODELS[name]
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    model = keras.Sequential(build())
    x, y = rng.normal(size=(20, *model.input_shape[1:])).astype("float32"), rng.integers(0, 10, 20)
    if not isinstance(optimizer, str):
        optimizer = optimizer(learning_rate=0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    losses = Losses()
    before = config.kernels()
    config.set_kernels(kernels)
    dispatch._last.clear()
    try:
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[losses])
    finally:
        config.set_kernels(before)
    return losses.seen, {op: choice.implementation for op, choice in dispatch.last_choices().items()}


@pytest.mark.parametrize("name", MODELS)
def test_losses_agree_step_by_step(name):
    expected, _ = train(name, "aten")
    losses, used = train(name, "triton")
    assert set(used.values()) == {"triton"} and MODELS[name][2] <= set(used)
    # Each step adds the rounding of float32 sums of up to a few hundred terms.
    np.testing.assert_allclose(losses, expected, rtol=0, atol=2e-5 * max(expected))
