import numpy as np
import pytest
import torch

from fastk import layers
from fastk.tensor import set_keras_mask
from tests.layers.checks import run_layer
from tests.layers.oracles import close

GIVEN = ["gamma", "beta"]
MOVING = ["moving_mean", "moving_variance"]


def normalised(x, gamma, beta, mean, variance, epsilon, axis=-1):
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, variance, gamma, beta = (np.reshape(v, shape) for v in (mean, variance, gamma, beta))
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def others(x, axis):
    return tuple(i for i in range(x.ndim) if i != axis % x.ndim)


def ready(shape, rng, **kwargs):
    layer = layers.BatchNormalization(**kwargs)
    layer.build(shape)
    values = [rng.uniform(0.5, 2.0, v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(values)
    return layer, dict(zip([v.name for v in layer.weights], values, strict=True))


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (2, 3, 5, 4)])
def test_does_what_layers_do(shape):
    kwargs = {"gamma_regularizer": "l2", "beta_constraint": "non_neg"}
    run_layer(
        layers.BatchNormalization,
        kwargs,
        shape,
        expected_shape=shape,
        weights=GIVEN,
        non_trainable=MOVING,
        supports_masking=True,
    )
    run_layer(
        layers.BatchNormalization,
        {"center": False, "axis": 1, "epsilon": 0.1},
        shape,
        weights=["gamma"],
        non_trainable=MOVING,
        unknown="batch",
    )
    run_layer(layers.BatchNormalization, {"scale": False}, shape, weights=["beta"], non_trainable=MOVING)


@pytest.mark.parametrize(("shape", "axis"), [((6, 4), -1), ((3, 5, 4), -1), ((3, 4, 5), 1), ((2, 3, 5, 4), 3)])
def test_training_uses_the_batch_and_moves_the_averages(shape, axis, rng):
    x = rng.normal(3.0, 2.0, shape).astype("float32")
    layer, w = ready(shape, rng, axis=axis, momentum=0.8, epsilon=0.01)
    wide = x.astype("float64")
    mean, variance = wide.mean(others(x, axis)), wide.var(others(x, axis))
    expected = normalised(wide, w["gamma"], w["beta"], mean, variance, 0.01, axis)
    close(layer(x, training=True), expected, reductions=x.size, scale=4.0)
    close(layer.moving_mean, 0.8 * w["moving_mean"] + 0.2 * mean, reductions=x.size)
    close(layer.moving_variance, 0.8 * w["moving_variance"] + 0.2 * variance, reductions=x.size, scale=8.0)


@pytest.mark.parametrize(("shape", "axis"), [((6, 4), -1), ((3, 4, 5), 1), ((2, 3, 5, 4), -1)])
def test_inference_uses_the_averages_and_leaves_them(shape, axis, rng):
    x = rng.normal(size=shape).astype("float32")
    layer, w = ready(shape, rng, axis=axis)
    gamma, beta, mean, variance = (w[name] for name in GIVEN + MOVING)
    expected = normalised(x.astype("float64"), gamma, beta, mean, variance, 1e-3, axis)
    for kwargs in ({}, {"training": False}):
        close(layer(x, **kwargs), expected, scale=8.0)
    layer.trainable = False
    close(layer(x, training=True), expected, scale=8.0)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), w["moving_mean"])


@pytest.mark.parametrize("axis", [-1, 1])
def test_masked_positions_do_not_count(axis, rng):
    x = rng.normal(size=(4, 3, 5)).astype("float32")
    mask = rng.random((4, 3)) < 0.6
    layer, w = ready(x.shape, rng, axis=axis, momentum=0.5)
    counted = np.broadcast_to(mask[..., None], x.shape)
    wide = np.where(counted, x.astype("float64"), np.nan)
    mean, variance = np.nanmean(wide, others(x, axis)), np.nanvar(wide, others(x, axis))
    expected = normalised(x.astype("float64"), w["gamma"], w["beta"], mean, variance, 1e-3, axis)
    close(layer(x, training=True, mask=torch.as_tensor(mask)), expected, reductions=x.size, scale=8.0)
    close(layer.moving_variance, 0.5 * w["moving_variance"] + 0.5 * variance, reductions=x.size)
    attached = torch.as_tensor(x)
    set_keras_mask(attached, torch.as_tensor(mask))
    outputs = layer(attached, training=True)
    close(outputs, expected, reductions=x.size, scale=8.0)
    assert torch.equal(outputs._keras_mask, torch.as_tensor(mask))
    with pytest.raises(ValueError, match="one dimension less"):
        layer(x, training=True, mask=torch.ones(4, dtype=torch.bool))


