"""The database of measurements: one JSON file, read whole, written by atomic rename under a lock between processes.

A key is everything that a measurement depends on and nothing that was found: the tunable, its problem rounded up to a
bucket, the GPU's name, the version of Triton, and a hash of the kernels' sources. A key that differs in any of them is
a miss. A file that cannot be read is a miss too, with one warning; it is put aside before the next write.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from fastk import config
from fastk.atomic import write_atomically
from fastk.autotune.space import Tunable, fingerprint, problem_to_data

SCHEMA = 1


@dataclass(frozen=True)
class Key:
    """What a measurement depends on. `problem` is that of `problem_to_data`, of a bucket."""

    tunable: str
    problem: dict[str, Any]
    device: str
    triton: str
    source: str

    @classmethod
    def of(cls, tunable: Tunable, problem: Any, device: str) -> Key:
        """The key of a problem on the GPU of this name, with the sources and the Triton that are installed."""
        bucket = problem_to_data(tunable.bucket(problem))
        return cls(tunable.name, bucket, device, triton_version(), fingerprint(tunable.module))

    @property
    def text(self) -> str:
        """The key of the JSON object, to be read and compared as it is."""
        problem = " ".join(f"{name}={_short(value)}" for name, value in self.problem.items())
        return f"{self.tunable} | {problem} | {self.device} | triton {self.triton} | source {self.source}"


@dataclass(frozen=True)
class Record:
    """What was measured for a key.

    Args:
        key: see `Key`.
        configuration: the fastest, as `to_data` writes it.
        microseconds: its median.
        default_microseconds: that of the default.
        timings: of every candidate that was measured: its configuration, median and predicted clocks.
        failures: how many candidates were dropped, by the reason.
        untried: valid candidates for which there was no time.
        seconds: that the search took.
        software: torch, CUDA and fastk of the run.
    """

    key: Key
    configuration: dict[str, Any]
    microseconds: float
    default_microseconds: float
    timings: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    untried: int = 0
    seconds: float = 0.0
    software: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Record:
        """From the JSON of a record; `TypeError` or `KeyError` where it is none."""
        return cls(**{**data, "key": Key(**data["key"])})


class Database:
    """Records by the text of their key, in one file.

    Args:
        path: of the file; its folder is made at the first write.
    """

    def __init__(self, path: Path):
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._records: dict[str, Record] = {}
        self._warned = False

    def records(self) -> dict[str, Record]:
        """All records; the file is read again where it has changed."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._records = None, {}
            return self._records
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._seen, self._records = seen, self._read()
        return self._records

    def get(self, key: Key) -> Record | None:
        """The record of exactly this key."""
        return self.records().get(key.text)

    def put(self, *records: Record) -> None:
        """Adds records, beside those that other processes have written meanwhile."""
        self._change(lambda known: known | {record.key.text: record for record in records})

    def clear(self) -> int:
        """Removes all records; returns how many there were."""
        count = len(self.records())
        self._change(lambda known: {})
        return count

    @contextlib.contextmanager
    def only_one(self, key: Key) -> Iterator[bool]:
        """Holds other processes off this key; gives whether one of them had to be waited for."""
        name = hashlib.sha256(key.text.encode()).hexdigest()[:16]
        with _locked(self.path.with_name("locks") / name) as waited:
            yield waited

    def _change(self, change: Callable[[dict[str, Record]], dict[str, Record]]) -> None:
        with _locked(self.path.with_suffix(".lock")):
            self._seen = None
            known = self.records()
            if self._warned and not known and self.path.exists():
                os.replace(self.path, self.path.with_suffix(".corrupt"))
            write_atomically(self.path, dumps(change(dict(known)).values()))
            self._seen = None

    def _read(self) -> dict[str, Record]:
        try:
            return loads(self.path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"The tuning database {self.path} cannot be read and counts as empty: {error} It is put aside as "
                    f"{self.path.with_suffix('.corrupt').name} when something is tuned; `fastk tune clear` removes it.",
                    stacklevel=2,
                )
            return {}


def default_database() -> Database:
    """The database of this user, in `FASTK_CACHE`."""
    return _database(config.cache_folder() / f"autotune-{SCHEMA}.json")


_database = functools.cache(Database)


def dumps(records: Any) -> str:
    """Records as the text of a file, in the order of their keys."""
    ordered = sorted(records, key=lambda record: record.key.text)
    entries = ",\n".join(f"  {json.dumps(r.key.text)}: {json.dumps(asdict(r))}" for r in ordered)
    return f'{{\n "schema": {SCHEMA},\n "entries": {{\n{entries}\n }}\n}}\n'


def loads(text: str) -> dict[str, Record]:
    """The records of a file's text.

    Raises:
        ValueError: it is no such file, or one of another schema.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise ValueError(f"it must be a JSON object of schema {SCHEMA}, and its schema is {found!r}.")
    try:
        return {name: Record.from_data(entry) for name, entry in data["entries"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"an entry is malformed ({type(error).__name__}: {error}).") from None


@functools.cache
def triton_version() -> str:
    """The installed Triton's version, or a word where there is none; without importing it."""
    if importlib.util.find_spec("triton") is None:
        return "none"
    with contextlib.suppress(metadata.PackageNotFoundError):  # a source tree on the path
        return metadata.version("triton")
    return "unknown"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Holds a lock file, which the system lets go when the process ends; gives whether it had to be waited for."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where two processes may measure the same: the later one is kept
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(file, fcntl.LOCK_EX)
        yield waited  # closing the file lets go of it


def _short(value: Any) -> str:
    return str(value).removeprefix("torch.").replace(" ", "")
