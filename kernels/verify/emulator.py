"""The CuPy kernels on the CPU: the same `.cu` sources, compiled as C++, run by the same launchers.

`Emulator` is a driver for `kernels.cupy_runtime` (see `emulation.h`). Every launch runs on copies of its tensors'
storages that end at a page which must not be touched, thread after thread in a shuffled order; an access out of
bounds, a misaligned one or an integer overflow raises. cuBLAS is a library of the same functions with the same checks
(`cublas.cpp`), so that what is tested includes the leading dimensions and the transpositions of each call.

    with emulated(Emulator(folder)):
        autograd.dense(x, kernel, implementation="cupy")
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastk import config
from fastk.kernels import cupy_runtime
from fastk.kernels.cupy_runtime import Argument, Kernel, Size, source

_FOLDER = Path(__file__).parent
# Traps of the sanitizer need none of its libraries, which would have to be loaded before Python.
_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-ffp-contract=off", "-Wno-unknown-pragmas"]
_FLAGS += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
_FAULTS = {4: "a misaligned access, an overflow or another undefined operation", 8: "a division by zero"}
_ORDERS = (0, 1, 1_000_003)
"""In which order blocks and threads run: forwards, backwards, in steps of a prime."""


class EmulationError(RuntimeError):
    """A kernel did what it must not do on a GPU."""


class Launch(NamedTuple):
    """A launch that took place."""

    file: str
    expression: str
    grid: Size
    block: Size


class Emulator:
    """Runs CuPy kernels on the CPU.

    Args:
        folder: where compiled libraries are kept, named by the hash of what they were made of.
    """

    def __init__(self, folder: Path) -> None:
        self.launches: list[Launch] = []
        self._folder = folder
        self._libraries: dict[str, tuple[ctypes.CDLL, dict[str, int]]] = {}
        self._orders = itertools.cycle(_ORDERS)
        self._cublas: ctypes.CDLL | None = None

    def why_not(self, device_type: str) -> str | None:
        """None on the CPU, if there is a compiler."""
        if device_type != "cpu":
            return f"emulated CuPy kernels run on the CPU, and this tensor is on {device_type!r}"
        return None if compiler() else "CuPy kernels are emulated by means of a C++ compiler, and there is none"

    def launch(self, file: str, expression: str, grid: Size, block: Size, arguments: tuple[Argument, ...]) -> None:
        """Runs the kernel on guarded copies of the storages and copies them back."""
        self.launches.append(Launch(file, expression, grid, block))
        library, numbers = self._library(file)
        if max(grid[1], block[0] * block[1] * 64) > 65535:
            raise EmulationError(f"No GPU takes a grid of {grid} blocks of {block} threads.")
        with _guarded(library, arguments) as values:
            pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            table = library.kernel(numbers[expression])
            if library.argument_count(numbers[expression]) != len(values):
                raise EmulationError(f"{expression} takes {library.argument_count(numbers[expression])} arguments.")
            fault = ctypes.c_void_p()
            sizes = (ctypes.c_uint * 2)(*grid), (ctypes.c_uint * 2)(*block)
            signal = library.emulate(table, pointers, *sizes, next(self._orders), ctypes.byref(fault))
        if signal:
            what = _FAULTS.get(signal, f"an access out of bounds, at {fault.value or 0:#x}")
            raise EmulationError(
                f"{expression} with grid {grid}, block {block}: {what}. Arguments: {_words(arguments)}"
            )

    def cublas(self) -> ctypes.CDLL:
        """cuBLAS's functions on the CPU."""
        if self._cublas is None:
            parts = [_text("emulation.h"), source("numeric.cuh"), _text("cublas.cpp")]
            self._cublas = ctypes.CDLL(str(self._compile("cublas", "\n".join(parts))))
        return self._cublas

    def stream(self, device: torch.device) -> int:
        """The CPU has one."""
        return 0

    def on(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The CPU is always current."""
        return contextlib.nullcontext()

    def _library(self, file: str) -> tuple[ctypes.CDLL, dict[str, int]]:
        """The compiled file, and the number of each instance in it."""
        if file not in self._libraries:
            names = [name for kernel in Kernel.all if kernel.file == file for name in kernel.expressions.values()]
            entries = ",\n".join(f"    emulation::entry<{name}>({name})" for name in names)
            table = f"static const emulation::Kernel kernels[] = {{\n{entries}}};\n"
            access = (
                'extern "C" const emulation::Kernel* kernel(int i) { return kernels + i; }\n'
                'extern "C" int argument_count(int i) { return kernels[i].arguments; }\n'
            )
            library = ctypes.CDLL(
                str(self._compile(Path(file).stem, _text("emulation.h") + source(file) + table + access))
            )
            library.kernel.restype = ctypes.c_void_p
            library.guarded_allocate.restype = ctypes.c_void_p
            library.guarded_allocate.argtypes = [ctypes.c_size_t]
            library.guarded_free.argtypes = library.guarded_intact.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
            unsigned = ctypes.POINTER(ctypes.c_uint)
            library.emulate.argtypes = [ctypes.c_void_p, ctypes.c_void_p, unsigned, unsigned]
            library.emulate.argtypes += [ctypes.c_ulonglong, ctypes.c_void_p]
            self._libraries[file] = library, {name: number for number, name in enumerate(names)}
        return self._libraries[file]

    def _compile(self, name: str, text: str) -> Path:
        """The shared library made of a C++ source; another process may be making the same."""
        command = compiler()
        if command is None:
            raise EmulationError("There is no C++ compiler.")
        key = hashlib.sha256("\n".join([text, command, *_FLAGS]).encode()).hexdigest()[:16]
        library = self._folder / f"{name}-{key}.so"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not library.exists():
                partial, code = library.with_suffix(".partial"), library.with_suffix(".cpp")
                code.write_text(text, encoding="utf-8")
                result = subprocess.run([command, *_FLAGS, "-o", partial, code], capture_output=True, text=True)
                code.unlink()
                if result.returncode:
                    raise EmulationError(f"{command} refused {name}:\n{result.stderr}")
                os.replace(partial, library)
        return library


@contextlib.contextmanager
def emulated(emulator: Emulator) -> Iterator[Emulator]:
    """Lets the emulator take what CuPy would, on the CPU. Memory from `torch.empty` holds NaN meanwhile."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with cupy_runtime.use(emulator):
        torch.use_deterministic_algorithms(True, warn_only=True)  # it fills what is empty
        try:
            yield emulator
        finally:
            torch.use_deterministic_algorithms(deterministic)


def compiler() -> str | None:
    """The C++ compiler's command, or None."""
    return shutil.which(str(config.read_environment("CXX")))


@contextlib.contextmanager
def _guarded(library: ctypes.CDLL, arguments: tuple[Argument, ...]) -> Iterator[list[Any]]:
    """The arguments as ctypes values, tensors as addresses in copies of their storages; results are copied back."""
    copies: dict[int, tuple[int, int]] = {}
    values: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            storage = argument.untyped_storage()
            start, size = storage.data_ptr(), storage.nbytes()
            if size and start not in copies:
                copies[start] = library.guarded_allocate(size), size
                ctypes.memmove(copies[start][0], start, size)
            values.append(ctypes.c_void_p(copies[start][0] + argument.data_ptr() - start if size else None))
        elif argument is None:
            values.append(ctypes.c_void_p(None))
        else:
            values.append(ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_longlong(argument))
    try:
        yield values
        for start, (copy, size) in copies.items():
            if not library.guarded_intact(copy, size):
                raise EmulationError(f"A kernel wrote beside a tensor. Arguments: {_words(arguments)}")
            ctypes.memmove(start, copy, size)
    finally:
        for copy, size in copies.values():
            library.guarded_free(copy, size)


def _words(arguments: tuple[Argument, ...]) -> str:
    return ", ".join(f"{a.dtype} {list(a.shape)}" if isinstance(a, Tensor) else repr(a) for a in arguments)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
