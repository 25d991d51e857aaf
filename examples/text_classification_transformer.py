"""Tells praise from complaints with a Transformer block of its own layers.

    python examples/text_classification_transformer.py            # --quick: a few steps, to see that it runs

The sentences are made here, and what counts is word order: "not good" is a complaint. It ends with an error when fewer
than 95 % of new sentences are told right.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers, ops

LENGTH = 16
GOOD = ["good", "great", "lovely", "fine", "superb"]
BAD = ["bad", "poor", "awful", "dull", "weak"]
FILLERS = ["the", "a", "film", "was", "plot", "and", "cast", "music", "really", "so", "it", "in", "my", "view"]
VOCABULARY = ["", "not", *GOOD, *BAD, *FILLERS]  # number 0 is padding


def sentence(rng):
    """A list of words and whether it is praise: one judgement, which a "not" before it turns, among fillers."""
    praise, turned = rng.random(2) < 0.5
    judgement = [rng.choice(GOOD if praise != turned else BAD)]
    words = list(rng.choice(FILLERS, rng.integers(4, LENGTH - 3)))
    place = rng.integers(0, len(words))
    words[place:place] = ["not", *judgement] if turned else judgement
    if not turned and rng.random() < 0.5:  # a "not" that says nothing of the judgement, since it comes after
        words.insert(place + 1 + rng.integers(0, len(words) - place), "not")
    return words, int(praise)


def make_data(count, seed):
    rng = np.random.default_rng(seed)
    texts, labels = zip(*(sentence(rng) for _ in range(count)), strict=True)
    tokens = np.zeros((count, LENGTH), "int32")
    for row, words in zip(tokens, texts, strict=True):
        row[: len(words)] = [VOCABULARY.index(word) for word in words][:LENGTH]
    return tokens, np.array(labels)


class TransformerBlock(layers.Layer):
    """Attention, then two dense layers, each added to what it was given and normalised."""

    def __init__(self, width, heads, hidden, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(num_heads=heads, key_dim=width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]
        self.supports_masking = True

    def call(self, inputs, mask=None, training=False):
        seen = None if mask is None else ops.expand_dims(mask, 1)
        attended = self.attention(inputs, inputs, attention_mask=seen)
        x = self.norms[0](inputs + self.dropouts[0](attended, training=training))
        return self.norms[1](x + self.dropouts[1](self.dense(x), training=training))


class TokenAndPositionEmbedding(layers.Layer):
    """A vector for the word plus one for its place."""

    def __init__(self, length, words, width, **kwargs):
        super().__init__(**kwargs)
        self.tokens = layers.Embedding(words, width, mask_zero=True)
        self.positions = layers.Embedding(length, width)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(0, ops.shape(x)[-1], 1))

    def compute_mask(self, inputs, mask=None):
        return self.tokens.compute_mask(inputs)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    count, epochs = (64, 1) if options.quick else (4000, options.epochs)

    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = TokenAndPositionEmbedding(LENGTH, len(VOCABULARY), 32)(inputs)
    x = TransformerBlock(32, heads=2, hidden=32)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.1)(x)
    x = layers.Dense(20, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*make_data(count, 1), batch_size=32, epochs=epochs, validation_data=make_data(count // 8, 2))

    accuracy = model.evaluate(*make_data(count // 4, 3), verbose=0, return_dict=True)["accuracy"]
    print(f"Accuracy: {accuracy:.3f}")
    if not options.quick and accuracy < 0.95:
        sys.exit("At least 0.95 was expected.")


if __name__ == "__main__":
    main()
