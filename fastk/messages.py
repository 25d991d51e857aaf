"""What fastk tells its user while it works: on the standard output, or in the log where that is asked for.

>>> from fastk import config
>>> config.is_interactive_logging_enabled()
True
"""

from __future__ import annotations

import logging
import sys

from fastk import config

_logger = logging.getLogger("fastk")
_interactive = True
_quiet: bool | None = None


@config.public
def enable_interactive_logging() -> None:
    """Writes messages and progress bars to the standard output (the default)."""
    global _interactive
    _interactive = True


@config.public
def disable_interactive_logging() -> None:
    """Writes messages to the logger `fastk`, at level INFO: for servers and jobs."""
    global _interactive
    _interactive = False


@config.public
def is_interactive_logging_enabled() -> bool:
    """Whether messages go to the standard output."""
    return _interactive


def leave_to_first_rank(quiet: bool) -> None:
    """Has this process say nothing, or speak again: of several that train together one speaks."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether another process speaks: so it is from the start where `torchrun` has started several."""
    global _quiet
    if _quiet is None:
        launched = config.launched_as()
        _quiet = launched is not None and launched[0] > 0 and config.read_environment("FASTK_DISTRIBUTION") != "off"
    return _quiet


def tell(message: object, end: str = "\n") -> None:
    """Writes one message.

    Args:
        message: its text; what the output's encoding has no sign for is replaced.
        end: what follows it on the standard output.

    >>> tell("Found 3 files.")
    Found 3 files.
    """
    text = str(message)
    if is_quiet():
        return
    if not _interactive:
        _logger.info("%s", text.strip("\r\n"))
        return
    stream = sys.stdout
    if stream is None:  # a program without a console
        return
    try:
        stream.write(text + end)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write((text + end).replace("━", "=").encode(encoding, "replace").decode(encoding))
    stream.flush()
