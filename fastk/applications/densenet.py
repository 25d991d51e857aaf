"""DenseNet: Huang et al., 2017, https://arxiv.org/abs/1608.06993."""

from __future__ import annotations

import functools
from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, channel_axis, pooled_by_name
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels
from fastk.applications.resnet import activated

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]

GROWTH = 32
VARIANTS = {
    "DenseNet121": ((6, 12, 24, 16), ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738")),
    "DenseNet169": ((6, 12, 32, 32), ("d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b")),
    "DenseNet201": ((6, 12, 48, 32), ("1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1")),
}


def block(x: Any, name: str) -> Any:
    """`GROWTH` new channels beside those that there are."""
    new = activated(x, f"{name}_0")
    new = layers.Conv2D(4 * GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(new)
    new = activated(new, f"{name}_1")
    new = layers.Conv2D(GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(new)
    return layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")([x, new])


def transition(x: Any, name: str) -> Any:
    """Half the channels, at half the size."""
    x = activated(x, name)
    x = layers.Conv2D(x.shape[channel_axis()] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def features(depths: tuple[int, ...], x: Any, options: Options) -> Any:
    """Four stages of blocks with transitions between them."""
    x = layers.ZeroPadding2D(padding=((3, 3), (3, 3)))(x)
    x = activated(layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x), "conv1")
    x = layers.ZeroPadding2D(padding=((1, 1), (1, 1)))(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, depth in enumerate(depths, 2):
        if stage > 2:
            x = transition(x, f"pool{stage - 1}")
        for i in range(1, depth + 1):
            x = block(x, f"conv{stage}_block{i}")
    x = layers.BatchNormalization(axis=channel_axis(), epsilon=1.001e-5, name="bn")(x)
    return layers.Activation("relu", name="relu")(x)


def _application(function: str) -> Any:
    depths, hashes = VARIANTS[function]
    published = tf_kernels("densenet", function.lower(), hashes)
    body = functools.partial(features, depths)
    return application(
        __name__, function, Architecture(body, published, pool=pooled_by_name, channels_last_only="DenseNet")
    )


DenseNet121 = _application("DenseNet121")
DenseNet169 = _application("DenseNet169")
DenseNet201 = _application("DenseNet201")
preprocess_input = preprocessing("torch")
