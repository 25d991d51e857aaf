"""The command line of the kernels: `python -m fastk.kernels report` and `python -m fastk.kernels traffic`."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "report": "compile the kernels without a GPU and check registers, memory and instructions",
    "traffic": "interpret the kernels and count the bytes and products that they ask for",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the named command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastk.kernels", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, meaning in COMMANDS.items():
        commands.add_parser(name, help=meaning, add_help=False)
    command, rest = parser.parse_known_args(argv)
    return importlib.import_module(f"fastk.kernels.verify.{command.command}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
