"""Xception: Chollet, 2017, https://arxiv.org/abs/1610.02357."""

from __future__ import annotations

from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, channel_axis
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels

__all__ = ["Xception", "decode_predictions", "preprocess_input"]

# Blocks that halve the image: number, filters of the two convolutions.
ENTRY = ((2, 128, 128), (3, 256, 256), (4, 728, 728))
EXIT = (13, 728, 1024)


def _normalized(x: Any, name: str | None = None) -> Any:
    return layers.BatchNormalization(axis=channel_axis(-1), name=name)(x)


def _relu(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=f"{name}_act")(x)


def _convolved(x: Any, filters: int, name: str, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, (3, 3), strides=strides, use_bias=False, name=name)(x)
    return _relu(_normalized(x, f"{name}_bn"), name)


def _separable(x: Any, filters: int, name: str) -> Any:
    x = layers.SeparableConv2D(filters, (3, 3), padding="same", use_bias=False, name=name)(x)
    return _normalized(x, f"{name}_bn")


def _halving(x: Any, block: int, filters: tuple[int, int]) -> Any:
    name = f"block{block}"
    residual = layers.Conv2D(filters[1], (1, 1), strides=(2, 2), padding="same", use_bias=False)(x)
    residual = _normalized(residual)
    if block > 2:  # the stem ends with a ReLU
        x = _relu(x, f"{name}_sepconv1")
    x = _separable(x, filters[0], f"{name}_sepconv1")
    x = _separable(_relu(x, f"{name}_sepconv2"), filters[1], f"{name}_sepconv2")
    x = layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same", name=f"{name}_pool")(x)
    return layers.add([x, residual])


def features(x: Any, options: Options) -> Any:
    """The entry, middle and exit flows."""
    x = _convolved(x, 32, "block1_conv1", strides=2)
    x = _convolved(x, 64, "block1_conv2")
    for block, *filters in ENTRY:
        x = _halving(x, block, (filters[0], filters[1]))
    for block in range(5, 13):
        residual = x
        for i in (1, 2, 3):
            name = f"block{block}_sepconv{i}"
            x = _separable(_relu(x, name), 728, name)
        x = layers.add([x, residual])
    x = _halving(x, EXIT[0], EXIT[1:])
    for i, filters in enumerate((1536, 2048), 1):
        name = f"block14_sepconv{i}"
        x = _relu(_separable(x, filters, name), name)
    return x


Xception = application(
    __name__,
    "Xception",
    Architecture(
        features,
        tf_kernels("xception", "xception", ("0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97")),
        size=299,
        least_size=71,
    ),
)
preprocess_input = preprocessing("tf")
