"""out = alpha a b + beta out, by the cuBLAS that CuPy is linked to.

cuBLAS is called directly: CuPy's wrappers refuse a stream that is being captured. Each thread has a handle for each
device, with a workspace for each stream, as cuBLAS asks for in captured and in concurrent work. Products are
accumulated in float32, also between the parts of a split reduction; float32 itself may be multiplied in TF32 where
`fastk.config.float32_precision()` is `"tf32"`.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastk import config
from fastk.kernels import cupy_runtime

_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 14}  # cudaDataType
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
_DEFAULT_ALGORITHM = -1
_NO_REDUCED_PRECISION_REDUCTION = 16  # cublasMath_t
_WORKSPACE = 32 * 2**20  # bytes, as much as cuBLAS takes on Hopper
_STATUS = {1: "not initialized", 3: "out of memory", 7: "invalid value", 8: "architecture mismatch"} | {
    11: "memory mapping error",
    13: "execution failed",
    14: "internal error",
    15: "not supported",
}

_int, _long, _pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_ARGUMENTS = {
    "cublasCreate_v2": [_pointer],
    "cublasSetMathMode": [_pointer, _int],
    "cublasSetStream_v2": [_pointer, _pointer],
    "cublasSetWorkspace_v2": [_pointer, _pointer, ctypes.c_size_t],
    # handle, transposed a and b, m, n, k, alpha, a, type, ld, b, type, ld, beta, c, type, ld, compute type, algorithm
    "cublasGemmEx": [
        *(_pointer, _int, _int, _int, _int, _int, _pointer),
        *(_pointer, _int, _int) * 2,
        *(_pointer, _pointer, _int, _int, _int, _int),
    ],
    # the same with a stride behind each ld, and the number of matrices before the compute type
    "cublasGemmStridedBatchedEx": [
        *(_pointer, _int, _int, _int, _int, _int, _pointer),
        *(_pointer, _int, _int, _long) * 2,
        *(_pointer, _pointer, _int, _int, _long, _int, _int, _int),
    ],
}


def gemm(a: Tensor, b: Tensor, out: Tensor, alpha: float = 1.0, beta: float = 0.0) -> None:
    """out = alpha a b + beta out; transposed operands are views, `gemm(x.t(), g, out)`.

    Args:
        a: [M, K], or [batch, M, K]. Rows or columns contiguous, else it is copied; so for b.
        b: [K, N], or [batch, K, N], of the type of a.
        out: [M, N], or [batch, M, N], rows contiguous; of the type of a, or float32 for a half type.
        alpha: factor of the product.
        beta: factor of what `out` held. At 0 it may have held anything.
    """
    if not out.numel():
        return
    if not a.size(-1):
        out.mul_(beta) if beta else out.zero_()
        return
    (a, transposed_a, ld_a), (b, transposed_b, ld_b) = _operand(a), _operand(b)
    out, transposed_out, ld_out = _operand(out, copy=False)
    if transposed_out:
        raise ValueError(f"gemm writes rows. Received `out` of shape {tuple(out.shape)}, strides {out.stride()}.")
    double = a.dtype == torch.float64
    scalar = ctypes.c_double if double else ctypes.c_float
    compute = _COMPUTE_64F if double else _COMPUTE_32F
    if a.dtype == torch.float32 and config.float32_precision() == "tf32":
        compute = _COMPUTE_32F_FAST_TF32
    # cuBLAS takes columns, in which our rows are transposed: out^T = b^T a^T.
    shape = (transposed_b, transposed_a, out.size(-1), out.size(-2), a.size(-1))
    first, second, result = (
        [tensor.data_ptr(), _TYPES[tensor.dtype], ld] for tensor, ld in ((b, ld_b), (a, ld_a), (out, ld_out))
    )
    factors = ctypes.byref(scalar(alpha)), ctypes.byref(scalar(beta))
    batch: tuple[int, ...] = ()
    if out.dim() == 3:
        batch = (out.size(0),)
        for matrix, tensor in ((first, b), (second, a), (result, out)):
            matrix.append(tensor.stride(0))
    device = out.device
    with cupy_runtime.driver.on(device):
        handle, library = _handle(device)
        function = library.cublasGemmStridedBatchedEx if batch else library.cublasGemmEx
        arguments = (*shape, factors[0], *first, *second, factors[1], *result, *batch, compute, _DEFAULT_ALGORITHM)
        _check(function(handle, *arguments), out)


def _operand(tensor: Tensor, copy: bool = True) -> tuple[Tensor, int, int]:
    """(the tensor or a copy, whether its columns are contiguous instead of its rows, leading dimension)."""
    rows, columns = tensor.shape[-2:]
    down, across = tensor.stride()[-2:]
    if across == 1 or columns == 1:
        leading = columns if rows == 1 else down
        if leading >= columns:
            return tensor, 0, leading
    if down == 1 or rows == 1:
        leading = rows if columns == 1 else across
        if leading >= rows:
            return tensor, 1, leading
    if not copy:
        return tensor, 1, 0
    return tensor.contiguous(), 0, columns


def _check(status: int, out: Tensor) -> None:
    if status:
        raise RuntimeError(
            f"cuBLAS failed on a product of shape {tuple(out.shape)}, {out.dtype}: status {status} "
            f"({_STATUS.get(status, 'unknown')})."
        )


@dataclass
class _Handle:
    """A handle of cuBLAS and what it is set to. Workspaces live as long as the thread that launches on them."""

    pointer: ctypes.c_void_p
    stream: int | None = None
    workspaces: dict[int, Tensor] = field(default_factory=dict)


class _Handles(threading.local):
    def __init__(self) -> None:
        self.by_device: dict[tuple[str, torch.device], _Handle] = {}


_handles = _Handles()


def _handle(device: torch.device) -> tuple[ctypes.c_void_p, ctypes.CDLL]:
    """This thread's handle for the device, set to torch's current stream, and the library that made it."""
    library = _library(cupy_runtime.driver.cublas())
    key = (library._name, device)
    handle = _handles.by_device.get(key)
    if handle is None:
        pointer = ctypes.c_void_p()
        _check_setup(library.cublasCreate_v2(ctypes.byref(pointer)))
        _check_setup(library.cublasSetMathMode(pointer, _NO_REDUCED_PRECISION_REDUCTION))
        handle = _handles.by_device[key] = _Handle(pointer)
    stream = cupy_runtime.driver.stream(device)
    if handle.stream != stream:  # setting a stream drops the workspace
        if stream not in handle.workspaces:
            handle.workspaces[stream] = torch.empty(_WORKSPACE, dtype=torch.uint8, device=device)
        workspace = handle.workspaces[stream]
        _check_setup(library.cublasSetStream_v2(handle.pointer, stream))
        _check_setup(library.cublasSetWorkspace_v2(handle.pointer, workspace.data_ptr(), _WORKSPACE))
        handle.stream = stream
    return handle.pointer, library


def _check_setup(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLAS could not be set up: status {status} ({_STATUS.get(status, 'unknown')}).")


@functools.cache
def _library(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of the arguments declared."""
    for name, types in _ARGUMENTS.items():
        getattr(library, name).argtypes = types
    return library
