"""`compile`: every form of losses, weights and metrics, and what is wrong with others."""

import numpy as np
import pytest

import fastk as keras
from fastk import layers
from tests.training.small import close, dense, linear, mae, mse, regression, two_labels, two_outputs


def squared(y_true, y_pred):
    return (y_true - y_pred) ** 2


class Halved(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return abs(y_true - y_pred).mean(-1) / 2


ONE_LOSS = {
    "name": ("mse", mse),
    "full name": ("mean_squared_error", mse),
    "class name": ("MeanSquaredError", mse),
    "object": (keras.losses.MeanSquaredError(), mse),
    "function of keras": (keras.losses.mean_squared_error, mse),
    "own function": (squared, mse),
    "own object": (Halved(), lambda y, p: mae(y, p) / 2),
    "list of one": (["mse"], mse),
    "dict by output": ({"out": "mse"}, mse),
    "several of one output": (["mse", "mae"], lambda y, p: mse(y, p) + mae(y, p)),
}


@pytest.mark.parametrize("form", ONE_LOSS)
def test_one_output_takes_a_loss_in_every_form(form):
    loss, oracle = ONE_LOSS[form]
    x, y = regression()
    inputs = layers.Input((3,))
    model = keras.Model(inputs, layers.Dense(1, name="out")(inputs))
    model.compile("sgd", loss)
    close(model.evaluate(x, y, verbose=0), oracle(y, dense(model.layers[-1], x)))


def test_a_weight_of_one_loss_scales_it():
    x, y = regression()
    model = linear()
    model.compile("sgd", "mse", loss_weights=0.25)
    close(model.evaluate(x, y, verbose=0), mse(y, dense(model.layers[0], x)) / 4)


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
@pytest.mark.parametrize(
    ("loss", "weights", "expected"),
    [
        ("mse", None, lambda a, b: a["mse"] + b["mse"]),
        ("mse", [0.5, 2.0], lambda a, b: a["mse"] / 2 + b["mse"] * 2),
        ("mse", {"b": 2.0}, lambda a, b: a["mse"] + b["mse"] * 2),
        (["mse", "mae"], None, lambda a, b: a["mse"] + b["mae"]),
        (("mse", "mae"), [0.5, 2.0], lambda a, b: a["mse"] / 2 + b["mae"] * 2),
        (["mse", "mae"], {"a": 3.0}, lambda a, b: a["mse"] * 3 + b["mae"]),
        ({"b": "mae", "a": "mse"}, None, lambda a, b: a["mse"] + b["mae"]),
        ({"b": "mae", "a": "mse"}, {"b": 0.5, "a": 1.0}, lambda a, b: a["mse"] + b["mae"] / 2),
        ({"b": "mae"}, None, lambda a, b: b["mae"]),
        ([None, "mae"], None, lambda a, b: b["mae"]),
        ({"a": ["mse", "mae"], "b": "mse"}, {"a": [1.0, 0.5]}, lambda a, b: a["mse"] + a["mae"] / 2 + b["mse"]),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_several_outputs_take_losses_and_weights_in_every_form(kind, loss, weights, expected):
    x, _ = regression()
    y_a, y_b = two_labels()
    model = two_outputs(kind)
    model.compile("sgd", loss, loss_weights=weights)
    out = {name: dense(model.get_layer(name), x) for name in "ab"}
    own = [{"mse": mse(y, out[name]), "mae": mae(y, out[name])} for name, y in (("a", y_a), ("b", y_b))]
    y = {"a": y_a, "b": y_b} if kind == "dict" else [y_a, y_b]
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    close(results["loss"], expected(*own))
    if "a_loss" in results and loss == "mse":
        close([results["a_loss"], results["b_loss"]], [own[0]["mse"], own[1]["mse"]])  # without their weights


def test_an_output_of_a_list_takes_several_losses():
    x, _ = regression()
    y_a, y_b = two_labels()
    model = two_outputs("list")
    model.compile("sgd", [["mse", "mae"], None], loss_weights=[2.0, None])
    a = dense(model.get_layer("a"), x)
    close(model.evaluate(x, [y_a, y_b], verbose=0), 2 * (mse(y_a, a) + mae(y_a, a)))


@pytest.mark.parametrize(
    "labels",
    [
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: {"a": a, "b": b},
        lambda a, b: {"b": b, "a": a},
    ],
)
@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_labels_are_matched_to_the_outputs_in_every_form(kind, labels):
    x, _ = regression()
    y_a, y_b = two_labels()
    model = two_outputs(kind)
    model.compile("sgd", "mse", metrics={"b": ["mae"]})
    results = model.evaluate(x, labels(y_a, y_b), verbose=0, return_dict=True)
    b = dense(model.get_layer("b"), x)
    close([results["b_loss"], results["b_mae"]], [mse(y_b, b), mae(y_b, b)])


@pytest.mark.parametrize("y", [lambda b: b, lambda b: [b], lambda b: {"b": b}])
def test_labels_are_needed_only_where_there_is_a_loss(y):
    x, _ = regression()
    _, y_b = two_labels()
    model = two_outputs()
    model.compile("sgd", [None, "mse"], metrics=[[], ["mae"]])
    results = model.evaluate(x, y(y_b), verbose=0, return_dict=True)
    close(results["b_mae"], mae(y_b, dense(model.get_layer("b"), x)))
    assert "a_loss" not in results and "b_loss" not in results  # with one loss there is nothing to tell apart


def test_nested_outputs_take_losses_at_any_place():
    inputs = layers.Input((3,))
    a, b, c = (layers.Dense(1, name=name)(inputs) for name in "abc")
    model = keras.Model(inputs, {"pair": (a, b), "rest": {"c": c}})

    def distance(y_true, y_pred):  # of the pair as a whole
        return abs(y_true[0] - y_pred[0]).mean(-1) + abs(y_true[1] - y_pred[1]).mean(-1)

    model.compile("sgd", {"pair": [distance, ("mse", None)], "rest": {"c": "mse"}})
    x, _ = regression()
    y = [regression(seed=i)[1] for i in range(3)]
    out = [dense(model.get_layer(name), x) for name in "abc"]
    results = model.evaluate(x, {"pair": (y[0], y[1]), "rest": {"c": y[2]}}, verbose=0, return_dict=True)
    close(results["pair_loss"], mae(y[0], out[0]) + mae(y[1], out[1]))
    close(results["pair/a_loss"], mse(y[0], out[0]))
    close(results["rest/c_loss"], mse(y[2], out[2]))
    close(results["loss"], results["pair_loss"] + results["pair/a_loss"] + results["rest/c_loss"])


def test_outputs_without_names_are_called_by_their_losses():
    class Split(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = layers.Dense(1), layers.Dense(1)

        def call(self, x):
            return [self.a(x), self.b(x)]

    x, y = regression()
    model = Split()
    model.compile("sgd", ["mse", "mae"], metrics=[["mae"], ["mse"]])
    results = model.evaluate(x, [y, y], verbose=0, return_dict=True)
    assert set(results) == {"loss", "mse_loss", "mae_loss", "mae", "mse"}


def test_crossentropy_and_accuracy_choose_by_each_outputs_shape():
    inputs = layers.Input((3,))
    heads = {"yes": (1, "sigmoid"), "number": (4, "softmax"), "onehot": (4, "softmax")}
    outputs = [layers.Dense(units, activation=function, name=name)(inputs) for name, (units, function) in heads.items()]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "crossentropy", metrics=[["acc"], ["acc"], ["accuracy"]])
    x, _ = regression(6)
    number = np.arange(6) % 4
    y = [(number > 1).astype("float32")[:, None], number, np.eye(4, dtype="float32")[number]]
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    p = [dense(model.get_layer(name), x) for name in ("yes", "number", "onehot")]
    p_yes = 1 / (1 + np.exp(-p[0]))
    soft = [np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in p[1:]]
    close(results["yes_loss"], -(y[0] * np.log(p_yes) + (1 - y[0]) * np.log(1 - p_yes)).mean(), 400)
    close(results["number_loss"], -np.log(soft[0][np.arange(6), number]).mean(), 400)
    close(results["onehot_loss"], -np.log(soft[1][np.arange(6), number]).mean(), 400)
    close(results["yes_acc"], ((p_yes > 0.5) == y[0]).mean())
    close(results["number_acc"], (soft[0].argmax(-1) == number).mean())
    close(results["onehot_accuracy"], (soft[1].argmax(-1) == number).mean())


# ---------------------------------------------------------------- metrics


def test_metrics_right_after_compile_are_the_compiled_ones_and_the_loss_joins_them():
    model = linear()
    model.compile("sgd", "mse", metrics=[keras.metrics.Accuracy(), keras.metrics.Precision()])
    assert [metric.name for metric in model.metrics] == ["accuracy", "precision"]
    x, y = regression()
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    assert model.metrics_names == ["mae", "mse"]
    results = dict(zip(["loss", "mae", "mse"], model.evaluate(x, y, verbose=0), strict=True))
    assert model.metrics_names == ["loss", "mae", "mse"] and results["loss"] == results["mse"]
    model.compile("sgd", "mse")
    assert model.metrics_names == []


def test_an_accuracy_object_means_what_the_name_means():
    model = linear(outputs=4, activation="softmax")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[keras.metrics.Accuracy(name="hits"), "accuracy"])
    x, _ = regression(9)
    _, hits, accuracy = model.evaluate(x, np.arange(9) % 4, verbose=0)
    assert hits == accuracy
    close(hits, (dense(model.layers[0], x).argmax(-1) == np.arange(9) % 4).mean())


def test_metrics_come_as_names_functions_and_objects():
    x, y = regression()
    model = linear()

    def bias(y_true, y_pred):
        return (y_pred - y_true).mean(-1)

    model.compile(
        "sgd", "mse", metrics=["mae", keras.metrics.mean_squared_error, bias, keras.metrics.MeanSquaredError()]
    )
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    assert list(results) == ["loss", "mae", "mean_squared_error", "bias", "mean_squared_error_1"]
    out = dense(model.layers[0], x)
    close(list(results.values()), [mse(y, out), mae(y, out), mse(y, out), (out - y).mean(), mse(y, out)])


@pytest.mark.parametrize(
    "given",
    [
        [["mae"], ["mse", "mae"]],
        ["mae", ["mse", "mae"]],
        {"a": "mae", "b": ["mse", "mae"]},
        {"a": ["mae"], "b": ["mse", "mae"]},
    ],
)
@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_several_outputs_take_metrics_in_every_form(kind, given):
    x, _ = regression()
    y_a, y_b = two_labels()
    model = two_outputs(kind)
    model.compile("sgd", "mse", metrics=given)
    results = model.evaluate(x, [y_a, y_b], verbose=0, return_dict=True)
    a, b = (dense(model.get_layer(name), x) for name in "ab")
    close([results[name] for name in ("a_mae", "b_mse", "b_mae")], [mae(y_a, a), mse(y_b, b), mae(y_b, b)])
    # As in Keras: the loss, the outputs' losses, then metrics by name.
    values = model.evaluate(x, [y_a, y_b], verbose=0)
    assert values == [results[name] for name in ("loss", "a_loss", "b_loss", "a_mae", "b_mae", "b_mse")]


def test_metrics_of_one_name_are_told_apart():
    x, y = regression()
    model = linear()
    model.compile("sgd", "mse", metrics=["mae", "mae"], weighted_metrics=["mae", "mae"])
    results = model.evaluate(x, y, sample_weight=np.arange(12.0), verbose=0, return_dict=True)
    assert list(results) == ["loss", "mae", "mae_1", "weighted_mae", "weighted_mae_1"]


# ---------------------------------------------------------------- the rest of compile


def test_compiling_again_starts_anew():
    x, y = regression()
    model = linear()
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(x, y, verbose=0)
    model.compile("adam", "mae")
    assert set(model.evaluate(x, y, verbose=0, return_dict=True)) == {"loss"}
    assert isinstance(model.optimizer, keras.optimizers.Adam) and int(model.optimizer.iterations) == 0


def test_the_compile_configuration_makes_the_same_again():
    model = linear()
    assert model.get_compile_config() == {}
    model.compile(keras.optimizers.Adam(0.25), keras.losses.Huber(delta=2.0), loss_weights=0.5, metrics=["mae"])
    config = model.get_compile_config()
    again = linear()
    again.compile_from_config(config)
    assert again.get_compile_config() == config
    assert again.optimizer.built and float(again.optimizer.learning_rate) == 0.25 and again.loss.delta == 2.0


def test_eager_running_is_taken_and_changes_no_number():
    x, y = regression()
    weights, losses = None, []
    for eagerly in (False, True):
        model = linear()
        weights = model.get_weights() if weights is None else weights
        model.set_weights(weights)
        model.compile("sgd", "mse", run_eagerly=eagerly)
        assert model.run_eagerly is eagerly
        losses.append(model.fit(x, y, shuffle=False, verbose=0, epochs=2).history["loss"])
    assert losses[0] == losses[1]


def test_jit_compile_changes_no_number():
    x, y = regression()
    losses = []
    for given, kept in (("auto", False), (False, False), (True, True)):
        keras.utils.set_random_seed(0)
        model = linear()
        model.compile("sgd", "mse", jit_compile=given)
        assert model.jit_compile is kept
        losses.append(model.fit(x, y, batch_size=3, verbose=0, epochs=2).history["loss"])
        assert model._steps["train"].programs
    assert losses[0] == losses[1] == losses[2]
    assert model.get_compile_config()["jit_compile"] is True
    with pytest.raises(ValueError, match=r"`jit_compile` must be True, False or 'auto'\. Received: 'xla'"):
        model.compile("sgd", "mse", jit_compile="xla")


def test_jit_compile_gives_way_to_running_eagerly():
    model = linear()
    with pytest.warns(UserWarning, match="`jit_compile` cannot also be True"):
        model.compile("sgd", "mse", run_eagerly=True, jit_compile=True)
    assert model.run_eagerly and not model.jit_compile


def test_jit_compile_and_layers_that_say_they_cannot():
    model = linear()
    model.layers[0].supports_jit = False
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`.*dense"):
        model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile is False
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.jit_compile = True
    model.layers[0].supports_jit = True
    model.jit_compile = True
    assert model.jit_compile is True


@pytest.mark.parametrize("steps", [0, -1, 1.5, "many"])
def test_steps_per_execution_is_checked(steps):
    with pytest.raises(ValueError, match="positive integer or 'auto'"):
        linear().compile("sgd", "mse", steps_per_execution=steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse", "metrics": "mae"}, "Expected `metrics` argument to be a list, tuple, or dict"),
        ({"loss": "mse", "weighted_metrics": "mae"}, "Expected `weighted_metrics` argument"),
        ({"loss": "mse", "loss_weights": "much"}, "Expected `loss_weights` argument to be a float"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear().compile("sgd", **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": {"a": "mse", "c": "mse"}}, KeyError, r"\('c',\) in the `loss` argument, can't be found"),
        ({"loss": ["mse", "mse"], "loss_weights": 0.5}, ValueError, "one weight for each"),
        ({"loss": ["mse", "mse"], "loss_weights": [1.0]}, ValueError, r"one entry for each.*2 output"),
        ({"loss": "mse", "metrics": ["mae"]}, ValueError, r"Invalid `metrics`.*2 output.*\['a', 'b'\]"),
        ({"loss": "mse", "metrics": {"c": ["mae"]}}, ValueError, r"Invalid `metrics`.*'c'.*unknown"),
    ],
)
def test_what_fits_no_output_is_explained(arguments, error, message):
    x, _ = regression()
    model = two_outputs("dict")
    model.compile("sgd", **arguments)
    with pytest.raises(error, match=message):
        model.fit(x, dict(zip("ab", two_labels(), strict=True)), verbose=0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda a, b: a, r"2 outputs \['a', 'b'\], but `y` is a single array"),
        (lambda a, b: [a, b, b], "different structures.*each output that has a loss"),
        (lambda a, b: {"a": a}, "different structures.*'a', 'b'"),
        (lambda a, b: {"a": a, "c": b}, r"Invalid `y`.*'c'.*unknown"),
        (lambda a, b: None, "need labels, but `y` is None"),
    ],
)
def test_labels_that_fit_no_output_are_explained(y, message):
    x, _ = regression()
    model = two_outputs()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(x, y(*two_labels()), verbose=0)
