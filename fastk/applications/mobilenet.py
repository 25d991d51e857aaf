"""MobileNet: Howard et al., 2017, https://arxiv.org/abs/1704.04861."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastk import config, layers
from fastk.applications.frame import Architecture, Options, build, channel_axis, check_weights, documented, image_shape
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import APPLICATIONS, Published
from fastk.models import Model
from fastk.user_warning import warn_user

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]

# Filters and stride of each depthwise-separable block.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
SIZES = (128, 160, 192, 224)
ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # and the words for them in the names of files


def rows_and_columns(shape: Any) -> tuple[int | None, int | None]:
    """Height and width of an image's shape."""
    return (shape[1], shape[2]) if config.image_data_format() == "channels_first" else (shape[0], shape[1])


def square_size(shape: Any, sizes: tuple[int, ...]) -> int:
    """The size of a square image among `sizes`, else 224."""
    rows, columns = rows_and_columns(shape)
    return rows if rows is not None and rows == columns and rows in sizes else 224


def published_size(shape: Any, sizes: tuple[int, ...]) -> int:
    """The size for which weights are published, nearest to a shape; warns where it is not the shape's own."""
    rows, columns = rows_and_columns(shape)
    if rows is not None and rows == columns and rows in sizes:
        return rows
    warn_user(
        f"`input_shape` is undefined or non-square, or `rows` is not in {list(sizes)}. Weights for input shape "
        "(224, 224) will be loaded as the default."
    )
    return 224


def _activated(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(axis=channel_axis(-1), name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, filters: int, stride: int, depth_multiplier: int, i: int) -> Any:
    """A depthwise 3x3 convolution, and a 1x1 convolution."""
    if stride == 2:
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{i}")(x)
    x = layers.DepthwiseConv2D(
        (3, 3),
        strides=(stride, stride),
        padding="same" if stride == 1 else "valid",
        depth_multiplier=depth_multiplier,
        use_bias=False,
        name=f"conv_dw_{i}",
    )(x)
    x = _activated(x, f"conv_dw_{i}")
    x = layers.Conv2D(filters, (1, 1), padding="same", use_bias=False, strides=(1, 1), name=f"conv_pw_{i}")(x)
    return _activated(x, f"conv_pw_{i}")


def check_alpha(alpha: float, published: tuple[float, ...]) -> None:
    """Raises `ValueError` for a width for which no weights are published."""
    if alpha not in published:
        raise ValueError(
            f"If imagenet weights are being loaded, alpha can be one of {', '.join(f'`{a}`' for a in published)} only. "
            f"Received alpha={alpha}"
        )


@documented(224)
def MobileNet(  # noqa: N802 - Keras's name
    input_shape: Any = None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 0.001,
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> Model:
    """A MobileNet model."""
    options = Options(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
    check_weights(options)
    shape = image_shape(options, 224 if input_shape is None else square_size(input_shape, SIZES))
    rows = rows_and_columns(shape)[0]
    if weights == "imagenet":
        if depth_multiplier != 1:
            raise ValueError(
                "If imagenet weights are being loaded, depth multiplier must be 1. "
                f"Received depth_multiplier={depth_multiplier}"
            )
        check_alpha(alpha, tuple(ALPHAS))
        rows = published_size(shape, SIZES)

    def features(x: Any, options: Options) -> Any:
        stem = layers.Conv2D(int(32 * alpha), (3, 3), padding="same", use_bias=False, strides=(2, 2), name="conv1")
        x = _activated(stem(x), "conv1")
        for i, (filters, stride) in enumerate(BLOCKS, 1):
            x = _block(x, int(filters * alpha), stride, depth_multiplier, i)
        return x

    def head(x: Any, options: Options) -> Any:
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Conv2D(classes, (1, 1), padding="same", name="conv_preds")(x)
        x = layers.Reshape((classes,), name="reshape_2")(x)
        return layers.Activation(classifier_activation, name="predictions")(x)

    stem = f"mobilenet_{ALPHAS.get(alpha)}_{rows}_tf"
    published = Published(f"{APPLICATIONS}/mobilenet", f"{stem}.h5", f"{stem}_no_top.h5")
    options = dataclasses.replace(options, name=name or f"mobilenet_{alpha:0.2f}_{rows}")
    return build(Architecture(features, published, head=head), options, shape)


preprocess_input = preprocessing("tf")
