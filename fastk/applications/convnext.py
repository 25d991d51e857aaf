"""ConvNeXt: Liu et al., 2022, https://arxiv.org/abs/2201.03545."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastk import initializers, layers, ops, random
from fastk.applications.frame import Architecture, Options, build, pooled, public
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.published import APPLICATIONS, Published
from fastk.models import Model, Sequential

__all__ = [
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "decode_predictions",
    "preprocess_input",
]

EPSILON = 1e-6
LAYER_SCALE = 1e-6
MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
VARIANCE = [(0.229 * 255) ** 2, (0.224 * 255) ** 2, (0.225 * 255) ** 2]
# Blocks and filters of the four stages, and the hashes of the weights with and without the classifier.
VARIANTS = {
    "Tiny": (
        (3, 3, 9, 3),
        (96, 192, 384, 768),
        (
            "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
    ),
    "Small": (
        (3, 3, 27, 3),
        (96, 192, 384, 768),
        (
            "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        ),
    ),
    "Base": (
        (3, 3, 27, 3),
        (128, 256, 512, 1024),
        (
            "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        ),
    ),
    "Large": (
        (3, 3, 27, 3),
        (192, 384, 768, 1536),
        (
            "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
            "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        ),
    ),
    "XLarge": (
        (3, 3, 27, 3),
        (256, 512, 1024, 2048),
        (
            "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
            "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        ),
    ),
}


class LayerScale(layers.Layer):
    """Each channel times a weight of its own.

    Args:
        init_values: the weights' first value.
        projection_dim: the number of channels.

    >>> import fastk
    >>> print(LayerScale(0.5, 2)(fastk.ops.ones((1, 2))))
    [[0.5 0.5]]
    """

    _keras_location = ("keras.src.applications.convnext", "LayerScale", "LayerScale")

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, _: Any) -> None:
        """Makes the weights."""
        initializer = initializers.Constant(self.init_values)
        self.gamma = self.add_weight(shape=(self.projection_dim,), initializer=initializer, trainable=True)

    def call(self, x: Any) -> Any:
        """The scaled channels."""
        return x * self.gamma

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "init_values": self.init_values, "projection_dim": self.projection_dim}


class StochasticDepth(layers.Layer):
    """In training, zeros in the place of some samples, and the others scaled up; the identity else.

    Args:
        drop_path_rate: the probability with which a sample is dropped.
    """

    _keras_location = ("keras.src.applications.convnext", "StochasticDepth", "StochasticDepth")

    def __init__(self, drop_path_rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.drop_path_rate = drop_path_rate

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The samples that are kept, scaled."""
        if not training:
            return x
        keep = 1 - self.drop_path_rate
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        return x / keep * ops.floor(keep + random.uniform(shape, 0, 1, dtype=x.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "drop_path_rate": self.drop_path_rate}


def _normalized(x: Any, name: str | None = None) -> Any:
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


def _block(x: Any, filters: int, name: str) -> Any:
    """A depthwise 7x7 convolution, and two dense layers on each pixel's channels."""
    inputs = x
    x = layers.Conv2D(filters, 7, padding="same", groups=filters, name=f"{name}_depthwise_conv")(x)
    x = _normalized(x, f"{name}_layernorm")
    x = layers.Dense(4 * filters, name=f"{name}_pointwise_conv_1")(x)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = layers.Dense(filters, name=f"{name}_pointwise_conv_2")(x)
    x = LayerScale(LAYER_SCALE, filters, name=f"{name}_layer_scale")(x)
    return inputs + layers.Activation("linear", name=f"{name}_identity")(x)


def _stage_entries(filters: tuple[int, ...], name: str) -> list[Sequential]:
    """What each stage begins with: the first divides the image's size by 4, the others by 2."""
    stem = Sequential(
        [
            layers.Conv2D(filters[0], kernel_size=4, strides=4, name=f"{name}_stem_conv"),
            layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_stem_layernorm"),
        ],
        name=f"{name}_stem",
    )
    halving = [
        Sequential(
            [
                layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_downsampling_layernorm_{i}"),
                layers.Conv2D(count, kernel_size=2, strides=2, name=f"{name}_downsampling_conv_{i}"),
            ],
            name=f"{name}_downsampling_block_{i}",
        )
        for i, count in enumerate(filters[1:])
    ]
    return [stem, *halving]


@dataclass(frozen=True)
class Variant:
    """Blocks and filters of the stages, and whether pixel values are normalized in the model."""

    depths: tuple[int, ...]
    filters: tuple[int, ...]
    normalized: bool

    def features(self, x: Any, options: Options) -> Any:
        """Four stages."""
        name = options.name
        if self.normalized and x.shape[-1] == 3:
            x = layers.Normalization(mean=MEAN, variance=VARIANCE, name=f"{name}_prestem_normalization")(x)
        entries = _stage_entries(self.filters, f"{name}")
        for stage, (entry, depth, filters) in enumerate(zip(entries, self.depths, self.filters, strict=True)):
            x = entry(x)
            for i in range(depth):
                x = _block(x, filters, f"{name}_stage_{stage}_block_{i}")
        return x


def _head(x: Any, options: Options) -> Any:
    """The mean of each channel, normalized, and a dense layer."""
    x = layers.GlobalAveragePooling2D(name=f"{options.name}_head_gap")(x)
    x = _normalized(x, f"{options.name}_head_layernorm")
    activation = options.classifier_activation
    return layers.Dense(options.classes, activation=activation, name=f"{options.name}_head_dense")(x)


def _pooled(x: Any, options: Options) -> Any:
    return _normalized(pooled(x, options))


def _application(variant: str) -> Any:
    depths, filters, hashes = VARIANTS[variant]
    stem = f"convnext_{variant.lower()}"
    published = Published(f"{APPLICATIONS}/convnext", f"{stem}.h5", f"{stem}_notop.h5", hashes)

    def make(
        include_top: bool = True,
        include_preprocessing: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = stem,
    ) -> Model:
        options = Options(
            include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name
        )
        features = Variant(depths, filters, include_preprocessing).features
        architecture = Architecture(features, published, head=_head, pool=_pooled, channels_last_only="ConvNeXt")
        return build(architecture, options)

    return public(make, __name__, f"ConvNeXt{variant}", 224)


ConvNeXtTiny = _application("Tiny")
ConvNeXtSmall = _application("Small")
ConvNeXtBase = _application("Base")
ConvNeXtLarge = _application("Large")
ConvNeXtXLarge = _application("XLarge")
preprocess_input = preprocessing(None)
