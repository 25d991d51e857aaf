"""ImageNet's conventions (`keras.applications.imagenet_utils`): pixel values, class names, image sizes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from fastk import activations, config, dtypes, ops
from fastk.applications.published import ORIGIN, download
from fastk.graph import KerasTensor
from fastk.tensor import convert_to_tensor
from fastk.user_warning import warn_user

__all__ = ["decode_predictions", "preprocess_input"]

CLASS_INDEX = f"{ORIGIN}/download.tensorflow.org/data/imagenet_class_index.json"
CLASS_INDEX_HASH = "c2c37ea517e94d9795004a39431a14cb"

# What each mode does after reordering the channels: x / scale, minus the mean, divided by the deviation.
_MEAN = {"torch": (0.485, 0.456, 0.406), "caffe": (103.939, 116.779, 123.68)}
_DEVIATION = (0.229, 0.224, 0.225)
_MODES = {
    "caffe": "The channels are reordered from RGB to BGR and ImageNet's mean is subtracted from each.",
    "tf": "Pixel values are scaled to [-1, 1].",
    "torch": "Pixel values are scaled to [0, 1], then each channel is normalized by ImageNet's mean and deviation.",
    None: "The images are returned as they are: the model rescales them itself.",
}


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Pixel values as the weights of a family expect them.

    Args:
        x: images with 3 color channels, RGB, in [0, 255]: an array, a tensor or a KerasTensor of rank 3 or 4. An
            array of floats is overwritten, as Keras does; arrays of integers and tensors are not.
        data_format: `"channels_last"` or `"channels_first"`; by default `keras.config.image_data_format()`.
        mode: `"caffe"` (BGR, less the mean of ImageNet), `"tf"` (scaled to [-1, 1]) or `"torch"` (scaled to [0, 1],
            then normalized by the mean and deviation of ImageNet).

    Raises:
        ValueError: another mode or data format.

    >>> import numpy as np
    >>> preprocess_input(np.array([[[0.0, 127.5, 255.0]]]), mode="tf")
    array([[[-1.,  0.,  1.]]])
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(f"Expected mode to be one of `caffe`, `tf` or `torch`. Received: mode={mode}")
    if data_format is None:
        data_format = config.image_data_format()
    elif data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            "Expected data_format to be one of `channels_first` or `channels_last`. "
            f"Received: data_format={data_format}"
        )
    axis = -3 if data_format == "channels_first" else -1
    if isinstance(x, np.ndarray):
        return _preprocess_array(x, axis, mode)
    return _preprocess_tensor(x, axis, mode)


def _preprocess_array(x: np.ndarray, axis: int, mode: str) -> np.ndarray:
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(config.floatx())
    if mode == "tf":
        x /= 127.5
        x -= 1.0
        return x
    if mode == "torch":
        x /= 255.0
    else:
        x = np.flip(x, axis)
    shape = (3,) + (1,) * (-1 - axis)
    x -= np.reshape(np.array(_MEAN[mode], x.dtype), shape)
    if mode == "torch":
        x /= np.reshape(np.array(_DEVIATION, x.dtype), shape)
    return x


def _preprocess_tensor(x: Any, axis: int, mode: str) -> Any:
    if not isinstance(x, KerasTensor):
        x = convert_to_tensor(x)
    dtype = dtypes.standardize_dtype(x.dtype)
    if not dtypes.is_float_dtype(dtype):
        dtype = config.floatx()
        x = ops.cast(x, dtype)
    if mode == "tf":
        return x / 127.5 - 1.0
    x = x / 255.0 if mode == "torch" else ops.flip(x, axis)
    shape = (3,) + (1,) * (-1 - axis)
    x = x - ops.convert_to_tensor(np.reshape(_MEAN[mode], shape), dtype=dtype)
    if mode == "torch":
        x = x / ops.convert_to_tensor(np.reshape(_DEVIATION, shape), dtype=dtype)
    return x


def preprocessing(mode: str | None) -> Callable[..., Any]:
    """The `preprocess_input(x, data_format=None)` of a family of models, by its mode; None changes nothing."""

    def preprocess_input(x: Any, data_format: str | None = None) -> Any:
        return x if mode is None else _by_mode(x, data_format=data_format, mode=mode)

    preprocess_input.__doc__ = f"""Pixel values as the models of this module expect them.

    {_MODES[mode]}

    Args:
        x: images with 3 color channels, RGB, in [0, 255]; an array of floats is overwritten where values change.
        data_format: `"channels_last"` or `"channels_first"`; by default `keras.config.image_data_format()`.
    """
    return preprocess_input


_by_mode = preprocess_input


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[Any, ...]]]:
    """The likeliest classes of each sample.

    Args:
        preds: the predictions of a model with ImageNet's classes, of shape `(samples, 1000)`.
        top: how many classes to return for each sample.

    Returns:
        For each sample a list of `(WordNet id, name, score)`, the likeliest first.

    Raises:
        ValueError: predictions of another shape.
        FileMissing: the list of class names is not there and cannot be downloaded.
    """
    shape = tuple(np.shape(preds)) if not hasattr(preds, "shape") else tuple(preds.shape)
    if len(shape) != 2 or shape[1] != 1000:
        raise ValueError(
            "`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape (samples, 1000)). Received "
            f"array with shape: {shape}"
        )
    names = class_index()
    scores = ops.convert_to_numpy(preds)
    order = np.argsort(scores, axis=1)[:, ::-1][:, :top]
    return [
        [(*names[str(i)], row[i]) for i in likeliest] for row, likeliest in zip(scores, order.tolist(), strict=True)
    ]


@functools.cache
def class_index() -> dict[str, list[str]]:
    """ImageNet's classes: `{"0": ["n01440764", "tench"], ...}`."""
    path = download("imagenet_class_index.json", CLASS_INDEX, CLASS_INDEX_HASH)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def obtain_input_shape(
    input_shape: Any,
    default_size: int | None,
    min_size: int,
    data_format: str,
    require_flatten: bool,
    weights: Any = None,
) -> tuple[int | None, ...]:
    """The shape of a model's image, checked.

    Args:
        input_shape: the user's, or None.
        default_size: height and width where nothing else is said.
        min_size: the least height and width.
        data_format: `"channels_last"` or `"channels_first"`.
        require_flatten: whether the sizes must be known.
        weights: where the weights come from; `"imagenet"` demands 3 channels.

    Raises:
        ValueError: a shape that does not fit.

    >>> obtain_input_shape(None, 224, 32, "channels_last", require_flatten=True)
    (224, 224, 3)
    """
    channel = 0 if data_format == "channels_first" else -1

    def image(size: int | None, channels: Any) -> tuple:
        return (channels, size, size) if channel == 0 else (size, size, channels)

    default = image(default_size, 3)
    if weights != "imagenet" and input_shape and len(input_shape) == 3:
        channels = input_shape[channel]
        if channels not in (1, 3):
            warn_user(
                "This model usually expects 1 or 3 input channels. However, it was passed an input_shape with "
                f"{channels} input channels."
            )
        default = image(default_size, channels)
    if weights == "imagenet" and require_flatten:
        if input_shape is not None and tuple(input_shape) != default:
            raise ValueError(
                "When setting `include_top=True` and loading `imagenet` weights, `input_shape` should be "
                f"{default}. Received: input_shape={input_shape}"
            )
        return default
    if not input_shape:
        shape = default if require_flatten else image(None, 3)
    else:
        shape = _checked_shape(input_shape, min_size, channel, weights)
    if require_flatten and None in shape:
        raise ValueError(
            f"If `include_top` is True, you should specify a static `input_shape`. Received: input_shape={shape}"
        )
    return shape