def test_gradients_go_through_the_statistics(rng):
    x = torch.tensor(rng.normal(size=(5, 3)), requires_grad=True)
    layer = layers.BatchNormalization(dtype="float64")
    layer.build((5, 3))

    def function(x, gamma, beta):
        layer.set_weights([gamma.detach(), beta.detach(), *layer.get_weights()[2:]])
        return layer(x, training=True)

    (gradient,) = torch.autograd.grad((layer(x, training=True) ** 3).sum(), x)
    for i in range(3):  # central differences along each feature of the first sample
        step = torch.zeros(5, 3, dtype=torch.float64)
        step[0, i] = 1e-6
        up, down = ((layer(x.detach() + s, training=True) ** 3).sum() for s in (step, -step))
        assert abs((up - down) / 2e-6 - gradient[0, i]) < 1e-6


def test_renorm_corrects_towards_the_moving_statistics(rng):
    x = rng.normal(1.0, 2.0, (8, 4)).astype("float32")
    clipping = {"rmin": 0.9, "rmax": 1.5, "dmax": 0.2}
    layer, w = ready(x.shape, rng, renorm=True, renorm_clipping=clipping, renorm_momentum=0.7, momentum=0.9)
    wide = x.astype("float64")
    mean, stddev = wide.mean(0), np.sqrt(wide.var(0) + 1e-3)
    r = np.clip(stddev / w["renorm_stddev"], 0.9, 1.5)
    d = np.clip((mean - w["renorm_mean"]) / w["renorm_stddev"], -0.2, 0.2)
    expected = ((wide - mean) / stddev * r + d) * w["gamma"] + w["beta"]
    close(layer(x, training=True), expected, reductions=64, scale=8.0)
    close(layer.renorm_mean, 0.7 * w["renorm_mean"] + 0.3 * mean, reductions=8)
    close(layer.renorm_stddev, 0.7 * w["renorm_stddev"] + 0.3 * stddev, reductions=8)
    moved = 0.9 * w["moving_stddev"] + 0.1 * stddev
    close(layer.moving_variance, moved**2 - 1e-3, reductions=8)
    run_layer(
        layers.BatchNormalization,
        {"renorm": True, "renorm_clipping": clipping},
        (8, 4),
        weights=GIVEN,
        non_trainable=[*MOVING, "moving_stddev", "renorm_mean", "renorm_stddev"],
    )


def test_mistakes():
    for kwargs, message in (
        ({"renorm": True, "renorm_clipping": {"rmax": 1.0, "rmin": 2.0}}, "rmax should be greater"),
        ({"renorm": True, "renorm_clipping": {"dmax": -1.0}}, "dmax should be non-negative"),
        ({"renorm": True, "renorm_clipping": {"max": 1.0}}, "invalid keys"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.BatchNormalization(**kwargs)
    with pytest.raises(ValueError, match="out of bounds"):
        layers.BatchNormalization(axis=3).compute_output_shape((2, 3))
    layer = layers.BatchNormalization()
    layer(torch.ones(2, 3))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(torch.ones(2, 4))


def test_half_inputs_give_half_outputs_and_float_statistics(rng):
    layer = layers.BatchNormalization(dtype="mixed_bfloat16", momentum=0.0)
    outputs = layer(torch.tensor(rng.normal(5.0, 1.0, (64, 3)), dtype=torch.float32), training=True)
    assert outputs.dtype is torch.bfloat16
    assert layer.moving_mean._value.dtype is torch.float32 and abs(layer.moving_mean.numpy() - 5).max() < 0.5


def test_stateless_call_returns_the_new_averages(rng):
    x = rng.normal(size=(6, 4)).astype("float32")
    layer, w = ready(x.shape, rng, momentum=0.5)
    trainable, fixed = [v.value for v in layer.trainable_variables], [v.value for v in layer.non_trainable_variables]
    _, after = layer.stateless_call(trainable, fixed, x, training=True)
    close(after[0], 0.5 * w["moving_mean"] + 0.5 * x.astype("float64").mean(0), reductions=6)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), w["moving_mean"])
