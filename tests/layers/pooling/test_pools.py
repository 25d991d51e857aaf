import itertools

import numpy as np
import pytest
import torch

from fastk import layers
from tests.layers import oracles
from tests.layers.checks import BATCH, run_layer

SHAPES = {1: (2, 9, 3), 2: (2, 7, 6, 3), 3: (2, 5, 4, 5, 3)}
MAX = {1: layers.MaxPooling1D, 2: layers.MaxPooling2D, 3: layers.MaxPooling3D}
AVERAGE = {1: layers.AveragePooling1D, 2: layers.AveragePooling2D, 3: layers.AveragePooling3D}
GLOBAL_MAX = {1: layers.GlobalMaxPooling1D, 2: layers.GlobalMaxPooling2D, 3: layers.GlobalMaxPooling3D}
GLOBAL_AVERAGE = {1: layers.GlobalAveragePooling1D, 2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}
ADAPTIVE = {
    1: (layers.AdaptiveMaxPooling1D, layers.AdaptiveAveragePooling1D),
    2: (layers.AdaptiveMaxPooling2D, layers.AdaptiveAveragePooling2D),
    3: (layers.AdaptiveMaxPooling3D, layers.AdaptiveAveragePooling3D),
}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pools_do_what_layers_do(rank):
    for cls in (MAX[rank], AVERAGE[rank]):
        run_layer(cls, {"pool_size": 2}, SHAPES[rank], supports_masking=False)
        run_layer(cls, {"pool_size": 2, "strides": 1, "padding": "same"}, SHAPES[rank], expected_shape=SHAPES[rank])
        assert cls(pool_size=2).built, "a layer without weights is built from the start"


@pytest.mark.parametrize(
    ("rank", "padding", "strides", "data_format"),
    [(*case, "channels_last") for case in itertools.product([1, 2, 3], ["valid", "same"], [1, 2, 3, None])]
    + [(rank, "same", 2, "channels_first") for rank in (1, 2, 3)],
)
def test_values(rank, padding, strides, data_format, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    given = x if data_format == "channels_last" else np.moveaxis(x, -1, 1)
    window, steps = (2,) * rank, (strides or 2,) * rank
    for cls, oracle in ((MAX[rank], oracles.max_pool), (AVERAGE[rank], oracles.average_pool)):
        got = np.asarray(cls(2, strides=strides, padding=padding, data_format=data_format)(given))
        got = got if data_format == "channels_last" else np.moveaxis(got, 1, -1)
        oracles.close(got, oracle(x, window, steps, padding), reductions=8)


def test_max_pool_of_negative_values_ignores_padding():
    x = -torch.ones(1, 3, 3, 1)
    assert (layers.MaxPooling2D(2, padding="same")(x) == -1).all()
    assert (layers.AveragePooling2D(2, padding="same")(x) == -1).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools(rank, rng):
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    axes = tuple(range(1, rank + 1))
    for cls, oracle in ((GLOBAL_MAX[rank], np.max), (GLOBAL_AVERAGE[rank], np.mean)):
        for keepdims in (False, True):
            expected = oracle(x.astype("float64"), axis=axes, keepdims=keepdims)
            run_layer(cls, {"keepdims": keepdims}, SHAPES[rank], expected_shape=expected.shape)
            oracles.close(cls(keepdims=keepdims)(x), expected, reductions=100)
            first = cls(keepdims=keepdims, data_format="channels_first")(np.moveaxis(x, -1, 1))
            oracles.close(first, np.moveaxis(expected, -1, 1) if keepdims else expected, reductions=100)


def test_global_average_counts_what_is_not_masked(rng):
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]], bool)
    expected = [x[i, mask[i]].mean(0) for i in range(3)]
    layer = layers.GlobalAveragePooling1D()
    oracles.close(layer(x, mask=torch.as_tensor(mask)), expected, reductions=5)
    oracles.close(
        layers.GlobalAveragePooling1D(keepdims=True)(x, mask=torch.as_tensor(mask))[:, 0], expected, reductions=5
    )
    masked = layers.Masking()(np.where(mask[..., None], x, 0.0))
    outputs = layer(masked)
    oracles.close(outputs, expected, reductions=5)
    assert getattr(outputs, "_keras_mask", None) is None
    assert layer.supports_masking


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_adaptive_pools(rank, rng):
    x = rng.normal(size=(2, *(6,) * rank, 3)).astype("float32")
    for cls, oracle in zip(ADAPTIVE[rank], (oracles.max_pool, oracles.average_pool), strict=True):
        layer, outputs = run_layer(cls, {"output_size": 3}, inputs=x, expected_shape=(2, *(3,) * rank, 3))
        oracles.close(outputs, oracle(x, (2,) * rank, (2,) * rank), reductions=8)
        assert layer.output_size == (3,) * rank
        run_layer(
            cls,
            {"output_size": (2,) * rank, "data_format": "channels_first"},
            (2, 3, *(5,) * rank),
            expected_shape=(2, 3, *(2,) * rank),
            unknown=BATCH,
        )
        with pytest.raises((TypeError, ValueError), match="output_size"):
            cls((1, 2, 3, 4))
        with pytest.raises(TypeError, match="output_size"):
            cls("3")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"pool_size": 0}, "pool_size"),
        ({"pool_size": (2, 2, 2)}, "pool_size"),
        ({"pool_size": 2, "strides": 0}, "strides"),
        ({"pool_size": 2, "padding": "full"}, "padding"),
        ({"pool_size": 2, "data_format": "nhwc"}, "data_format"),
    ],
)
def test_bad_arguments(kwargs, message):
    for cls in (layers.MaxPooling2D, layers.AveragePooling2D):
        with pytest.raises(ValueError, match=message):
            cls(**kwargs)


def test_bad_inputs():
    with pytest.raises(ValueError, match="zero or negative"):
        layers.MaxPooling2D(4).compute_output_shape((None, 3, 3, 1))
    with pytest.raises(ValueError, match="expected ndim=4"):
        layers.MaxPooling2D(2)(torch.ones(3, 3, 1))


def test_aliases():
    for rank in (1, 2, 3):
        assert getattr(layers, f"MaxPool{rank}D") is MAX[rank]
        assert getattr(layers, f"AvgPool{rank}D") is AVERAGE[rank]
        assert getattr(layers, f"GlobalMaxPool{rank}D") is GLOBAL_MAX[rank]
        assert getattr(layers, f"GlobalAvgPool{rank}D") is GLOBAL_AVERAGE[rank]
