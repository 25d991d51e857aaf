"""What is wrong with what a user gives is said at once: what it was, what was expected, how to mend it."""

from typing import Any

import numpy as np
import pytest

import fastk as keras
from fastk import layers
from tests.training.small import linear, regression

X, Y = regression(8)


def fit(model: Any = None, x: Any = X, y: Any = Y, loss: Any = "mse", **arguments):
    model = linear() if model is None else model
    model.compile("sgd", loss)
    return model.fit(x, y, verbose=0, **arguments)


def two_inputs():
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    return keras.Model([a, b], layers.Dense(1)(layers.Concatenate()([a, b])))


def classifier():
    return linear(outputs=4, activation="softmax")


CASES = {
    # shapes
    "too many axes": (
        lambda: fit(x=np.zeros((8, 3, 2))),
        r"input 'input_layer'.*Expected shape \(None, 3\), but .* shape \(8, 3, 2\).*Reshape the data",
    ),
    "too few features": (
        lambda: fit(x=X[:, :2]),
        r"Input 0 of layer 'dense\w*'.*expected axis -1 .* value 3, but received input with shape \(8, 2\)",
    ),
    # numbers of inputs
    "one array for two inputs": (lambda: fit(two_inputs()), r"expects 2 input\(s\).*\['a', 'b'\].*received 1"),
    "three arrays for two inputs": (lambda: fit(two_inputs(), [X, X, X]), r"expects 2 input\(s\).*received 3"),
    "an input by another name": (
        lambda: fit(two_inputs(), {"a": X, "c": X}),
        r"Missing data for input .b.*keys \['a', 'c'\].*following keys: \['a', 'b'\]",
    ),
    # sizes
    "fewer labels than samples": (
        lambda: fit(y=Y[:5]),
        r"Data cardinality is ambiguous.*x: 8 samples.*y: 5 samples.*Cut or reshape",
    ),
    "fewer weights than samples": (lambda: fit(sample_weight=np.ones(5)), "sample_weight: 5 samples"),
    # labels
    "a label too large": (
        lambda: fit(classifier(), y=np.arange(8), loss="sparse_categorical_crossentropy"),
        r"A label is \d, but `y_pred` has 4 classes: labels must be from 0 to 3. The last layer needs a unit",
    ),
    "a label below zero": (
        lambda: fit(classifier(), y=np.arange(8) % 4 - 1, loss="sparse_categorical_crossentropy"),
        "A label is -1, .* from 0 to 3",
    ),
    "class numbers for one-hot labels": (
        lambda: fit(classifier(), y=np.arange(8) % 4, loss="categorical_crossentropy"),
        r"y_true.shape=\(8,\).*y_pred.shape=\(8, 4\).*use `sparse_categorical_crossentropy`",
    ),
    "no labels": (lambda: fit(y=None), r"need labels, but `y` is None. Pass `y`"),
    # names
    "an unknown optimizer": (lambda: linear().compile("adm"), "Unknown optimizer: 'adm'. Did you mean 'adam'"),
    "an unknown loss": (lambda: fit(loss="mean_square_error"), "Unknown loss.*Did you mean 'mean_squared_error'"),
    "an unknown metric": (
        lambda: linear().compile("sgd", "mse", metrics=["acuracy"]),
        "Unknown metric: 'acuracy'. Did you mean 'accuracy'",
    ),
    "an unknown activation": (lambda: layers.Dense(2, activation="rleu"), "Unknown activation.*Did you mean 'relu'"),
    "an unknown argument of a layer": (
        lambda: layers.Dense(2, activaton="relu"),
        r"arguments passed to Dense: {'activaton': 'relu'}. Did you mean `activation`\?",
    ),
    "an unknown argument of a layer's base": (lambda: layers.Dense(2, trainabel=True), r"Did you mean `trainable`\?"),
    "an older argument of an optimizer": (
        lambda: keras.optimizers.Adam.from_config({"lr": 0.1}),
        r"not recognized: {'lr': 0.1}. Did you mean `learning_rate`\?",
    ),
    "an unknown argument of an optimizer": (
        lambda: keras.optimizers.Adam.from_config({"beta1": 0.1}),
        r"Did you mean `beta_1`\?",
    ),
    "a number of units in words": (lambda: layers.Dense("3"), "expected a positive integer. Received: units='3'"),
    "an unknown layer of the model": (lambda: stack().get_layer("one"), r"No such layer: one.*\['first', 'second'\]"),
    # order of calls
    "training without compile": (lambda: linear().fit(X, Y), r"call `compile\(\)` before calling `fit\(\)`"),
    "evaluating without compile": (lambda: linear().evaluate(X, Y), r"`compile\(\)` before calling `evaluate\(\)`"),
    "counting before building": (
        lambda: keras.Sequential([layers.Dense(1)]).count_params(),
        r"the layer isn't built. You can build it.*`layer.build\(input_shape\)`",
    ),
    "saving weights before building": (
        lambda: keras.Sequential([layers.Dense(1)]).save_weights("x.weights.h5"),
        "has not yet been built. Build it first: call it on some data",
    ),
    # no data
    "no samples": (lambda: fit(x=X[:0], y=Y[:0]), "data has 0 samples"),
    "no batches": (lambda: fit(x=iter([]), y=None), "yielded no batch"),
    "nothing": (lambda: fit(x=None), "`x` is None. Accepted are NumPy arrays"),
    "words": (lambda: fit(x=np.array(["a"] * 8)), "encode text first, for example with a StringLookup layer"),
    "targets in words": (lambda: fit(y=np.array(["a"] * 8)), "Invalid dtype.*must be numbers"),
    # arguments of fit
    "epochs in words": (lambda: fit(epochs="3"), "`epochs` must be an integer. Received: '3'"),
    "a bar of another kind": (lambda: compiled().fit(X, Y, verbose="loud"), "`verbose` must be 'auto', 0, 1 or 2"),
    "batches of nothing": (lambda: fit(batch_size=0), "`batch_size` must be a positive integer"),
    "a share above one": (lambda: fit(validation_split=1.5), "cannot be split by `validation_split=1.5`"),
    # losses that cannot be minimised
    "a loss for each sample": (
        lambda: fit(loss=keras.losses.MeanSquaredError(reduction="none")),
        r"must be a scalar. Received: a tensor of shape \(8,\).*leave out `reduction='none'`",
    ),
    "a loss without a gradient": (
        lambda: fit(loss=lambda y_true, y_pred: (y_pred > y_true).float()),
        "no gradient.*comparing",
    ),
}


def compiled():
    model = linear()
    model.compile("sgd", "mse")
    return model


def stack():
    return keras.Sequential([layers.Input((3,)), layers.Dense(2, name="first"), layers.Dense(1, name="second")])


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said(case):
    run, message = CASES[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        run()


def test_a_loss_that_is_no_number_ends_training_with_a_word(capsys):
    history = fit(x=np.full_like(X, np.nan), epochs=3, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert history.epoch == [0] and "Batch 0: Invalid loss" in capsys.readouterr().out


def test_files_that_do_not_fit_are_explained(tmp_path):
    compiled().save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(
        ValueError, match=r"(?s)2 objects could not be loaded.*'kernel' has shape \(3, 2\).*skip_mismatch"
    ):
        stack().load_weights(tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match=r"File not found.*Did you mean small.weights.h5"):
        stack().load_weights(tmp_path / "smal.weights.h5")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"broken.keras is not a `.keras` file.*copied or downloaded, get it again"):
        keras.saving.load_model(tmp_path / "broken.keras")


def test_an_unbuilt_model_says_so_in_its_summary(capsys):
    keras.Sequential([layers.Dense(1)]).summary()
    assert "unbuilt" in capsys.readouterr().out
