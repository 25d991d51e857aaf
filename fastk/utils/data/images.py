"""`image_dataset_from_directory`."""

from __future__ import annotations

from typing import Any

import torch

from fastk import config, ops
from fastk.device import device_scope
from fastk.utils.data.directory import DirectoryOptions, check_format, datasets_of_files
from fastk.utils.images import CHANNELS, read_image

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")
_UNSUPPORTED = ("area", "gaussian", "mitchellcubic")


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: list[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """A dataset of the images in a folder (bmp, gif, jpeg, png), read by Pillow on several threads as they are used.

    Its attributes `class_names` and `file_paths` hold the names of the classes and the files.

    Args:
        directory: the folder; with inferred labels, one subfolder a class.
        labels: `"inferred"`, None for no labels, or a list of integers, one for each file in the order of sorted paths.
        label_mode: `"int"` for int32 `(batch,)`; `"categorical"` for float32 `(batch, classes)`; `"binary"` for float32
            `(batch, 1)`; None for no labels.
        class_names: the subfolders to use, in the order of the classes; None for all, sorted.
        color_mode: `"rgb"`, `"rgba"` or `"grayscale"`.
        batch_size: images in a batch; None for single images.
        image_size: `(height, width)` that images are resized to; one integer for squares.
        shuffle: whether each pass has an order of its own; else files come sorted.
        seed: makes the orders reproducible.
        validation_split: the share of files held out for validation.
        subset: `"training"`, `"validation"`, or `"both"` for a list of two datasets; goes with `validation_split`.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        follow_links: whether links to folders are followed.
        crop_to_aspect_ratio: whether images are cropped around their middle to the ratio of `image_size`.
        pad_to_aspect_ratio: whether images are padded with zeros to that ratio.
        data_format: `"channels_last"` or `"channels_first"`; None for `config.image_data_format()`.
        format: `"tf"` or `"grain"`, which make no difference: neither library is needed.
        verbose: whether to say how many files were found.

    Returns:
        A dataset of float32 images with values from 0 to 255, or of pairs `(images, labels)`.

    Raises:
        ValueError: an argument that is none of its values, or a folder without images.

    >>> import os, tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         os.mkdir(os.path.join(folder, name))
    ...         Image.new("RGB", (8, 6)).save(os.path.join(folder, name, "1.png"))
    ...     data = image_dataset_from_directory(folder, image_size=(4, 4))
    ...     [(tuple(images.shape), sorted(labels.tolist())) for images, labels in data], data.class_names
    Found 2 files belonging to 2 classes.
    ([((2, 4, 4, 3), [0, 1])], ['cat', 'dog'])
    """
    options = DirectoryOptions(
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split, subset, follow_links,
        verbose,
    )  # fmt: skip
    if color_mode not in CHANNELS:
        raise ValueError(
            f'`color_mode` must be one of {{"rgb", "rgba", "grayscale"}}. Received: color_mode={color_mode}'
        )
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ValueError(
            f"Invalid `image_size` value. Expected a tuple of 2 integers. Received: image_size={image_size}"
        )
    interpolation = interpolation.lower()
    if interpolation not in _INTERPOLATIONS or interpolation in _UNSUPPORTED:
        supported = tuple(name for name in _INTERPOLATIONS if name not in _UNSUPPORTED)
        raise ValueError(
            f"Argument `interpolation` should be one of {supported}. Received: interpolation={interpolation}"
        )
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio`, `crop_to_aspect_ratio` can be set to `True`.")
    check_format(format)
    data_format = config.standardize_data_format(data_format)

    def load(path: str) -> torch.Tensor:
        image = read_image(path, color_mode)
        with device_scope("cpu"):
            image = ops.image.resize(
                image,
                tuple(size),
                interpolation=interpolation,
                crop_to_aspect_ratio=crop_to_aspect_ratio,
                pad_to_aspect_ratio=pad_to_aspect_ratio,
                data_format="channels_last",
            )
        return image.permute(2, 0, 1) if data_format == "channels_first" else image

    return datasets_of_files(options, FORMATS, "images", load)
