"""VGG16, and what VGG19 shares with it: Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556."""

from __future__ import annotations

import functools
from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, predictions
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]

FILTERS = (64, 128, 256, 512, 512)


def features(convolutions: tuple[int, ...], x: Any, options: Options) -> Any:
    """Blocks of so many 3x3 convolutions, each followed by a pooling."""
    for block, (filters, count) in enumerate(zip(FILTERS, convolutions, strict=True), 1):
        for i in range(1, count + 1):
            x = layers.Conv2D(filters, (3, 3), activation="relu", padding="same", name=f"block{block}_conv{i}")(x)
        x = layers.MaxPooling2D((2, 2), strides=(2, 2), name=f"block{block}_pool")(x)
    return x


def head(x: Any, options: Options) -> Any:
    """Three dense layers on the flattened features."""
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4096, activation="relu", name="fc1")(x)
    x = layers.Dense(4096, activation="relu", name="fc2")(x)
    return predictions(x, options)


def architecture(name: str, convolutions: tuple[int, ...], hashes: tuple[str, str]) -> Architecture:
    """One of the VGGs."""
    return Architecture(functools.partial(features, convolutions), tf_kernels(name, name, hashes), head=head)


VGG16 = application(
    __name__,
    "VGG16",
    architecture("vgg16", (2, 2, 3, 3, 3), ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")),
)
preprocess_input = preprocessing("caffe")
