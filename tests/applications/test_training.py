"""Applications run the same by their plan, fused and replayed, as layer by layer."""

import numpy as np
import pytest

import fastk as keras
from tests.applications import cases

OPTIONS = {"input_shape": (32, 32, 3), "classes": 10, "classifier_activation": None}


def trained(name, options, run_eagerly):
    """Predictions before training, and the losses and weights of three steps."""
    model = cases.made(keras, name, {**OPTIONS, **options})
    cases.randomise(model)
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=run_eagerly)
    x = cases.images(model) / 255
    x = np.concatenate([x, 0.5 * x[::-1]])
    before = model.predict_on_batch(x)
    losses = [model.train_on_batch(x, np.zeros((4, 10), "float32")) for _ in range(3)]
    return model, before, losses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MobileNetV2", {"alpha": 0.35}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in ("ResNet50", "EfficientNetB0", "DenseNet121")),
    ],
)
def test_fused_and_replayed_is_what_layers_compute(name, options):
    model, before, losses = trained(name, options, run_eagerly=False)
    by_layers, expected, expected_losses = trained(name, options, run_eagerly=True)
    # Normalizations and activations are in the convolutions.
    assert len(model.graph(fused=True)) < 0.75 * len(model.graph())
    np.testing.assert_allclose(before, expected, rtol=0, atol=cases.tolerance(model) * np.abs(expected).max())
    # In training nothing is folded into weights: the same sums in the same order.
    np.testing.assert_allclose(losses, expected_losses, rtol=cases.tolerance(model))
    for a, b in zip(model.weights, by_layers.weights, strict=True):
        scale = np.abs(b.numpy()).max(initial=0.0)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=cases.tolerance(model) * scale)
