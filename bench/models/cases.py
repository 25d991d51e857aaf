"""The reference models: what they are fed, and how Keras or fastk builds them. Torch's are in `torch_models`.

All end in a softmax over 10 classes and are trained with Adam on sparse categorical cross-entropy, with the accuracy as
a metric. Samples are noise around a prototype of their class, and some labels are wrong: the loss falls by an amount
that can be compared, and not to 0, where gradients would be denormal numbers, which are slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = 10
MISLABELLED = 0.3


@dataclass(frozen=True)
class Case:
    """One model at one batch size.

    Args:
        about: what is computed, for the table.
        batch: samples a step.
        steps: steps an epoch; an epoch is what is timed.
        inputs: the shape of one sample, for each input.
        build: makes the model with the module `keras`, which may be fastk.
        unlike_torch: parameters that torch's model has and Keras's has not.
    """

    about: str
    batch: int
    steps: int
    inputs: tuple[tuple[int, ...], ...]
    build: Callable[[Any], Any]
    unlike_torch: int = 0

    def data(self, steps: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Inputs and labels for an epoch of so many steps."""
        rng = np.random.default_rng(0)
        labels = rng.integers(0, CLASSES, self.batch * steps)
        inputs = []
        for shape in self.inputs:
            prototypes = rng.random((CLASSES, *shape), dtype=np.float32)
            inputs.append((rng.random((len(labels), *shape), dtype=np.float32) + prototypes[labels]) / 2)
        wrong = rng.random(len(labels)) < MISLABELLED
        return inputs, np.where(wrong, rng.integers(0, CLASSES, len(labels)), labels)


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


CASES = {
    "mlp": Case("784-128-10", 32, 400, ((784,),), mlp),
    "mlp_dropout": Case("784-128-dropout 0.2-10", 32, 400, ((784,),), lambda keras: mlp(keras, 0.2)),
    "wide_mlp": Case("784-512-512-10", 256, 60, ((784,),), wide_mlp),
    "cnn": Case("28x28x1, conv 32, pool, conv 64, pool, 10", 128, 20, ((28, 28, 1),), cnn),
    "resnet": Case("ResNet-14, 32x32x3, batch normalization", 64, 6, ((32, 32, 3),), resnet),
    "lstm": Case("50x32, LSTM 64, 10", 32, 100, ((50, 32),), lstm, unlike_torch=4 * 64),  # torch adds two biases
    "gru": Case("50x32, GRU 64, GRU 32, 10", 32, 60, ((50, 32),), gru),
    "branches": Case("64 and 32, dense 64 each, 64, 10", 64, 400, ((64,), (32,)), branches),
}
QUICK_STEPS = 0.25  # of an epoch


def steps_of(case: Case, quick: bool) -> int:
    """How many steps an epoch has."""
    return max(2, round(case.steps * QUICK_STEPS)) if quick else case.steps
