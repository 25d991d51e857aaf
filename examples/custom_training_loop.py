"""A training loop written out: torch's data loader, losses, gradients, optimizer and metrics step by step.

    python examples/custom_training_loop.py            # --quick: a few steps, to see that it runs

It ends with an error when fewer than 95 % of the digits that the model has not seen are recognised.
"""

import argparse
import sys
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import fastk as keras
from fastk import layers, ops


class ActivityPenalty(layers.Layer):
    """Hands its inputs on and adds a penalty of them to the losses of the model."""

    def call(self, inputs):
        self.add_loss(1e-3 * ops.mean(ops.square(inputs)))
        return inputs


def build_model():
    inputs = keras.Input((64,), name="pixels")
    x = layers.Dense(64, activation="relu")(inputs)
    x = ActivityPenalty()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(10, name="digits")(x))


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = torch.as_tensor((x[order] / 16).astype("float32")), torch.as_tensor(y[order])
    cut = 128 if options.quick else 1400
    train = DataLoader(TensorDataset(x[:cut], y[:cut]), batch_size=64, shuffle=True)
    validation = DataLoader(TensorDataset(x[-397:], y[-397:]), batch_size=64)

    model = build_model()
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(3e-3, 100, 0.9))
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    train_acc, val_acc = (keras.metrics.SparseCategoricalAccuracy() for _ in range(2))

    for epoch in range(1 if options.quick else options.epochs):
        start = time.perf_counter()
        for inputs, targets in train:
            logits = model(inputs, training=True)
            loss = loss_fn(targets, logits) + sum(model.losses)
            model.zero_grad()
            loss.backward()
            trained = list(model.trainable_weights)
            with torch.no_grad():
                optimizer.apply([v.value.grad for v in trained], trained)
            train_acc.update_state(targets, logits)
        for inputs, targets in validation:
            val_acc.update_state(targets, model(inputs, training=False))
        print(
            f"epoch {epoch + 1}: loss {float(loss.detach()):.4f}, accuracy {float(train_acc.result()):.4f}, validation "
            f"{float(val_acc.result()):.4f}, {time.perf_counter() - start:.2f} s"
        )
        accuracy = float(val_acc.result())
        train_acc.reset_state()
        val_acc.reset_state()

    print(f"Accuracy: {accuracy:.3f} after {int(optimizer.iterations.numpy())} steps")
    if not options.quick and accuracy < 0.95:
        sys.exit("At least 0.95 was expected.")


if __name__ == "__main__":
    main()
