"""Classifies tables of numbers and words: scikit-learn's breast cancer data, with two columns made into categories.

    python examples/structured_data.py            # --quick: a few steps, to see that it runs

Named inputs, `Normalization` that learns its statistics, embeddings for categories, class weights. It ends with an
error when the area under the ROC curve of rows that the model has not seen is below 0.98.
"""

import argparse
import sys

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fastk as keras
from fastk import layers

SIZES = ["small", "middle", "large"]


def load_data():
    """Two dicts of columns with their labels: numbers `(rows, 28)`, and two columns of words."""
    table, labels = load_breast_cancer(return_X_y=True)
    words = {}
    for name, column in (("area", table[:, 3]), ("texture", table[:, 1])):
        words[name] = np.digitize(column, np.quantile(column, [1 / 3, 2 / 3])).astype("int32")
    columns = {"numbers": np.delete(table, [1, 3], axis=1).astype("float32"), **words}
    train, test = train_test_split(np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=0)
    return [({name: column[rows] for name, column in columns.items()}, labels[rows]) for rows in (train, test)]


def build_model(numbers):
    """Numbers are brought to mean 0 and deviation 1, words are embedded, and all of it joined."""
    inputs = {
        "numbers": keras.Input((numbers.shape[1],), name="numbers"),
        "area": keras.Input((), dtype="int32", name="area"),
        "texture": keras.Input((), dtype="int32", name="texture"),
    }
    normalization = layers.Normalization()
    normalization.adapt(numbers)
    parts = [normalization(inputs["numbers"])]
    parts += [layers.Embedding(len(SIZES), 2, name=f"{name}_vector")(inputs[name]) for name in ("area", "texture")]
    x = layers.concatenate(parts)
    x = layers.Dense(32, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = load_data()
    model = build_model(x["numbers"])
    model.compile(
        optimizer=keras.optimizers.AdamW(3e-3),
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc"), keras.metrics.Precision(), keras.metrics.Recall()],
    )
    weights = {label: len(y) / (2 * np.sum(y == label)) for label in (0, 1)}
    model.fit(
        x,
        y,
        epochs=1 if options.quick else options.epochs,
        batch_size=32,
        class_weight=weights,
        validation_split=0.2,
        verbose=2,
    )
    found = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    one = {name: column[:1] for name, column in x_test.items()}
    print(f"The first row is benign with a probability of {float(model.predict(one, verbose=0)[0, 0]):.1%}.")
    if not options.quick and found["auc"] < 0.98:
        sys.exit("An area of at least 0.98 was expected.")


if __name__ == "__main__":
    main()
