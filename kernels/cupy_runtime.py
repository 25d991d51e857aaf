"""What CuPy kernels run on: torch's memory and torch's current stream on a GPU."""

from __future__ import annotations

import functools
import importlib

import torch


@functools.cache
def why_not(device_type: str) -> str | None:
    """None, or why CuPy kernels cannot run on tensors of such a device."""
    if device_type != "cuda":
        return f"CuPy kernels run on CUDA tensors, and this one is on {device_type!r}"
    try:
        importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    return None if torch.cuda.is_available() else "CuPy needs a CUDA device, and torch sees none"
