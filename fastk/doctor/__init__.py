"""`fastk doctor`: what is installed, what fastk will run and why, what is wrong and how to mend it.

`facts` looks at the machine, `findings` judges what it saw; nothing that is missing raises.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastk.doctor.facts import Facts, look
from fastk.doctor.findings import Finding, diagnose

MARKS = {"error": "✗", "warning": "!", "note": "·"}


def register(subparsers: Any) -> None:
    """Adds the command to `fastk`'s."""
    parser = subparsers.add_parser(
        "doctor",
        help="what is installed, which kernels will run and why, what is wrong and how to mend it",
        description="Looks at this machine. The exit status is 0 where fastk works, if slower than it could.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints what was found; returns 1 where fastk does not work."""
    facts = look()
    found = diagnose(facts)
    usable = all(finding.level != "error" for finding in found)
    if options.json:
        shown = {"usable": usable, "facts": asdict(facts), "findings": [asdict(finding) for finding in found]}
        print(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        print("\n".join(text(facts, found)))
    return 0 if usable else 1


def text(facts: Facts, found: list[Finding]) -> Iterator[str]:
    """The lines for a reader."""
    yield f"fastk {facts.fastk}, Python {facts.python}, {facts.system}"
    yield f"  installed in   {facts.folder}"
    yield "\nPackages"
    for name, version in facts.packages.items():
        yield f"  {name:14} {version or 'not installed'}"
    yield "\nDevices"
    yield f"  processor      {facts.cpu}, {facts.cores} cores"
    for gpu in facts.gpus or ["no NVIDIA GPU: `nvidia-smi` is missing or sees none"]:
        yield f"  GPU            {gpu}"
    cuda = f"CUDA {facts.torch_cuda}" if facts.torch_cuda else "no CUDA: a CPU build"
    yield f"  torch          built for {cuda}; {'sees a GPU' if facts.cuda_available else 'sees no GPU'}"
    yield f"  driver         {facts.driver or 'none'}"
    yield f"  fastk uses     {facts.device or 'none'}"
    yield f"\nOperations on {facts.device_type}: what runs, and why not another"
    alike: dict[tuple[str, str], list[str]] = {}
    for op, choice in facts.ops.items():
        alike.setdefault((choice["runs"], choice["why"]), []).append(op)
    for (runs, why), names in alike.items():
        yield f"  {runs:8} {why}"
        yield textwrap.fill(", ".join(names), 110, initial_indent=" " * 11, subsequent_indent=" " * 11)
    yield "\nEnvironment variables that are set"
    for name, value in facts.environment.items() or {"none": "of those that fastk and its compilers read"}.items():
        yield f"  {name:22} {value}"
    yield "\nCaches"
    for cache in facts.caches:
        size = f"{cache['megabytes']:.1f} MB" if cache["exists"] else "not there yet"
        access = "" if cache["writable"] else ", cannot be written to"
        yield f"  {cache['name']:14} {cache['path']} ({size}{access})"
    yield "\nSelf-test: dense, forward and backward, beside float64"
    for name, outcome in facts.self_test.items():
        yield f"  {name:14} {outcome}"
    yield ""
    for finding in found:
        yield f"{MARKS[finding.level]} {finding.what}"
        yield f"    {finding.mend}"
    worst = {finding.level for finding in found}
    yield (
        "fastk does not work here."
        if "error" in worst
        else ("fastk works here, slower than it could." if "warning" in worst else "fastk works here.")
    )
