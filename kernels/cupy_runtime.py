"""What CuPy kernels run on: torch's memory and torch's current stream on a GPU.

A `Kernel` is a template in a `.cu` file beside its op. CuPy compiles an instance of it (NVRTC) when it is first
launched and keeps it on disk. Nothing is copied: a kernel gets the addresses of torch's tensors and runs on torch's
current stream, so it may be captured in a CUDA graph once it has run before.

Everything between the launchers and the device is a `Driver`. The one below is CuPy's; the one of
`kernels.verify.emulator` runs the same sources on the CPU.

>>> from fastk.kernels import cupy_runtime
>>> cupy_runtime.why_not("cpu")
"CuPy kernels run on CUDA tensors, and this one is on 'cpu'"
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
WIDTHS = (8, 1)
"""How many neighbouring elements a thread takes: 8, in accesses of 16 bytes, where rows are multiples of 8."""

# The order of `enum Activation` in kernels/activation/activations.cuh.
ACTIVATIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu"),
    *("gelu_tanh", "silu", "sigmoid", "tanh", "softplus", "hard_sigmoid", "mish"),
)
_NUMBERS: dict[str | None, int] = {name: number for number, name in enumerate(ACTIVATIONS)} | {None: 0}

_C_TYPES: dict[Any, str] = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.uint8: "unsigned char",
    torch.int32: "int",
}
_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)
_THREADS = 256
_BLOCKS = 2048  # two blocks at least for each multiprocessor of the largest GPUs; threads loop over what is left

_MOST = 2**31 - 2**20  # elements: an index of 32 bits may pass the end by as many as a grid has threads

Argument = Tensor | int | float | None
Size = tuple[int, int]


class Driver(Protocol):
    """What launches kernels and multiplies matrices."""

    def why_not(self, device_type: str) -> str | None:
        """None, or why it cannot run on tensors of such a device."""
        ...

    def launch(self, file: str, expression: str, grid: Size, block: Size, arguments: tuple[Argument, ...]) -> None:
        """Runs an instance of a template of a `.cu` file. Tensors become addresses, ints 64 bits, floats double."""
        ...

    def cublas(self) -> ctypes.CDLL:
        """The library of cuBLAS's functions."""
        ...

    def stream(self, device: torch.device) -> int:
        """torch's current stream."""
        ...

    def on(self, device: torch.device) -> AbstractContextManager[Any]:
        """Makes a device the current one."""
        ...


class CupyDriver:
    """CuPy on a CUDA device. CuPy is imported at the first use."""

    def __init__(self) -> None:
        self._functions: dict[tuple[int, str, str], Any] = {}

    def why_not(self, device_type: str) -> str | None:  # noqa: D102
        if device_type != "cuda":
            return f"CuPy kernels run on CUDA tensors, and this one is on {device_type!r}"
        try:
            importlib.import_module("cupy")
        except ImportError as error:
            return f"CuPy cannot be imported ({error})"
        return None if torch.cuda.is_available() else "CuPy needs a CUDA device, and torch sees none"

    def launch(self, file: str, expression: str, grid: Size, block: Size, arguments: tuple[Argument, ...]) -> None:  # noqa: D102
        device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
        key = (device.index, file, expression)
        values = tuple(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        with self.on(device):
            function = self._functions.get(key)
            if function is None:
                function = self._functions[key] = self._compile(file, expression)
            function(grid, block, values, stream=self._external_stream(self.stream(device)))

    def cublas(self) -> ctypes.CDLL:  # noqa: D102
        return _cublas_of_cupy()

    def stream(self, device: torch.device) -> int:  # noqa: D102
        return torch.cuda.current_stream(device).cuda_stream

    def on(self, device: torch.device) -> AbstractContextManager[Any]:  # noqa: D102
        return contextlib.nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device)

    @staticmethod
    def _compile(file: str, expression: str) -> Any:
        # CuPy's cache on disk goes by the source, hence one without includes.
        module = importlib.import_module("cupy").RawModule(
            code=source(file), options=("-std=c++17",), name_expressions=(expression,)
        )
        return module.get_function(expression)

    @staticmethod
    @functools.cache
    def _external_stream(stream: int) -> Any:
        return importlib.import_module("cupy").cuda.ExternalStream(stream)


