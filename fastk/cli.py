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
import sys
from collections.abc import Sequence

from fastk import doctor, run, saving, tune
from fastk.bench import command as bench


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Args:
        argv: the arguments; by default those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:  # what follows is the program's, and none of it argparse's
        return run.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="fastk", description="fastk from the shell.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("run", help="runs a program written for Keras; fastk run --help")
    explain = commands.add_parser(
        "explain",
        help="what a saved model runs as: what was fused, which kernels, why, and at what cost",
        description="Prints what a saved model runs as, op by op.",
    )
    explain.add_argument("model", help="a .keras file")
    explain.add_argument(
        "--batch", type=_positive, default=32, metavar="N", help="samples that costs are counted for (32)"
    )
    explain.add_argument("--inference", action="store_true", help="explain a prediction, not a training step")
    explain.add_argument("--graph", action="store_true", help="print the ops with their arguments too")
    explain.add_argument("--json", action="store_true", help="print JSON, for programs")
    explain.set_defaults(run=_explain)
    doctor.register(commands)
    bench.register(commands)
    tune.register(commands, _positive)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except FileNotFoundError as error:
        parser.error(str(error))


def _explain(options: argparse.Namespace) -> int:
    model = saving.load_model(options.model)
    explanation = model.explain(options.batch, training=not options.inference)
    if options.json:
        print(json.dumps(explanation.as_dict(), indent=1, ensure_ascii=False))
        return 0
    print(explanation)
    if options.graph and explanation.graph is not None:
        print(f"\n{explanation.graph}")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number of samples, not {text}")
    return value
