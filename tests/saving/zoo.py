"""Models whose files are compared with Keras's: each function takes the package, `keras` or `fastk`.

`python zoo.py PATHS.json` with Keras installed writes the paths and shapes that Keras gives their variables.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

import numpy as np


def every_layer(keras: Any) -> Any:
    """A sequence, an image and a vector through one of each kind of layer that has variables."""
    layers = keras.layers
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(11, 8)(tokens)
    x = layers.LSTM(5, return_sequences=True)(x)
    x = layers.GRU(5, return_sequences=True, reset_after=False)(x)
    x = layers.SimpleRNN(4, return_sequences=True)(x)
    x = layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True)(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum")(x)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    x = layers.TimeDistributed(keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(6)]))(x)
    x = layers.Conv1D(8, 2, padding="same")(x)
    x = layers.SeparableConv1D(8, 2, padding="same")(x)
    x = layers.Conv1DTranspose(8, 2, padding="same")(x)
    x = layers.DepthwiseConv1D(2, padding="same")(x)
    h = layers.MultiHeadAttention(2, 3)(x, x)
    h = layers.GroupQueryAttention(4, 4, 2)(h, x)
    h = layers.Attention(use_scale=True, score_mode="concat")([h, x])
    h = layers.AdditiveAttention()([h, x])
    x = layers.LayerNormalization()(layers.Add()([x, h]))
    x = layers.RMSNormalization()(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d")(x)
    x = layers.GlobalAveragePooling1D()(x)
    image = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, use_bias=False)(image)
    y = layers.BatchNormalization()(y)
    y = layers.SeparableConv2D(4, 2)(y)
    y = layers.DepthwiseConv2D(2, depth_multiplier=2)(y)
    y = layers.Conv2DTranspose(4, 2)(y)
    y = layers.GroupNormalization(2)(y)
    y = layers.PReLU(shared_axes=(1, 2))(y)
    y = layers.SpectralNormalization(layers.Conv2D(3, 2))(y)
    y = layers.Reshape((1, *y.shape[1:]))(y)
    y = layers.Conv3D(2, (1, 2, 2))(y)
    y = layers.Conv3DTranspose(2, (1, 2, 2))(y)
    y = layers.ConvLSTM2D(2, 2)(y)
    y = layers.Flatten()(y)
    vector = keras.Input((5,), name="vector")
    z = layers.Normalization(mean=1.0, variance=2.0)(vector)
    z = layers.UnitNormalization()(layers.Dropout(0.5)(z))
    z = layers.Dense(8)(z)
    out = layers.Dense(2)(layers.Concatenate()([x, y, z]))
    return keras.Model([tokens, image, vector], out, name="every_layer")


def boxed(keras: Any, sharing: bool = False) -> Any:
    """Models in models, a layer used twice, operations between, several outputs.

    Args:
        keras: the package.
        sharing: whether a model is used in two others, which Keras saves and cannot load.
    """
    layers = keras.layers
    shared = layers.Dense(4, name="shared")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    tower = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="tanh"), layers.Dense(4)], name="tower")
    inner_in = keras.Input((4,))
    inner = keras.Model(inner_in, layers.Dense(3)(tower(inner_in) + inner_in), name="inner")
    x, y = inner(shared(a)), inner(shared(b) * 2.0)
    both = layers.Concatenate()([x, keras.ops.sin(y)])
    q = layers.Dense(1, name="q")(tower(a) if sharing else a)
    return keras.Model({"a": a, "b": b}, [layers.Dense(2, name="p")(both), q], name="boxed")


def nested(keras: Any) -> Any:
    """`boxed`, with a model that is used in two others."""
    return boxed(keras, sharing=True)


def subclassed(keras: Any) -> Any:
    """Layers in attributes of all kinds: plain, private, lists, dicts, nested containers, before and after `layers`."""
    layers = keras.layers

    class Block(layers.Layer):
        def __init__(self, width: int):
            super().__init__()
            self.first = layers.Dense(width)
            self._second = layers.Dense(width)
            self.width = width

        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(self.width,), initializer="ones", name="scale")
            self.first.build(shape)
            self._second.build((*shape[:-1], self.width))
            self.offset = self.add_weight(shape=(self.width,), initializer="zeros", trainable=False, name="offset")

        def call(self, x: Any) -> Any:
            return self._second(self.first(x)) * self.scale + self.offset

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.blocks = [Block(4), layers.Dense(4), Block(4)]
            self.heads = {"z": layers.Dense(2), "a": Block(2)}
            self.towers = [[layers.Dense(4), Block(4)], (layers.Dense(4),)]
            self.out = layers.Dense(4)
            self._hidden = layers.Dense(4)
            self.again = self.out
            self.meter = keras.metrics.Mean()

        def call(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            for tower in self.towers:
                for layer in tower:
                    x = layer(x)
            x = self.out(self._hidden(x))
            return self.heads["z"](x) + self.heads["a"](x)

    net = Net()
    net(np.zeros((2, 3), "float32"))
    return net


def functional_subclass(keras: Any) -> Any:
    """A functional model of a class of its own, with a further layer."""
    layers = keras.layers

    class Net(keras.Model):
        def __init__(self):
            x = keras.Input((3,))
            dense = layers.Dense(4)
            super().__init__(x, layers.Dense(2)(dense(x)))
            self.a_dense = dense
            self.extra = layers.Dense(1)
            self.extra.build((None, 2))

    return Net()


def plain_layers(keras: Any) -> Any:
    """Layers without variables, with arguments that are not their defaults."""
    layers, regularizers = keras.layers, keras.regularizers
    image = keras.Input((8, 8, 4), name="image")
    x = layers.Rescaling(0.5, offset=0.1)(image)
    x = layers.ZeroPadding2D(((1, 0), (0, 1)))(x)
    x = layers.Cropping2D(((0, 1), (1, 0)))(x)
    x = layers.UpSampling2D((2, 2), interpolation="bilinear")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.AveragePooling2D(2, strides=1, padding="same")(x)
    x = layers.SpatialDropout2D(0.3, seed=1)(layers.GaussianDropout(0.2)(layers.GaussianNoise(0.1)(x)))
    x = layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.05)(x)
    x = layers.ELU(0.5)(layers.LeakyReLU(0.2)(x))
    x = layers.Activation("gelu")(layers.Identity()(x))
    x = layers.Permute((2, 1, 3))(layers.ActivityRegularization(l1=0.1, l2=0.2)(x))
    x = layers.Softmax(axis=-1)(x)
    merged = [layers.Add(), layers.Subtract(), layers.Multiply(), layers.Average(), layers.Maximum(), layers.Minimum()]
    x = layers.Concatenate(axis=-1)([merge([x, layers.Activation("tanh")(x)]) for merge in merged])
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D(keepdims=False)(x)])
    y = layers.RepeatVector(3)(x)
    y = layers.UpSampling1D(2)(layers.ZeroPadding1D(1)(layers.Cropping1D((1, 0))(y)))
    y = layers.Flatten()(layers.AveragePooling1D(2)(layers.MaxPooling1D(2, strides=1)(y)))
    z = layers.Dot(axes=1, normalize=True)([x, x])
    x = layers.Dropout(0.5, noise_shape=(None, 1))(layers.Concatenate()([x, y, z]))
    x = layers.Dense(
        5,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal"),
        bias_initializer=keras.initializers.Constant(0.1),
        kernel_regularizer=regularizers.L1L2(0.1, 0.2),
        bias_regularizer=regularizers.L1(0.3),
        activity_regularizer=regularizers.L2(0.1),
        kernel_constraint=keras.constraints.MaxNorm(2.0, axis=0),
        bias_constraint=keras.constraints.NonNeg(),
    )(x)
    volume = layers.Reshape((1, 5, 1, 1))(x)
    volume = layers.Cropping3D(1)(layers.ZeroPadding3D(1)(layers.UpSampling3D(2)(volume)))
    volume = layers.AveragePooling3D((2, 2, 1))(layers.MaxPooling3D((1, 2, 2), padding="same")(volume))
    return keras.Model(image, [layers.GlobalMaxPooling3D()(volume), layers.AlphaDropout(0.2)(x)], name="plain_layers")


def judged(keras: Any) -> Any:
    """A loss and metrics with arguments of their own, and layers in two types of numbers."""
    layers, metrics = keras.layers, keras.metrics
    x = keras.Input((3,))
    first = layers.Dense(4, activation="relu", dtype="mixed_bfloat16")(x)
    p = layers.Dense(2, activation="sigmoid", dtype="float32", name="p")(first)
    q = layers.Dense(1, name="q")(first)
    model = keras.Model(x, [p, q], name="judged")
    model.compile(
        keras.optimizers.SGD(0.1),
        loss=[keras.losses.BinaryCrossentropy(label_smoothing=0.1), keras.losses.LogCosh()],
        loss_weights=[0.3, 0.7],
        metrics=[
            [metrics.AUC(num_thresholds=20, name="auc"), metrics.Precision(thresholds=0.4, name="precision")],
            [metrics.RootMeanSquaredError(name="rmse"), "mae"],
        ],
    )
    return model


ZOO = (every_layer, nested, subclassed, functional_subclass)
# Those whose classes are all built in, so that a file describes them wholly.
DESCRIBED = (every_layer, boxed, plain_layers, judged)

# Those that are saved in the old HDF5 format too.
OLD = ("every_layer", "plain_layers", "sgd_momentum", "rmsprop", "adam_amsgrad", "adamw_ema", "scheduled")

# Learning rates that change: each is (class, arguments).
SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "scheduled": (
        "CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 50, "warmup_steps": 3, "warmup_target": 0.02}
    ),
    "scheduled_restarts": (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.01, "first_decay_steps": 2, "t_mul": 1.5, "m_mul": 0.8, "alpha": 0.1},
    ),
    "scheduled_exponential": (
        "ExponentialDecay", {"initial_learning_rate": 0.02, "decay_steps": 2, "decay_rate": 0.7, "staircase": True}
    ),
    "scheduled_inverse": (
        "InverseTimeDecay", {"initial_learning_rate": 0.02, "decay_steps": 2, "decay_rate": 0.5}
    ),
    "scheduled_pieces": ("PiecewiseConstantDecay", {"boundaries": [2, 4], "values": [0.02, 0.01, 0.005]}),
    "scheduled_polynomial": (
        "PolynomialDecay",
        {"initial_learning_rate": 0.02, "decay_steps": 6, "end_learning_rate": 0.001, "power": 2.0, "cycle": True},
    ),
}  # fmt: skip

# What makes the optimizers' variables differ: each is (class, arguments).
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", {"momentum": 0.9, "nesterov": True, "clipvalue": 0.5}),
    "rmsprop": ("RMSprop", {"momentum": 0.9, "centered": True}),
    "adam_amsgrad": ("Adam", {"amsgrad": True, "global_clipnorm": 1.0}),
    "adam_accumulating": ("Adam", {"gradient_accumulation_steps": 2}),
    "adamw_ema": ("AdamW", {"weight_decay": 0.01, "use_ema": True, "ema_momentum": 0.9}),
    "nadam": ("Nadam", {}),
    "adamax": ("Adamax", {}),
    "adagrad": ("Adagrad", {}),
    "adadelta": ("Adadelta", {}),
    "adafactor": ("Adafactor", {}),
    "ftrl": ("Ftrl", {}),
    "lion": ("Lion", {}),
    "lamb": ("Lamb", {}),
    "scaled": ("LossScaleOptimizer", {}),
    "muon": ("Muon", {}),
    "schedule_free": ("ScheduleFreeAdamW", {"warmup_steps": 2}),
    "sgd_averaged_accumulating": (
        "SGD",
        {"momentum": 0.5, "use_ema": True, "ema_overwrite_frequency": 4, "gradient_accumulation_steps": 2},
    ),
    "rmsprop_decaying": ("RMSprop", {"weight_decay": 0.01, "clipnorm": 1.0, "loss_scale_factor": 4.0}),
    "scaled_accumulating": ("LossScaleOptimizer", {"gradient_accumulation_steps": 2}),
    **dict.fromkeys(SCHEDULES, ("Adam", {})),
}


def schedule(keras: Any, name: str) -> Any:
    """The learning rate of an optimizer of `OPTIMIZERS`: 0.01, or one of `SCHEDULES`."""
    if name not in SCHEDULES:
        return 0.01
    cls, arguments = SCHEDULES[name]
    return getattr(keras.optimizers.schedules, cls)(**arguments)


def optimizer(keras: Any, name: str) -> Any:
    """An optimizer of `OPTIMIZERS`."""
    cls, arguments = OPTIMIZERS[name]
    if cls == "LossScaleOptimizer":
        inner = keras.optimizers.Adam(0.01, **arguments)
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)
    return getattr(keras.optimizers, cls)(schedule(keras, name), **arguments)


def make(keras: Any, name: str) -> Any:
    """A model with an optimizer of `OPTIMIZERS`."""
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(2)], name=f"with_{name}"
    )
    model.compile(optimizer(keras, name), "mse", metrics=["mae"])
    return model


def data(name: str) -> tuple[Any, Any]:
    """Inputs and targets for a model: of the zoo (no targets), or of `compiled`."""
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype("float32")

    inputs = {
        "every_layer": [rng.integers(0, 11, (2, 6)).astype("int32"), normal(2, 8, 8, 3), normal(2, 5)],
        "boxed": {"a": normal(2, 4), "b": normal(2, 4)},
        "nested": {"a": normal(2, 4), "b": normal(2, 4)},
        "plain_layers": normal(2, 8, 8, 4),
        "subclassed": normal(2, 3),
        "functional_subclass": normal(2, 3),
    }
    if name in inputs:
        return inputs[name], None
    if name == "judged":
        return normal(8, 3), [(normal(8, 2) > 0).astype("float32"), normal(8, 1)]
    return normal(8, 3), normal(8, 2)


def layout(path: str) -> dict[str, Any]:
    """The groups of a file of weights, and the shapes and types of what is in them."""
    import h5py

    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        found[name] = [list(item.shape), str(item.dtype)] if isinstance(item, h5py.Dataset) else None

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return found


def layouts(keras: Any) -> dict[str, Any]:
    """`layout` of each model of the zoo."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for make in ZOO:
            path = os.path.join(folder, "x.weights.h5")
            keras.utils.clear_session()
            make(keras).save_weights(path)
            found[make.__name__] = layout(path)
    return found


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    with open(sys.argv[1], "w") as file:
        json.dump(layouts(keras), file, indent=0, sort_keys=True)
