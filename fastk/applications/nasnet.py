"""NASNet-A: Zoph et al., 2018, https://arxiv.org/abs/1707.07012."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, build, check_channels_last, classifier, public
from fastk.applications.imagenet_utils import correct_pad, decode_predictions, preprocessing
from fastk.applications.published import APPLICATIONS, Published
from fastk.models import Model
from fastk.naming import name_scope

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]

RELU, AXIS = "relu", -1


@dataclass(frozen=True)
class Variant:
    """How wide and deep a NASNet is.

    Attributes:
        penultimate: filters of the last feature map.
        cells: normal cells of each of the three stages.
        stem: filters of the first convolution.
        skip_reduction: whether the cell after a reduction takes its second input from before the last normal cell.
    """

    penultimate: int
    cells: int
    stem: int
    skip_reduction: bool

    def features(self, x: Any, options: Options) -> Any:
        """A convolution, two reductions, and three stages of cells with reductions between them."""
        filters = self.penultimate // 24
        x = layers.Conv2D(
            self.stem, (3, 3), strides=(2, 2), padding="valid", use_bias=False, name="stem_conv1",
            kernel_initializer="he_normal",
        )(x)  # fmt: skip
        x = _normalized(x, "stem_bn1")
        x, before = reduction_cell(x, None, filters // 4, "stem_1")
        x, before = reduction_cell(x, before, filters // 2, "stem_2")
        for stage in range(3):
            if stage:
                reduced = reduction_cell(x, before, filters << stage, f"reduce_{stage * self.cells}")
                x, before = reduced[0], before if self.skip_reduction else reduced[1]
            for i in range(self.cells):
                x, before = normal_cell(x, before, filters << stage, f"{stage * (self.cells + 1) - (stage > 1) + i}")
        return layers.Activation(RELU)(x)


def _normalized(x: Any, name: str) -> Any:
    return layers.BatchNormalization(axis=AXIS, momentum=0.9997, epsilon=1e-3, name=name)(x)


def _pointwise(x: Any, filters: int, name: str) -> Any:
    return layers.Conv2D(
        filters, (1, 1), padding="same", use_bias=False, name=name, kernel_initializer="he_normal"
    )(x)  # fmt: skip


def _separable(x: Any, filters: int, kernel: int, block: str, strides: int = 1) -> Any:
    """Two separable convolutions, each after a ReLU and before a normalization; the first with the strides."""
    with name_scope(f"separable_conv_block_{block}"):
        x = layers.Activation(RELU)(x)
        padding = "same"
        if strides == 2:
            x = layers.ZeroPadding2D(padding=correct_pad(x, kernel), name=f"separable_conv_1_pad_{block}")(x)
            padding = "valid"
        for i in (1, 2):
            if i == 2:
                x, strides, padding = layers.Activation(RELU)(x), 1, "same"
            x = layers.SeparableConv2D(
                filters, (kernel, kernel), strides=strides, padding=padding, use_bias=False,
                name=f"separable_conv_{i}_{block}",
            )(x)  # fmt: skip
            x = _normalized(x, f"separable_conv_{i}_bn_{block}")
    return x


def _adjusted(before: Any, x: Any, filters: int, block: str) -> Any:
    """The input from the cell before the last one, in the size and with the channels of this cell."""
    with name_scope("adjust_block"):
        if before is None:
            return x
        if before.shape[-2] != x.shape[-2]:
            with name_scope(f"adjust_reduction_block_{block}"):
                return _halved(before, filters, block)
        if before.shape[AXIS] != filters:
            with name_scope(f"adjust_projection_block_{block}"):
                before = layers.Activation(RELU)(before)
                before = _pointwise(before, filters, f"adjust_conv_projection_{block}")
                return _normalized(before, f"adjust_bn_{block}")
        return before


def _halved(x: Any, filters: int, block: str) -> Any:
    """Every second pixel, and every second one of the image moved by a pixel, each projected to half the filters."""

    def path(x: Any, i: int) -> Any:
        x = layers.AveragePooling2D(
            (1, 1), strides=(2, 2), padding="valid", name=f"adjust_avg_pool_{i}_{block}"
        )(x)  # fmt: skip
        return _pointwise(x, filters // 2, f"adjust_conv_{i}_{block}")

    x = layers.Activation(RELU, name=f"adjust_relu_1_{block}")(x)
    first = path(x, 1)
    moved = layers.ZeroPadding2D(padding=((0, 1), (0, 1)))(x)
    moved = layers.Cropping2D(cropping=((1, 0), (1, 0)))(moved)
    x = layers.concatenate([first, path(moved, 2)], axis=AXIS)
    return _normalized(x, f"adjust_bn_{block}")


def _averaged(x: Any, name: str, strides: int = 1) -> Any:
    padding = "same" if strides == 1 else "valid"
    return layers.AveragePooling2D((3, 3), strides=(strides, strides), padding=padding, name=name)(x)


def _largest(x: Any, name: str) -> Any:
    return layers.MaxPooling2D((3, 3), strides=(2, 2), padding="valid", name=name)(x)


def normal_cell(x: Any, before: Any, filters: int, block: str) -> tuple[Any, Any]:
    """A cell that keeps the size; returns its output, and its input for the cell after the next."""
    with name_scope(f"normal_A_block_{block}"):
        p = _adjusted(before, x, filters, block)
        h = _pointwise(layers.Activation(RELU)(x), filters, f"normal_conv_1_{block}")
        h = _normalized(h, f"normal_bn_1_{block}")

        def add(i: int, *pair: Any) -> Any:
            return layers.add(pair, name=f"normal_add_{i}_{block}")

        with name_scope("block_1"):
            left = _separable(h, filters, 5, f"normal_left1_{block}")
            x1 = add(1, left, _separable(p, filters, 3, f"normal_right1_{block}"))
        with name_scope("block_2"):
            left = _separable(p, filters, 5, f"normal_left2_{block}")
            x2 = add(2, left, _separable(p, filters, 3, f"normal_right2_{block}"))
        with name_scope("block_3"):
            x3 = add(3, _averaged(h, f"normal_left3_{block}"), p)
        with name_scope("block_4"):
            left = _averaged(p, f"normal_left4_{block}")
            x4 = add(4, left, _averaged(p, f"normal_right4_{block}"))
        with name_scope("block_5"):
            x5 = add(5, _separable(h, filters, 3, f"normal_left5_{block}"), h)
        return layers.concatenate([p, x1, x2, x3, x4, x5], axis=AXIS, name=f"normal_concat_{block}"), x


def reduction_cell(x: Any, before: Any, filters: int, block: str) -> tuple[Any, Any]:
    """A cell that halves the size; returns its output, and its input for the cell after the next."""
    with name_scope(f"reduction_A_block_{block}"):
        p = _adjusted(before, x, filters, block)
        h = _pointwise(layers.Activation(RELU)(x), filters, f"reduction_conv_1_{block}")
        h = _normalized(h, f"reduction_bn_1_{block}")
        padded = layers.ZeroPadding2D(padding=correct_pad(h, 3), name=f"reduction_pad_1_{block}")(h)
        with name_scope("block_1"):
            left = _separable(h, filters, 5, f"reduction_left1_{block}", strides=2)
            right = _separable(p, filters, 7, f"reduction_right1_{block}", strides=2)
            x1 = layers.add([left, right], name=f"reduction_add_1_{block}")
        with name_scope("block_2"):
            left = _largest(padded, f"reduction_left2_{block}")
            right = _separable(p, filters, 7, f"reduction_right2_{block}", strides=2)
            x2 = layers.add([left, right], name=f"reduction_add_2_{block}")
        with name_scope("block_3"):
            left = _averaged(padded, f"reduction_left3_{block}", strides=2)
            right = _separable(p, filters, 5, f"reduction_right3_{block}", strides=2)
            x3 = layers.add([left, right], name=f"reduction_add3_{block}")
        with name_scope("block_4"):
            x4 = layers.add([x2, _averaged(x1, f"reduction_left4_{block}")])
        with name_scope("block_5"):
            left = _separable(x1, filters, 3, f"reduction_left4_{block}")
            x5 = layers.add([left, _largest(padded, f"reduction_right5_{block}")], name=f"reduction_add4_{block}")
        return layers.concatenate([x2, x3, x4, x5], axis=AXIS, name=f"reduction_concat_{block}"), x


def _head(x: Any, options: Options) -> Any:
    return classifier(x, options, pool_name=None)


def _application(kind: str, size: int, variant: Variant, hashes: tuple[str, str], needs_shape: bool) -> Callable:
    file, cached = f"NASNet-{kind.lower()}", f"nasnet_{kind.lower()}"
    published = Published(
        f"{APPLICATIONS}/nasnet",
        f"{file}.h5",
        f"{file}-no-top.h5",
        hashes,
        cached=(f"{cached}.h5", f"{cached}_no_top.h5"),
    )
    architecture = Architecture(variant.features, published, size, head=_head)

    def make(
        input_shape: Any = None,
        include_top: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = cached,
    ) -> Model:
        check_channels_last("NASNet")
        if input_shape is None and needs_shape and not include_top:
            input_shape = (size, size, 3)
        if isinstance(input_shape, tuple) and None in input_shape and weights == "imagenet":
            raise ValueError(
                "When specifying the input shape of a NASNet and loading `ImageNet` weights, the input_shape argument "
                f"must be static (no None entries). Got: `input_shape={input_shape}`."
            )
        options = Options(
            include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name
        )
        return build(architecture, options)

    return public(make, __name__, f"NASNet{kind}", size)


NASNetMobile = _application(
    "Mobile",
    224,
    Variant(1056, 4, 32, skip_reduction=False),
    ("020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63"),
    needs_shape=True,
)
NASNetLarge = _application(
    "Large",
    331,
    Variant(4032, 6, 96, skip_reduction=True),
    ("11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5"),
    needs_shape=False,
)
preprocess_input = preprocessing("tf")
