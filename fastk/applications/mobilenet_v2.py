"""MobileNetV2: Sandler et al., 2018, https://arxiv.org/abs/1801.04381."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastk import layers
from fastk.applications.frame import (
    Architecture,
    Options,
    build,
    channel_axis,
    check_weights,
    classifier,
    documented,
    image_shape,
    rounded,
)
from fastk.applications.imagenet_utils import correct_pad, decode_predictions, preprocessing
from fastk.applications.mobilenet import check_alpha, published_size, rows_and_columns, square_size
from fastk.applications.published import APPLICATIONS, TF_KERNELS, Published
from fastk.graph import KerasTensor
from fastk.models import Model

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]

# Filters, stride and expansion of each inverted residual block.
BLOCKS = (
    (16, 1, 1),
    (24, 2, 6),
    (24, 1, 6),
    (32, 2, 6),
    *((32, 1, 6),) * 2,
    (64, 2, 6),
    *((64, 1, 6),) * 3,
    *((96, 1, 6),) * 3,
    (160, 2, 6),
    *((160, 1, 6),) * 2,
    (320, 1, 6),
)
SIZES = (96, 128, 160, 192, 224)
ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def normalized(x: Any, name: str) -> Any:
    """Batch normalization, as the weights were trained."""
    return layers.BatchNormalization(axis=channel_axis(-1), epsilon=1e-3, momentum=0.999, name=name)(x)


def _block(x: Any, filters: int, stride: int, expansion: int, i: int) -> Any:
    """1x1 expansion, depthwise 3x3 and 1x1 projection, beside a shortcut where the shape stays."""
    inputs, channels = x, x.shape[channel_axis(-1)]
    prefix = f"block_{i}_" if i else "expanded_conv_"
    if i:
        x = layers.Conv2D(expansion * channels, 1, padding="same", use_bias=False, name=f"{prefix}expand")(x)
        x = layers.ReLU(6.0, name=f"{prefix}expand_relu")(normalized(x, f"{prefix}expand_BN"))
    if stride == 2:
        x = layers.ZeroPadding2D(padding=correct_pad(x, 3), name=f"{prefix}pad")(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.DepthwiseConv2D(3, strides=stride, use_bias=False, padding=padding, name=f"{prefix}depthwise")(x)
    x = layers.ReLU(6.0, name=f"{prefix}depthwise_relu")(normalized(x, f"{prefix}depthwise_BN"))
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
    x = normalized(x, f"{prefix}project_BN")
    return layers.Add(name=f"{prefix}add")([inputs, x]) if channels == filters and stride == 1 else x


def check_input_tensor(input_tensor: Any, input_shape: Any) -> None:
    """Raises `ValueError` where the tensor is not symbolic, or of another width than `input_shape`."""
    if input_tensor is None or input_shape is None:
        return
    if not isinstance(input_tensor, KerasTensor):
        raise ValueError(f"input_tensor is not a Keras tensor; Received `input_tensor={input_tensor}`")
    axis = 1 if channel_axis() == 1 else 2
    if input_tensor.shape[axis] != input_shape[1]:
        raise ValueError(
            f"input_tensor.shape[{axis}] must equal input_shape[1]; Received `input_tensor.shape="
            f"{input_tensor.shape}`, `input_shape={input_shape}`"
        )


@documented(224)
def MobileNetV2(  # noqa: N802 - Keras's name
    input_shape: Any = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> Model:
    """A MobileNetV2 model."""
    options = Options(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
    check_weights(options)
    check_input_tensor(input_tensor, input_shape)
    sized_by = input_tensor.shape[1:] if isinstance(input_tensor, KerasTensor) else None
    sized_by = sized_by if input_shape is None else input_shape
    shape = image_shape(options, 224 if sized_by is None else square_size(sized_by, SIZES))
    rows = rows_and_columns(shape)[0]
    if weights == "imagenet":
        check_alpha(alpha, ALPHAS)
        rows = published_size(shape, SIZES)

    def features(x: Any, options: Options) -> Any:
        stem = layers.Conv2D(rounded(32 * alpha), 3, strides=(2, 2), padding="same", use_bias=False, name="Conv1")
        x = layers.ReLU(6.0, name="Conv1_relu")(normalized(stem(x), "bn_Conv1"))
        for i, (filters, stride, expansion) in enumerate(BLOCKS):
            x = _block(x, rounded(int(filters * alpha)), stride, expansion, i)
        filters = rounded(1280 * alpha) if alpha > 1.0 else 1280
        x = normalized(layers.Conv2D(filters, 1, use_bias=False, name="Conv_1")(x), "Conv_1_bn")
        return layers.ReLU(6.0, name="out_relu")(x)

    def head(x: Any, options: Options) -> Any:
        return classifier(x, options, pool_name=None)

    stem = f"mobilenet_v2{TF_KERNELS}_{float(alpha)}_{rows}"
    published = Published(f"{APPLICATIONS}/mobilenet_v2", f"{stem}.h5", f"{stem}_no_top.h5")
    options = dataclasses.replace(options, name=name or f"mobilenetv2_{alpha:0.2f}_{rows}")
    return build(Architecture(features, published, head=head), options, shape)


preprocess_input = preprocessing("tf")