def _checked_shape(input_shape: Any, min_size: int, channel: int, weights: Any) -> tuple[int | None, ...]:
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers. Received: input_shape={input_shape}")
    if weights == "imagenet" and input_shape[channel] != 3:
        raise ValueError(f"The input must have 3 channels; Received `input_shape={input_shape}`")
    sizes = input_shape[1:] if channel == 0 else input_shape[:2]
    if any(size is not None and size < min_size for size in sizes):
        raise ValueError(f"Input size must be at least {min_size}x{min_size}; Received: input_shape={input_shape}")
    return tuple(input_shape)


def correct_pad(inputs: Any, kernel_size: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The zeros around an image, `((top, bottom), (left, right))`, before a convolution of stride 2 without padding.

    >>> import fastk
    >>> correct_pad(fastk.KerasTensor((None, 224, 224, 3)), 3)
    ((0, 1), (0, 1))
    """
    first = 2 if config.image_data_format() == "channels_first" else 1
    sizes = inputs.shape[first : first + 2]
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    # An even image loses its first zero; an image of unknown size is taken to be odd, as it was in training.
    even = (1, 1) if sizes[0] is None else tuple(1 - size % 2 for size in sizes)
    height, width = ((k // 2 - less, k // 2) for k, less in zip(kernel, even, strict=True))
    return height, width


def validate_activation(classifier_activation: Any, weights: Any) -> None:
    """Raises `ValueError` for an activation that trained weights do not fit."""
    if weights is None:
        return
    if activations.get(classifier_activation) not in (activations.softmax, activations.get(None)):
        raise ValueError(
            "Only `None` and `softmax` activations are allowed for the `classifier_activation` argument when using "
            "pretrained weights, with `include_top=True`; Received: "
            f"classifier_activation={classifier_activation}"
        )
