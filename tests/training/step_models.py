"""Models and data for the tests of captured steps: one of each kind of layer."""

import numpy as np

import fastk as keras
from fastk import layers


def mlp():
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def cnn():
    inputs = keras.Input((12,))
    x = layers.Reshape((2, 2, 3))(inputs)
    x = layers.Conv2D(4, 2, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(4, 1)(x)])
    x = layers.BatchNormalization()(x)
    x = layers.SpatialDropout2D(0.2)(layers.MaxPooling2D(2)(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def recurrent():
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Reshape((6, 2)),
            layers.Masking(0.0),
            layers.LSTM(5, return_sequences=True, dropout=0.2),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(3, activation="softmax"),
        ]
    )


def attention():
    inputs = keras.Input((12,))
    x = layers.Embedding(7, 6)(layers.Lambda(lambda x: keras.ops.cast(keras.ops.abs(x * 3), "int32") % 7)(inputs))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


MODELS = {"mlp": mlp, "cnn": cnn, "recurrent": recurrent, "attention": attention}


def data(samples=70):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 12)).astype("float32")
    x[::5, 6:] = 0.0
    return x, rng.integers(0, 3, samples)
