"""The models that are measured: what they are fed, and at which batch size.

All end in a softmax and are trained with Adam on sparse categorical cross-entropy, with the accuracy as a metric. Some
labels are wrong, so that the loss falls by an amount that can be compared, and not to 0, where gradients would be
denormal numbers, which are slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import keras_models as build
from .keras_models import CLASSES, LENGTH, TOKENS, WORDS

MISLABELLED = 0.3
QUICK_STEPS = 0.25  # of an epoch

Data = tuple[list[np.ndarray], np.ndarray]


def noise(case: Case, samples: int, rng: np.random.Generator) -> Data:
    """Floats around a prototype of their class."""
    labels = rng.integers(0, CLASSES, samples)
    inputs = []
    for shape in case.inputs:
        prototypes = rng.random((CLASSES, *shape), dtype=np.float32)
        inputs.append((rng.random((samples, *shape), dtype=np.float32) + prototypes[labels]) / 2)
    wrong = rng.random(samples) < MISLABELLED
    return inputs, np.where(wrong, rng.integers(0, CLASSES, samples), labels)


def pictures(case: Case, samples: int, rng: np.random.Generator) -> Data:
    """Noise of 1000 classes, which is learnt by heart: prototypes would take gigabytes."""
    return [rng.random((samples, *case.inputs[0]), dtype=np.float32)], rng.integers(0, 1000, samples)


def texts(case: Case, samples: int, rng: np.random.Generator) -> Data:
    """Token numbers, some of which are the class's own. A few are used alone: else they are learnt by heart at once."""
    labels = rng.integers(0, CLASSES, samples)
    used = TOKENS // 10
    tokens = rng.integers(0, used, (samples, LENGTH))
    own = rng.random(tokens.shape) < 0.4
    each = used // CLASSES
    tokens = np.where(own, labels[:, None] * each + rng.integers(0, each, tokens.shape), tokens)
    wrong = rng.random(samples) < MISLABELLED
    return [tokens.astype("int32")], np.where(wrong, rng.integers(0, CLASSES, samples), labels)


def chains(case: Case, samples: int, rng: np.random.Generator) -> Data:
    """Words, most of which have one follower, and the words that follow them."""
    steps = case.inputs[0][0] + 1
    words = rng.integers(0, WORDS, (samples, steps))
    follower = rng.permutation(WORDS)
    for step in range(1, steps):
        words[:, step] = np.where(rng.random(samples) < MISLABELLED, words[:, step], follower[words[:, step - 1]])
    return [words[:, :-1].astype("int32")], words[:, 1:]


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
        fill: makes the data.
        policy: the dtype policy: `"float32"`, or `"mixed_bfloat16"`, which torch knows as autocast.
        devices: where it is measured unless asked for by name.
    """

    about: str
    batch: int
    steps: int
    inputs: tuple[tuple[int, ...], ...]
    build: Callable[[Any], Any]
    unlike_torch: int = 0
    fill: Callable[[Case, int, np.random.Generator], Data] = noise
    policy: str = "float32"
    devices: tuple[str, ...] = ("cpu", "cuda")

    def data(self, steps: int) -> Data:
        """Inputs and labels for an epoch of so many steps."""
        return self.fill(self, self.batch * steps, np.random.default_rng(0))


CASES = {
    "mlp": Case("784-128-10", 32, 400, ((784,),), build.mlp),
    "mlp_dropout": Case("784-128-dropout 0.2-10", 32, 400, ((784,),), lambda keras: build.mlp(keras, 0.2)),
    "wide_mlp": Case("784-512-512-10", 256, 60, ((784,),), build.wide_mlp),
    "cnn": Case("28x28x1, conv 32, pool, conv 64, pool, 10", 128, 20, ((28, 28, 1),), build.cnn),
    "resnet": Case("ResNet-14, 32x32x3, batch normalization", 64, 6, ((32, 32, 3),), build.resnet),
    "lstm": Case("50x32, LSTM 64, 10", 32, 100, ((50, 32),), build.lstm, unlike_torch=4 * 64),  # torch adds two biases
    "gru": Case("50x32, GRU 64, GRU 32, 10", 32, 60, ((50, 32),), build.gru),
    "branches": Case("64 and 32, dense 64 each, 64, 10", 64, 400, ((64,), (32,)), build.branches),
    "transformer": Case(
        "64 tokens, 2 blocks of width 64, 4 heads, 10", 32, 30, ((LENGTH,),), build.transformer, fill=texts
    ),
    "lstm_lm": Case(
        "35 words, 2 LSTM 200, 10000", 20, 6, ((35,),), build.lstm_lm, unlike_torch=2 * 4 * 200, fill=chains
    ),
    "resnet50": Case(
        "ResNet-50, 224x224x3",
        *(256, 4, ((224, 224, 3),), build.resnet50),
        fill=pictures, policy="mixed_bfloat16", devices=("cuda",),
    ),
}  # fmt: skip
QUICK = ("mlp", "cnn", "lstm")


def steps_of(case: Case, quick: bool) -> int:
    """How many steps an epoch has."""
    return max(2, round(case.steps * QUICK_STEPS)) if quick else case.steps
