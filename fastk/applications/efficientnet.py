"""EfficientNet: Tan and Le, 2019, https://arxiv.org/abs/1905.11946."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastk import layers
from fastk.applications.frame import (
    Architecture,
    Options,
    application,
    channel_axis,
    pooled_by_name,
    predictions,
    rounded,
)
from fastk.applications.imagenet_utils import correct_pad, decode_predictions, preprocessing
from fastk.applications.published import ORIGIN, Published
from fastk.initializers import VarianceScaling

__all__ = [
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "decode_predictions",
    "preprocess_input",
]

# The blocks of B0, from which the others are scaled: kernel size, repeats, filters in and out, expansion, stride.
BLOCKS = (
    (3, 1, 32, 16, 1, 1),
    (3, 2, 16, 24, 6, 2),
    (5, 2, 24, 40, 6, 2),
    (3, 3, 40, 80, 6, 2),
    (5, 3, 80, 112, 6, 1),
    (5, 4, 112, 192, 6, 2),
    (3, 1, 192, 320, 6, 1),
)
DROP_CONNECT = 0.2
SWISH = "swish"
DEVIATION = (0.229, 0.224, 0.225)
# Width, depth, image size, dropout, and the hashes of the weights with and without the classifier.
VARIANTS = {
    "b0": (1.0, 1.0, 224, 0.2, ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d")),
    "b1": (1.0, 1.1, 240, 0.2, ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432")),
    "b2": (1.1, 1.2, 260, 0.3, ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39")),
    "b3": (1.2, 1.4, 300, 0.3, ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226")),
    "b4": (1.4, 1.8, 380, 0.4, ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba")),
    "b5": (1.6, 2.2, 456, 0.4, ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f")),
    "b6": (1.8, 2.6, 528, 0.5, ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743")),
    "b7": (2.0, 3.1, 600, 0.5, ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a")),
}


def conv_initializer() -> VarianceScaling:
    """He's, by the number of outputs."""
    return VarianceScaling(scale=2.0, mode="fan_out", distribution="truncated_normal")


def dense_initializer() -> VarianceScaling:
    """The classifier's."""
    return VarianceScaling(scale=1.0 / 3.0, mode="fan_out", distribution="uniform")


def convolved(x: Any, filters: int, kernel: int, name: str, **options: Any) -> Any:
    """A convolution without bias; by default with padding."""
    options = {"padding": "same", "use_bias": False, **options}
    return layers.Conv2D(filters, kernel, kernel_initializer=conv_initializer(), name=name, **options)(x)


def normalized(x: Any, prefix: str, momentum: float = 0.99) -> Any:
    """Batch normalization."""
    return layers.BatchNormalization(axis=channel_axis(), momentum=momentum, name=f"{prefix}bn")(x)


def activated(x: Any, prefix: str, momentum: float = 0.99) -> Any:
    """Batch normalization and swish."""
    return layers.Activation(SWISH, name=f"{prefix}activation")(normalized(x, prefix, momentum))


def excited(x: Any, filters: int, reduced: int, prefix: str) -> Any:
    """Squeeze-and-excite: each channel times a factor, which all channels' means decide."""
    factor = layers.GlobalAveragePooling2D(name=f"{prefix}se_squeeze")(x)
    shape = (filters, 1, 1) if channel_axis() == 1 else (1, 1, filters)
    factor = layers.Reshape(shape, name=f"{prefix}se_reshape")(factor)
    factor = convolved(factor, max(1, int(reduced)), 1, f"{prefix}se_reduce", activation=SWISH, use_bias=True)
    factor = convolved(factor, filters, 1, f"{prefix}se_expand", activation="sigmoid", use_bias=True)
    return layers.multiply([x, factor], name=f"{prefix}se_excite")


def with_shortcut(x: Any, inputs: Any, drop_rate: float, prefix: str) -> Any:
    """The sum of both; in training `x` is left out for some samples."""
    if drop_rate > 0:
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
    return layers.add([x, inputs], name=f"{prefix}add")


