import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.layers.checks import run_layer

NOISY = [
    (layers.Dropout, {"rate": 0.4}),
    (layers.GaussianDropout, {"rate": 0.4}),
    (layers.GaussianNoise, {"stddev": 0.4}),
    (layers.AlphaDropout, {"rate": 0.4}),
    (layers.SpatialDropout1D, {"rate": 0.4}),
]


@pytest.mark.parametrize(("cls", "kwargs"), NOISY)
def test_noise_is_for_training(cls, kwargs):
    x = np.ones((4, 50, 8), "float32")
    layer, outputs = run_layer(
        cls, {**kwargs, "seed": 3}, inputs=x, expected_shape=x.shape, seeds=1, supports_masking=True
    )
    assert (outputs.detach().numpy() == 1).all()
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    assert (first != 1).any() and (first != second).any()
    again = cls(**{**kwargs, "seed": 3})
    again(x)
    np.testing.assert_array_equal(
        np.asarray(again(x, training=True)), np.asarray(cls(**{**kwargs, "seed": 3})(x, training=True))
    )
    off = cls(**{name: 0.0 for name in kwargs})
    assert not off._seed_generators and (np.asarray(off(x, training=True)) == 1).all()
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            cls(**{name: bad for name in kwargs})


def test_dropout_keeps_the_mean_and_the_gradient_follows_the_mask():
    x = torch.ones(200, 500, requires_grad=True)
    outputs = torch.as_tensor(layers.Dropout(0.25, seed=1)(x, training=True))
    kept = outputs != 0
    assert torch.allclose(outputs[kept], torch.tensor(1 / 0.75))
    assert abs(kept.float().mean() - 0.75) < 4 * (0.25 * 0.75 / x.numel()) ** 0.5
    (gradient,) = torch.autograd.grad(outputs.sum(), x)
    assert torch.equal(gradient, outputs.detach())
    assert (np.asarray(layers.Dropout(1.0)(x, training=True)) == 0).all()


def test_noise_shape():
    x = torch.ones(6, 20, 5)
    outputs = np.asarray(layers.Dropout(0.5, noise_shape=(None, 1, None))(x, training=True))
    assert (outputs == outputs[:, :1]).all() and len(np.unique(outputs)) == 2
    run_layer(layers.Dropout, {"rate": 0.5, "noise_shape": (None, 1)}, (2, 3), seeds=1)
    for bad in ("ab", 3, (1.5, 1), (0, 1), (-1, 2)):
        with pytest.raises(ValueError, match="noise_shape"):
            layers.Dropout(0.5, noise_shape=bad)


@pytest.mark.parametrize(
    ("cls", "shape", "axes"),
    [
        (layers.SpatialDropout1D, (4, 9, 8), (1,)),
        (layers.SpatialDropout2D, (4, 5, 5, 8), (1, 2)),
        (layers.SpatialDropout3D, (4, 3, 3, 3, 8), (1, 2, 3)),
    ],
)
def test_spatial_dropout_drops_channels(cls, shape, axes):
    layer, _ = run_layer(cls, {"rate": 0.5}, shape, expected_shape=shape, seeds=1)
    outputs = np.asarray(layer(np.ones(shape, "float32"), training=True))
    assert (outputs.min(axes) == outputs.max(axes)).all() and {0.0, 2.0} == set(np.unique(outputs))
    assert set(layer.get_config()) == {"rate", "seed", "name", "dtype"} | ({"data_format"} if len(shape) > 3 else set())
    if len(shape) > 3:
        first = cls(0.5, data_format="channels_first")
        outputs = np.asarray(first(np.ones((4, 8, *shape[1:-1]), "float32"), training=True))
        assert (outputs.min(tuple(a + 1 for a in axes)) == outputs.max(tuple(a + 1 for a in axes))).all()


def test_noise_has_the_asked_moments(rng):
    x = np.zeros((400, 250), "float32")
    error = 4 / x.size**0.5  # four standard errors of a mean
    noise = np.asarray(layers.GaussianNoise(0.3, seed=1)(x, training=True))
    assert abs(noise.mean()) < 0.3 * error and abs(noise.std() - 0.3) < 0.3 * error
    factors = np.asarray(layers.GaussianDropout(0.2, seed=1)(x + 1, training=True))
    assert abs(factors.mean() - 1) < 0.5 * error and abs(factors.std() - 0.5) < 0.5 * error
    x = rng.normal(size=x.shape).astype("float32")
    kept = np.asarray(layers.AlphaDropout(0.3, seed=1)(x, training=True))
    assert abs(kept.mean()) < 3 * error and abs(kept.var() - 1) < 6 * error
    assert (np.asarray(layers.AlphaDropout(1.0)(x, training=True)) == 0).all()


def test_alpha_dropout_noise_shape():
    x = np.zeros((6, 20, 5), "float32")
    outputs = np.asarray(layers.AlphaDropout(0.5, noise_shape=(None, 1, None), seed=1)(x, training=True))
    dropped = outputs == outputs.min()
    assert (dropped == dropped[:, :1]).all() and 0 < dropped.mean() < 1


def test_activity_regularization():
    x = np.array([[1.0, -2.0], [3.0, 0.0]], "float32")
    layer, outputs = run_layer(layers.ActivityRegularization, {"l1": 0.5, "l2": 0.25}, inputs=x, supports_masking=True)
    np.testing.assert_array_equal(outputs.detach(), x)
    (loss,) = layer.losses
    assert loss.item() == (0.5 * 6 + 0.25 * 14) / 2
    assert "activity_regularizer" not in layer.get_config()


def test_masks_pass_through():
    x = keras.layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    for cls, kwargs in NOISY:
        assert cls(**kwargs)(x)._keras_mask.tolist() == [[True, False]]
