"""The command `fastk`, also `python -m fastk`.

fastk run train.py --epochs 5             # a program written for Keras, on fastk (fastk/run.py)
fastk explain model.keras --batch 128     # what a saved model runs as, op by op
fastk tune model.keras --batch 128        # measures the configurations of its kernels
fastk doctor                              # what is installed, what will run, what is wrong and how to mend it
fastk bench --quick                       # what ops and models cost here, beside their rivals
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from fastk import commands, doctor, run, tune
from fastk.bench import command as bench
from fastk.errors import FastkError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Args:
        argv: the arguments; by default those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:  # what follows is the program's, and none of it argparse's
        return run.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="fastk", description="fastk from the shell.")
    subparsers = parser.add_subparsers(required=True, metavar="command", dest="command")
    subparsers.add_parser("run", help="run a program written for Keras; fastk run --help")
    explain = subparsers.add_parser(
        "explain",
        help="what a saved model runs as: what was fused, which kernels, why, and at what cost",
        description="Prints what a saved model runs as, op by op.",
    )
    explain.add_argument("model", help="a .keras file")
    explain.add_argument(
        "--batch", type=commands.positive, default=32, metavar="N", help="samples that costs are counted for (32)"
    )
    explain.add_argument("--inference", action="store_true", help="explain a prediction, not a training step")
    explain.add_argument("--graph", action="store_true", help="print the ops with their arguments too")
    explain.add_argument("--json", action="store_true", help="print JSON, for programs")
    explain.set_defaults(run=_explain)
    doctor.register(subparsers)
    bench.register(subparsers)
    tune.register(subparsers)
    options = parser.parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except (commands.Refusal, FastkError) as error:
        print(f"fastk {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` for example, has seen enough: nothing more is written, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _explain(options: argparse.Namespace) -> int:
    model = commands.load_model(options.model)
    explanation = model.explain(options.batch, training=not options.inference)
    if options.json:
        print(json.dumps(explanation.as_dict(), indent=1, ensure_ascii=False))
        return 0
    print(explanation)
    if options.graph and explanation.graph is not None:
        print(f"\n{explanation.graph}")
    return 0
