"""The command `fastk`, also `python -m fastk`.

fastk explain model.keras --batch 128     # what a saved model runs as, op by op
fastk tune model.keras --batch 128        # measures the configurations of its kernels
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from fastk import cli_tune, saving


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Args:
        argv: the arguments; by default those of the process.
    """
    parser = argparse.ArgumentParser(prog="fastk", description="fastk from the shell.")
    commands = parser.add_subparsers(required=True, metavar="command")
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
    cli_tune.add_to(commands, _positive)
    options = parser.parse_args(argv)
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
