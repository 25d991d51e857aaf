"""The members of a `.keras` file, read without trusting it, and those of a model saved as a folder.

Nothing is unpacked but assets, under names that were checked. A member that is stored (as all are that Keras and fastk
write) is read where it lies in the file; one that was compressed since is refused if it claims to be far larger than
what is stored of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from fastk import budget
from fastk.errors import FileFormatError
from fastk.serialization import in_safe_mode

METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
ASSETS = "assets"

MAX_EXPANSION = 100
"""A compressed member may be this many times as large as what is stored of it; JSON rarely shrinks to a hundredth."""
FREE_SIZE = 1 << 20
"""Members up to this many bytes may expand as they like: a small configuration of many like layers compresses well."""
_CHUNK = 1 << 20
_LOCAL_HEADER = struct.Struct("<4s22x2H")
# What zipfile raises for files that are damaged, encrypted, or compressed in a way it does not know.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,  # NotImplementedError is one
    OverflowError,
    MemoryError,
)


MAX_CONFIG = 1 << 26
"""The most bytes of JSON that are read: those of the largest models in use are a hundredth of it."""
MAX_VALUES = 1 << 22
"""The most values in it, of which each takes some fifty bytes of memory."""
UNUSABLE = (KeyError, IndexError, AttributeError, OverflowError, RecursionError, RuntimeError, MemoryError)
"""What is raised where a description lacks something or is none; wrong arguments raise `ValueError` or `TypeError`."""
FREE_MEMORY = 1 << 28
"""Bytes that the variables of a model may take, whatever its file holds."""
MEMORY_PER_BYTE = 16
"""Bytes that they may take for each of the file: room for an optimizer whose state was not saved."""


def memory_limit(size: int, source: str, safe_mode: bool) -> contextlib.AbstractContextManager[None]:
    """Limits what a model takes that is rebuilt from a file of `size` bytes, in safe mode."""
    if not safe_mode or in_safe_mode() is False:
        return contextlib.nullcontext()
    return budget.limited_to(
        FREE_MEMORY + MEMORY_PER_BYTE * size,
        f"{source} stores {size} bytes, so that no such model was saved in it: it is damaged, or made to fill the "
        "memory. If you trust where it comes from, pass `safe_mode=False`.",
    )


def parsed(text: bytes | str, what: str) -> Any:
    """What a file's JSON says.

    Args:
        text: the JSON.
        what: the file and the part of it, for errors.

    Raises:
        FileFormatError: where it is no JSON, or would fill the memory.
    """
    marks = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    if len(text) > MAX_CONFIG or sum(text.count(mark) for mark in marks) > MAX_VALUES:  # type: ignore[arg-type]
        raise FileFormatError(
            f"{what} is JSON of {len(text)} bytes, more than any model in use has: it is damaged, or made to fill the "
            "memory."
        )
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{what} is not valid JSON ({error}). The file is damaged.") from error


class Archive:
    """A `.keras` file, open for reading.

    Args:
        file: the file, open in binary mode and seekable.
        source: its name, for error messages.

    Raises:
        FileFormatError: where it is no zip file, holds names that no `.keras` file holds, or claims impossible sizes.
    """

    def __init__(self, file: BinaryIO, source: str):
        self._file, self.source = file, source
        try:
            self._zip = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise FileFormatError(
                f"{source} is not a `.keras` file, which is a zip archive: {_looks_like(file)} ({error}). If it was "
                "copied or downloaded, get it again; files of weights are read with `model.load_weights`."
            ) from error
        self._members = {info.filename: info for info in self._zip.infolist()}
        if len(self._members) != len(self._zip.infolist()):
            raise FileFormatError(f"{source} holds two members of one name, so that what it means is unclear.")
        for name, info in self._members.items():
            _check_name(name, source)
            self._check_size(info)
        if sum(info.compress_size for info in self._members.values()) > file.seek(0, os.SEEK_END):
            raise FileFormatError(
                f"{source} claims to store more than it holds: members share their place. It is not read."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def size(self) -> int:
        """The bytes of all members together."""
        return sum(info.file_size for info in self._members.values())

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise FileFormatError(
                f"{self.source} has no member `{name}`, which every `.keras` file has. It holds: "
                f"{sorted(self._members)[:10]}. It was not written by `model.save`, or is damaged."
            )
        return self._members[name]

    def _check_size(self, info: zipfile.ZipInfo) -> None:
        stored, declared = info.compress_size, info.file_size
        compressed = info.compress_type != zipfile.ZIP_STORED
        if (declared > max(FREE_SIZE, MAX_EXPANSION * stored)) if compressed else declared != stored:
            raise FileFormatError(
                f"{self.source}: the member `{info.filename}` claims {declared} bytes, of which the file stores "
                f"{stored}: it is damaged, or made to fill the memory (a decompression bomb)."
            )

    def read(self, name: str) -> bytes:
        """The contents of a member that is JSON: `parsed` refuses what is longer than is read here."""
        with self.open(name) as member:
            return member.read(MAX_CONFIG + 1)

    def open(self, name: str) -> BinaryIO:
        """A member as a file that can be sought in; its checksum has been compared."""
        info = self._member(name)
        try:
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                return self._in_place(info)
            with self._zip.open(info) as member:
                unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
                shutil.copyfileobj(member, unpacked, _CHUNK)
            unpacked.seek(0)
            return unpacked  # type: ignore[return-value]
        except _DAMAGE as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(
                f"{self.source}: the member `{name}` cannot be read ({error}). The file is damaged: get it again."
            ) from error

    def _in_place(self, info: zipfile.ZipInfo) -> BinaryIO:
        self._file.seek(info.header_offset)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if signature != b"PK\3\4" or start + info.file_size > self._file.seek(0, os.SEEK_END):
            raise zipfile.BadZipFile("its place in the file is wrong")
        window = Window(self._file, start, info.file_size)
        checksum = 0
        while chunk := window.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
        if checksum != info.CRC:
            raise zipfile.BadZipFile("its checksum does not match")
        window.seek(0)
        return window  # type: ignore[return-value]

    @contextlib.contextmanager
    def assets(self) -> Iterator[str | None]:
        """Inside, a folder that the assets are unpacked into; None where there are none."""
        names = [name for name in self._members if name.startswith(f"{ASSETS}/") and not name.endswith("/")]
        if not names:
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                path = os.path.join(folder, *name.split("/"))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with self.open(name) as member, open(path, "xb") as file:
                    shutil.copyfileobj(member, file, _CHUNK)
            yield os.path.join(folder, ASSETS)


class Folder:
    """A model saved with `zipped=False`: the members of an `Archive` as files of a folder."""

    def __init__(self, path: str):
        self._path = self.source = path

    def __contains__(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(os.path.getsize(os.path.join(self._path, name)) for name in (CONFIG, WEIGHTS) if name in self)

    def read(self, name: str) -> bytes:
        """The contents of a file that is JSON: `parsed` refuses what is longer than is read here."""
        with self.open(name) as file:
            return file.read(MAX_CONFIG + 1)

    def open(self, name: str) -> BinaryIO:
        """A file."""
        if name not in self:
            raise FileFormatError(
                f"The folder {self._path} has no file `{name}`. It holds: {sorted(os.listdir(self._path))[:10]}. Pass "
                "a folder that `model.save(path, zipped=False)` wrote, or a `.keras` file."
            )
        return open(os.path.join(self._path, name), "rb")

    @contextlib.contextmanager
    def assets(self) -> Iterator[str | None]:
        """Inside, the folder that holds the assets; None where there is none."""
        path = os.path.join(self._path, ASSETS)
        yield path if os.path.isdir(path) else None


class NewAssets:
    """The folder that assets are saved into, made when the first object asks for it, and removed in the end."""

    def __init__(self) -> None:
        self._made = contextlib.ExitStack()
        self._root: str | None = None

    def __enter__(self) -> NewAssets:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._made.close()

    def folder(self, path: str) -> str:
        """The folder of the object at `path`."""
        if self._root is None:
            self._root = self._made.enter_context(tempfile.TemporaryDirectory())
        folder = os.path.join(self._root, *path.split("/")) if path else self._root
        os.makedirs(folder, exist_ok=True)
        return folder

    def files(self) -> Iterator[tuple[str, str]]:
        """`(file, path within the assets, with "/")` of each, in the order of their names."""
        for where, folders, names in os.walk(self._root) if self._root is not None else ():
            folders.sort()
            for name in sorted(names):
                file = os.path.join(where, name)
                yield file, os.path.relpath(file, self._root).replace(os.sep, "/")


class Window(io.RawIOBase):
    """`size` bytes of a file, from `start` on, as a file of their own.

    >>> import io
    >>> from fastk.saving.archive import Window
    >>> Window(io.BytesIO(b"one two three"), start=4, size=3).read()
    b'two'
    """

    def __init__(self, file: BinaryIO, start: int, size: int):
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place, and returns it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`; returns the number of bytes read."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view[: max(self._size - self._position, 0)])  # type: ignore[attr-defined]
        self._position += count
        return count


def add_member(archive: zipfile.ZipFile, name: str, file: BinaryIO) -> None:
    """Stores the rest of `file` in `archive`, uncompressed, under `name`."""
    with archive.open(name, "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member, _CHUNK)


def _check_name(name: str, source: str) -> None:
    parts = name.removesuffix("/").split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise FileFormatError(
            f"{source} holds a member named {name!r}, which would be written outside of its folder: it was not written "
            "by `model.save`, and may be an attack. It is not read."
        )


def _looks_like(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(8)
    if not start:
        return "it is empty"
    if start == b"\x89HDF\r\n\x1a\n":
        return "it is an HDF5 file"
    return "its end is missing" if start[:4] == b"PK\3\4" else f"it begins with {start!r}"
