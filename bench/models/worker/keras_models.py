"""How Keras, or fastk, builds the reference models: each function takes the module. Torch's are in `torch_models`."""

from __future__ import annotations

from typing import Any

CLASSES = 10
TOKENS, LENGTH = 2000, 64  # of the transformer: its vocabulary, and how many a text has
WORDS = 10_000  # of the language model


def mlp(keras: Any, rate: float = 0.0) -> Any:
    """The Keras guide's first model."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(128, activation="relu"),
            *([layers.Dropout(rate)] if rate else []),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def wide_mlp(keras: Any) -> Any:
    """Two hidden layers of 512."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(512, activation="relu"),
            layers.Dense(512, activation="relu"),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def cnn(keras: Any) -> Any:
    """The small network for handwritten digits."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def resnet(keras: Any) -> Any:
    """ResNet-14 of He et al. 2015 (https://arxiv.org/abs/1512.03385, section 4.2), with projections.

    Three stages of two blocks with 16, 32 and 64 channels; 175,258 parameters that are trained.
    """
    layers = keras.layers

    def convolution(x: Any, channels: int, size: int, stride: int = 1) -> Any:
        x = layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    def block(x: Any, channels: int, stride: int) -> Any:
        y = layers.Activation("relu")(convolution(x, channels, 3, stride))
        y = convolution(y, channels, 3)
        shortcut = x if x.shape[-1] == channels else convolution(x, channels, 1, stride)
        return layers.Activation("relu")(layers.Add()([y, shortcut]))

    x = inputs = keras.Input((32, 32, 3))
    x = layers.Activation("relu")(convolution(x, 16, 3))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        x = block(block(x, channels, stride), channels, 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))


def lstm(keras: Any) -> Any:
    """One LSTM over the whole sequence."""
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((50, 32)), layers.LSTM(64), layers.Dense(CLASSES, activation="softmax")]
    )  # fmt: skip


def gru(keras: Any) -> Any:
    """Two GRUs, the second on all the first one's states."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((50, 32)),
            layers.GRU(64, return_sequences=True),
            layers.GRU(32),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def branches(keras: Any) -> Any:
    """A dense layer for each of two inputs, and two more for both together."""
    layers = keras.layers
    inputs = [keras.Input((64,)), keras.Input((32,))]
    both = layers.Concatenate()([layers.Dense(64, activation="relu")(x) for x in inputs])
    hidden = layers.Dense(64, activation="relu")(both)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(hidden))


def resnet50(keras: Any) -> Any:
    """ResNet-50 of He et al. 2015, table 1, with the stride in the 3 x 3 convolution; 25,557,032 parameters."""
    layers = keras.layers

    def convolution(x: Any, channels: int, size: int, stride: int = 1) -> Any:
        x = layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    def block(x: Any, channels: int, stride: int) -> Any:
        y = layers.Activation("relu")(convolution(x, channels, 1))
        y = layers.Activation("relu")(convolution(y, channels, 3, stride))
        y = convolution(y, 4 * channels, 1)
        shortcut = x if x.shape[-1] == 4 * channels else convolution(x, 4 * channels, 1, stride)
        return layers.Activation("relu")(layers.Add()([y, shortcut]))

    x = inputs = keras.Input((224, 224, 3))
    x = layers.Activation("relu")(convolution(x, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for channels, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(blocks):
            x = block(x, channels, 2 if number == 0 and channels > 64 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1000, activation="softmax", dtype="float32")(x))


def transformer(keras: Any) -> Any:
    """Two blocks of an encoder (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762) of width 64, and a mean."""
    layers = keras.layers

    class Positions(layers.Layer):
        """Adds a vector that is learnt for each position."""

        def build(self, input_shape: Any) -> None:
            self.table = self.add_weight(shape=(LENGTH, input_shape[-1]), initializer="uniform", name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    x = inputs = keras.Input((LENGTH,), dtype="int32")
    x = Positions()(layers.Embedding(TOKENS, 64)(x))
    for _ in range(2):
        attention = layers.MultiHeadAttention(4, 16)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, attention]))
        hidden = layers.Dense(64)(layers.Dense(256, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, hidden]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))


def lstm_lm(keras: Any) -> Any:
    """The small language model of Zaremba et al. 2014 (https://arxiv.org/abs/1409.2329): two LSTMs of 200."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((35,), dtype="int32"),
            layers.Embedding(WORDS, 200),
            layers.LSTM(200, return_sequences=True),
            layers.LSTM(200, return_sequences=True),
            layers.Dense(WORDS, activation="softmax"),
        ]
    )
