"""What processes do that hold a part of a model each; every function is called by all of them."""

from __future__ import annotations

import copy

import numpy as np
import torch

import fastk
from tests.distribution.scenarios import layers, mlp, regression
from tests.distribution.together import message_of


def what_each_holds():
    """Parts of variables and of what the optimizer remembers, of rows that do not go up evenly too."""
    model = mlp(3)
    model.compile("adam", "mse")
    x, y = regression(8)
    model.fit(x, np.c_[y, y[:, :1]], batch_size=4, verbose=0)
    variables = [*model.trainable_variables, *model.optimizer._slots[0]]
    return {
        "rows": [tuple(v._value.shape) for v in variables],
        "whole": [v.shape for v in variables],
        "types": [type(v._value) is torch.Tensor for v in variables],
        "reasons": model._steps["train"].hooked[:1],
    }


def saved_and_loaded():
    """Files are those of a whole model; what is loaded goes on where it was."""
    model = mlp()
    model.compile(fastk.optimizers.Adam(0.05), "mse")
    x, y = regression(12)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    model.save("model.keras")
    model.save_weights("model.weights.h5")
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    moved = model.get_weights()
    model.load_weights("model.weights.h5")
    same = all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    loaded = fastk.saving.load_model("model.keras")  # with its optimizer, to be cut as it trains
    loaded.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    return {
        "moved": max(float(abs(a - b - 1).max()) for a, b in zip(moved, before, strict=True)),
        "same": same,
        "went on": model.get_weights(),
        "loaded": loaded.get_weights(),
        "parts": [len(v._value) for v in loaded.optimizer._slots[0]],
    }


def overflow():
    """Where one process finds an infinite part of a gradient, all leave the step out."""
    fastk.utils.set_random_seed(7)
    model = fastk.Sequential([fastk.Input((1,)), layers.Dense(2, use_bias=False, kernel_initializer="ones")])
    model.add(layers.Dense(1, use_bias=False, kernel_initializer="ones"))
    model.compile(fastk.optimizers.LossScaleOptimizer(fastk.optimizers.SGD(0.1), initial_scale=4.0), "mse")
    one = np.ones((2, 1), "float32")
    model.fit(one, one, batch_size=2, verbose=0)
    good = model.get_weights()
    model.fit(np.array([[1.0], [1e30]], "float32"), one, batch_size=2, verbose=0)
    same = all(np.array_equal(a, b) for a, b in zip(model.get_weights(), good, strict=True))
    return {"same": same, "scale": float(model.optimizer.dynamic_scale.numpy()), "good": good}


def refusals():
    x, y = regression(8)

    class Own(fastk.optimizers.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * gradient)

    found = {}
    for name, optimizer in {"lamb": fastk.optimizers.Lamb(0.1), "own": Own(0.1)}.items():
        model = mlp()
        model.compile(optimizer, "mse")
        found[name] = message_of(lambda model=model: model.fit(x, y, verbose=0))
    model = mlp()
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    found["copy"] = message_of(lambda: copy.deepcopy(model))

    def freeze():
        model.layers[0].trainable = False

    found["frozen"] = message_of(freeze)

    class Tied(layers.Layer):
        def __init__(self, other):
            super().__init__()
            object.__setattr__(self, "other", other)

        def call(self, x):
            return x @ fastk.ops.transpose(self.other.kernel)

    first = layers.Dense(4)
    tied = fastk.Sequential([fastk.Input((5,)), first, Tied(first), layers.Dense(2)])
    tied.compile("sgd", "mse")
    found["tied"] = message_of(lambda: tied.fit(x, y, verbose=0))
    return found


def constraints():
    """They see whole variables."""
    fastk.utils.set_random_seed(7)
    model = fastk.Sequential(
        [fastk.Input((5,)), layers.Dense(4, kernel_constraint=fastk.constraints.MaxNorm(0.3)), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    x, y = regression(12)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    return {"norms": np.linalg.norm(model.get_weights()[0], axis=0)}


ALL = [what_each_holds, saved_and_loaded, overflow, refusals, constraints]
