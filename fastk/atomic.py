"""Files that are replaced whole or not at all: every file that fastk writes for its user, but logs that grow."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from fastk.errors import FileMissing


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once the block has ended without an error.

    Until then it is `.NAME.….tmp` in the same folder. Whenever the process is killed, `path` holds either what it held
    before, whole, or the new contents, whole.

    Args:
        path: the file to write; a link is followed.

    Raises:
        FileMissing: where the folder does not exist.

    >>> import os, pathlib, tempfile
    >>> from fastk.atomic import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "notes")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"all")
    ...     pathlib.Path(path).read_text(), os.listdir(folder)
    ('all', ['notes'])
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileMissing(f"The folder to save into does not exist: {folder}. Make it first, with `os.makedirs`.")
    temporary = os.path.join(folder, f".{name[:40]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def write_atomically(path: Any, text: str) -> None:
    """Writes a text file; what stops the process leaves the old one or the new one.

    Args:
        path: the file; its folder is made where there is none.
        text: its contents, stored as UTF-8.
    """
    os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


def copy_atomically(source: Any, path: Any) -> None:
    """Copies a file's contents to `path`, in whose folder there must be room for both."""
    with open(source, "rb") as original, replacing(path) as file:
        shutil.copyfileobj(original, file)


def _sync_folder(folder: str) -> None:
    """Makes the new name of a file in `folder` survive a loss of power."""
    if os.name == "nt":  # folders cannot be opened there, and NTFS journals their changes
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_overwrite(path: Any, overwrite: bool) -> None:
    """Raises `FileExistsError` where `path` exists and may not be replaced."""
    if not overwrite and os.path.exists(path):
        raise FileExistsError(
            f"{os.fspath(path)} exists, and `overwrite=False` was passed. Pass `overwrite=True` to replace it, or "
            "choose another path."
        )
