"""Models of the shapes that users train, compiled: each function takes the package, `keras` or `fastk`.

`make(keras, name)` gives a compiled model, `data(name)` inputs and targets for it. What is the user's own is registered
with the package that is passed, under the names of `own`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


def embedding_attention(keras: Any) -> Any:
    """Embedding with a mask, MultiHeadAttention, LayerNormalization; Adam."""
    layers = keras.layers
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, mask_zero=True)(tokens)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    x = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling1D()(x))
    return _compiled(keras, keras.Model(tokens, x), "adam", "binary_crossentropy", ["accuracy"])


def conv1d(keras: Any) -> Any:
    """Conv1D, SeparableConv1D, pooling, BatchNormalization; SGD with momentum."""
    layers = keras.layers
    stack = [
        layers.Conv1D(6, 3, padding="causal", activation="relu"),
        layers.MaxPooling1D(2),
        layers.BatchNormalization(),
        layers.SeparableConv1D(5, 2, dilation_rate=2, padding="same"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    ]
    model = keras.Sequential([keras.Input((10, 3)), *stack])
    return _compiled(keras, model, keras.optimizers.SGD(0.05, momentum=0.9), "mse")


def conv2d_residual(keras: Any) -> Any:
    """Conv2D, DepthwiseConv2D, BatchNormalization and GroupNormalization around a residual; RMSprop."""
    layers = keras.layers
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Add()([x, layers.GroupNormalization(2)(y)])
    x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x)))
    return _compiled(keras, keras.Model(image, x), "rmsprop", "sparse_categorical_crossentropy", ["accuracy"])


def gru_stack(keras: Any) -> Any:
    """Masking and GRUs in a stack, one backwards, one bidirectional; Adam."""
    layers = keras.layers
    stack = [
        layers.GRU(5, return_sequences=True),
        layers.GRU(4, return_sequences=True, reset_after=False, go_backwards=True),
        layers.Bidirectional(layers.GRU(3), merge_mode="ave"),
        layers.Dense(2),
    ]
    model = keras.Sequential([keras.Input((5, 3)), layers.Masking(), *stack])
    return _compiled(keras, model, "adam", "huber")


def nested(keras: Any) -> Any:
    """models in models, with several outputs; AdamW."""
    layers = keras.layers
    inner_in = keras.Input((4,))
    tower = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="tanh"), layers.Dense(4)], name="tower")
    inner = keras.Model(inner_in, [tower(inner_in) + inner_in, layers.Dense(2)(inner_in)], name="inner")
    x = keras.Input((4,))
    a, b = inner(x)
    outer = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="gelu"), layers.Dense(2)], name="outer")
    return _compiled(keras, keras.Model(x, outer(layers.Concatenate()([a, b]))), "adamw", "mse")


def shared_layers(keras: Any) -> Any:
    """a layer and a model used on two inputs, operations between; Adam."""
    layers = keras.layers
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    encoder = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="tanh"), layers.Dense(3)], name="encoder")
    scale = layers.Dense(4, name="scale")
    x, y = encoder(scale(a)), encoder(scale(b))
    distance = keras.ops.sum((x - y) ** 2, axis=-1, keepdims=True)
    return _compiled(keras, keras.Model({"a": a, "b": b}, layers.Dense(1)(distance)), "adam", "mse")


def several_heads(keras: Any) -> Any:
    """outputs, losses, weights of losses and metrics by name; Nadam."""
    layers = keras.layers
    x = keras.Input((4,), name="x")
    h = layers.Dense(6, activation="silu", kernel_regularizer="l2")(x)
    heads = {"kind": layers.Dense(3, activation="softmax", name="kind")(h), "size": layers.Dense(1, name="size")(h)}
    losses = {"kind": keras.losses.CategoricalCrossentropy(label_smoothing=0.1), "size": "mae"}
    model = keras.Model(x, heads)
    model.compile("nadam", losses, loss_weights={"kind": 1.0, "size": 0.5}, metrics={"kind": ["accuracy"]})
    return model


def registered(keras: Any) -> Any:
    """registered layer, function, initializer, regularizer, constraint, loss, metric and schedule."""
    mine = own(keras)
    initializer = mine["Ramp"](0.1)
    stack = [mine["Scale"](2.0, activation=mine["squared"]), keras.layers.Dense(3, kernel_initializer=initializer)]
    model = keras.Sequential(
        [
            keras.Input((4,)),
            *stack,
            keras.layers.Dense(2, kernel_regularizer=mine["Pull"](0.01), kernel_constraint=mine["Limit"](2.0)),
        ]
    )
    rate = mine["Halving"](0.02, 4)
    return _compiled(keras, model, keras.optimizers.Adam(rate), mine["Cubed"](0.5), [mine["Largest"](), mine["gap"]])


def registered_model(keras: Any) -> Any:
    """a registered subclass of `Model` with layers in a list."""
    model = own(keras)["Net"](5)
    model.build((None, 4))
    return _compiled(keras, model, keras.optimizers.SGD(1e-3, momentum=0.9), own(keras)["cubed"])


def mixed_bfloat16(keras: Any) -> Any:
    """layers of the policy `mixed_bfloat16`; Adam."""
    return _mixed(keras, "mixed_bfloat16")


def mixed_float16(keras: Any) -> Any:
    """layers of the policy `mixed_float16`; LossScaleOptimizer."""
    return _mixed(keras, "mixed_float16")


def _mixed(keras: Any, policy: str) -> Any:
    dense = functools.partial(keras.layers.Dense, dtype=policy)
    last = keras.layers.Dense(2, dtype="float32")
    model = keras.Sequential([keras.Input((4,)), dense(8, activation="relu"), dense(4), last])
    optimizer = keras.optimizers.Adam(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0, dynamic_growth_steps=2)
    return _compiled(keras, model, optimizer, "mse")


def adapted(keras: Any) -> Any:
    """an adapted Normalization, Discretization; Adagrad."""
    layers = keras.layers
    rng = np.random.default_rng(2)
    normalize, bins = layers.Normalization(), layers.Discretization([-0.5, 0.0, 0.5])
    normalize.adapt(rng.normal(3.0, 2.0, size=(64, 4)).astype("float32"))
    x = keras.Input((4,))
    y = layers.Flatten()(layers.Embedding(5, 2)(bins(x)))
    out = layers.Dense(2)(layers.Concatenate()([normalize(x), y]))
    return _compiled(keras, keras.Model(x, out), "adagrad", "mse")


def lora(keras: Any) -> Any:
    """Embedding, Dense and EinsumDense with LoRA; Adam."""
    layers = keras.layers
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding, dense = layers.Embedding(20, 8), layers.Dense(8, activation="relu")
    einsum = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d")
    x = layers.GlobalAveragePooling1D()(einsum(dense(embedding(tokens))))
    model = keras.Model(tokens, layers.Dense(1, activation="sigmoid")(x))
    for layer in (embedding, dense, einsum):
        layer.enable_lora(2)
    return _compiled(keras, model, "adam", "binary_crossentropy")


def frozen(keras: Any) -> Any:
    """frozen layers and a frozen model within another; Lion."""
    layers = keras.layers
    base = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()], name="base")
    base.trainable = False
    fixed = layers.Dense(4, trainable=False)
    model = keras.Sequential([keras.Input((4,)), base, fixed, layers.Dense(2)])
    return _compiled(keras, model, "lion", "mse")


MODELS = (
    embedding_attention, conv1d, conv2d_residual, gru_stack, nested, shared_layers, several_heads, registered,
    registered_model, mixed_bfloat16, mixed_float16, adapted, lora, frozen,
)  # fmt: skip
NAMES = tuple(f"trained_{make.__name__}" for make in MODELS)


def what(name: str) -> str:
    """What the model of a name is."""
    return (_maker(name).__doc__ or "").strip().removesuffix(".")


def _maker(name: str) -> Any:
    return next(make for make in MODELS if f"trained_{make.__name__}" == name)


def make(keras: Any, name: str) -> Any:
    """The model of a name in `NAMES`, compiled."""
    model = _maker(name)(keras)
    model.name = name
    return model


def _compiled(keras: Any, model: Any, optimizer: Any, loss: Any, metrics: Any = ()) -> Any:
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def data(name: str) -> tuple[Any, Any]:
    """Inputs and targets for the model of a name in `NAMES`."""
    rng = np.random.default_rng(6)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype("float32")

    tokens = np.concatenate([rng.integers(1, 20, (8, 4)), np.zeros((8, 2), int)], axis=1).astype("int32")
    classes = np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]
    ones = (normal(8, 1) > 0).astype("float32")
    found = {
        "embedding_attention": (tokens, ones),
        "lora": (tokens, ones),
        "conv1d": (normal(8, 10, 3), normal(8, 2)),
        "conv2d_residual": (normal(8, 8, 8, 2), rng.integers(0, 3, 8).astype("int32")),
        "gru_stack": (normal(8, 5, 3), normal(8, 2)),
        "shared_layers": ({"a": normal(8, 4), "b": normal(8, 4)}, normal(8, 1)),
        "several_heads": (normal(8, 4), {"kind": classes, "size": normal(8, 1)}),
    }
    return found.get(name.removeprefix("trained_"), (normal(8, 4), normal(8, 2)))


# ---------------------------------------------------------------- what users write


_registered: dict[str, dict[str, Any]] = {}


def own(keras: Any) -> dict[str, Any]:
    """Classes and functions of each kind, registered with a package once."""
    if keras.__name__ not in _registered:
        _registered[keras.__name__] = _register(keras)
    return _registered[keras.__name__]


def _register(keras: Any) -> dict[str, Any]:
    ops, register = keras.ops, keras.saving.register_keras_serializable

    @register("exchange")
    def squared(x: Any) -> Any:
        return x * x

    @register("exchange")
    def cubed(y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.abs(ops.subtract(y_true, y_pred)) ** 3, axis=-1)

    @register("exchange")
    def gap(y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.subtract(y_pred, y_true), axis=-1)

    @register("exchange")
    class Scale(keras.layers.Layer):
        def __init__(self, factor: float, activation: Any = None, **kwargs: Any):
            super().__init__(**kwargs)
            self.factor, self.activation = factor, keras.activations.get(activation)

        def build(self, shape: Any) -> None:
            self.w = self.add_weight(shape=(shape[-1],), initializer="ones", name="w")
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

        def call(self, x: Any) -> Any:
            return self.activation(x * self.w * self.factor)

        def get_config(self) -> dict[str, Any]:
            activation = keras.activations.serialize(self.activation)
            return {**super().get_config(), "factor": self.factor, "activation": activation}

    @register("exchange")
    class Ramp(keras.initializers.Initializer):
        def __init__(self, slope: float):
            self.slope = slope

        def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
            return ops.reshape(ops.arange(int(np.prod(shape)), dtype=dtype or "float32"), shape) * self.slope

        def get_config(self) -> dict[str, Any]:
            return {"slope": self.slope}

    @register("exchange")
    class Pull(keras.regularizers.Regularizer):
        def __init__(self, strength: float):
            self.strength = strength

        def __call__(self, x: Any) -> Any:
            return self.strength * ops.sum(ops.square(x - 1.0))

        def get_config(self) -> dict[str, Any]:
            return {"strength": self.strength}

    @register("exchange")
    class Limit(keras.constraints.Constraint):
        def __init__(self, most: float):
            self.most = most

        def __call__(self, w: Any) -> Any:
            return ops.clip(w, -self.most, self.most)

        def get_config(self) -> dict[str, Any]:
            return {"most": self.most}

    @register("exchange")
    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, rate: float, steps: int):
            self.rate, self.steps = rate, steps

        def __call__(self, step: Any) -> Any:
            return self.rate * 0.5 ** (ops.cast(step, "float32") / self.steps)

        def get_config(self) -> dict[str, Any]:
            return {"rate": self.rate, "steps": self.steps}

    @register("exchange")
    class Cubed(keras.losses.Loss):
        def __init__(self, weight: float, **kwargs: Any):
            super().__init__(**kwargs)
            self.weight = weight

        def call(self, y_true: Any, y_pred: Any) -> Any:
            return self.weight * cubed(y_true, y_pred)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "weight": self.weight}

    @register("exchange")
    class Largest(keras.metrics.Metric):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.most = self.add_variable(shape=(), initializer="zeros", name="most")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.most.assign(ops.maximum(self.most, ops.max(ops.abs(y_pred))))

        def result(self) -> Any:
            return ops.convert_to_tensor(self.most)

    @register("exchange")
    class Net(keras.Model):
        def __init__(self, units: int, **kwargs: Any):
            super().__init__(**kwargs)
            self.units = units
            self.first = keras.layers.Dense(units, activation="tanh")
            self.scale = Scale(1.5, squared)
            self.heads = [keras.layers.Dense(2), keras.layers.Dense(2)]

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.scale.build((None, self.units))
            for head in self.heads:
                head.build((None, self.units))
            self.built = True

        def call(self, x: Any) -> Any:
            x = self.scale(self.first(x))
            return self.heads[0](x) - self.heads[1](x)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    return {
        object.__name__: object
        for object in (squared, cubed, gap, Scale, Ramp, Pull, Limit, Halving, Cubed, Largest, Net)
    }
