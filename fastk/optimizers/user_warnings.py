"""Warnings that point at the user's line, however many of fastk's own calls lie between."""

from __future__ import annotations

import sys
import warnings


def warn_user(message: str) -> None:
    """Warns at the innermost line that is not fastk's."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "fastk":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