@functools.cache
def _cublas_of_cupy() -> ctypes.CDLL:
    """The cuBLAS that CuPy is linked to. CuPy's own wrappers of it refuse a stream that is being captured."""
    wrapper = importlib.import_module("cupy_backends.cuda.libs.cublas")
    if sys.platform == "win32":  # a library that is loaded already is found by its name
        version = importlib.import_module("cupy").cuda.runtime.runtimeGetVersion() // 1000
        return ctypes.CDLL(f"cublas64_{version}.dll")
    return ctypes.CDLL(wrapper.__file__)  # symbols are looked up in what it is linked to, too


driver: Driver = CupyDriver()


@contextlib.contextmanager
def use(other: Driver) -> Iterator[Driver]:
    """Launches through another driver meanwhile."""
    global driver
    before, driver = driver, other
    why_not.cache_clear()
    try:
        yield other
    finally:
        driver = before
        why_not.cache_clear()


@functools.cache
def why_not(device_type: str) -> str | None:
    """None, or why CuPy kernels cannot run on tensors of such a device."""
    return driver.why_not(device_type)


def why_not_these(result: int, first: Tensor, *others: Tensor | None) -> str | None:
    """None, or why the kernels cannot take these tensors together, the first of which gives the type.

    result: how many elements the largest result has.
    """
    for tensor in (first, *others):
        if tensor is None:
            continue
        if tensor.dtype not in FLOATS:
            return f"CuPy kernels take floats of 16, 32 or 64 bits, not {tensor.dtype}"
        if tensor.dtype != first.dtype and not torch.is_autocast_enabled(first.device.type):  # which makes them one
            return f"CuPy kernels take tensors of one type, not {tensor.dtype} beside {first.dtype}"
        result = max(result, tensor.numel())
    return f"CuPy kernels count elements in 32 bits, and there are {result}" if result > _MOST else None


class Kernel:
    """A kernel template `name` of `file` (in `kernels/`), with the choices for each of its parameters.

    Launched as `kernel((torch.float32, 8), grid, block, *arguments)`: tensors, ints, floats, or None for a null
    pointer, which the kernel receives as pointers, `long long` and `double`.
    """

    all: list[Kernel] = []  # noqa: RUF012 - what there is to prove

    def __init__(self, file: str, name: str, *choices: tuple[Any, ...]) -> None:
        self.file = file
        self.name = name
        self.expressions = {
            values: f"{name}<{', '.join(_C_TYPES.get(value) or str(value) for value in values)}>"
            for values in itertools.product(*choices)
        }
        Kernel.all.append(self)

    def __call__(self, values: tuple[Any, ...], grid: Size, block: Size, *arguments: Argument) -> None:
        """Launches the instance with these template arguments; a grid without blocks is no launch."""
        if grid[0] and grid[1]:
            driver.launch(self.file, self.expressions[values], grid, block, arguments)


@functools.cache
def source(file: str) -> str:
    """The text of a file of `kernels/` with its includes in their places, each once."""
    seen: set[str] = set()

    def expand(name: str) -> str:
        seen.add(name)
        text = (FOLDER / name).read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda match: "" if match[1] in seen else expand(match[1]), text)

    return expand(file)


def tile(columns: int, rows: int, rows_each: int = 4) -> tuple[Size, Size]:
    """(grid, block) of a thread for each column and every k-th row, a thread taking `rows_each` rows if it can.

    >>> tile(columns=125, rows=4096)
    ((1, 512), (128, 2))
    """
    if not columns or not rows:
        return (0, 0), (1, 1)
    across = min(_THREADS, 1 << (columns - 1).bit_length())
    down = min(_THREADS // across, -(-rows // rows_each))
    wide = -(-columns // across)
    return (wide, min(-(-rows // (down * rows_each)), max(1, _BLOCKS // wide))), (across, down)


def line(items: int) -> tuple[Size, Size]:
    """(grid, block) of a row of threads for so many items, which they loop over.

    >>> line(1000)
    ((4, 1), (256, 1))
    """
    return (min(-(-items // _THREADS), _BLOCKS), 1), (_THREADS, 1)


def activation_number(name: str | None) -> int:
    """The number by which the kernels know an activation; None is linear."""
    return _NUMBERS[name]


def width(size: int) -> int:
    """How many elements of rows of `size` a thread takes."""
    return 1 if size % 8 else 8


def packed(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that is contiguous and lies at a multiple of 16 bytes."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """What sums of such elements are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32
