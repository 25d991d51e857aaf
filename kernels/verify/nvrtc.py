"""The CuPy kernels compiled to machine code without a GPU, by the compiler that CuPy uses at run time.

NVRTC comes in the wheel `nvidia-cuda-nvrtc` (or `nvidia-cuda-nvrtc-cu12`), which needs no driver.

>>> why_not() is None or "nvidia-cuda-nvrtc" in why_not()
True
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastk.kernels.cupy_runtime import Kernel, source
from fastk.kernels.verify.machine_code import Instruction, parse, run_on_cubin

_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
_FUNCTION = re.compile(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_SECTION = re.compile(r"^\s*\.section\s+\.text\.(\w+),.*$", re.MULTILINE)


class Resources(NamedTuple):
    """What a thread takes: registers, and bytes of stack and local memory; and what its block takes."""

    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Compiled:
    """A `.cu` file for an architecture, the resources of each kernel's instances by expression."""

    instances: dict[str, Resources]
    log: str
    _cubin: bytes = field(repr=False)
    _symbols: dict[str, str] = field(repr=False)

    def code(self) -> dict[str, list[Instruction]]:
        """The instructions of each instance."""
        _, *parts = _SECTION.split(run_on_cubin("nvdisasm", self._cubin, "-c"))
        sections = dict(zip(parts[::2], parts[1::2], strict=True))
        return {expression: parse(sections[name]).instructions for expression, name in self._symbols.items()}


class CompilationError(RuntimeError):
    """NVRTC refused a source."""


def why_not() -> str | None:
    """None, or why nothing can be compiled."""
    return None if _path() else f"compiling CuPy's kernels needs the wheel {_WHEELS[0]}"


@functools.cache
def compile_file(file: str, architecture: int) -> Compiled:
    """All instances of all kernels of a file of `kernels/`, for `sm_<architecture>`."""
    expressions = [name for kernel in Kernel.all if kernel.file == file for name in kernel.expressions.values()]
    cubin, names, log = _compile(file, source(file), expressions, architecture)
    found = {
        name: map(int, numbers) for name, *numbers in _FUNCTION.findall(run_on_cubin("cuobjdump", cubin, "-res-usage"))
    }
    instances = {}
    for expression, name in zip(expressions, names, strict=True):
        registers, stack, shared, local = found[name]
        instances[expression] = Resources(registers, stack + local, shared)
    return Compiled(instances, log, cubin, dict(zip(expressions, names, strict=True)))


def files() -> list[str]:
    """The files with kernels, of the launchers imported so far."""
    return sorted({kernel.file for kernel in Kernel.all})


def _compile(file: str, text: str, expressions: Iterable[str], architecture: int) -> tuple[bytes, list[str], str]:
    """(cubin, the symbol of each expression, what the compiler said)."""
    library = _library()
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), file.encode(), 0, None, None))
    try:
        for expression in expressions:
            _check(library.nvrtcAddNameExpression(program, expression.encode()))
        # The options that CuPy gives: those of CupyDriver, the architecture, and its own.
        options = [b"-std=c++17", f"-arch=sm_{architecture}".encode(), b"--device-as-default-execution-space"]
        status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if status:
            raise CompilationError(f"NVRTC refused {file} for sm_{architecture}:\n{log}")
        cubin = _text(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
        names = []
        for expression in expressions:
            name = ctypes.c_char_p()
            _check(library.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(name)))
            names.append((name.value or b"").decode())
        return cubin, names, log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of, read, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status:
        raise CompilationError(f"NVRTC failed with status {status}.")


@functools.cache
def _path() -> Path | None:
    """The library in one of the wheels."""
    for wheel in _WHEELS:
        try:
            listed = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in listed:
            if re.fullmatch(r"(lib)?nvrtc(64_\d+_0\.dll|\.so\.\d+)", file.name):
                return Path(str(file.locate()))
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    path = _path()
    if path is None:
        raise CompilationError(f"{why_not()}.")
    # It loads its built-in headers from a library beside it, by name.
    for beside in sorted(path.parent.glob("libnvrtc-builtins.so.*")):
        ctypes.CDLL(str(beside), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(path))
