"""Callbacks: what they are told, when, and how they steer the training.

    python examples/writing_callbacks.py            # --quick: a few steps, to see that it runs

It ends with an error when a callback was not told what it should have been.
"""

import argparse
import sys
from collections import Counter

import numpy as np

import fastk as keras
from fastk import layers


class Counted(keras.callbacks.Callback):
    """Counts what it is told."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def on_train_begin(self, logs=None):
        self.calls["train begin"] += 1

    def on_epoch_end(self, epoch, logs=None):
        self.calls["epoch end"] += 1

    def on_train_batch_end(self, batch, logs=None):
        self.calls["train batch end"] += 1

    def on_test_begin(self, logs=None):
        self.calls["test begin"] += 1

    def on_test_batch_begin(self, batch, logs=None):
        self.calls["test batch begin"] += 1

    def on_predict_batch_end(self, batch, logs=None):
        self.calls["predict batch end"] += 1


class StopAtTheLeastLoss(keras.callbacks.Callback):
    """Stops when the loss has not fallen for `patience` epochs, and puts the best weights back."""

    def __init__(self, patience=0):
        super().__init__()
        self.patience = patience
        self.best_weights = None

    def on_train_begin(self, logs=None):
        self.wait, self.stopped_epoch, self.best = 0, 0, np.inf

    def on_epoch_end(self, epoch, logs=None):
        current = (logs or {})["loss"]
        if current < self.best:
            self.best, self.wait = current, 0
            self.best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            self.model.set_weights(self.best_weights)

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0:
            print(f"epoch {self.stopped_epoch}: stopped; the best loss was {self.best:.4f}")


class StepDown(keras.callbacks.Callback):
    """Sets the learning rate before each epoch, from a table."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def on_epoch_begin(self, epoch, logs=None):
        for first, rate in self.table:
            if epoch == first:
                self.model.optimizer.learning_rate = rate
                print(f"epoch {epoch}: learning rate {float(self.model.optimizer.learning_rate):g}")


class LossOfBatches(keras.callbacks.Callback):
    """Keeps the running loss after each batch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float((logs or {})["loss"]))


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    count, epochs = (64, 2) if options.quick else (1024, options.epochs)
    x = rng.normal(size=(count, 8)).astype("float32")
    y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), layers.Dense(64, activation="tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.RMSprop(0.01), "mse")

    counted, stop, batches = Counted(), StopAtTheLeastLoss(patience=3), LossOfBatches()
    rates = StepDown([(0, 0.01), (4, 0.003), (10, 0.001)])
    history = model.fit(
        x, y, batch_size=32, epochs=epochs, validation_split=0.25, verbose=0, callbacks=[counted, stop, rates, batches]
    )
    model.evaluate(x, y, verbose=0, callbacks=[counted])
    model.predict(
        x, verbose=0, callbacks=[counted, keras.callbacks.LambdaCallback(on_predict_end=lambda logs: print("done"))]
    )

    ran, steps = len(history.epoch), -(-count * 3 // 4 // 32)
    for name, number in sorted(counted.calls.items()):
        print(f"{name}: {number}")
    expected = {
        "train begin": 1,
        "epoch end": ran,
        "train batch end": ran * steps,
        "test begin": ran + 1,
        "test batch begin": ran * -(-count // 4 // 32) + count // 32,
        "predict batch end": count // 32,
    }
    for name, number in expected.items():
        if counted.calls[name] != number:
            sys.exit(f"{name}: {counted.calls[name]} calls; {number} were expected.")
    if len(batches.losses) != steps or abs(batches.losses[-1] - history.history["loss"][-1]) > 1e-6:
        sys.exit("The loss after the last batch should be that of the epoch.")
    if not options.quick and stop.best > 0.6 * history.history["loss"][0]:
        sys.exit("A fall of the loss to 0.6 was expected.")


if __name__ == "__main__":
    main()
