"""What Triton kernels run on: the GPU, or Triton's interpreter on the CPU (`TRITON_INTERPRET=1`).

>>> from fastk.kernels import triton_runtime
>>> triton_runtime.why_not("cuda") is None or "Triton" in triton_runtime.why_not("cuda")
True
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch

from fastk import config

INTERPRETED = config.triton_interpreted()
_pretended = 90
_pretended_multiprocessors = 4

if INTERPRETED and importlib.util.find_spec("triton") is not None:
    importlib.import_module("fastk.kernels.verify.interpreter").install()


@functools.cache
def why_not(device_type: str) -> str | None:
    """None, or why Triton kernels cannot run on tensors of such a device."""
    if INTERPRETED and device_type != "cpu":
        return f"Triton's interpreter works on the CPU, not on {device_type!r}"
    if not INTERPRETED and device_type != "cuda":
        return f"Triton kernels run on CUDA tensors, and this one is on {device_type!r}"
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    if not INTERPRETED and not torch.cuda.is_available():
        return "Triton needs a CUDA device, and torch sees none"
    return None


def architecture() -> int:
    """The compute capability to launch for, as 10 major + minor: 80, 90, 100. The interpreter has that of an H100."""
    return _pretended if INTERPRETED else _device()[0]


def sm_count() -> int:
    """How many streaming multiprocessors the device has. The interpreter has 4, so that tests see several waves."""
    return _pretended_multiprocessors if INTERPRETED else _device()[1]


def _device() -> tuple[int, int]:
    """(architecture, multiprocessors) of the current device, asked for once: every launch wants to know."""
    driver = _runtime().driver.active
    return _asked(driver, driver.get_current_device())


@functools.cache
def _asked(driver: Any, device: int) -> tuple[int, int]:
    properties = driver.utils.get_device_properties(device)
    return int(driver.get_current_target().arch), int(properties["multiprocessor_count"])


@functools.cache
def _runtime() -> Any:
    return importlib.import_module("triton.runtime")


@contextlib.contextmanager
def pretend_architecture(value: int) -> Iterator[None]:
    """Lets the interpreter take the launches for another architecture."""
    global _pretended
    before, _pretended = _pretended, value
    try:
        yield
    finally:
        _pretended = before


@contextlib.contextmanager
def pretend_multiprocessors(count: int) -> Iterator[None]:
    """Lets the interpreter take the launches for a device with so many multiprocessors."""
    global _pretended_multiprocessors
    before, _pretended_multiprocessors = _pretended_multiprocessors, count
    try:
        yield
    finally:
        _pretended_multiprocessors = before


def float32_precision() -> str:
    """How `tl.dot` multiplies float32: `"ieee"`, `"tf32"` or `"tf32x3"`, see `fastk.config.set_float32_precision`."""
    return config.float32_precision()


# None: what ptxas takes by itself. It stops at 80 or 128 registers so that more programs share a multiprocessor, even
# where it then spills; with a limit it takes what it needs up to there, and does well under some, badly under others.
REGISTER_LIMITS = (None, 128, 168, 200, 240, 224, 152)
_limits: dict[tuple, int | None] = {}


def launch_without_spills(
    kernel: Any,
    grid: tuple[int, ...],
    *arguments: Any,
    limits: tuple[int | None, ...] = REGISTER_LIMITS,
    **options: Any,
) -> None:
    """Launches a kernel under the first limit on registers with which nothing of it is spilt, or else the least.

    Which one that is depends on the release of ptxas, so it is found out when the kernel is compiled: the limits are
    tried in turn. Nearly always the first one will do.

    Args:
        kernel: a `@triton.jit` function.
        grid: how many programs there are, along up to three axes.
        arguments: the kernel's tensors and sizes.
        limits: on the registers of a thread, in the order in which they are tried.
        options: its constants and options, all hashable.
    """
    if INTERPRETED:
        kernel[grid](*arguments, **options)
        return
    key = (kernel, architecture(), *map(_specialized, arguments), *options.items())
    if key not in _limits:
        _limits[key] = _find_limit(kernel, grid, arguments, options, limits)
    kernel[grid](*arguments, **options, maxnreg=_limits[key])


def _specialized(argument: Any) -> Any:
    """What Triton compiles for: the dtype and alignment of tensors, divisibility of sizes."""
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    return (argument == 1, argument % 16 == 0) if isinstance(argument, int) else argument


def _find_limit(
    kernel: Any, grid: tuple[int, ...], arguments: tuple, options: dict[str, Any], limits: tuple[int | None, ...]
) -> int | None:
    spilt = {}
    most = 65536 // (32 * options["num_warps"])  # of which a multiprocessor has so many, whatever the architecture
    for limit in (limit for limit in limits if limit is None or limit <= most):
        compiled = kernel.warmup(*arguments, grid=grid, **options, maxnreg=limit)
        _ = compiled.run  # loads it, which tells what it takes
        spilt[limit] = compiled.n_spills
        if not spilt[limit]:
            break
    return min(spilt, key=lambda limit: spilt[limit])
