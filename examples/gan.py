"""A generative adversarial network that learns a ring of points, two optimizers in one `train_step`.

    python examples/gan.py            # --quick: a few steps, to see that it runs

It ends with an error when the points that it makes are not on the ring.

Source: Goodfellow et al., 2014, "Generative adversarial nets".
"""

import argparse
import sys

import numpy as np
import torch

import fastk as keras
from fastk import layers, ops

LATENT = 8


def ring(count, seed):
    """Points around a circle of radius 2, with a little noise."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.normal(2, 0.05, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype("float32")


def build_discriminator():
    return keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(64),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dense(64),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dense(1),
        ],
        name="discriminator",
    )


def build_generator():
    return keras.Sequential(
        [
            keras.Input((LATENT,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(2),
        ],
        name="generator",
    )


class GAN(keras.Model):
    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.d_loss_tracker, self.g_loss_tracker = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")
        self.seed_generator = keras.random.SeedGenerator(1337)
        self.built = True

    @property
    def metrics(self):
        return [self.d_loss_tracker, self.g_loss_tracker]

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        batch = ops.shape(real)[0]

        # The discriminator learns to tell: 1 for what was made, 0 for what is real.
        made = self.generator(keras.random.normal((batch, LATENT), seed=self.seed_generator))
        labels = ops.concatenate([ops.ones((batch, 1)), ops.zeros((batch, 1))])
        self.zero_grad()
        d_loss = self.loss_fn(labels, self.discriminator(ops.concatenate([made, real])))
        d_loss.backward()
        self.step(self.d_optimizer, self.discriminator)

        # The generator learns to be taken for real by a discriminator that stays as it is.
        self.zero_grad()
        made = self.generator(keras.random.normal((batch, LATENT), seed=self.seed_generator))
        g_loss = self.loss_fn(ops.zeros((batch, 1)), self.discriminator(made))
        g_loss.backward()
        self.step(self.g_optimizer, self.generator)

        self.d_loss_tracker.update_state(d_loss)
        self.g_loss_tracker.update_state(g_loss)
        return {m.name: m.result() for m in self.metrics}

    @staticmethod
    def step(optimizer, model):
        trained = list(model.trainable_weights)
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in trained], trained)


class ShowPoints(keras.callbacks.Callback):
    """Says now and then where the points are."""

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: {describe(self.model.generator)}")


def describe(generator):
    points = generator.predict(np.random.default_rng(5).normal(size=(512, LATENT)), verbose=0)
    radius = np.linalg.norm(points, axis=1)
    return f"radius {radius.mean():.2f} ± {radius.std():.2f}, spread {points.std(axis=0).round(2)}"


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    count, epochs = (128, 1) if options.quick else (4096, options.epochs)

    keras.utils.set_random_seed(0)
    gan = GAN(build_discriminator(), build_generator())
    gan.compile(
        d_optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5),
        g_optimizer=keras.optimizers.Adam(5e-4, beta_1=0.5),
        loss_fn=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    gan.fit(ring(count, 1), epochs=epochs, batch_size=64, verbose=0, callbacks=[ShowPoints()])

    points = gan.generator.predict(np.random.default_rng(6).normal(size=(2000, LATENT)), verbose=0)
    off = float(np.abs(np.linalg.norm(points, axis=1) - 2).mean())
    corners = np.unique(np.sign(points), axis=0).shape[0]
    print(f"Mean distance from the ring: {off:.3f}; quarters of the ring with points: {corners}")
    if not options.quick and (off > 0.4 or corners < 4):
        sys.exit("A distance of at most 0.4, and points in all four quarters, were expected.")


if __name__ == "__main__":
    main()
