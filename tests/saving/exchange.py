"""What is exchanged with Keras: the lists that `test_exchange.py` runs and that `docs/files.md` shows."""

from __future__ import annotations

from typing import Any

import trained_zoo
import zoo

GOLDEN = {
    "mlp": "Dense layers; Adam",
    "cnn_bn": "Rescaling, Conv2D, BatchNormalization, pooling; SGD with momentum",
    "lstm": "Embedding, two LSTMs; RMSprop",
    "gru": "Masking, two GRUs, LayerNormalization, TimeDistributed; Adam",
    "bidirectional": "Bidirectional LSTM and GRU; AdamW",
    "two_branch": "two inputs and two outputs by name, one of images; Adam",
    "transformer": "Embedding, MultiHeadAttention, LayerNormalization, a model within; Adam",
    "noise": "Normalization, Dropout, GaussianNoise, PReLU; Adam",
}
"""Files that Keras wrote, in the repository."""
OPTIMIZERS = tuple(zoo.OPTIMIZERS)
DESCRIBED = {
    "every_layer": "one of each kind of layer that has variables",
    "boxed": "models in models, a layer used twice, operations between, several outputs",
    "plain_layers": "layers without variables, with arguments that are not their defaults; regularizers, constraints",
    "judged": "losses and metrics with arguments of their own, two policies in one model",
}
TRAINED = trained_zoo.NAMES
WHOLE = (*GOLDEN, *OPTIMIZERS, *TRAINED, *DESCRIBED)
"""All that are saved as whole models, `.keras`."""
OLD = zoo.OLD
"""Those that are saved as `.h5` files too."""
WEIGHTS = tuple(make.__name__ for make in zoo.ZOO)
"""Those whose weights alone are saved, in one file and in shards."""
NOT_CONTINUED = {
    "noise": "draws random numbers, other ones in each framework",
    "trained_lora": "files hold weights with their corrections added, which start anew at zero, as in Keras",
    "schedule_free": "Keras with torch uses z after its update where its other backends, and fastk, use z before it",
    **dict.fromkeys(("every_layer", "boxed", "plain_layers"), "is not compiled"),
}
"""Those that are not trained on after the exchange, and why."""
NOT_THE_SAME_WEIGHTS = ("trained_lora",)


def what(name: str) -> str:
    """What a model is, for the page."""
    if name in GOLDEN or name in DESCRIBED:
        return {**GOLDEN, **DESCRIBED}[name]
    if name in TRAINED:
        return trained_zoo.what(name)
    cls, arguments = zoo.OPTIMIZERS[name]
    given = [f"{key}={value!r}" for key, value in arguments.items()]
    if name in zoo.SCHEDULES:
        given.insert(0, zoo.SCHEDULES[name][0])
    if cls == "LossScaleOptimizer":
        given = [f"Adam({', '.join(given)})"]
    return f"`{cls}({', '.join(given)})`"


def inputs_and_targets(name: str) -> tuple[Any, Any]:
    """The data of a model that is no golden one."""
    return trained_zoo.data(name) if name in TRAINED else zoo.data(name)


def make(keras: Any, name: str) -> Any:
    """A model of `OPTIMIZERS`, `TRAINED`, `DESCRIBED` or `WEIGHTS`, not trained yet."""
    if name in TRAINED:
        return trained_zoo.make(keras, name)
    if name in OPTIMIZERS:
        return zoo.make(keras, name)
    return getattr(zoo, name)(keras)
