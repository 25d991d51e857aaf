"""MobileNetV3: Howard et al., 2019, https://arxiv.org/abs/1905.02244."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastk import config, layers
from fastk.applications.frame import (
    Architecture,
    Options,
    build,
    channel_axis,
    check_weights,
    pooled_by_name,
    public,
    rounded,
)
from fastk.applications.imagenet_utils import correct_pad, decode_predictions, preprocessing
from fastk.applications.mobilenet import check_alpha, published_size, rows_and_columns
from fastk.applications.mobilenet_v2 import check_input_tensor, normalized
from fastk.applications.published import APPLICATIONS, Published
from fastk.graph import KerasTensor
from fastk.models import Model

__all__ = ["MobileNetV3Large", "MobileNetV3Small", "decode_predictions", "preprocess_input"]

# Each block: expansion, filters, kernel size, stride, squeeze-and-excite, hard-swish (else ReLU). The minimalistic
# networks have neither of the last two, and kernels of size 3 alone.
BLOCKS = {
    "small": (
        (1, 16, 3, 2, True, False),
        (72 / 16, 24, 3, 2, False, False),
        (88 / 24, 24, 3, 1, False, False),
        (4, 40, 5, 2, True, True),
        *((6, 40, 5, 1, True, True),) * 2,
        *((3, 48, 5, 1, True, True),) * 2,
        (6, 96, 5, 2, True, True),
        *((6, 96, 5, 1, True, True),) * 2,
    ),
    "large": (
        (1, 16, 3, 1, False, False),
        (4, 24, 3, 2, False, False),
        (3, 24, 3, 1, False, False),
        (3, 40, 5, 2, True, False),
        *((3, 40, 5, 1, True, False),) * 2,
        (6, 80, 3, 2, False, True),
        (2.5, 80, 3, 1, False, True),
        *((2.3, 80, 3, 1, False, True),) * 2,
        *((6, 112, 3, 1, True, True),) * 2,
        (6, 160, 5, 2, True, True),
        *((6, 160, 5, 1, True, True),) * 2,
    ),
}
LAST_FILTERS = {"small": 1024, "large": 1280}
HASHES = {
    "large_224_0.75_float": ("765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"),
    "large_224_1.0_float": ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
    "large_minimalistic_224_1.0_float": ("675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973"),
    "small_224_0.75_float": ("cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"),
    "small_224_1.0_float": ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    "small_minimalistic_224_1.0_float": ("99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4"),
}


@dataclass(frozen=True)
class Variant:
    """Small or large, how wide, minimalistic or not; `scaled` includes the scaling of pixel values."""

    kind: str
    alpha: float
    minimalistic: bool
    dropout_rate: float
    scaled: bool

    def published(self) -> Published:
        """The weights on Keras's server."""
        middle = "_minimalistic" if self.minimalistic else ""
        model = f"{self.kind}{middle}_224_{float(self.alpha)}_float"
        stem = f"weights_mobilenet_v3_{model}"
        return Published(
            f"{APPLICATIONS}/mobilenet_v3", f"{stem}.h5", f"{stem}_no_top_v2.h5", HASHES.get(model, (None, None))
        )

    def activation(self, hard_swish: bool = True) -> Callable[[Any], Any]:
        """The activation of a block."""
        return layers.Activation("hard_swish") if hard_swish and not self.minimalistic else layers.ReLU()

    def features(self, x: Any, options: Options) -> Any:
        """The stem, the blocks and a 1x1 convolution."""
        if self.scaled:
            x = layers.Rescaling(scale=1.0 / 127.5, offset=-1.0)(x)
        x = layers.Conv2D(16, 3, strides=(2, 2), padding="same", use_bias=False, name="conv")(x)
        x = self.activation()(normalized(x, "conv_bn"))
        for i, block in enumerate(BLOCKS[self.kind]):
            x = self._block(x, i, *block)
        filters = rounded(x.shape[channel_axis(-1)] * 6)
        x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name="conv_1")(x)
        return self.activation()(normalized(x, "conv_1_bn"))

    def _block(
        self, x: Any, i: int, expansion: float, filters: int, kernel: int, stride: int, squeeze: bool, hard_swish: bool
    ) -> Any:
        filters = rounded(filters * self.alpha)
        kernel = 3 if self.minimalistic else kernel
        shortcut, channels = x, x.shape[channel_axis(-1)]
        expanded = rounded(channels * expansion)
        prefix = f"expanded_conv_{i}_" if i else "expanded_conv_"
        if i:
            x = layers.Conv2D(expanded, 1, padding="same", use_bias=False, name=f"{prefix}expand")(x)
            x = self.activation(hard_swish)(normalized(x, f"{prefix}expand_bn"))
        if stride == 2:
            x = layers.ZeroPadding2D(padding=correct_pad(x, kernel), name=f"{prefix}depthwise_pad")(x)
        padding = "same" if stride == 1 else "valid"
        depthwise = f"{prefix}depthwise"
        x = layers.DepthwiseConv2D(kernel, strides=stride, padding=padding, use_bias=False, name=depthwise)(x)
        x = self.activation(hard_swish)(normalized(x, f"{depthwise}_bn"))
        if squeeze and not self.minimalistic:
            x = _excited(x, expanded, f"{prefix}squeeze_excite")
        x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
        x = normalized(x, f"{prefix}project_bn")
        return layers.Add(name=f"{prefix}add")([shortcut, x]) if stride == 1 and channels == filters else x

    def head(self, x: Any, options: Options) -> Any:
        """The classifier, of 1x1 convolutions."""
        filters = LAST_FILTERS[self.kind]
        filters = rounded(filters * self.alpha) if self.alpha > 1.0 else filters
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Conv2D(filters, 1, padding="same", use_bias=True, name="conv_2")(x)
        x = self.activation()(x)
        if self.dropout_rate > 0:
            x = layers.Dropout(self.dropout_rate)(x)
        x = layers.Conv2D(options.classes, 1, padding="same", name="logits")(x)
        return layers.Activation(options.classifier_activation, name="predictions")(layers.Flatten()(x))


