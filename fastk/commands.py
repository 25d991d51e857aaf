"""What the commands of `fastk` share: how one refuses, the parsers of numbers, and models from files."""

from __future__ import annotations

import argparse
import math
import warnings
from typing import Any

from fastk import saving
from fastk.errors import DeserializationError


class Refusal(Exception):
    """What was asked for cannot be done; the words are for the user."""


def positive(text: str) -> int:
    """The parser of an option that is a positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number. Received: {text!r}")
    return int(text)


def positive_seconds(text: str) -> float:
    """The parser of an option that is a positive, finite time."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds. Received: {text!r}")
    return seconds


def load_model(path: str) -> Any:
    """The model in a file, for a command that does not go on with its training.

    Raises:
        Refusal: it cannot be loaded; the words say why.
    """
    try:
        with warnings.catch_warnings():
            # A model that was saved before its first step has no slots of the optimizer: only training would miss them.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return saving.load_model(path)
    except DeserializationError as error:
        raise Refusal(f"{error} A command has only fastk's classes: load the model where the others are.") from error
    except (OSError, ValueError, TypeError) as error:  # what `load_model` raises for files that it cannot take
        raise Refusal(str(error)) from error
