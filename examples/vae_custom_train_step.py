"""A variational autoencoder of handwritten digits, with a training step of its own.

    python examples/vae_custom_train_step.py            # --quick: a few steps, to see that it runs

`train_step` is written for torch: a loss, `backward()`, and gradients for the optimizer. It ends with an error when the
reconstruction does not get better than the mean image.

Source: Kingma and Welling, 2013, "Auto-encoding variational Bayes".
"""

import argparse
import sys

import numpy as np
import torch
from sklearn.datasets import load_digits

import fastk as keras
from fastk import layers, ops

LATENT = 4


class Sampling(layers.Layer):
    """A point from the normal distribution that the encoder describes, so that gradients pass."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def build_encoder():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, activation="relu", strides=2, padding="same")(inputs)
    x = layers.Conv2D(32, 3, activation="relu", padding="same")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    mean = layers.Dense(LATENT, name="mean")(x)
    log_variance = layers.Dense(LATENT, name="log_variance")(x)
    return keras.Model(inputs, [mean, log_variance, Sampling()([mean, log_variance])], name="encoder")


def build_decoder():
    inputs = keras.Input((LATENT,))
    x = layers.Dense(4 * 4 * 32, activation="relu")(inputs)
    x = layers.Reshape((4, 4, 32))(x)
    x = layers.Conv2DTranspose(16, 3, activation="relu", strides=2, padding="same")(x)
    outputs = layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x)
    return keras.Model(inputs, outputs, name="decoder")


class VAE(keras.Model):
    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        names = ("total_loss", "reconstruction_loss", "kl_loss")
        self.total_tracker, self.reconstruction_tracker, self.kl_tracker = map(keras.metrics.Mean, names)

    @property
    def metrics(self):
        return [self.total_tracker, self.reconstruction_tracker, self.kl_tracker]

    def call(self, x):
        return self.decoder(self.encoder(x)[2])

    def train_step(self, data):
        self.zero_grad()
        mean, log_variance, z = self.encoder(data)
        crossentropy = keras.losses.binary_crossentropy(data, self.decoder(z))
        reconstruction = ops.mean(ops.sum(crossentropy, axis=(1, 2)))
        kl = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        kl = ops.mean(ops.sum(kl, axis=1))
        total = reconstruction + kl
        total.backward()
        trained = list(self.trainable_weights)
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in trained], trained)
        self.total_tracker.update_state(total)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return {m.name: m.result() for m in self.metrics}


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    pixels, _ = load_digits(return_X_y=True)
    images = (np.reshape(pixels, (-1, 8, 8, 1)) / 16).astype("float32")
    images = images[:64] if options.quick else images
    vae = VAE(build_encoder(), build_decoder())
    vae.compile(optimizer=keras.optimizers.Adam(2e-3))
    history = vae.fit(images, epochs=1 if options.quick else options.epochs, batch_size=64, verbose=2).history

    grid = np.stack(np.meshgrid(*[np.linspace(-1.5, 1.5, 3)] * 2), -1).reshape(-1, 2)
    digits = vae.decoder.predict(np.pad(grid, ((0, 0), (0, LATENT - 2))), verbose=0)
    print("Made from points of the latent space:")
    for row in digits[:4, :, :, 0].transpose(1, 0, 2):
        print("  ".join("".join(" .:*#"[int(4.99 * value)] for value in line) for line in row))

    mean = np.clip(images.mean(axis=0), 1e-6, 1 - 1e-6)
    of_the_mean = float(np.mean(np.sum(-images * np.log(mean) - (1 - images) * np.log(1 - mean), axis=(1, 2, 3))))
    print(f"Reconstruction loss: {history['reconstruction_loss'][-1]:.2f}; of the mean image: {of_the_mean:.2f}")
    if not options.quick and history["total_loss"][-1] > 0.9 * of_the_mean:
        sys.exit("A total loss of less than 0.9 times that of the mean image was expected.")


if __name__ == "__main__":
    main()
