"""What all applications have in common: the arguments, the image that comes in, the classifier, the weights.

A family is a function from an image to features; `build` puts the rest around it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastk import config, layers
from fastk.applications.imagenet_utils import obtain_input_shape, validate_activation
from fastk.applications.published import Published
from fastk.graph import KerasTensor, get_source_inputs
from fastk.models import Model
from fastk.user_warning import warn_user

ARGUMENTS = {
    "include_top": "whether the classifier is part of the model.",
    "include_preprocessing": "whether the model takes pixel values in [0, 255] and scales them itself.",
    "weights": '`"imagenet"` (downloaded once, into `~/.keras/models`), the path of a file of weights (`.weights.h5`,\n'
    "            `.keras`, or Keras's old `.h5`), or None for random ones.",
    "input_tensor": "a KerasTensor to use as the image, in place of a new `Input`.",
    "input_shape": "the image's shape without the batch; for one of another size than {size}.",
    "alpha": "the width of the network: the number of filters in each layer is multiplied by it.",
    "depth_multiplier": "the number of outputs of a depthwise convolution for each channel.",
    "minimalistic": "whether to leave out what is slow on phones: squeeze-and-excite, hard-swish, 5x5 kernels.",
    "dropout": "the rate of dropout before the classifier.",
    "dropout_rate": "the rate of dropout before the classifier.",
    "pooling": 'for `include_top=False`: `"avg"` or `"max"` for one vector an image, None for the feature map.',
    "classes": "the number of classes.",
    "classifier_activation": "the activation of the classifier; None for logits.",
    "name": "the model's name.",
}


@dataclass(frozen=True)
class Options:
    """The arguments that every application takes; see `ARGUMENTS`."""

    include_top: bool
    weights: Any
    input_tensor: Any
    input_shape: Any
    pooling: str | None
    classes: int
    classifier_activation: Any
    name: str | None


@dataclass(frozen=True)
class Architecture:
    """What is particular to an application.

    Attributes:
        features: the feature map of an image.
        published: the weights on Keras's server.
        size: the height and width of the images it was made for.
        least_size: the least height and width it works on.
        head: what follows the features where the classifier is included.
        pool: what follows them where it is not.
        channels_last_only: the family's name, where it has no `channels_first`.
    """

    features: Callable[[Any, Options], Any]
    published: Published
    size: int = 224
    least_size: int = 32
    head: Callable[[Any, Options], Any] | None = None
    pool: Callable[[Any, Options], Any] | None = None
    channels_last_only: str | None = None


def build(architecture: Architecture, options: Options, shape: tuple | None = None) -> Model:
    """The model, with its weights.

    Args:
        architecture: what is particular to it.
        options: the user's arguments.
        shape: the image's shape where the family has found it; by default it follows from `options`.

    Raises:
        ValueError: arguments that do not fit; `FileMissing` where published weights cannot be had.
    """
    if architecture.channels_last_only:
        check_channels_last(architecture.channels_last_only)
    check_weights(options)
    if shape is None:
        shape = image_shape(options, architecture.size, architecture.least_size)
    if options.include_top:
        validate_activation(options.classifier_activation, options.weights)
    given = options.input_tensor
    if given is None:
        image = layers.Input(shape=shape)
    else:
        image = given if isinstance(given, KerasTensor) else layers.Input(tensor=given, shape=shape)
    x = architecture.features(image, options)
    finish = (architecture.head or classifier) if options.include_top else (architecture.pool or pooled)
    x = finish(x, options)
    model = Model(image if given is None else get_source_inputs(image), x, name=options.name)
    if options.weights == "imagenet":
        model.load_weights(architecture.published.path(options.include_top))
    elif options.weights is not None:
        model.load_weights(options.weights)
    return model


def check_weights(options: Options) -> None:
    """Raises `ValueError` where `weights` is nothing to load, or not for that many classes."""
    weights = options.weights
    if weights is not None and weights != "imagenet" and not os.path.exists(weights):
        raise ValueError(
            "The `weights` argument should be either `None` (random initialization), `imagenet` (pre-training on "
            f"ImageNet), or the path to the weights file to be loaded. Received: weights={weights}"
        )
    if weights == "imagenet" and options.include_top and options.classes != 1000:
        raise ValueError(
            "If using `weights='imagenet'` with `include_top=True`, `classes` should be 1000. "
            f"Received classes={options.classes}. Pass `include_top=False` and put your own classifier on the features."
        )


def check_channels_last(family: str) -> None:
    """Raises `ValueError` where images are `channels_first`."""
    if config.image_data_format() == "channels_first":
        raise ValueError(
            f"{family} does not support the `channels_first` image data format. Switch to `channels_last` with "
            "`keras.config.set_image_data_format('channels_last')`."
        )


def image_shape(options: Options, size: int, least_size: int = 32) -> tuple:
    """The shape of one image, from `input_shape` and what it is for."""
    return obtain_input_shape(
        options.input_shape,
        default_size=size,
        min_size=least_size,
        data_format=config.image_data_format(),
        require_flatten=options.include_top,
        weights=options.weights,
    )


def channel_axis(last: int = 3) -> int:
    """The axis of the channels in a batch of images; `last` is the last one (3, or -1) as a family's files have it."""
    return 1 if config.image_data_format() == "channels_first" else last


