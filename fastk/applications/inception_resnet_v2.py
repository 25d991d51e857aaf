"""Inception-ResNet v2: Szegedy et al., 2017, https://arxiv.org/abs/1602.07261."""

from __future__ import annotations

from typing import Any

from fastk import layers
from fastk.applications.frame import Architecture, Options, application, channel_axis
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import tf_kernels

__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]

# The branches of each block: chains of (filters, kernel size).
BLOCKS = {
    "block35": (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))),
    "block17": (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))),
    "block8": (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))),
}
STEM_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
REDUCTION_6A = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
REDUCTION_7A = (((256, 1), (384, 3)), ((256, 1), (288, 3)), ((256, 1), (288, 3), (320, 3)))


class CustomScaleLayer(layers.Layer):
    """`a + scale * b` of inputs `[a, b]`: a residual connection that is scaled down for stability.

    Args:
        scale: the factor.

    >>> import fastk
    >>> print(CustomScaleLayer(0.5)([fastk.ops.ones((2,)), fastk.ops.ones((2,))]))
    [1.5 1.5]
    """

    _keras_location = ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer", "CustomScaleLayer")

    def __init__(self, scale: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """The scaled sum."""
        return inputs[0] + inputs[1] * self.scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the first input."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


def _convolved(
    x: Any, *chain: tuple[int, Any], padding: str = "same", strides: int = 1, name: str | None = None
) -> Any:
    """Convolutions, each with batch normalization and ReLU; the last one with these strides and this padding."""
    for i, (filters, kernel) in enumerate(chain):
        how = {"strides": strides, "padding": padding} if i == len(chain) - 1 else {"strides": 1, "padding": "same"}
        x = layers.Conv2D(filters, kernel, use_bias=False, name=name, **how)(x)
        x = layers.BatchNormalization(axis=channel_axis(), scale=False, name=name and f"{name}_bn")(x)
        x = layers.Activation("relu", name=name and f"{name}_ac")(x)
    return x


def _joined(branches: list, name: str) -> Any:
    return layers.Concatenate(axis=channel_axis(), name=name)(branches)


def _reduced(x: Any, chains: Any, name: str) -> Any:
    """Chains that halve the image, and a maximum pooling."""
    branches = [_convolved(x, *chain, strides=2, padding="valid") for chain in chains]
    return _joined([*branches, layers.MaxPooling2D(3, strides=2, padding="valid")(x)], name)


def _residual(x: Any, kind: str, i: int, scale: float, activated: bool = True) -> Any:
    """The input, and a scaled projection of some branches."""
    name = f"{kind}_{i}"
    mixed = _joined([_convolved(x, *chain) for chain in BLOCKS[kind]], f"{name}_mixed")
    filters = x.shape[channel_axis()]
    up = layers.Conv2D(filters, 1, strides=1, padding="same", use_bias=True, name=f"{name}_conv")(mixed)
    x = CustomScaleLayer(scale)([x, up])
    return layers.Activation("relu", name=f"{name}_ac")(x) if activated else x


def features(x: Any, options: Options) -> Any:
    """A stem, and 10, 20 and 10 residual blocks with reductions between them."""
    x = _convolved(x, (32, 3), strides=2, padding="valid")
    x = _convolved(x, (32, 3), padding="valid")
    x = _convolved(x, (64, 3))
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = _convolved(x, (80, 1), padding="valid")
    x = _convolved(x, (192, 3), padding="valid")
    x = layers.MaxPooling2D(3, strides=2)(x)
    branches = [_convolved(x, *chain) for chain in STEM_5B]
    average = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = _joined([*branches, _convolved(average, (64, 1))], "mixed_5b")
    for i in range(1, 11):
        x = _residual(x, "block35", i, 0.17)
    x = _reduced(x, REDUCTION_6A, "mixed_6a")
    for i in range(1, 21):
        x = _residual(x, "block17", i, 0.1)
    x = _reduced(x, REDUCTION_7A, "mixed_7a")
    for i in range(1, 10):
        x = _residual(x, "block8", i, 0.2)
    x = _residual(x, "block8", 10, 1.0, activated=False)
    return _convolved(x, (1536, 1), name="conv_7b")


InceptionResNetV2 = application(
    __name__,
    "InceptionResNetV2",
    Architecture(
        features,
        tf_kernels(
            "inception_resnet_v2",
            "inception_resnet_v2",
            ("e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"),
        ),
        size=299,
        least_size=75,
    ),
    name="inception_resnet_v2",
)
preprocess_input = preprocessing("tf")
