"""`get_file`: a file from a URL, kept in a cache, compared with its checksum."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, BinaryIO

from fastk import config
from fastk.atomic import replacing
from fastk.messages import tell
from fastk.user_warning import warn_user
from fastk.utils.archives import extract_archive
from fastk.utils.progbar import Progbar

_CHUNK = 1 << 18
_TIMEOUT = 60  # seconds without a byte


def get_file(
    fname: Any = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: Any = None,
    force_download: bool = False,
) -> str:
    """The path of a file from a URL, downloaded where the cache does not have it.

    The file takes its place once it is whole and its checksum is right. An archive is unpacked when it was downloaded
    or its folder is missing.

    Args:
        fname: the file's name in the cache, or that of the folder an archive is unpacked into; None for the URL's.
        origin: the URL: `https://`, `http://`, `ftp://` or `file://`.
        untar: an older name for `extract`, of tar files alone.
        md5_hash: an older name for `file_hash`, with MD5.
        file_hash: the checksum, in hexadecimal digits; None to trust whatever comes.
        cache_subdir: the folder within the cache, or an absolute path.
        hash_algorithm: `"sha256"`, `"md5"`, or `"auto"` to tell by the length of `file_hash`.
        extract: whether to unpack a tar or zip archive; members that would lie outside of the folder are left out.
        archive_format: `"tar"`, `"zip"`, a list of them, `"auto"` or None.
        cache_dir: the cache; None for `KERAS_HOME`, or else `~/.keras`.
        force_download: whether to download a file that the cache has.

    Returns:
        The path of the file, or with `extract` that of the folder with the archive's contents.

    Raises:
        ValueError: without an `origin`, for a path as `fname`, and for a wrong checksum.
        OSError: where the URL cannot be fetched; says where a file got otherwise is to be put.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = pathlib.Path(folder, "source.txt")
    ...     _ = source.write_text("text")
    ...     path = get_file("copy.txt", source.as_uri(), cache_dir=folder)  # doctest: +ELLIPSIS
    ...     pathlib.Path(path).read_text()
    Downloading data from file://...
    'text'
    """
    if origin is None:
        raise ValueError("`origin`, the URL of the file to download, is missing. Pass `origin='https://...'`.")
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    folder = os.path.join(_cache(cache_dir), cache_subdir)
    os.makedirs(folder, exist_ok=True)
    extract = extract or untar
    target, unpacked = _places(folder, fname, origin, extract)

    download = force_download or not os.path.exists(target)
    if not download and file_hash is not None and not validate_file(target, file_hash, hash_algorithm):
        tell(
            f"A local file was found, but it seems to be incomplete or outdated: its {hash_algorithm} hash is not "
            f"{file_hash}. It is downloaded again."
        )
        download = True
    if download:
        tell(f"Downloading data from {origin}")
        _download(origin, target, file_hash, hash_algorithm)
    if not extract:
        return target
    there = not download and os.path.isdir(unpacked) and os.listdir(unpacked)
    if not there and not extract_archive(target, unpacked, "tar" if untar else archive_format):
        warn_user(f"Could not extract archive: {target} is none of the format that was asked for.")
    return unpacked


def _cache(cache_dir: Any) -> str:
    """The folder of the cache; one among the temporary files where it cannot be written to."""
    folder = keras_home() if cache_dir is None else os.path.expanduser(os.fspath(cache_dir))
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    other = os.path.join(tempfile.gettempdir(), ".keras")
    warn_user(
        f"The cache {folder} cannot be written to: {other} is used. Pass `cache_dir`, or set `KERAS_HOME`, to choose "
        "another folder."
    )
    return other


def keras_home() -> str:
    """The folder of Keras's cache: `KERAS_HOME`, or else `~/.keras`."""
    return os.path.expanduser(str(config.read_environment("KERAS_HOME") or os.path.join("~", ".keras")))


def _places(folder: str, fname: Any, origin: str, extract: bool) -> tuple[str, str]:
    """`(file, folder of what is unpacked)`, named as Keras names them, so that its cache is used."""
    given = os.fspath(fname) if fname else ""
    name = given or os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name:
        raise ValueError(f"The URL names no file: {origin!r}. Say what to call it: pass `fname`.")
    if os.path.basename(name) != name or name in (".", ".."):
        raise ValueError(
            "Paths are no longer accepted as the `fname` argument: pass a name, and the folder as `cache_dir`. "
            f"Received: fname={name}"
        )
    path = os.path.join(folder, name)
    if not extract:
        return path, path
    if "." in given:
        return path, os.path.join(folder, f"{name[: name.find('.')]}_extracted")
    return f"{path}_archive", path


def _download(origin: str, target: str, file_hash: str | None, algorithm: str) -> None:
    with replacing(target) as file:
        _fetch(origin, file, target)
        file.flush()
        if file_hash is None or validate_file(file.name, file_hash, algorithm):
            return
        raise ValueError(
            f"Incomplete or corrupted file detected: the {algorithm} hash of what {origin} gave is "
            f"{hash_file(file.name, _hasher_name(algorithm, file_hash))}, and {file_hash} was expected. Download it "
            "again, or check `file_hash`."
        )


def _fetch(origin: str, file: BinaryIO, target: str) -> None:
    try:
        with urllib.request.urlopen(origin, timeout=_TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            size = int(length) if length and length.isdigit() else None
            bar = Progbar(size, unit_name="byte")
            done = 0
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                bar.update(done, finalize=done == size)
            if size is not None and done != size:
                raise urllib.error.URLError(f"{done} of {size} bytes came")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        code = getattr(error, "code", None)
        reason = (
            f"{code} -- {error.msg}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        )
        raise OSError(
            f"URL fetch failure on {origin}: {reason}. If this machine is offline, download the file elsewhere and "
            f"put it at {target}"
        ) from error


def _hasher_name(algorithm: str, file_hash: str) -> str:
    if algorithm == "auto":
        return "sha256" if len(file_hash) == 64 else "md5"
    return algorithm


def hash_file(fpath: Any, algorithm: str = "sha256") -> str:
    """The checksum of a file, as hexadecimal digits; `algorithm` is `"sha256"` or `"md5"`."""
    if algorithm not in ("sha256", "md5"):
        raise ValueError(f"Unknown `hash_algorithm`: {algorithm!r}. Expected 'sha256', 'md5' or 'auto'.")
    with open(fpath, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def validate_file(fpath: Any, file_hash: str, algorithm: str = "auto") -> bool:
    """Whether the checksum of a file is `file_hash`."""
    return hash_file(fpath, _hasher_name(algorithm, file_hash)) == file_hash.lower()
