"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the innermost line that is not in fastk: the one to mend, and the one that Python warns of once.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_user("Mind the gap.")
    >>> str(caught[0].message)
    'Mind the gap.'
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastk":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
