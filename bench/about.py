"""Where and with what something was measured: what every result carries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

PACKAGES = ("torch", "triton", "cupy", "keras", "jax", "jaxlib", "tensorflow", "tensorflow-cpu", "numpy")


def about() -> dict:
    """Machine, versions, commit and date. Imports none of the packages that it names."""
    return {
        "cpu": cpu_model(),
        "cores": len(cores()),
        "load": os.getloadavg()[0],  # processes that want a core, over the last minute: other people's work
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version(name))},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def cores() -> list[int]:
    """The numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = [line.split(":", 1) for line in lines if ":" in line]
    names = [value.strip() for key, value in fields if key.strip() == "model name"]
    return names[0] if names else platform.machine()


def version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """The commit that is checked out, with a mark where tracked files differ from it."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    return found.stdout.strip() or "unknown"
