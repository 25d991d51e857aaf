"""Models as `.keras` files, Keras's v3 format: configuration, weights, optimizer state and assets in a zip archive."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import tempfile
import zipfile
from typing import Any, BinaryIO

from fastk.atomic import check_overwrite, copy_atomically, replacing
from fastk.distribution.files import written_by_first
from fastk.errors import FileFormatError
from fastk.saving import legacy_h5
from fastk.saving.archive import (
    ASSETS,
    CONFIG,
    METADATA,
    UNUSABLE,
    WEIGHTS,
    Archive,
    Folder,
    NewAssets,
    add_member,
    memory_limit,
    parsed,
)
from fastk.saving.h5 import H5Reader, H5Writer
from fastk.saving.legacy_h5 import LEGACY
from fastk.saving.weights import check_exists, load_state, save_state
from fastk.serialization import deserialize_keras_object, object_sharing_scope, serialize_shared
from fastk.user_warning import warn_user

KERAS_VERSION = "3.15.1"
"""The version of Keras whose format is written."""
REMOTE = ("hf://", "kaggle://", "gs://", "s3://", "http://", "https://")


@written_by_first
def save_model(model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
    """Saves a model: architecture, weights, the arguments of `compile`, the optimizer's state.

    A file that exists is replaced in one step: at any moment it holds the old model or the new one, whole.

    Args:
        model: the model.
        filepath: a path that ends in `.keras`, in `.h5` for Keras's old format, or (`zipped=False`) that of a folder;
            or a file open in binary mode.
        overwrite: whether an existing file is replaced; if not, its existence is an error.
        zipped: one file (True, None) or a folder with the same contents (False).
        kwargs: `include_optimizer=False` leaves the optimizer's state out.

    Raises:
        ValueError: a path of another ending, or a configuration that JSON cannot hold.
        FileExistsError: an existing file that may not be replaced.

    >>> import os, tempfile, fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.keras")
    ...     fastk.saving.save_model(model, path)
    ...     fastk.saving.load_model(path).count_params()
    4
    """
    include_optimizer = _checked_options(filepath, kwargs)
    skip = [] if include_optimizer or getattr(model, "optimizer", None) is None else [model.optimizer]
    if not model.built:
        warn_user(
            "You are saving a model that has not yet been built: it holds no weights. Build it first: call it on data."
        )
    if isinstance(filepath, io.IOBase):
        _write_archive(model, filepath, skip, folder=None)  # type: ignore[arg-type]
        return
    path = os.fsdecode(filepath)
    _check_path(path, zipped)
    check_overwrite(path, overwrite)
    if path.endswith(LEGACY) and zipped is not False:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        legacy_h5.save_model(model, path, include_optimizer, KERAS_VERSION)
        return
    if zipped is False:
        _write_folder(model, path, skip)
        return
    with replacing(path) as file:
        _write_archive(model, file, skip, folder=os.path.dirname(os.path.realpath(path)))


def _checked_options(filepath: Any, kwargs: dict[str, Any]) -> bool:
    include_optimizer = kwargs.pop("include_optimizer", True)
    save_format = kwargs.pop("save_format", None)
    if kwargs:
        raise ValueError(
            f"The following argument(s) are not supported: {list(kwargs)}. Of further ones, `include_optimizer` is."
        )
    if save_format:
        message = f"The `save_format` argument is deprecated: the path says it. Received: save_format={save_format!r}."
        if not str(filepath).endswith((".keras", *LEGACY)):
            raise ValueError(f"{message} Pass a path that ends in `.keras`, and leave it out.")
        warn_user(message, DeprecationWarning)
    return include_optimizer


def _check_path(path: str, zipped: bool | None) -> None:
    if path.startswith(REMOTE):
        raise ValueError(
            f"Saving to a remote place is not supported. Received: filepath={path}. Save to a file, and upload it."
        )
    if zipped is False:
        if path.endswith(".keras"):
            raise ValueError(
                "With `zipped=False` the model is saved as a folder, whose path should not end in `.keras`. Received: "
                f"filepath={path}"
            )
        return
    if path.endswith(LEGACY) and zipped:
        raise ValueError(f"`zipped=True` is for `.keras` files. Received: filepath={path}. Leave `zipped` out.")
    if not path.endswith((".keras", *LEGACY)):
        raise ValueError(
            f"Invalid filepath extension for saving. Received: filepath={path}. Expected a path that ends in `.keras`, "
            f"such as {os.path.splitext(path)[0]}.keras; or pass `zipped=False` to save a folder."
        )


# ---------------------------------------------------------------- writing


def _describe(model: Any) -> dict[str, bytes]:
    """The JSON members."""
    config = serialize_shared(model)
    saved = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": KERAS_VERSION, "date_saved": saved}
    try:
        return {METADATA: json.dumps(metadata).encode(), CONFIG: json.dumps(config).encode()}
    except (TypeError, ValueError) as error:
        where = _unwritable(config, "model")
        raise ValueError(
            f"The configuration of the model cannot be written as JSON, because of {where}. Return numbers, strings, "
            "lists, dicts, or objects with a `get_config` of their own from `get_config`."
        ) from error


def _unwritable(config: Any, path: str) -> str:
    """Names the part of `config` that JSON has no word for."""
    children = (
        config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, (list, tuple)) else ()
    )
    for key, value in children:
        try:
            json.dumps({key: value} if isinstance(config, dict) else value)
        except (TypeError, ValueError):
            return _unwritable(value, f"{path}[{key!r}]")
    return f"{path} = {config!r} (of type {type(config).__name__})"


def _write_archive(model: Any, file: BinaryIO, skip: list, folder: str | None) -> None:
    """Writes the archive; large weights pass through a nameless file in `folder`, not through memory."""
    texts = _describe(model)
    with (
        NewAssets() as assets,
        tempfile.TemporaryFile(dir=folder) as weights,
        zipfile.ZipFile(file, "w") as archive,
    ):
        for name, text in texts.items():
            archive.writestr(name, text)
        with H5Writer(weights) as writer:
            save_state(model, writer, assets=assets, skip=skip)
        weights.seek(0)
        add_member(archive, WEIGHTS, weights)  # type: ignore[arg-type]
        for path, name in assets.files():
            with open(path, "rb") as asset:
                add_member(archive, f"{ASSETS}/{name}", asset)


def _write_folder(model: Any, path: str, skip: list) -> None:
    texts = _describe(model)
    os.makedirs(path, exist_ok=True)
    with contextlib.ExitStack() as files, NewAssets() as assets:
        # What was entered first is put in place last: the configuration, which makes the folder a model.
        for name in (CONFIG, METADATA):
            files.enter_context(replacing(os.path.join(path, name))).write(texts[name])
        weights = files.enter_context(replacing(os.path.join(path, WEIGHTS)))
        with H5Writer(weights) as writer:
            save_state(model, writer, assets=assets, skip=skip)
        for source, name in assets.files():
            target = os.path.join(path, ASSETS, *name.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            copy_atomically(source, target)
        kept = {name for _, name in assets.files()}
    _remove_other_assets(os.path.join(path, ASSETS), kept)


def _remove_other_assets(folder: str, kept: set[str]) -> None:
    """Removes what a model that was in the folder before had, once the new one is there."""
    if os.path.islink(folder):  # what it leads to may be used by others
        return
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = os.path.join(where, name)
            if os.path.relpath(file, folder).replace(os.sep, "/") not in kept:
                os.unlink(file)
        if not os.listdir(where):
            os.rmdir(where)


# ---------------------------------------------------------------- reading


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model that `save_model` saved, or Keras.

    Args:
        filepath: a `.keras` file, a folder that holds its contents, or a file open in binary mode; or an `.h5` file of
            Keras's old format.
        custom_objects: names of classes and functions in the file, and what they mean.
        compile: whether the model is compiled as it was; its optimizer goes on where it was.
        safe_mode: refuse files that hold Python code (lambdas).

    Raises:
        FileMissing: no such file.
        FileFormatError: a file that is damaged, or of another format.
        ValueError: weights that do not fit the architecture, or code in safe mode.
        TypeError: a class that is not known; register it or pass it in `custom_objects`.
    """
    if isinstance(filepath, io.IOBase):
        return _read(Archive(filepath, "the file object"), custom_objects, compile, safe_mode)  # type: ignore[arg-type]
    path = os.fsdecode(filepath)
    if os.path.isdir(path):
        return _read(Folder(path), custom_objects, compile, safe_mode)
    _check_readable(path)
    if path.endswith(LEGACY):
        return legacy_h5.load_model(path, custom_objects, compile, safe_mode)
    with open(path, "rb") as file:
        return _read(Archive(file, path), custom_objects, compile, safe_mode)


