"""The applications, and what is looked at in a model: the same code for Keras's and for fastk's."""

import hashlib
import json

import numpy as np

NAMES = [
    "VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2", "MobileNet",
    "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "DenseNet121", "DenseNet169", "DenseNet201", "Xception",
    "InceptionV3", "InceptionResNetV2", "NASNetMobile", "NASNetLarge", "EfficientNetB0", "EfficientNetB1",
    "EfficientNetB2", "EfficientNetB3", "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2S",
    "EfficientNetV2M", "EfficientNetV2L", "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge",
    "ConvNeXtXLarge",
]  # fmt: skip


def _small(size: int, **options):
    return {"input_shape": (size, size, 3), "classes": 7, "classifier_activation": None, **options}


# One of each family or more, at small sizes; logits, which do not saturate.
NUMBERS = {
    "VGG16": {"include_top": False, "input_shape": (32, 32, 3), "pooling": "max"},
    "ResNet50": _small(48),
    "ResNet50V2": _small(48),
    "MobileNet": _small(48, alpha=0.5, depth_multiplier=2),
    "MobileNetV2": _small(48, alpha=0.35),
    "MobileNetV3Small": _small(48),
    "MobileNetV3Large": _small(48, minimalistic=True),
    "DenseNet121": _small(48),
    "Xception": _small(71),
    "InceptionV3": _small(75),
    "InceptionResNetV2": _small(75),
    "NASNetMobile": _small(64),
    "EfficientNetB0": _small(48),
    "EfficientNetV2B0": _small(48),
    "EfficientNetV2S": {"include_top": False, "input_shape": (32, 32, 3), "pooling": "avg"},
    "ConvNeXtTiny": _small(32),
}
# Those that Keras saves in its old format too: one with nested models, and a small one.
SAVED = ("MobileNetV2", "ConvNeXtTiny")


def made(keras, name, options):
    """A model without weights to load, its names counted from nothing."""
    keras.utils.clear_session()
    return getattr(keras.applications, name)(weights=None, **options)


def structure(model):
    """`[name, parameters, layers, weights, digest]`, the last of all layers' names and kinds and all weights' paths and
    shapes, in order."""
    layers = [[layer.name, type(layer).__name__] for layer in model.layers]
    weights = [[weight.path, list(weight.shape), weight.trainable] for weight in model.weights]
    text = json.dumps([layers, weights, list(model.output_shape)])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return [model.name, model.count_params(), len(layers), len(weights), digest]


def randomise(model):
    """Gives every weight a value that matters and keeps activations in range, those of batch normalization too."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.path.split("/")[-1]
        if "kernel" in name:
            fan_in = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:-1])
            value = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        elif name in ("gamma", "moving_variance", "variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name == "count":
            value = np.zeros(shape, "int32")
        else:  # biases and means; `variable` is the scale of a ConvNeXt's layer
            value = rng.standard_normal(shape) * 0.1 + (name.startswith("variable"))
        weight.assign(value.astype("float32") if value.dtype.kind == "f" else value)


def images(model):
    """Two images of pixel values."""
    return np.random.default_rng(1).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")


def tolerance(model):
    """Of outputs relative to their largest: the rounding of sums of the longest length, once a weighted layer."""
    longest = max(int(np.prod(weight.shape[:-1])) for weight in model.weights)
    depth = sum(len(weight.shape) > 1 for weight in model.weights)
    return float(np.finfo(np.float32).eps * np.sqrt(longest * depth))
