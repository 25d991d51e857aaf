"""Sequences of different lengths: padding, masks that layers make and hand on, and layers that read them.

    python examples/masking_and_padding.py            # --quick: a few steps, to see that it runs

The task is the mean of numbers whose count differs. It ends with an error when padding changes an output, or when the
model learns less than it should.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers, ops

LENGTH = 12


def make_data(count, seed):
    """Numbers padded with zeros behind them `(count, LENGTH, 1)`, and their means."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, LENGTH + 1, count)
    real = np.arange(LENGTH) < lengths[:, None]
    values = np.where(real, rng.uniform(-1, 1, (count, LENGTH)), 0.0)
    return values[..., None].astype("float32"), (values.sum(axis=1) / lengths)[:, None].astype("float32")


class MaskedMean(layers.Layer):
    """The mean over the steps that are there: it is given the mask, and makes none."""

    def call(self, inputs, mask=None):
        if mask is None:
            return ops.mean(inputs, axis=1)
        weight = ops.expand_dims(ops.cast(mask, inputs.dtype), -1)
        return ops.sum(inputs * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)

    def compute_mask(self, inputs, mask=None):
        return None


class DropFirst(layers.Layer):
    """Leaves out the first step, of the mask too."""

    def call(self, inputs):
        return inputs[:, 1:]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[:, 1:]


def show_masks():
    """An embedding makes a mask of the zeros; a layer changes it; an LSTM does not read what is padded."""
    tokens = np.array([[7, 3, 9, 0, 0], [4, 8, 0, 0, 0]])
    embedding, dropped, lstm = layers.Embedding(10, 4, mask_zero=True), DropFirst(), layers.LSTM(3)
    vectors = embedding(tokens)
    print("mask of the embedding:", embedding.compute_mask(tokens).tolist())
    shorter = dropped(vectors)
    print("after DropFirst:", shorter._keras_mask.tolist())
    outputs = lstm(vectors).numpy()
    alone = lstm(embedding(tokens[1:, :2])).numpy()
    if not np.allclose(outputs[1], alone[0], atol=1e-6):
        sys.exit("Padding changed the output of the LSTM.")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    count, epochs = (64, 1) if options.quick else (2000, options.epochs)

    keras.utils.set_random_seed(0)
    show_masks()
    model = keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            layers.Masking(mask_value=0.0),
            layers.Bidirectional(layers.GRU(12, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(12, activation="tanh")),
            MaskedMean(),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x, y = make_data(count, 1)
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)

    x, y = make_data(200, 2)
    longer = np.pad(x, ((0, 0), (0, 5), (0, 0)))
    free = keras.Sequential([keras.Input((None, 1)), *model.layers])
    if not np.allclose(free.predict(longer, verbose=0), model.predict(x, verbose=0), atol=1e-5):
        sys.exit("More padding changed an output.")
    error = model.evaluate(x, y, verbose=0)
    print(f"Squared error: {error:.5f}; of the variance {error / y.var():.1%}")
    if not options.quick and error > 0.05 * y.var():
        sys.exit("At most 5 % of the variance was expected.")


if __name__ == "__main__":
    main()
