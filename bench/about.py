"""Where and with what something was measured: what every result carries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import torch

PACKAGES = (
    *("fastk", "torch", "triton", "cupy-cuda12x", "cupy-cuda13x"),
    *("keras", "jax", "jaxlib", "tensorflow", "tensorflow-cpu", "numpy"),
)


def about(device: str) -> dict:
    """Machine, versions, commit and date. Imports none of the packages that it names but torch.

    Args:
        device: `"cpu"` or `"cuda"`, what is measured.
    """
    return {
        **hardware(device),
        "cores": len(cores()),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # other people's work, over the last minute
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version(name))},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def hardware(device: str) -> dict:
    """What results must have in common to be compared: the device, and the processor that feeds it."""
    found = {"device": device, "name": cpu_model(), "cpu": cpu_model()}
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        found |= {
            "name": torch.cuda.get_device_name(),
            "capability": f"{major}.{minor}",
            "cuda": torch.version.cuda,
            "driver": nvidia_driver(),
        }
    return found


def slug(name: str) -> str:
    """A device's name as that of a folder.

    >>> slug("NVIDIA H200"), slug("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")
    ('nvidia-h200', 'intel-xeon-platinum-8481c-cpu-2-70ghz')
    """
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


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


def nvidia_driver() -> str | None:
    """The version of NVIDIA's driver, or None where `nvidia-smi` is missing or sees no GPU."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = found.stdout.split() if found.returncode == 0 else []
    return lines[0] if lines else None


def version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def checkout() -> Path | None:
    """The root of the repository that this file is in, or None where fastk was installed from a wheel."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "setup.py").exists() and (root / "bench").is_dir() else None


def commit() -> str:
    """The commit that is checked out, with a mark where tracked files differ from it; "unknown" outside a checkout."""
    root = checkout()
    if root is None:
        return "unknown"
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, cwd=root)
    except OSError:  # no git
        return "unknown"
    return found.stdout.strip() or "unknown"