def _block(x: Any, kernel: int, channels: tuple[int, int], expansion: int, stride: int, rate: float, name: str) -> Any:
    """1x1 expansion, depthwise convolution, squeeze-and-excite, 1x1 projection, beside a shortcut."""
    (filters_in, filters_out), prefix = channels, f"{name}_"
    inputs, filters = x, filters_in * expansion
    if expansion != 1:
        x = activated(convolved(x, filters, 1, f"{prefix}expand_conv"), f"{prefix}expand_")
    if stride == 2:
        x = layers.ZeroPadding2D(padding=correct_pad(x, kernel), name=f"{prefix}dwconv_pad")(x)
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        depthwise_initializer=conv_initializer(),
        name=f"{prefix}dwconv",
    )(x)
    x = excited(activated(x, prefix), filters, int(filters_in * 0.25), prefix)
    x = convolved(x, filters_out, 1, f"{prefix}project_conv")
    x = normalized(x, f"{prefix}project_")
    return with_shortcut(x, inputs, rate, prefix) if stride == 1 and filters_in == filters_out else x


@dataclass(frozen=True)
class Variant:
    """How wide and deep, and the dropout before the classifier."""

    width: float
    depth: float
    dropout: float

    def features(self, x: Any, options: Options) -> Any:
        """Pixel values normalized, a stem, seven stages of blocks, a 1x1 convolution."""
        x = layers.Rescaling(1.0 / 255.0)(x)
        x = layers.Normalization(axis=channel_axis())(x)
        if options.weights == "imagenet":  # the published weights were made for pixels divided by these too
            x = layers.Rescaling([1.0 / math.sqrt(deviation) for deviation in DEVIATION])(x)
        x = layers.ZeroPadding2D(padding=correct_pad(x, 3), name="stem_conv_pad")(x)
        x = activated(convolved(x, rounded(32 * self.width), 3, "stem_conv", strides=2, padding="valid"), "stem_")
        repeats = [math.ceil(self.depth * block[1]) for block in BLOCKS]
        done, total = 0, sum(repeats)
        for i, (kernel, _, *channels, expansion, stride) in enumerate(BLOCKS):
            filters_in, filters_out = (rounded(c * self.width) for c in channels)
            for j in range(repeats[i]):
                name, rate = f"block{i + 1}{chr(ord('a') + j)}", DROP_CONNECT * done / total
                x = _block(x, kernel, (filters_in, filters_out), expansion, stride, rate, name)
                filters_in, stride, done = filters_out, 1, done + 1
        return activated(convolved(x, rounded(1280 * self.width), 1, "top_conv"), "top_")

    def head(self, x: Any, options: Options) -> Any:
        """Mean, dropout, classifier."""
        return dropped_classifier(x, options, self.dropout)


def dropped_classifier(x: Any, options: Options, rate: float, **dense: Any) -> Any:
    """The mean of each channel, dropout, and a dense layer."""
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(rate, name="top_dropout")(x)
    return predictions(x, options, kernel_initializer=dense_initializer(), **dense)


def _application(name: str) -> Any:
    width, depth, size, dropout, hashes = VARIANTS[name]
    variant, stem = Variant(width, depth, dropout), f"efficientnet{name}"
    published = Published(f"{ORIGIN}/keras-applications", f"{stem}.h5", f"{stem}_notop.h5", hashes)
    architecture = Architecture(variant.features, published, size, head=variant.head, pool=pooled_by_name)
    return application(__name__, f"EfficientNet{name.upper()}", architecture)


EfficientNetB0 = _application("b0")
EfficientNetB1 = _application("b1")
EfficientNetB2 = _application("b2")
EfficientNetB3 = _application("b3")
EfficientNetB4 = _application("b4")
EfficientNetB5 = _application("b5")
EfficientNetB6 = _application("b6")
EfficientNetB7 = _application("b7")
preprocess_input = preprocessing(None)
