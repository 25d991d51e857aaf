"""`python -m fastk.autotune.worker`: compiles what it is told, a line of JSON each, and answers with a line each.

It ends with its standard input, that is with the process that started it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from dataclasses import asdict
from typing import Any, TextIO

from fastk.autotune.compilation import unpack
from fastk.autotune.space import TUNABLES, problem_from_data, resolve


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The resources of a candidate, or the error that it does not compile with."""
    try:
        importlib.import_module(asked["module"])  # which registers the tunable
        tunable = TUNABLES[asked["tunable"]]
        problem = problem_from_data(tunable, asked["problem"])
        configuration = tunable.configuration_from(asked["configuration"])
        arguments = unpack(asked["arguments"])
        return asdict(resolve(tunable.compiler)(tunable, problem, arguments, configuration))
    except Exception as error:  # whatever it is, it is told of this candidate, and others are wanted too
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answers each line. What a compiler prints goes to standard error."""
    for line in lines:
        with contextlib.redirect_stdout(sys.stderr):
            found = answer(json.loads(line))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