# ---------------------------------------------------------------- what follows the features


def classifier(x: Any, options: Options, pool_name: str | None = "avg_pool", **dense: Any) -> Any:
    """The mean of each channel, and a dense layer."""
    x = layers.GlobalAveragePooling2D(name=pool_name)(x)
    return predictions(x, options, **dense)


def predictions(x: Any, options: Options, **dense: Any) -> Any:
    """A dense layer with an output for each class."""
    activation = options.classifier_activation
    return layers.Dense(options.classes, activation=activation, name="predictions", **dense)(x)


def pooled(x: Any, options: Options, names: tuple[str | None, str | None] = (None, None)) -> Any:
    """The features, or as `pooling` says one vector of them."""
    if options.pooling == "avg":
        return layers.GlobalAveragePooling2D(name=names[0])(x)
    if options.pooling == "max":
        return layers.GlobalMaxPooling2D(name=names[1])(x)
    if options.pooling is not None:
        warn_user(f"`pooling={options.pooling!r}` is not known and does nothing. Expected 'avg', 'max' or None.")
    return x


def pooled_by_name(x: Any, options: Options) -> Any:
    """`pooled`, by layers `avg_pool` or `max_pool`."""
    return pooled(x, options, ("avg_pool", "max_pool"))


# ---------------------------------------------------------------- functions of the usual arguments


def application(
    module: str, function: str, architecture: Architecture, name: str | None = None
) -> Callable[..., Model]:
    """The public function `function` of `module`, whose model is called `name`."""
    default_name = name or function.lower()

    def make(
        include_top: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = default_name,
    ) -> Model:
        options = Options(
            include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name
        )
        return build(architecture, options)

    return public(make, module, function, architecture.size)


def public(make: Callable[..., Model], module: str, function: str, size: int) -> Callable[..., Model]:
    """`make` as the documented function `function` of `module`."""
    make.__name__ = make.__qualname__ = function
    make.__module__ = module
    make.__doc__ = f"A {function} model."
    return documented(size)(make)


def documented(size: int) -> Callable[[Callable[..., Model]], Callable[..., Model]]:
    """Adds the arguments to the docstring of an application made for images of `size`."""

    def decorate(make: Callable[..., Model]) -> Callable[..., Model]:
        arguments = [f"{name}: {ARGUMENTS[name]}" for name in inspect.signature(make).parameters]
        listed = "\n        ".join(arguments).format(size=f"{size}x{size}")
        make.__doc__ = f"""{make.__doc__}

    Args:
        {listed}

    Raises:
        ValueError: arguments that do not fit together, or a file whose weights do not fit.
        FileMissing: published weights that cannot be downloaded.
    """
        return make

    return decorate


def rounded(filters: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `filters`, at least one and no more than 10% less.

    >>> rounded(32 * 0.35), rounded(1280 * 1.4)
    (16, 1792)
    """
    nearest = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * filters else nearest
