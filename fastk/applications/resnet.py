"""ResNet, and what its second version shares with it: He et al., 2016, https://arxiv.org/abs/1512.03385."""

from __future__ import annotations

import functools
from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, channel_axis, pooled_by_name
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels

__all__ = ["ResNet50", "ResNet101", "ResNet152", "decode_predictions", "preprocess_input"]

FILTERS = (64, 128, 256, 512)
# name: blocks of each stage, and the hashes of the weights with and without the classifier
VARIANTS = {
    "ResNet50": ((3, 4, 6, 3), ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626")),
    "ResNet101": ((3, 4, 23, 3), ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21")),
    "ResNet152": ((3, 8, 36, 3), ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c")),
}


def normalized(x: Any, name: str) -> Any:
    """Batch normalization, with the epsilon that the weights were trained with."""
    return layers.BatchNormalization(axis=channel_axis(), epsilon=1.001e-5, name=f"{name}_bn")(x)


def activated(x: Any, name: str) -> Any:
    """Batch normalization and ReLU."""
    return layers.Activation("relu", name=f"{name}_relu")(normalized(x, name))


def stem(x: Any, use_bias: bool, preactivated: bool) -> Any:
    """A 7x7 convolution and a pooling: a quarter of the image's height and width."""
    x = layers.ZeroPadding2D(padding=((3, 3), (3, 3)), name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, use_bias=use_bias, name="conv1_conv")(x)
    if not preactivated:
        x = activated(x, "conv1")
    x = layers.ZeroPadding2D(padding=((1, 1), (1, 1)), name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def block(x: Any, filters: int, stride: int, projected: bool, name: str) -> Any:
    """A bottleneck: 1x1, 3x3 and 1x1 convolutions beside a shortcut, which is projected where sizes change."""
    shortcut = x
    if projected:
        shortcut = normalized(layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x), f"{name}_0")
    x = activated(layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x), f"{name}_1")
    x = activated(layers.Conv2D(filters, 3, padding="SAME", name=f"{name}_2_conv")(x), f"{name}_2")
    x = normalized(layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x), f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def features(depths: tuple[int, ...], x: Any, options: Options) -> Any:
    """Four stages, each but the first at half the size of the one before."""
    x = stem(x, use_bias=True, preactivated=False)
    for stage, (filters, depth) in enumerate(zip(FILTERS, depths, strict=True), 2):
        for i in range(1, depth + 1):
            stride = 2 if i == 1 and stage > 2 else 1
            x = block(x, filters, stride, projected=i == 1, name=f"conv{stage}_block{i}")
    return x


def _application(function: str) -> Any:
    depths, hashes = VARIANTS[function]
    published = tf_kernels("resnet", function.lower(), hashes)
    architecture = Architecture(functools.partial(features, depths), published, pool=pooled_by_name)
    return application(__name__, function, architecture)


ResNet50 = _application("ResNet50")
ResNet101 = _application("ResNet101")
ResNet152 = _application("ResNet152")
preprocess_input = preprocessing("caffe")
