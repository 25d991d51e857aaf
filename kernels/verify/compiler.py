"""Compiles kernels for a GPU that is not there: a stand-in for Triton's driver.

Inside `compiling_for(90)` an ordinary launch, `kernel[grid](...)` on meta or CPU tensors, goes the whole way to
machine code for sm_90, is recorded and runs nothing. Launchers are thus compiled as they are, with the arguments,
alignments and constants that they pass. From Triton 3.6 on; with `TRITON_INTERPRET` set nothing is compiled.

    with compiling_for(90) as launches:
        dense_forward(x, kernel, bias, None, 0.0, None)      # meta tensors
    analyse(launches[0].binary).registers
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver

from fastk import config
from fastk.kernels import triton_runtime
from fastk.kernels.verify.machine_code import DEVICES, Binary, Device, resource_usage


@dataclass(frozen=True)
class Launch:
    """One launch: what was compiled for it, the grid, and the arguments in the kernel's order."""

    binary: Binary
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...] = field(repr=False)


@dataclass
class _Loaded:
    """What Triton takes for the handle of a function on the device."""

    cubin: bytes
    ptx: str = ""
    ttgir: str = ""


class _Launcher:
    """Made by Triton once a compiled kernel, which outlives a driver: a launch is recorded by the active one."""

    def __init__(self, source: object, metadata: Any):
        self.metadata = metadata

    def __call__(self, x, y, z, stream, function: _Loaded, packed, launch_metadata, enter_hook, exit_hook, *arguments):
        data = self.metadata
        binary = Binary(
            name=data.name,
            architecture=data.target.arch,
            cubin=function.cubin,
            ptx=function.ptx,
            ttgir=function.ttgir,
            warps=data.num_warps,
            stages=data.num_stages,
            shared_bytes=data.shared,
            fuses=data.enable_fp_fusion,
        )
        active: Any = driver.active
        active.launches.append(Launch(binary, (x, y, z), arguments))


class _Utilities:
    """What Triton asks of the device."""

    def __init__(self, device: Device):
        self.device = device

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {
            "max_shared_mem": self.device.shared_per_block,
            "max_num_regs": self.device.registers_per_multiprocessor,
            "multiprocessor_count": self.device.multiprocessors,
            "warpSize": 32,
        }

    def load_binary(self, name: str, cubin: bytes, shared: int, device: int):
        """Module (None: nothing to unload), function, registers, words spilt, the most threads of a block."""
        registers, spill_bytes = resource_usage(cubin)
        most_threads = self.device.registers_per_multiprocessor // (-(-registers // 8) * 8) // 32 * 32
        return None, _Loaded(cubin), registers, spill_bytes // 4, min(1024, most_threads)


class _StandIn(DriverBase):
    """A driver for one device of an architecture, with the launches made on it."""

    launcher_cls = _Launcher

    def __init__(self, architecture: int):
        super().__init__()
        self.architecture = architecture
        self.launches: list[Launch] = []
        self.utils = _Utilities(DEVICES[architecture])

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError("The stand-in generates no C++.")

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture  # Triton keeps compiled kernels by device

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")

    def get_benchmarker(self) -> Callable[..., Any]:
        raise NotImplementedError("Nothing runs, so nothing can be timed: choose the configuration by hand.")

    def loaded(self, module: object, function: Any, name: str, metadata_group: dict[str, str], hash: str) -> None:
        """Triton's hook after loading a kernel, the one place that is told of all its files."""
        function.ptx, function.ttgir = (Path(metadata_group[f"{name}.{end}"]).read_text() for end in ("ptx", "ttgir"))


@contextlib.contextmanager
def compiling_for(architecture: int) -> Iterator[list[Launch]]:
    """Lets launches compile for `architecture` and lists them; afterwards Triton has the driver it had before.

    Args:
        architecture: 80, 90 or 100.

    Raises:
        ValueError: another architecture.
        RuntimeError: this process interprets kernels.
    """
    if architecture not in DEVICES:
        raise ValueError(f"Kernels are compiled for {', '.join(map(str, DEVICES))}. Received: {architecture!r}.")
    if triton_runtime.INTERPRETED:
        raise RuntimeError("TRITON_INTERPRET is set, so kernels are interpreted and never compiled: unset it.")
    stand_in = _StandIn(architecture)
    mode = config.autotune()  # of a GPU that may be there, and is not the one that is compiled for
    before = driver._active  # None as long as nothing was launched: reading `active` would look for a GPU
    config.set_autotune("off")
    driver.set_active(stand_in)
    knobs.runtime.kernel_load_end_hook.add(stand_in.loaded)
    try:
        with knobs.language.scope():
            knobs.language.default_fp_fusion = False  # a launch that leaves it open is seen by a gate
            yield stand_in.launches
    finally:
        knobs.runtime.kernel_load_end_hook.remove(stand_in.loaded)
        driver._active = before
        config.set_autotune(mode)
