"""A model of layers that hold vocabularies and statistics, for the package that is passed, `keras` or `fastk`."""

from typing import Any

import numpy as np

TEXTS = ["the cat sat", "a dog barked, twice", "The cat and THE dog", "birds sing"]
WORDS = ["red", "green", "blue", "red"]


def make(keras: Any) -> Any:
    layers = keras.layers
    tokens = layers.TextVectorization(max_tokens=12, output_sequence_length=5, name="tokens")
    tokens.adapt(TEXTS)
    counts = layers.TextVectorization(max_tokens=9, output_mode="tf_idf", ngrams=2, name="counts")
    counts.adapt(TEXTS)
    words = layers.StringLookup(num_oov_indices=2, name="words")
    words.adapt(WORDS)
    numbers = layers.IntegerLookup(vocabulary=[3, 5, 8], output_mode="multi_hot", name="numbers")
    bins = layers.Discretization(num_bins=3, output_mode="one_hot", name="bins")
    sizes = np.linspace(0.0, 9.0, 40, dtype="float32")[:, None]
    bins.adapt(sizes)
    scale = layers.Normalization(name="scale")
    scale.adapt(sizes)
    text = keras.Input((1,), dtype="string", name="text")
    word = keras.Input((1,), dtype="string", name="word")
    number = keras.Input((1,), dtype="int64", name="number")
    size = keras.Input((1,), name="size")
    parts = [
        layers.Flatten()(layers.Embedding(12, 3)(tokens(text))),
        layers.Reshape((9,))(counts(text)),
        layers.Flatten()(layers.Embedding(6, 2)(words(word))),
        numbers(number),
        bins(size),
        scale(size),
    ]
    out = layers.Dense(2)(layers.Concatenate()(parts))
    model = keras.Model({"text": text, "word": word, "number": number, "size": size}, out, name="text")
    # Not Adam: TensorFlow squares the gradient of a token that comes twice for each time, not their sum.
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return model


def data() -> tuple[dict[str, Any], Any]:
    x = {
        "text": np.array([["the dog sat"], ["birds barked, the cat"], ["nothing known"]]),
        "word": np.array([["blue"], ["violet"], ["red"]]),
        "number": np.array([[5], [7], [3]], dtype="int64"),
        "size": np.array([[0.5], [4.0], [8.0]], dtype="float32"),
    }
    return x, np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype="float32")
