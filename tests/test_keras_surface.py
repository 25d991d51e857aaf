"""Names of Keras that do little: settings that say what fastk is, argument names, and structures."""

import collections

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import config, tree


def test_settings_of_other_backends():
    config.set_backend("torch")
    with pytest.raises(ValueError, match="no other backend"):
        config.set_backend("jax")
    assert config.is_nnx_enabled() is False
    config.disable_traceback_filtering()
    assert config.is_traceback_filtering_enabled() is False
    with pytest.warns(UserWarning, match="does not filter tracebacks"):
        config.enable_traceback_filtering()


def test_paths_of_structures():
    point = collections.namedtuple("point", "x y")
    tree.assert_same_paths([1, {"a": 2}], (3, {"a": 4}))
    tree.assert_same_paths((1, 2), [None, ()[:0] or 3])
    with pytest.raises(ValueError, match=r"only in `b`: .*'c'"):
        tree.assert_same_paths({"a": 1}, {"a": 1, "c": 2})
    with pytest.raises(ValueError, match="paths"):
        tree.assert_same_paths([1], [1, 2])
    tree.assert_same_structure(point(1, 2), point(3, 4))
    with pytest.warns(DeprecationWarning, match="assert_same_paths"):
        tree.assert_same_structure([1], [2], check_types=False)


def test_arguments_by_keras_names():
    assert keras.initializers.serialize(initializer=keras.initializers.Zeros())["class_name"] == "Zeros"
    assert keras.constraints.serialize(constraint=keras.constraints.NonNeg())["class_name"] == "NonNeg"
    assert keras.regularizers.serialize(regularizer=keras.regularizers.L2())["class_name"] == "L2"
    policy = keras.DTypePolicy("float16")
    assert keras.dtype_policies.serialize(dtype_policy=policy)["config"] == {"name": "float16"}
    with keras.device(device_name="cpu"):
        assert keras.ops.zeros(()).device.type == "cpu"
    with pytest.raises(ValueError, match="layout"):
        keras.Variable(1.0, layout="anything")


def test_layers_say_what_is_gone_and_what_torch_sees():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert set(layer.torch_params) == {v.path for v in layer.variables}
    assert layer.quantization_mode is None
    with pytest.raises(NotImplementedError, match="deprecated"):
        layer.add_metric(1)


def test_stateless_compute_loss():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_regularizer="l2")])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    before = model.get_weights()
    kernel, bias = torch.full((3, 1), 2.0), torch.zeros(1)
    loss, (trainable, fixed, metrics) = model.stateless_compute_loss(
        [kernel, bias], [], [v.value for v in model.metrics_variables], x, torch.tensor(y), torch.full((4, 1), 6.0)
    )
    assert float(loss) == pytest.approx(25.0 + 0.01 * 12)
    assert trainable[0] is kernel and fixed == [] and len(metrics) == len(model.metrics_variables)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_early_stopping_tells_the_value():
    callback = keras.callbacks.EarlyStopping("loss")
    assert callback.get_monitor_value({"loss": 2.0}) == 2.0
    with pytest.warns(UserWarning, match="Early stopping conditioned on metric `loss`"):
        assert callback.get_monitor_value({"val_loss": 1.0}) is None


def test_psnr_of_symbolic_images():
    x = keras.KerasTensor((None, 8, 8, 3))
    assert keras.ops.psnr(x, x, 1.0).shape == ()
    with pytest.raises(ValueError, match="rank"):
        keras.ops.psnr(x, keras.KerasTensor((None, 8)), 1.0)