def _excited(x: Any, filters: int, name: str) -> Any:
    """Squeeze-and-excite: each channel times a factor, which all channels' means decide."""
    factor = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    factor = layers.Conv2D(rounded(filters * 0.25), 1, padding="same", name=f"{name}_conv")(factor)
    factor = layers.ReLU(name=f"{name}_relu")(factor)
    factor = layers.Conv2D(filters, 1, padding="same", name=f"{name}_conv_1")(factor)
    factor = layers.ReLU(6.0)(factor + 3.0) * (1.0 / 6.0)  # the hard sigmoid
    return layers.Multiply(name=f"{name}_mul")([x, factor])


def _image_shape(options: Options) -> tuple:
    """The shape of the image; the network has no fixed one, so without `input_shape` any size is taken."""
    given, channels_first = options.input_tensor, config.image_data_format() == "channels_first"
    check_input_tensor(given, options.input_shape)
    shape = options.input_shape
    if shape is None:
        rows, columns = rows_and_columns(given.shape[1:]) if isinstance(given, KerasTensor) else (None, None)
        shape = (3, rows, columns) if channels_first else (rows, columns, 3)
    rows, columns = rows_and_columns(shape)
    if rows and columns and (rows < 32 or columns < 32):
        raise ValueError(f"Input size must be at least 32x32; Received `input_shape={shape}`")
    return tuple(shape)


def _build(options: Options, variant: Variant) -> Model:
    check_weights(options)
    shape = _image_shape(options)
    if options.weights == "imagenet":
        check_alpha(variant.alpha, (1.0,) if variant.minimalistic else (0.75, 1.0))
        published_size(shape, (224,))
    architecture = Architecture(variant.features, variant.published(), head=variant.head, pool=pooled_by_name)
    return build(architecture, options, shape)


def _application(kind: str) -> Callable[..., Model]:
    function = f"MobileNetV3{kind.title()}"

    def make(
        input_shape: Any = None,
        alpha: float = 1.0,
        minimalistic: bool = False,
        include_top: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        classes: int = 1000,
        pooling: str | None = None,
        dropout_rate: float = 0.2,
        classifier_activation: Any = "softmax",
        include_preprocessing: bool = True,
        name: str = function,
    ) -> Model:
        options = Options(
            include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name
        )
        return _build(options, Variant(kind, alpha, minimalistic, dropout_rate, include_preprocessing))

    return public(make, __name__, function, 224)


MobileNetV3Small = _application("small")
MobileNetV3Large = _application("large")
preprocess_input = preprocessing(None)
