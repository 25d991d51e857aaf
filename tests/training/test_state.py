"""What training leaves behind and depends on: what is trainable, precision, building, copies."""

import copy
import itertools

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.training.small import close, linear, regression


def stack():
    return keras.Sequential([layers.Input((3,)), layers.Dense(4, name="first"), layers.Dense(1, name="last")])


def test_frozen_layers_stay_and_a_change_is_warned_of_until_compiled():
    x, y = regression(8)
    model = stack()
    model.compile("sgd", "mse")
    model.get_layer("first").trainable = False
    before = [w.copy() for w in model.get_weights()]
    with pytest.warns(UserWarning, match=r"`trainable` state has changed.*Changed layers: \['first'\]"):
        model.fit(x, y, verbose=0)
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    changed = [(a != b).any() for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, True, True]
    model.get_layer("first").trainable = True
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_callback_may_unfreeze_at_the_start_of_an_epoch():
    class Unfreeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("first").trainable = epoch == 1

        def on_epoch_end(self, epoch, logs=None):
            kernels.append(self.model.get_layer("first").kernel.numpy())

    x, y = regression(8)
    model, kernels = stack(), []
    model.compile("sgd", "mse")
    kernels.append(model.get_layer("first").kernel.numpy())
    model.fit(x, y, epochs=3, callbacks=[Unfreeze()], verbose=0)
    assert [(a != b).any() for a, b in itertools.pairwise(kernels)] == [False, True, False]


def test_a_model_without_weights_to_train_says_so():
    x, y = regression(8)
    model = linear()
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.fit(x, y, verbose=0)


def test_a_subclass_is_built_by_its_first_fit():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = layers.Dense(4), layers.Dense(1)
            self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return self.out(self.hidden(inputs["a"]) + inputs["b"])

    x, y = regression(8)
    model = Net()
    model.compile("adam", "mse")
    assert not model.built
    model.fit({"a": x, "b": x[:, :1]}, y, batch_size=4, verbose=0)
    # Shapes are inferred without running anything: two batches, two calls.
    assert model.built and model.optimizer.built and float(model.calls) == 2.0


def test_a_subclass_that_cannot_be_built_without_values_says_how_to_build_it():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(1)

        def call(self, x):
            return self.out(x if float(x.sum()) > 0 else -x)

    x, y = regression(8)
    model = Net()
    model.compile("adam", "mse")
    with pytest.raises(RuntimeError, match=r"(?s)Unable to automatically build the model.*calling it on a batch"):
        model.fit(x, y, verbose=0)
    model(x)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_in_float32(policy):
    x, y = regression(64)
    model = keras.Sequential(
        [layers.Input((3,)), layers.Dense(8, activation="relu", dtype=policy), layers.Dense(1, dtype="float32")]
    )
    model.dtype_policy = keras.dtype_policies.DTypePolicy(policy)
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is (policy == "mixed_float16")
    history = model.fit(x, y, batch_size=16, epochs=5, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and np.isfinite(history["mae"]).all()
    assert all(w.dtype == "float32" for w in model.get_weights())
    compute = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}[policy]
    assert model.layers[0](x).dtype is compute and model.predict(x, verbose=0).dtype == "float32"


def test_a_global_policy_of_float16_scales_the_loss_and_skips_what_overflows():
    x, y = regression(16)
    try:
        keras.dtype_policies.set_dtype_policy("mixed_float16")
        model = linear()
        model.compile(keras.optimizers.SGD(0.01), "mse")
        plain = linear()
        plain.compile(keras.optimizers.SGD(0.01), "mse", auto_scale_loss=False)
    finally:
        keras.dtype_policies.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert type(plain.optimizer) is keras.optimizers.SGD
    before = [w.copy() for w in model.get_weights()]
    model.fit(x * 1e4, y, batch_size=16, verbose=0)  # the squares of such errors are beyond float16
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(model.optimizer.dynamic_scale) == 2.0**14
    config = model.get_compile_config()
    assert config["optimizer"]["class_name"] == "SGD"  # it is wrapped anew where it is loaded


def test_compiling_is_no_state_of_the_layer():
    model = linear()
    plain = {key: value.shape for key, value in model.state_dict().items()}
    model.compile("adam", keras.losses.MeanSquaredError(), metrics=[keras.metrics.MeanAbsoluteError()])
    model.fit(*regression(8), verbose=0)
    assert {key: value.shape for key, value in model.state_dict().items()} == plain
    assert len(model.variables) == 2


def test_a_copy_trains_on_its_own():
    x, y = regression(8)
    model = linear()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, y, verbose=0)
    twin = copy.deepcopy(model)
    before = model.get_weights()
    twin.fit(x, y, verbose=0, shuffle=False)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, verbose=0, shuffle=False)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        close(a, b)


def test_the_state_tree_holds_all_variables_and_sets_them():
    x, y = regression(8)
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1, name="out")], name="net")
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, y, verbose=0)
    tree = model.get_state_tree("numpy_array")
    assert set(tree["metrics_variables"]) == {"loss", "mean_absolute_error"} or "loss" in tree["metrics_variables"]
    np.testing.assert_array_equal(tree["trainable_variables"]["net"]["out"]["kernel"], model.layers[0].kernel.numpy())
    assert tree["optimizer_variables"]["adam"]["iteration"] == 1
    model.fit(x, y, verbose=0)
    model.set_state_tree(tree)
    np.testing.assert_array_equal(tree["trainable_variables"]["net"]["out"]["kernel"], model.layers[0].kernel.numpy())
    assert int(model.optimizer.iterations) == 1
    with pytest.raises(ValueError, match="Unknown variable name: weights"):
        model.set_state_tree({"weights": {}})
    with pytest.raises(ValueError, match="no variable 'net/in'"):
        model.set_state_tree({"trainable_variables": {"net": {"in": 0.0}}})
    with pytest.raises(ValueError, match="Invalid `value_format`"):
        model.get_state_tree("list")
