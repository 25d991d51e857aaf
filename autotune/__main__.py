"""`python -m fastk.autotune check FILE`: how well predictions ordered the measurements in a file of the database."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastk.autotune.check import report
from fastk.autotune.database import loads


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastk.autotune", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    one = commands.add_parser("check", help="rank correlation of predicted and measured times, for each kernel")
    one.add_argument("file", type=Path, help="what `fastk tune export` wrote, or a database")
    options = parser.parse_args(argv)
    try:
        records = loads(options.file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{options.file} cannot be read: {error}")
    print(report(records.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
