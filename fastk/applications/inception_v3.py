"""Inception v3: Szegedy et al., 2016, https://arxiv.org/abs/1512.00567."""

from __future__ import annotations

from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, channel_axis
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels

__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]

# A chain of convolutions: (filters, height, width of the kernel) of each.
Chain = tuple[tuple[int, int, int], ...]
CHAINS_OF_5: tuple[Chain, ...] = (((64, 1, 1),), ((48, 1, 1), (64, 5, 5)), ((64, 1, 1), (96, 3, 3), (96, 3, 3)))


def convolved(x: Any, *chain: tuple[int, int, int], padding: str = "same", strides: int = 1) -> Any:
    """Convolutions, each with batch normalization and ReLU; the last one with these strides and this padding."""
    for i, (filters, height, width) in enumerate(chain):
        last = i == len(chain) - 1
        x = layers.Conv2D(
            filters,
            (height, width),
            strides=strides if last else 1,
            padding=padding if last else "same",
            use_bias=False,
        )(x)
        x = layers.BatchNormalization(axis=channel_axis(), scale=False)(x)
        x = layers.Activation("relu")(x)
    return x


def _joined(branches: list, name: str | None = None) -> Any:
    return layers.concatenate(branches, axis=channel_axis(), name=name)


def _mixed(x: Any, chains: tuple[Chain, ...], pool_filters: int, name: str) -> Any:
    """Chains side by side, and an average pooling."""
    branches = [convolved(x, *chain) for chain in chains]
    return _joined([*branches, _averaged(x, pool_filters)], name)


def _averaged(x: Any, filters: int) -> Any:
    x = layers.AveragePooling2D((3, 3), strides=(1, 1), padding="same")(x)
    return convolved(x, (filters, 1, 1))


def _reduced(x: Any, chains: tuple[Chain, ...], name: str) -> Any:
    """Chains that halve the image, and a maximum pooling."""
    branches = [convolved(x, *chain, strides=2, padding="valid") for chain in chains]
    return _joined([*branches, layers.MaxPooling2D((3, 3), strides=(2, 2))(x)], name)


def _forked(x: Any, filters: int, name: str | None = None) -> Any:
    return _joined([convolved(x, (filters, 1, 3)), convolved(x, (filters, 3, 1))], name)


def _expanded(x: Any, i: int) -> Any:
    """The last modules, whose branches fork."""
    single = convolved(x, (320, 1, 1))
    fork = _forked(convolved(x, (384, 1, 1)), 384, f"mixed9_{i}")
    longer_fork = _forked(convolved(x, (448, 1, 1), (384, 3, 3)), 384)
    return _joined([single, fork, longer_fork, _averaged(x, 192)], f"mixed{9 + i}")


def _chains_of_7(n: int) -> tuple[Chain, ...]:
    """7x7 convolutions in two steps, 1x7 and 7x1, once and twice."""
    once = ((n, 1, 1), (n, 1, 7), (192, 7, 1))
    twice = ((n, 1, 1), (n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7))
    return ((192, 1, 1),), once, twice


def features(x: Any, options: Options) -> Any:
    """A stem, and eleven modules of branches."""
    x = convolved(x, (32, 3, 3), strides=2, padding="valid")
    x = convolved(x, (32, 3, 3), padding="valid")
    x = convolved(x, (64, 3, 3))
    x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    x = convolved(x, (80, 1, 1), padding="valid")
    x = convolved(x, (192, 3, 3), padding="valid")
    x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    for i, pool_filters in enumerate((32, 64, 64)):
        x = _mixed(x, CHAINS_OF_5, pool_filters, f"mixed{i}")
    x = _reduced(x, (((384, 3, 3),), ((64, 1, 1), (96, 3, 3), (96, 3, 3))), "mixed3")
    for i, filters in enumerate((128, 160, 160, 192), 4):
        x = _mixed(x, _chains_of_7(filters), 192, f"mixed{i}")
    x = _reduced(x, (((192, 1, 1), (320, 3, 3)), ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3))), "mixed8")
    for i in range(2):
        x = _expanded(x, i)
    return x


InceptionV3 = application(
    __name__,
    "InceptionV3",
    Architecture(
        features,
        tf_kernels(
            "inception_v3", "inception_v3", ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63")
        ),
        size=299,
        least_size=75,
    ),
    name="inception_v3",
)
preprocess_input = preprocessing("tf")
