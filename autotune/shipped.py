"""The winners that come with fastk: `shipped/<gpu>.json`, in the form of the database.

On the GPU that they were measured on they are used as they are; on another one of the same architecture they are where
a search starts. A file is read at the first question about its architecture, never at import.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from fastk.autotune.database import Key, Record, loads

FOLDER = Path(__file__).parent / "shipped"


def file_name(device: str) -> str:
    """The name of a GPU's file.

    >>> file_name("NVIDIA H200")
    'nvidia-h200.json'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"


def winner(key: Key, folder: Path | None = None) -> Record | None:
    """The record of this GPU and problem, of the same kernels; Triton may be another one."""
    path = (folder or FOLDER) / file_name(key.device)
    return next((record for record in _of(path) if _same(record.key, key) and record.key.device == key.device), None)


def starting_points(key: Key, folder: Path | None = None) -> list[Record]:
    """The records of this problem on GPUs of the same architecture, whatever their multiprocessors."""
    folder = folder or FOLDER
    records = (record for path in sorted(folder.glob("*.json")) for record in _of(path))
    return [record for record in records if _same(record.key, key, but=("sm_count",))]


def records_of(device: str, folder: Path | None = None) -> Iterator[Record]:
    """All records that are shipped for a GPU."""
    return _of((folder or FOLDER) / file_name(device))


def _same(one: Key, other: Key, but: tuple[str, ...] = ()) -> bool:
    """The same problem of the same tunable, in kernels of the same source."""
    problems = [{k: v for k, v in key.problem.items() if k not in but} for key in (one, other)]
    return (one.tunable, one.source) == (other.tunable, other.source) and problems[0] == problems[1]


def _of(path: Path) -> Iterator[Record]:
    """The records of a file; none where there is no file."""
    return iter(_read(path, path.stat().st_mtime_ns) if path.is_file() else ())


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> tuple[Record, ...]:
    """The records of a file. One that is malformed is a fault of the installation, and raises."""
    return tuple(loads(path.read_text(encoding="utf-8")).values())
