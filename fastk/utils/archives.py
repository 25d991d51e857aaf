"""Archives unpacked without trusting what they hold."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from typing import Any

from fastk.user_warning import warn_user

FORMATS = ("tar", "zip")


def extract_archive(file_path: Any, path: Any = ".", archive_format: Any = "auto") -> bool:
    """Unpacks a tar or zip archive into a folder: all of it, or nothing.

    Members that would be written outside of the folder (names with `..`, absolute names, links that lead out of it),
    and devices, are left out with a warning.

    Args:
        file_path: the archive; tar files may be compressed.
        path: the folder, made where it does not exist.
        archive_format: `"tar"`, `"zip"`, a list of them, `"auto"` for both, or None for none.

    Returns:
        Whether the file is an archive of such a format.

    >>> import os, tempfile, zipfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     archive = os.path.join(folder, "a.zip")
    ...     with zipfile.ZipFile(archive, "w") as file:
    ...         file.writestr("notes.txt", "text")
    ...     extract_archive(archive, os.path.join(folder, "a")), os.listdir(os.path.join(folder, "a"))
    (True, ['notes.txt'])
    """
    formats = FORMATS if archive_format == "auto" else archive_format or ()
    for name in [formats] if isinstance(formats, str) else formats:
        if name not in FORMATS:
            raise NotImplementedError(f"Unknown archive format: {name!r}. Expected 'tar', 'zip', 'auto' or None.")
        if name == "tar" and tarfile.is_tarfile(file_path):
            with tarfile.open(file_path) as tar:
                _unpack(lambda folder, tar=tar: _unpack_tar(tar, folder), path)
            return True
        if name == "zip" and zipfile.is_zipfile(file_path):
            with zipfile.ZipFile(file_path) as archive:
                _unpack(lambda folder, archive=archive: _unpack_zip(archive, folder), path)
            return True
    return False


def _unpack(unpack: Any, path: Any) -> None:
    """Unpacks beside `path` and moves the whole there, so that a folder of that name is never half full."""
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix=".extracting_") as temporary:
        whole = os.path.join(temporary, "whole")
        os.mkdir(whole)
        unpack(whole)
        if os.path.isdir(path):
            shutil.copytree(whole, path, symlinks=True, dirs_exist_ok=True)
        else:
            os.replace(whole, path)


def _unpack_tar(tar: tarfile.TarFile, folder: str) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError(
            "This version of Python cannot unpack tar files safely. Use Python 3.11.4 or newer, or unpack the file "
            "yourself."
        )

    def safe(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        try:
            if member.name.startswith(("/", os.sep)):
                raise tarfile.AbsolutePathError(member)
            return tarfile.data_filter(member, destination)
        except tarfile.FilterError as error:
            _skip(member.name, str(error))
            return None

    tar.extractall(folder, filter=safe)


def _unpack_zip(archive: zipfile.ZipFile, folder: str) -> None:
    root = os.path.realpath(folder)
    for member in archive.infolist():
        target = os.path.realpath(os.path.join(root, member.filename))
        if os.path.commonpath([target, root]) == root:
            archive.extract(member, folder)
        else:
            _skip(member.filename, "it would be outside of the folder")


def _skip(name: str, reason: str) -> None:
    warn_user(f"Skipping invalid path during archive extraction: '{name}' ({reason}).")
