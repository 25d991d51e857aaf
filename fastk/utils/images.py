"""Images as files, as PIL's objects and as arrays. PIL (`pip install pillow`) is imported when one is asked for."""

from __future__ import annotations

import io
import os
import pathlib
from typing import Any

import numpy as np
import torch

from fastk import config, ops
from fastk.tensor import convert_to_numpy, convert_to_tensor
from fastk.user_warning import warn_user

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
"""The channels of each colour mode."""
_PIL_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def import_pil(user: str) -> Any:
    """`PIL.Image`, for a function called `user`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"`{user}` needs Pillow, which is not installed: `pip install pillow`.") from error
    return Image


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """One image as a PIL image.

    Args:
        x: an array or tensor of three axes, with 1, 3 or 4 channels.
        data_format: `"channels_last"` or `"channels_first"`; None for `config.image_data_format()`.
        scale: whether the values are stretched so that the least is 0 and the greatest 255.
        dtype: the type to compute in; None for `config.floatx()`.

    Raises:
        ValueError: another number of axes or of channels.

    >>> import numpy as np
    >>> array_to_img(np.zeros((2, 3, 3))).size
    (3, 2)
    """
    image = import_pil("array_to_img")
    data_format = config.standardize_data_format(data_format)
    x = np.asarray(convert_to_numpy(x) if isinstance(x, torch.Tensor) else x, dtype=dtype or config.floatx())
    if x.ndim != 3:
        raise ValueError(f"Expected image array to have rank 3 (single image). Got array with shape: {x.shape}")
    if data_format == "channels_first":
        x = x.transpose(1, 2, 0)
    if x.shape[2] not in CHANNELS.values():
        raise ValueError(f"Unsupported channel number: {x.shape[2]}. Expected 1, 3 or 4, in {data_format} format.")
    if scale:
        x = x - x.min()
        greatest = x.max()
        x = x / (greatest if greatest else 1) * 255
    if x.shape[2] > 1:
        return image.fromarray(np.ascontiguousarray(x.astype("uint8")))
    plane = x[:, :, 0]
    # PIL's wide grey images hold 32-bit integers.
    return image.fromarray(np.ascontiguousarray(plane.astype("int32" if plane.max() > 255 else "uint8")))


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A PIL image as an array of three axes.

    Args:
        img: the image.
        data_format: `"channels_last"` or `"channels_first"`; None for `config.image_data_format()`.
        dtype: the type of the result; None for `config.floatx()`.

    >>> from PIL import Image
    >>> img_to_array(Image.new("RGB", (3, 2))).shape
    (2, 3, 3)
    """
    data_format = config.standardize_data_format(data_format)
    x = np.asarray(img, dtype=dtype or config.floatx())
    if x.ndim == 2:
        x = x[..., np.newaxis]
    elif x.ndim != 3:
        raise ValueError(f"Unsupported image shape: {x.shape}. Expected two or three axes.")
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Writes an array as an image file.

    Args:
        path: a path, or a file object.
        x: an array or tensor of three axes.
        data_format: `"channels_last"` or `"channels_first"`; None for `config.image_data_format()`.
        file_format: the format, such as `"png"`; None to tell by the path's ending.
        scale: whether the values are stretched to the range from 0 to 255.
        kwargs: further arguments of PIL's `save`.
    """
    if file_format is None and isinstance(path, (str, pathlib.Path)):
        file_format = pathlib.Path(path).suffix[1:].lower()
    if file_format and file_format.lower() == "jpg":
        file_format = "jpeg"
    img = array_to_img(x, data_format=data_format, scale=scale)
    if img.mode == "RGBA" and file_format == "jpeg":
        warn_user("The JPEG format does not support RGBA images, converting to RGB.")
        img = img.convert("RGB")
    img.save(path, format=file_format or None, **kwargs)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """An image file as a PIL image.

    Args:
        path: a path, or a `BytesIO`.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`.
        target_size: `(height, width)`; None for the file's own.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"hamming"`, `"box"` or `"lanczos"`.
        keep_aspect_ratio: whether the image is cropped around its middle to the target's ratio before it is resized.

    Raises:
        TypeError: another kind of `path`.
        ValueError: an unknown colour mode or interpolation.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 4)).save(file, "png")
    >>> load_img(file, target_size=(2, 3)).size
    (3, 2)
    """
    image = import_pil("load_img")
    if isinstance(path, io.BytesIO):
        img = image.open(path)
    elif isinstance(path, (pathlib.Path, bytes, str)):
        with open(path, "rb") as file:
            img = image.open(io.BytesIO(file.read()))
    else:
        raise TypeError(f"path should be path-like or io.BytesIO, not {type(path)}")
    img = in_color_mode(img, color_mode)
    if target_size is None or img.size == (target_size[1], target_size[0]):
        return img
    if interpolation not in _PIL_INTERPOLATIONS:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are "
            f"{', '.join(_PIL_INTERPOLATIONS)}"
        )
    box = _central_box(img.size, target_size) if keep_aspect_ratio else None
    return img.resize((target_size[1], target_size[0]), image.Resampling[interpolation.upper()], box=box)


def in_color_mode(img: Any, color_mode: str) -> Any:
    """A PIL image in one of the colour modes; grey ones of more than 8 bits stay as they are."""
    if color_mode not in CHANNELS:
        raise ValueError(f'color_mode must be "grayscale", "rgb", or "rgba". Received: {color_mode!r}')
    if color_mode == "grayscale":
        return img if img.mode in ("L", "I;16", "I") else img.convert("L")
    return img if img.mode == color_mode.upper() else img.convert(color_mode.upper())


def _central_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """`(left, top, right, bottom)` of the largest part of the target's ratio; `size` is `(width, height)`."""
    (width, height), (target_height, target_width) = size, target
    box_width = min(width, height * target_width // target_height)
    box_height = min(height, width * target_height // target_width)
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height


def smart_resize(
    x: Any, size: tuple[int, int], interpolation: str = "bilinear", data_format: str = "channels_last"
) -> Any:
    """Images in another size, undistorted: cropped around their middle to the target's ratio, then resized.

    Args:
        x: an image `(height, width, channels)`, or a batch of them; an array or a tensor.
        size: `(height, width)`.
        interpolation: one of `ops.image.resize`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        An array for an array, else a tensor.

    >>> import numpy as np
    >>> smart_resize(np.ones((4, 8, 3)), (2, 2)).shape
    (2, 2, 3)
    """
    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers, but got: {size}.")
    image = convert_to_tensor(x)
    if image.ndim not in (3, 4):
        raise ValueError(
            "Expected an image array with shape `(height, width, channels)`, or `(batch_size, height, width, "
            f"channels)`, but got input with incorrect rank, of shape {tuple(image.shape)}."
        )
    rows, columns = (-3, -2) if data_format == "channels_last" else (-2, -1)
    height, width = image.shape[rows], image.shape[columns]
    box_height = max(min(height, int(width * size[0] / size[1])), 1)
    box_width = max(min(width, int(height * size[1] / size[0])), 1)
    image = image.narrow(rows, int((height - box_height) / 2), box_height)
    image = image.narrow(columns, int((width - box_width) / 2), box_width)
    image = ops.image.resize(image, size=tuple(size), interpolation=interpolation, data_format=data_format)
    return convert_to_numpy(image) if isinstance(x, np.ndarray) else image


def read_image(path: str | os.PathLike, color_mode: str) -> torch.Tensor:
    """The first frame of an image file, as float32 of shape `(height, width, channels)`."""
    with open(path, "rb") as file:
        img = in_color_mode(import_pil("image_dataset_from_directory").open(file), color_mode)
        array = np.array(img, dtype="float32")
    return torch.from_numpy(array[..., np.newaxis] if array.ndim == 2 else array)
