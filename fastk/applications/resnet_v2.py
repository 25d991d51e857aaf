"""ResNetV2, which normalizes before it convolves: He et al., 2016, https://arxiv.org/abs/1603.05027."""

from __future__ import annotations

import functools
from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, pooled_by_name
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels
from fastk.applications.resnet import FILTERS, activated, stem

__all__ = ["ResNet50V2", "ResNet101V2", "ResNet152V2", "decode_predictions", "preprocess_input"]

VARIANTS = {
    "ResNet50V2": ((3, 4, 6, 3), ("3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917")),
    "ResNet101V2": ((3, 4, 23, 3), ("6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5")),
    "ResNet152V2": ((3, 8, 36, 3), ("a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33")),
}


def block(x: Any, filters: int, stride: int, projected: bool, name: str) -> Any:
    """A bottleneck with normalizations before its convolutions."""
    before = activated(x, f"{name}_preact")
    if projected:
        shortcut = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(before)
    else:
        shortcut = layers.MaxPooling2D(1, strides=stride)(x) if stride > 1 else x
    x = layers.Conv2D(filters, 1, strides=1, use_bias=False, name=f"{name}_1_conv")(before)
    x = activated(x, f"{name}_1")
    x = layers.ZeroPadding2D(padding=((1, 1), (1, 1)), name=f"{name}_2_pad")(x)
    x = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(x)
    x = activated(x, f"{name}_2")
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    return layers.Add(name=f"{name}_out")([shortcut, x])


def features(depths: tuple[int, ...], x: Any, options: Options) -> Any:
    """Four stages, each but the last ending at half its size."""
    x = stem(x, use_bias=True, preactivated=True)
    for stage, (filters, depth) in enumerate(zip(FILTERS, depths, strict=True), 2):
        for i in range(1, depth + 1):
            stride = 2 if i == depth and stage < 5 else 1
            x = block(x, filters, stride, projected=i == 1, name=f"conv{stage}_block{i}")
    return activated(x, "post")


def _application(function: str) -> Any:
    depths, hashes = VARIANTS[function]
    published = tf_kernels("resnet", function.lower(), hashes)
    architecture = Architecture(functools.partial(features, depths), published, pool=pooled_by_name)
    return application(__name__, function, architecture)


ResNet50V2 = _application("ResNet50V2")
ResNet101V2 = _application("ResNet101V2")
ResNet152V2 = _application("ResNet152V2")
preprocess_input = preprocessing("tf")
