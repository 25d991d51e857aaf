"""Trains on all devices of a machine: a convolutional network that tells handwritten digits.

    python examples/data_parallel.py                                 # one process; --quick: a few steps
    torchrun --nproc-per-node=2 examples/data_parallel.py            # two, each with its part of every batch

Nothing below speaks of processes: under `torchrun`, `fit` trains data-parallel by itself. With `--backup FOLDER` a
training whose process was killed goes on from its last epoch, with any number of processes. It ends with an error when
less than 95 % of digits that it has not seen are told.
"""

import argparse
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastk as keras
from fastk import layers


def load_data():
    """Images `(n, 8, 8, 1)` from 0 to 1 and labels `(n,)`, for training and for the test."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    return train_test_split(images, labels.astype("int64"), test_size=0.25, random_state=0, stratify=labels)


def build_model():
    """Two convolutions, whose normalization takes the statistics of the whole batch, over all processes."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, use_bias=False),
            layers.BatchNormalization(synchronized=True),
            layers.ReLU(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--backup", help="a folder to go on from, where a training was interrupted")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    x, x_test, y, y_test = load_data()
    if options.quick:
        x, y, options.epochs = x[:128], y[:128], 1
    model = build_model()
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.BackupAndRestore(options.backup)] if options.backup else []
    model.fit(x, y, batch_size=64, epochs=options.epochs, callbacks=callbacks, verbose=2)

    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    told = model.predict(x_test, verbose=0).argmax(-1)
    found = float(np.mean(told == y_test))  # each process has all predictions, in the order of the images
    print(f"Told {found:.1%} of {len(y_test)} digits.")
    if abs(found - accuracy) > 1e-6:
        sys.exit(f"The predictions are right in {found:.4f} of all cases, the metric says {accuracy:.4f}.")
    if not options.quick and found < 0.95:
        sys.exit("That is less than 95 %.")


if __name__ == "__main__":
    main()
