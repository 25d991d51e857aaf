"""The models on which fused and unfused graphs are compared: by name, what builds them, and the shape of an example."""

import numpy as np

import fastk as keras
from fastk import layers


def mlp():
    return keras.Sequential(
        [
            layers.Input((20,)),
            layers.Dense(16),
            layers.Activation("relu"),
            layers.Dropout(0.2),
            layers.Dense(12),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(5, activation="softmax"),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            layers.Input((12, 12, 2)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same"),
            layers.ReLU(max_value=6.0),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5, activation="softmax"),
        ]
    )


def residual():
    x = layers.Input((8, 8, 3))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    z = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(y))
    z = layers.MaxPooling2D()(layers.Activation("relu")(layers.Add()([y, z])))
    return keras.Model(x, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(z)))


def lstm():
    return keras.Sequential(
        [layers.Input((6, 4)), layers.LSTM(8, dropout=0.1), layers.Dense(5), layers.Activation("softmax")]
    )


def two_grus():
    return keras.Sequential(
        [layers.Input((6,), dtype="int32"), layers.Embedding(9, 4), layers.GRU(8, return_sequences=True), layers.GRU(8),
         layers.Dense(5, activation="softmax")]
    )  # fmt: skip


def branches():
    a, b = layers.Input((6,), name="a"), layers.Input((4,), name="b")
    shared = layers.Dense(7)
    left = layers.Dropout(0.3)(layers.Activation("tanh")(layers.Dense(7)(a)))
    right = layers.Activation("relu")(shared(shared(layers.Dense(7, activation="gelu")(b))))
    joined = layers.Concatenate()([left, right, left + right])
    return keras.Model({"a": a, "b": b}, layers.Dense(5, activation="softmax")(joined))


# The model, the shapes of its inputs, and how many ops it has: unfused, fused for training, fused for inference.
MODELS = {
    "mlp": (mlp, (20,), (8, 5, 4)),
    "cnn": (cnn, (12, 12, 2), (9, 10, 9)),
    "residual": (residual, (8, 8, 3), (11, 9, 7)),
    "lstm": (lstm, (6, 4), (3, 3, 3)),
    "two_grus": (two_grus, (6,), (5, 5, 5)),
    "branches": (branches, {"a": (6,), "b": (4,)}, (11, 8, 8)),
}


def build(name):
    """The model, the same each time, compiled, with its running statistics off their first values."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    model = MODELS[name][0]()
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data(name, samples=8):
    """Inputs and labels."""
    rng = np.random.default_rng(0)

    def draw(shape):
        if name == "two_grus":
            return rng.integers(0, 9, (samples, *shape)).astype("int32")
        return rng.normal(size=(samples, *shape)).astype("float32")

    shapes = MODELS[name][1]
    x = {key: draw(shape) for key, shape in shapes.items()} if isinstance(shapes, dict) else draw(shapes)
    return x, rng.integers(0, 5, samples)
