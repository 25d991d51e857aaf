"""What `bench/gpu.sh` does: stages, of most use first, in slices that a call has time for.

A stage is a command with a limit. Its output goes to `<stage>.log`, and what became of it to `state.json` after each,
so that the next call goes on there: a stage that ran out of time goes on if it can (`fastk bench --resume` keeps what
it measured), one that failed is tried once more, and none keeps the others from running.

    results.json    ops and models, as `fastk bench --json` writes them: to be committed
    compiled.json   ops beside torch.compile, which takes most of a minute a case to tune itself: likewise
    state.json      what became of the stages
    *.log           what they printed
    tuned.json      ops again, after tuning: likewise

What `fastk tune` finds goes to `autotune/shipped/<gpu>.json`, to be committed too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import fastk
from fastk.atomic import replacing
from fastk.bench.about import checkout, slug
from fastk.bench.models.worker.cases import CASES

SLICE = 570.0  # seconds a call: 9.5 minutes
SHORTEST = 90.0  # a stage that has less time is left to the next call
RESERVE = 45.0  # of a limit: no case is begun in it, so that the last one has time to end
TRIES = 2  # of a stage that fails, or that has to be stopped
TIMED_OUT = 124  # as timeout(1) says it
TUNED = ("mlp", "cnn", "resnet", "lstm")  # the models that are tuned for

Result = tuple[int, bool]  # exit status, whether more is left to do


@dataclass(frozen=True)
class Stage:
    """A step of the work.

    Args:
        name: of its log, and in the state.
        limit: the most seconds that one call spends on it.
        run: `run(seconds, log)` gives the exit status and whether something is left to do.
    """

    name: str
    limit: float
    run: Callable[[float, Path], Result]


@dataclass
class State:
    """What became of the stages: `{"status": "done" | "failed" | "unfinished", "tries", "seconds", "detail"}` each."""

    path: Path
    stages: dict[str, dict]

    @classmethod
    def read(cls, path: Path) -> State:
        """The state that a call before left."""
        return cls(path, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})

    def ended(self, name: str) -> bool:
        """Whether nothing more is to be done for a stage."""
        found = self.stages.get(name)
        return found is not None and (found["status"] == "done" or found["tries"] >= TRIES)

    def note(self, name: str, status: str, seconds: float, detail: str, failure: bool) -> None:
        """Writes what became of a stage."""
        before = self.stages.get(name, {"tries": 0, "seconds": 0.0})
        tries = before["tries"] + failure
        total = round(before["seconds"] + seconds, 1)
        self.stages[name] = {"status": status, "tries": tries, "seconds": total, "detail": detail}
        with replacing(self.path) as file:
            file.write(json.dumps(self.stages, indent=1).encode())


def go_on(stages: Sequence[Stage], folder: Path, seconds: float = SLICE) -> bool:
    """Runs what is not done, in order, for as long as there is time.

    Returns:
        Whether all stages have ended, well or not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, end = State.read(folder / "state.json"), time.monotonic() + seconds
    for stage in stages:
        left = end - time.monotonic()
        if state.ended(stage.name):
            continue
        if left < SHORTEST:
            break
        limit, start = min(stage.limit, left), time.monotonic()
        print(f"{stage.name}: up to {limit:.0f} s", flush=True)
        try:
            status, more = stage.run(limit, folder / f"{stage.name}.log")
            outcome = "unfinished" if more else "failed" if status else "done"
            detail = "stopped: its time was over" if status == TIMED_OUT else f"exit status {status}"
        except OSError as error:  # a command that cannot be started; the other stages may
            status, outcome, detail = 1, "failed", str(error)
        state.note(stage.name, outcome, time.monotonic() - start, detail, failure=status != 0)
        print(f"{stage.name}: {outcome} ({detail})", flush=True)
    return all(state.ended(stage.name) for stage in stages)


def command(*arguments: str | Path, resumable: bool = False) -> Callable[[float, Path], Result]:
    """A stage's `run` that starts this Python with arguments; `{seconds}` in one is the time that it has.

    Args:
        arguments: of the interpreter.
        resumable: whether the same command goes on where it was stopped; it says "Out of time" if it left something.
    """

    def run(seconds: float, log: Path) -> Result:
        words = [str(argument).format(seconds=int(max(1, seconds - RESERVE))) for argument in arguments]
        status = logged([sys.executable, *words], seconds, log)
        with log.open(encoding="utf-8", errors="replace") as lines:
            left = any(line.startswith("Out of time") for line in lines)
        return status, resumable and (status == TIMED_OUT or (left and status == 0))

    return run


