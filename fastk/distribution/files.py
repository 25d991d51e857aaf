"""Files of a training: of all processes the first one writes them."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable
from typing import Any, TypeVar

from fastk.distribution import sharding, strategies

Save = TypeVar("Save", bound=Callable[..., Any])


def is_writer() -> bool:
    """Whether this process is the one that writes files."""
    group = strategies.active()
    return group is None or group.is_first


def written_by_first(save: Save) -> Save:
    """Has `save(model, path, ...)` write on the first process; on the others it returns when the file is there."""

    @functools.wraps(save)
    def wrapped(model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        group = strategies.active()
        if group is None or isinstance(filepath, io.IOBase):
            return save(model, filepath, *args, **kwargs)
        # Parts are put together by all, before the first process writes.
        with sharding.gathered(model, group) if sharding.is_sharded(model) else contextlib.nullcontext():
            group.written_by_first(os.fsdecode(filepath), lambda: save(model, filepath, *args, **kwargs))
        return None

    return wrapped  # type: ignore[return-value]
