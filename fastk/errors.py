"""The exceptions that are fastk's own.

Wrong arguments raise `ValueError` or `TypeError`, as Keras does; these are for what Keras has no word for.
Each message says what was passed, what was expected, and how to mend it.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigurationError",
    "DeserializationError",
    "FastkError",
    "FileFormatError",
    "FileMissing",
    "ImplementationUnavailable",
]


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names among `known` that are like `name`, the nearest first.

    >>> near_names("Dens", ["Dense", "Dropout"])
    ['Dense']
    """
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)


def missing_name(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that a public module does not have; it names near ones.

    >>> missing_name("keras.layers", "Dens", ["Dense", "Dropout"])
    AttributeError('fastk has no `keras.layers.Dens`. Did you mean `Dense`? See docs/compatibility.md.')
    """
    near = near_names(name, known)
    hint = f" Did you mean {' or '.join(f'`{match}`' for match in near)}?" if near else ""
    return AttributeError(f"fastk has no `{module}.{name}`.{hint} See docs/compatibility.md.")


def did_you_mean(unknown: Iterable[str], known: Iterable[str]) -> str:
    """A sentence that names what is known and like the unknown names, with a space before it; empty where nothing is.

    >>> did_you_mean(["activaton"], ["units", "activation"])
    ' Did you mean `activation`?'
    """
    names = list(known)
    near = [match for name in unknown for match in near_names(name, names, most=1)]
    return f" Did you mean {' and '.join(f'`{name}`' for name in dict.fromkeys(near))}?" if near else ""


class FastkError(Exception):
    """Base of the errors that fastk alone raises."""


class ImplementationUnavailable(FastkError, RuntimeError):
    """An implementation was asked for by name and cannot run here: fastk never falls back in silence."""


class ConfigurationError(FastkError, ValueError):
    """An environment variable or a call of `fastk.config` holds a value that it cannot take."""


class FileFormatError(FastkError, ValueError):
    """A file is not what its name claims: truncated, of another format, or malformed."""


class FileMissing(FastkError, FileNotFoundError, ValueError):
    """A file to load, or the folder to save into, does not exist. Also a `ValueError`, which Keras raises here."""


class DeserializationError(FastkError, TypeError):
    """A configuration names a class that is not known, or does not fit its class."""


class RankFailure(FastkError, RuntimeError):
    """Another process of a distributed training ended, or did not answer in time."""