def logged(words: list[str], seconds: float, log: Path) -> int:
    """Runs a command, its output to a file; `TIMED_OUT` where it takes longer."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return TIMED_OUT


def _end(process: subprocess.Popen) -> None:
    """Ends a process and what it started: test processes, compilers, the rivals."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, what)
        except ProcessLookupError:
            return
        try:
            process.wait(5)
            return
        except subprocess.TimeoutExpired:
            continue


def stages(folder: Path, shipped: Path) -> list[Stage]:
    """What is done on a GPU, of most use first.

    Args:
        folder: for results.
        shipped: the file that comes with fastk, of the winners on this GPU.
    """

    def bench(name: str, *arguments: str) -> Callable[[float, Path], Result]:
        words = ("-m", "fastk", "bench", "--json", folder / name, "--resume", "--seconds", "{seconds}", *arguments)
        return command(*words, resumable=True)

    ops = ("--providers", "fastk", "fastk-triton", "fastk-cupy", "torch", "library", "floor", "--ops")
    rivals = ("fastk", "fastk-in-keras", "fastk-in-torch", "torch", "torch.compile", "keras-torch", "keras-jax")
    models = ("--providers", *rivals, "--rounds", "5", "--models")
    compiled = ("--providers", "fastk", "torch", "torch.compile", "--dtypes", "bfloat16", "--ops")
    found = [
        Stage("tests", 240, command("-m", "pytest", "-q", "-m", "gpu", "--numprocesses", "4", "tests")),
        Stage("ops", 230, bench("results.json", "--dtypes", "bfloat16", *ops)),
        Stage("models", 240, bench("results.json", *models, "mlp", "resnet", "resnet50", "lstm")),
        Stage("ops-float32", 150, bench("results.json", "--dtypes", "float32", *ops)),
        Stage("ops-compiled", 300, bench("compiled.json", *compiled, "dense", "softmax_cross_entropy")),
        Stage("models-all", 300, bench("results.json", *models)),
    ]
    if not tunes():
        return found
    for name in TUNED:
        model = folder / "models" / f"{name}.keras"
        words = ("-m", "fastk", "tune", model, "--batch", str(CASES[name].batch), "--seconds", "5")
        found.append(Stage(f"tune-{name}", 240, command(*words)))
    return [
        *found,
        Stage("export", 60, command("-m", "fastk", "tune", "export", shipped)),
        Stage("ops-tuned", 230, bench("tuned.json", "--dtypes", "bfloat16", *ops)),
    ]


def save_models(folder: Path) -> None:
    """Writes the models that are tuned for, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TUNED:
        if not (folder / f"{name}.keras").exists():
            with fastk.device("cpu"):
                model = CASES[name].build(fastk)
                model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
                model.optimizer.build(model.trainable_variables)
                model.save(folder / f"{name}.keras")


def tunes() -> bool:
    """Whether this fastk has the command `fastk tune`."""
    found = subprocess.run([sys.executable, "-m", "fastk", "tune", "--help"], capture_output=True, timeout=60)
    return found.returncode == 0


def main(argv: list[str] | None = None) -> int:
    """One call; returns 0 if all is done, 1 if a stage failed for good, 2 without a GPU, 3 if another call goes on."""
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description="Tests, measures and tunes on an NVIDIA GPU.")
    parser.add_argument("folder", type=Path, nargs="?", help="default: bench/results/<gpu>/<date>")
    parser.add_argument("--seconds", type=float, default=SLICE, help="of this call")
    options = parser.parse_args(argv)
    root = checkout()
    if root is None:
        print("bench/gpu.sh runs the repository's tests: call it from a checkout of fastk.", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("torch sees no CUDA device. `fastk doctor` says why, and how to mend it.", file=sys.stderr)
        return 2
    name = slug(torch.cuda.get_device_name())
    folder = options.folder or root / "bench" / "results" / name / time.strftime("%Y-%m-%d")
    work = stages(folder, root / "autotune" / "shipped" / f"{name}.json")
    if any(stage.name.startswith("tune") for stage in work):
        save_models(folder / "models")
    ended = go_on(work, folder, options.seconds)
    found = State.read(folder / "state.json").stages
    print("\n" + "\n".join(f"{name:12} {what['status']:11} {what['seconds']:6.0f} s" for name, what in found.items()))
    if not ended:
        print(f"\nMore is to be done: bash bench/gpu.sh {folder}")
        return 3
    return 1 if any(what["status"] == "failed" for what in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
