"""What is wrong, by the facts, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastk.doctor.facts import Facts


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    Args:
        level: `"error"` where fastk does not work, `"warning"` where it could be faster, `"note"` where something
            beside it does not.
        what: what was seen.
        mend: what to do.
    """

    level: str
    what: str
    mend: str


def diagnose(facts: Facts) -> list[Finding]:
    """All findings, the worst first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.level))


def _torch(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus or facts.cuda_available:
        return
    gpu = facts.gpus[0]
    torch = facts.packages.get("torch")
    if facts.environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield Finding("warning", f"CUDA_VISIBLE_DEVICES hides {gpu}.", "Unset it: `unset CUDA_VISIBLE_DEVICES`.")
    elif facts.torch_cuda is None:
        yield Finding(
            "warning",
            f"This machine has a GPU ({gpu}), and torch {torch} is a build for CPUs: fastk runs on the CPU.",
            "Install torch's CUDA build: `pip uninstall torch`, then the command that pytorch.org/get-started shows "
            f"for CUDA {facts.driver_cuda or 'as your driver has it'} or older.",
        )
    else:
        yield Finding(
            "warning",
            f"torch {torch} is built for CUDA {facts.torch_cuda} and cannot use {gpu}; the driver {facts.driver} runs "
            f"CUDA up to {facts.driver_cuda or 'an unknown version'}.",
            "Install a newer driver, or a torch built for the driver's CUDA; check that /dev/nvidia* can be read.",
        )


def _settings(facts: Facts) -> Iterator[Finding]:
    if facts.device_error:
        yield Finding("error", facts.device_error, "Unset FASTK_DEVICE, or mend what keeps torch from the GPU.")
    refused = [op for op, choice in facts.ops.items() if choice["runs"] == "raises"]
    if refused:
        why = facts.ops[refused[0]]["why"]
        yield Finding(
            "error",
            f"FASTK_KERNELS asks for {facts.kernels!r}, which {len(refused)} ops have not got here "
            f"({', '.join(refused)}), so that they raise: {why}.",
            "Unset it: `unset FASTK_KERNELS`.",
        )
    if facts.interpreted:
        yield Finding(
            "warning",
            "TRITON_INTERPRET is set: Triton kernels run in its interpreter, which is slow, and not on a GPU.",
            "Unset it: `unset TRITON_INTERPRET`. It is for debugging kernels.",
        )


def _kernels(facts: Facts) -> Iterator[Finding]:
    cupy = _cupy(facts)
    for name, why in facts.broken_imports.items():
        yield Finding(
            "warning", f"{name} is installed and cannot be imported: {why}", f"Reinstall it: pip install -U {name}"
        )
    major = facts.torch_cuda.split(".")[0] if facts.torch_cuda else None
    if len(cupy) > 1:
        yield Finding(
            "warning",
            f"Several CuPy packages are installed, and overwrite each other's files: {', '.join(cupy)}.",
            f"Keep one: `pip uninstall -y {' '.join(cupy)}`, then `pip install cupy-cuda{major or '12'}x`.",
        )
    elif cupy and major and cupy[0].startswith("cupy-cuda") and cupy[0] != f"cupy-cuda{major}x":
        yield Finding(
            "warning",
            f"{cupy[0]} is for another CUDA than torch, which has {facts.torch_cuda}.",
            f"`pip uninstall -y {cupy[0]}`, then `pip install cupy-cuda{major}x`.",
        )
    if not facts.cuda_available:
        return
    triton = facts.packages.get("triton")
    if triton is None:
        instead = "CuPy's kernels run where there are some, ATen elsewhere" if cupy else "every op runs torch's own"
        yield Finding("warning", f"Triton is not installed: {instead}.", "pip install triton (Linux alone)")
    elif _version(triton) < (3, 6):
        yield Finding(
            "warning",
            f"Triton {triton} is older than the 3.6 that the kernels are tested with.",
            "Install torch 2.11 or newer, which brings one.",
        )
    if facts.compilers.get("C") is None and triton:
        yield Finding(
            "error", "Triton needs a C compiler to launch kernels, and there is none.",
            "Install one (Debian: `apt install gcc`), or name it by the variable CC.",
        )  # fmt: skip
    if facts.capabilities and min(facts.capabilities) < 80:
        yield Finding(
            "note",
            f"A GPU of compute capability {min(facts.capabilities) / 10:.1f} is older than 8.0, the oldest that the "
            "kernels are compiled and checked for.",
            "If a kernel fails there, FASTK_KERNELS=aten runs torch's own.",
        )


def _surroundings(facts: Facts) -> Iterator[Finding]:
    if facts.compilers.get("C++") is None:
        yield Finding(
            "note",
            "No C++ compiler was found: torch.compile does not work on the CPU, nor do the tests of CuPy's kernels. "
            "fastk itself needs none.",
            "Install one (Debian: `apt install g++`), or name it by the variable CXX.",
        )
    for cache in facts.caches:
        if not cache["writable"]:
            yield Finding(
                "warning" if facts.cuda_available else "note",
                f"The cache of {cache['name']} cannot be written to ({cache['path']}): its work is done anew in every "
                "process, or not at all.",
                f"Make it writable, or name another folder: `export {cache['variable']}=…`.",
            )


def _outcomes(facts: Facts) -> Iterator[Finding]:
    for name, outcome in facts.self_test.items():
        if outcome.startswith("failed"):
            yield Finding(
                "error" if facts.ops.get("dense", {}).get("runs") == name else "warning",
                f"The self-test of the {name} kernels {outcome}",
                "Until it is mended, FASTK_KERNELS=aten runs torch's own. Please report it with `fastk doctor --json`.",
            )


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (_torch, _settings, _kernels, _surroundings, _outcomes)


def _cupy(facts: Facts) -> list[str]:
    return [name for name, version in facts.packages.items() if name.startswith("cupy") and version]


def _version(text: str) -> tuple[int, ...]:
    """The numbers of a version.

    >>> _version("3.6.0+git1"), _version("2.13")
    ((3, 6), (2, 13))
    """
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())
