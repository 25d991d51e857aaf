"""Classifies drawn shapes with a small convolutional network, functional API, augmented while it trains.

    python examples/image_classification.py            # --quick: a few steps, to see that it runs

The images are made here: circles, squares, triangles and crosses with noise. It ends with an error when fewer than
95 % of the images that the model has not seen are recognised.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers

SHAPES = ("circle", "square", "triangle", "cross")
SIZE = 24


def draw(shape, rng):
    """One image `(SIZE, SIZE, 1)`: the shape somewhere, of some size and brightness, under noise."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    radius = rng.uniform(5, 9)
    y, x = (axis - rng.uniform(radius, SIZE - radius) for axis in (rows, columns))
    inside = {
        "circle": x**2 + y**2 < radius**2,
        "square": np.maximum(abs(x), abs(y)) < 0.8 * radius,
        "triangle": (y < 0.7 * radius) & (y > 2 * abs(x) - radius),
        "cross": (np.minimum(abs(x), abs(y)) < radius / 4) & (np.maximum(abs(x), abs(y)) < radius),
    }[shape]
    return (rng.uniform(0.5, 1) * inside + rng.normal(0, 0.15, inside.shape))[..., None]


def make_data(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(SHAPES), count)
    return np.array([draw(SHAPES[label], rng) for label in labels], "float32"), labels


def build_model():
    """Blocks of two separable convolutions around which the input is carried on, as in Xception."""
    inputs = keras.Input((SIZE, SIZE, 1))
    x = layers.GaussianNoise(0.05)(inputs)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Activation("relu")(x)
    for filters in (32, 48):
        carried = layers.Conv2D(filters, 1, strides=2, padding="same")(x)
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(filters, 3, padding="same")(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, carried])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(len(SHAPES), activation=None)(x), name="shapes")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    count, epochs = (64, 1) if options.quick else (2000, options.epochs)

    keras.utils.set_random_seed(0)
    model = build_model()
    model.summary()
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    callbacks = [
        keras.callbacks.ModelCheckpoint("shapes.keras", monitor="val_acc", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.3, patience=2),
    ]
    model.fit(*make_data(count, 1), epochs=epochs, batch_size=64, validation_split=0.2, callbacks=callbacks)

    best = keras.saving.load_model("shapes.keras")
    _, accuracy = best.evaluate(*make_data(count // 4, 2), verbose=0)
    images, labels = make_data(1, 3)
    probabilities = keras.ops.softmax(best.predict(images, verbose=0)[0])
    print(f"A {SHAPES[labels[0]]}:", ", ".join(f"{p:.1%} {s}" for s, p in zip(SHAPES, probabilities, strict=True)))
    print(f"Accuracy: {accuracy:.3f}")
    if not options.quick and accuracy < 0.95:
        sys.exit("At least 0.95 was expected.")


if __name__ == "__main__":
    main()
