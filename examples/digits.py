"""Trains a small convolutional network on scikit-learn's handwritten digits.

    python examples/digits.py

prints the model, the progress of the training and the accuracy on images that the model has not seen, saves the
model as `digits.keras`, loads it back, and draws the learning curves into `digits.png`. It ends with an error
when the accuracy is below 97 % or when the loaded model predicts otherwise than the saved one.
"""

import math
import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastk as keras
from fastk import layers

EPOCHS = 20
BATCH_SIZE = 32
LEAST_ACCURACY = 0.97


def load_data():
    """Images (n, 8, 8, 1) in [0, 1] and their digits, split 70 : 10 : 20 into training, validation and test."""
    pixels, digits = load_digits(return_X_y=True)
    images = np.reshape(pixels, (-1, 8, 8, 1)).astype("float32") / 16

    def split(x, y, share):
        return train_test_split(x, y, test_size=share, stratify=y, random_state=0)

    x_rest, x_test, y_rest, y_test = split(images, digits, 0.2)
    x_train, x_val, y_train, y_val = split(x_rest, y_rest, 0.125)
    return (x_train, y_train), (x_val, y_val), (x_test, y_test)


def build_model():
    """Three convolutions, each with BatchNormalization and ReLU, then two dense layers."""

    def convolution(filters):
        return [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.Activation("relu"),
        ]

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *convolution(32),
            *convolution(32),
            layers.MaxPooling2D(),
            *convolution(64),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def plot(history, test_accuracy, path):
    """Draws the loss and the accuracy of each epoch, for training and validation."""
    epochs = [epoch + 1 for epoch in history.epoch]
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(f"Handwritten digits: {test_accuracy:.1%} of the test images recognised", fontweight="bold")
    for axes, name, place in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("upper right", "lower right"), strict=True
    ):
        axes.plot(epochs, history.history[name], color="#2563eb", linewidth=2, label="training")
        axes.plot(epochs, history.history[f"val_{name}"], color="#ea580c", linewidth=2, label="validation")
        axes.set(xlabel="epoch", ylabel=name, xlim=(1, epochs[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc=place, frameon=False)
    figure.axes[0].set(ylabel="loss (cross-entropy)", ylim=(0, None))
    figure.axes[1].yaxis.set_major_formatter("{x:.0%}")
    figure.savefig(path, dpi=150)


def main():
    keras.utils.set_random_seed(1)
    train, validation, (x_test, y_test) = load_data()

    model = build_model()
    model.summary()
    steps = EPOCHS * math.ceil(len(train[0]) / BATCH_SIZE)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, decay_steps=steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(*train, batch_size=BATCH_SIZE, epochs=EPOCHS, validation_data=validation)

    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"\nTest accuracy: {accuracy:.4f} ({round(accuracy * len(y_test))} of {len(y_test)} images)")
    if accuracy < LEAST_ACCURACY:
        sys.exit(f"The test accuracy is {accuracy:.4f}; at least {LEAST_ACCURACY} was expected.")

    model.save("digits.keras")
    loaded = keras.models.load_model("digits.keras")
    difference = np.abs(model.predict(x_test, verbose=0) - loaded.predict(x_test, verbose=0)).max()
    if not difference <= 1e-6:
        sys.exit(f"The model loaded from digits.keras predicts otherwise: probabilities differ by up to {difference}.")
    print("Saved as digits.keras; the loaded model predicts the same.")

    plot(history, accuracy, "digits.png")
    print("Learning curves drawn into digits.png.")


if __name__ == "__main__":
    main()
