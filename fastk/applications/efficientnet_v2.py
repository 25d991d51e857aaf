"""EfficientNetV2: Tan and Le, 2021, https://arxiv.org/abs/2104.00298."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastk import initializers, layers
from fastk.applications.efficientnet import (
    activated,
    conv_initializer,
    convolved,
    dropped_classifier,
    excited,
    normalized,
    with_shortcut,
)
from fastk.applications.frame import Architecture, Options, build, channel_axis, pooled_by_name, public
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import APPLICATIONS, Published
from fastk.models import Model

__all__ = [
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "decode_predictions",
    "preprocess_input",
]

# Stages: fused, stride, expansion, filters in and out, repeats. Fused blocks have one 3x3 convolution where the others
# have a 1x1 and a depthwise one with squeeze-and-excite.
BLOCKS = {
    "b": (
        (True, 1, 1, 32, 16, 1),
        (True, 2, 4, 16, 32, 2),
        (True, 2, 4, 32, 48, 2),
        (False, 2, 4, 48, 96, 3),
        (False, 1, 6, 96, 112, 5),
        (False, 2, 6, 112, 192, 8),
    ),
    "s": (
        (True, 1, 1, 24, 24, 2),
        (True, 2, 4, 24, 48, 4),
        (True, 2, 4, 48, 64, 4),
        (False, 2, 4, 64, 128, 6),
        (False, 1, 6, 128, 160, 9),
        (False, 2, 6, 160, 256, 15),
    ),
    "m": (
        (True, 1, 1, 24, 24, 3),
        (True, 2, 4, 24, 48, 5),
        (True, 2, 4, 48, 80, 5),
        (False, 2, 4, 80, 160, 7),
        (False, 1, 6, 160, 176, 14),
        (False, 2, 6, 176, 304, 18),
        (False, 1, 6, 304, 512, 5),
    ),
    "l": (
        (True, 1, 1, 32, 32, 4),
        (True, 2, 4, 32, 64, 7),
        (True, 2, 4, 64, 96, 7),
        (False, 2, 4, 96, 192, 10),
        (False, 1, 6, 192, 224, 19),
        (False, 2, 6, 224, 384, 25),
        (False, 1, 6, 384, 640, 7),
    ),
}
DROP_CONNECT, DROPOUT, MOMENTUM = 0.2, 0.2, 0.9
MEAN = [0.485, 0.456, 0.406]
VARIANCE = [0.229**2, 0.224**2, 0.225**2]
# Stages, width, depth, image size, and the hashes of the weights with and without the classifier.
VARIANTS = {
    "b0": ("b", 1.0, 1.0, 224, ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff")),
    "b1": ("b", 1.0, 1.1, 240, ("069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37")),
    "b2": ("b", 1.1, 1.2, 260, ("424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb")),
    "b3": ("b", 1.2, 1.4, 300, ("1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856")),
    "s": ("s", 1.0, 1.0, 384, ("e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070")),
    "m": ("m", 1.0, 1.0, 480, ("a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342")),
    "l": ("l", 1.0, 1.0, 480, ("27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615")),
}


@dataclass(frozen=True)
class Variant:
    """The stages, how wide and deep they are scaled, and whether pixel values are scaled in the model."""

    kind: str
    width: float
    depth: float
    scaled: bool

    def features(self, x: Any, options: Options) -> Any:
        """A stem, the stages of blocks, a 1x1 convolution."""
        if self.scaled:
            x = self._normalized_pixels(x)
        blocks = BLOCKS[self.kind]
        x = activated(convolved(x, self._filters(blocks[0][3]), 3, "stem_conv", strides=2), "stem_", MOMENTUM)
        done, total = 0, sum(block[-1] for block in blocks)
        for i, (fused, stride, expansion, filters_in, filters_out, repeats) in enumerate(blocks):
            filters_in, filters_out = self._filters(filters_in), self._filters(filters_out)
            for j in range(math.ceil(self.depth * repeats)):
                prefix, rate = f"block{i + 1}{chr(ord('a') + j)}_", DROP_CONNECT * done / total
                inputs, block = x, _fused_block if fused else _block
                x = block(x, filters_in, filters_out, expansion, stride, prefix)
                if stride == 1 and filters_in == filters_out:
                    x = with_shortcut(x, inputs, rate, prefix)
                filters_in, stride, done = filters_out, 1, done + 1
        return activated(convolved(x, self._filters(1280), 1, "top_conv"), "top_", MOMENTUM)

    def _filters(self, filters: int) -> int:
        """Scaled, and rounded to a multiple of 8."""
        return max(8, int(filters * self.width + 4) // 8 * 8)

    def _normalized_pixels(self, x: Any) -> Any:
        axis = channel_axis()
        if self.kind == "b" and x.shape[axis] == 3:
            x = layers.Rescaling(scale=1.0 / 255)(x)
            return layers.Normalization(mean=MEAN, variance=VARIANCE, axis=axis)(x)
        return layers.Rescaling(scale=1.0 / 128.0, offset=-1)(x)


def _block(x: Any, filters_in: int, filters_out: int, expansion: int, stride: int, prefix: str) -> Any:
    """1x1 expansion, depthwise convolution, squeeze-and-excite, 1x1 projection."""
    filters = filters_in * expansion
    x = activated(convolved(x, filters, 1, f"{prefix}expand_conv"), f"{prefix}expand_", MOMENTUM)
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=conv_initializer(),
        name=f"{prefix}dwconv2",
    )(x)
    x = excited(activated(x, prefix, MOMENTUM), filters, int(filters_in * 0.25), prefix)
    return normalized(convolved(x, filters_out, 1, f"{prefix}project_conv"), f"{prefix}project_", MOMENTUM)


def _fused_block(x: Any, filters_in: int, filters_out: int, expansion: int, stride: int, prefix: str) -> Any:
    """3x3 expansion and 1x1 projection; without an expansion one 3x3 convolution."""
    if expansion == 1:
        x = convolved(x, filters_out, 3, f"{prefix}project_conv", strides=stride)
        return activated(x, f"{prefix}project_", MOMENTUM)
    x = convolved(x, filters_in * expansion, 3, f"{prefix}expand_conv", strides=stride)
    x = activated(x, f"{prefix}expand_", MOMENTUM)
    return normalized(convolved(x, filters_out, 1, f"{prefix}project_conv"), f"{prefix}project_", MOMENTUM)


def _head(x: Any, options: Options) -> Any:
    return dropped_classifier(x, options, DROPOUT, bias_initializer=initializers.Constant(0.0))


def _application(variant: str) -> Any:
    kind, width, depth, size, hashes = VARIANTS[variant]
    stem = f"efficientnetv2-{variant}"
    published = Published(f"{APPLICATIONS}/efficientnet_v2", f"{stem}.h5", f"{stem}_notop.h5", hashes)

    def make(
        include_top: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        include_preprocessing: bool = True,
        name: str = stem,
    ) -> Model:
        options = Options(
            include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name
        )
        features = Variant(kind, width, depth, include_preprocessing).features
        return build(Architecture(features, published, size, head=_head, pool=pooled_by_name), options)

    return public(make, __name__, f"EfficientNetV2{variant.upper()}", size)


EfficientNetV2B0 = _application("b0")
EfficientNetV2B1 = _application("b1")
EfficientNetV2B2 = _application("b2")
EfficientNetV2B3 = _application("b3")
EfficientNetV2S = _application("s")
EfficientNetV2M = _application("m")
EfficientNetV2L = _application("l")
preprocess_input = preprocessing(None)