def _check_readable(path: str) -> None:
    if path.startswith(REMOTE):
        raise ValueError(
            f"Loading from a remote place is not supported. Received: filepath={path}. Download the file first."
        )
    if path.endswith((".weights.h5", ".weights.json", ".safetensors")):
        raise ValueError(
            f"File format not supported: filepath={path} holds weights without an architecture. Build the model, and "
            "call `model.load_weights(path)`."
        )
    if not path.endswith((".keras", *LEGACY)):
        raise ValueError(
            f"File format not supported: filepath={path}. Expected a path that ends in `.keras`, or a folder that "
            "`model.save(path, zipped=False)` wrote."
        )
    check_exists(path)


def _read(members: Archive | Folder, custom_objects: dict | None, compile: bool, safe_mode: bool) -> Any:
    config = _read_config(members)
    with memory_limit(members.size, members.source, safe_mode):
        model = _rebuild(config, members.source, custom_objects, compile, safe_mode)
    if WEIGHTS not in members and "model.weights.npz" in members:
        raise FileFormatError(
            f"{members.source} holds weights as `.npz`, which Keras itself does not load. Save it as HDF5."
        )
    with (
        members.assets() as assets,
        members.open(WEIGHTS) as weights,
        H5Reader(weights, f"{members.source}, {WEIGHTS}") as reader,
    ):
        load_state(model, reader, assets=assets)
    return model


def _read_config(members: Archive | Folder) -> dict[str, Any]:
    config = parsed(members.read(CONFIG), f"{members.source}: `{CONFIG}`")
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str) or "config" not in config:
        found = f"the keys {sorted(config)[:10]}" if isinstance(config, dict) else f"a {type(config).__name__}"
        raise FileFormatError(
            f"{members.source}: `{CONFIG}` does not describe a model: expected `class_name` and `config`, found "
            f"{found}. Files of Keras 2 must be loaded with Keras 2, and saved again."
        )
    return config


def _rebuild(config: dict[str, Any], source: str, custom_objects: dict | None, compile: bool, safe_mode: bool) -> Any:
    if not compile:
        config["compile_config"] = None
    try:
        with object_sharing_scope():
            model = deserialize_keras_object(config, custom_objects, safe_mode=safe_mode)
    except UNUSABLE as error:
        raise FileFormatError(
            f"{source}: the model could not be rebuilt from `{CONFIG}` ({type(error).__name__}: {error}). The file is "
            "damaged, or the `from_config` of a class in it fails."
        ) from error
    if not hasattr(model, "built"):
        raise FileFormatError(f"{source}: `{CONFIG}` describes a {type(model).__name__}, not a model.")
    return model
