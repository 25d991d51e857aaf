"""Triton's interpreter with its arithmetic mended and its memory accesses watched.

What differs from `triton.runtime.interpreter.InterpreterBuilder` (3.6 to 3.9):

- bfloat16 is computed in float32 and rounded to nearest even; the stock one computes with the bits, and truncates.
- `tl.dot` follows `input_precision`, and refuses a K that the tensor cores refuse.
- `tl.maximum` and `tl.minimum` return the number where one side is NaN, as the GPU does (so a ReLU loses NaN).
- Lanes that a load masks off and gives no `other` hold NaN, or a conspicuous integer: they are undefined on a GPU.
- Functions of libdevice and one-instruction inline assembly run; an atomic is a point where programs take turns.
"""

# ruff: noqa: D102 - the methods are Triton's; what is particular to ours is said above

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import triton.language as tl
from triton._C.libtriton import interpreter as _native
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import min_dot_size
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from fastk.kernels.verify import numerics, transfer
from fastk.kernels.verify.memory import ADDRESS_MASK, Monitor

_ACQUIRES = (ir.MEM_SEMANTIC.ACQUIRE, ir.MEM_SEMANTIC.ACQUIRE_RELEASE)
_RELEASES = (ir.MEM_SEMANTIC.RELEASE, ir.MEM_SEMANTIC.ACQUIRE_RELEASE)
_CONSPICUOUS = 0x5A  # each byte of an undefined integer


_numpy_types: dict[str, np.dtype] = {}
_stock_numpy_type = stock._get_np_dtype


def numpy_type(dtype: tl.dtype) -> np.dtype:
    """The numpy type that holds elements of a Triton type; bfloat16 is held in uint16, a pointer in uint64."""
    scalar: Any = dtype.scalar
    found = _numpy_types.get(scalar.name)
    if found is None:
        found = _numpy_types[scalar.name] = _stock_numpy_type(scalar)
    return found


class TakesTurns(Protocol):
    """What the builder tells the scheduler of programs."""

    def progress(self) -> None:
        """A program changed memory."""
        ...

    def turn(self) -> None:
        """A program may have to wait for another here."""
        ...


class Builder(InterpreterBuilder):
    """The builder that all interpreted kernels compute with; `monitor` and `turns` are those of the running launch."""

    def __init__(self) -> None:
        super().__init__()
        self.options = stock.InterpreterOptions(debug=True, sanitize_overflow=False)  # device_assert holds; int32 wraps
        self.codegen_fns["min_dot_size"] = min_dot_size(GPUTarget("cuda", 90, 32))
        self.monitor: Monitor | None = None
        self.turns: TakesTurns | None = None

    # constants

    def get_bf16(self, value: float) -> TensorHandle:
        return _cast(np.array([value], np.float32), tl.bfloat16)

    def get_all_ones_value(self, type: tl.dtype) -> TensorHandle:
        return TensorHandle(np.array([-1]).astype(numpy_type(type)), type.scalar)

    # memory

    def create_masked_load(
        self,
        ptrs: TensorHandle,
        mask: Any,
        other: TensorHandle | None,
        *policy: Any,
        is_volatile: bool = False,
        **_: Any,
    ) -> TensorHandle:
        dtype = ptrs.get_element_ty()
        np_dtype = numpy_type(dtype)
        lanes = np.asarray(mask.data)  # descriptors of Triton 3.6 give an array, not a handle
        if is_volatile or (policy and policy[-1] is True):
            self._turn()
        if self.monitor is not None:
            self.monitor.access("loads", ptrs.data, lanes, np_dtype.itemsize)
        other_data = _undefined(ptrs.data.shape, np_dtype, dtype) if other is None else other.data
        return TensorHandle(transfer.read(ptrs.data & ADDRESS_MASK, lanes, other_data), dtype)

    def create_masked_store(self, ptrs: TensorHandle, value: TensorHandle, mask: Any, *_: Any) -> None:
        lanes = np.asarray(mask.data)
        if self.monitor is not None:
            self.monitor.access("stores", ptrs.data, lanes, numpy_type(ptrs.get_element_ty()).itemsize)
        if self.turns is not None:
            self.turns.progress()
        transfer.write(ptrs.data & ADDRESS_MASK, lanes, value.data)

    def create_atomic_rmw(
        self, op: Any, ptr: TensorHandle, val: TensorHandle, mask: TensorHandle, sem: Any, scope: Any
    ) -> TensorHandle:
        def update() -> TensorHandle:
            if val.dtype.scalar == tl.bfloat16:
                return _atomic_add_bfloat16(op, address, val, mask)
            return InterpreterBuilder.create_atomic_rmw(self, op, address, val, mask, sem, scope)

        address = TensorHandle(ptr.data & ADDRESS_MASK, ptr.dtype)
        return self._atomic(ptr, address, mask.data, sem, update)

    def create_atomic_cas(
        self, ptr: TensorHandle, cmp: TensorHandle, val: TensorHandle, sem: Any, scope: Any
    ) -> TensorHandle:
        address = TensorHandle(ptr.data & ADDRESS_MASK, ptr.dtype)
        return self._atomic(
            ptr,
            address,
            np.ones(ptr.data.shape, bool),
            sem,
            lambda: InterpreterBuilder.create_atomic_cas(self, address, cmp, val, sem, scope),
        )

    def create_atomic_poll(self, *_: Any) -> TensorHandle:
        raise NotImplementedError(
            "Wait with `while tl.atomic_add(pointer, 0) != value`: Triton 3.6 has no atomic_poll."
        )

    create_atomic_load = create_atomic_store = create_atomic_poll

    def _atomic(
        self, ptr: TensorHandle, address: TensorHandle, lanes: np.ndarray, sem: Any, update: Callable[[], TensorHandle]
    ) -> TensorHandle:
        self._turn()
        np_dtype = numpy_type(ptr.get_element_ty())
        if self.monitor is not None:
            self.monitor.access("atomics", ptr.data, lanes, np_dtype.itemsize)
        before = update()
        if ptr.data.size == 1 and lanes.all():
            if self.monitor is not None:
                self.monitor.synchronise(ptr.data, sem in _ACQUIRES, sem in _RELEASES)
            after = _native.load(address.data, lanes, before.data, np_dtype)
            if self.turns is not None and after.tobytes() != before.data.tobytes():
                self.turns.progress()
        elif self.turns is not None:
            self.turns.progress()
        return before

    def _turn(self) -> None:
        if self.turns is not None:
            self.turns.turn()

    # casts

    def cast_impl(self, src: TensorHandle, dst_type: tl.dtype) -> TensorHandle:
        return _cast(_values(src), dst_type)

    def create_fp_to_fp(self, src: TensorHandle, dst_type: tl.dtype, rounding_mode: Any) -> TensorHandle:
        nearest = rounding_mode is None or rounding_mode == ir.ROUNDING_MODE.RTNE
        if nearest and not src.dtype.scalar.is_fp8() and not dst_type.scalar.is_fp8():
            return _cast(_values(src), dst_type)
        return super().create_fp_to_fp(src, dst_type, rounding_mode)

    # arithmetic

    def binary_op(self, lhs: TensorHandle, rhs: TensorHandle, op: Callable[..., np.ndarray]) -> TensorHandle:
        return _computed(op(_values(lhs), _values(rhs)), lhs.dtype)

    def ternary_op(
        self, lhs: TensorHandle, rhs: TensorHandle, other: TensorHandle, op: Callable[..., np.ndarray]
    ) -> TensorHandle:
        return _computed(op(_values(lhs), _values(rhs), _values(other)), other.dtype)

    def create_select(self, cond: TensorHandle, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return TensorHandle(np.where(cond.data, lhs.data, rhs.data), lhs.dtype.scalar)

    def unary_op(self, arg: TensorHandle, op: Callable[..., np.ndarray]) -> TensorHandle:
        return _computed(op(_values(arg)), arg.dtype)

    def create_minnumf(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmin)

    def create_maxnumf(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmax)

    def create_clampf(self, arg: TensorHandle, lo: TensorHandle, hi: TensorHandle, propagate_nans: Any) -> TensorHandle:
        if propagate_nans == ir.PROPAGATE_NAN.NONE:
            return self.create_minnumf(self.create_maxnumf(arg, lo), hi)
        return self.ternary_op(arg, lo, hi, np.clip)

    def create_ashr(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        signed = stock._get_signed_np_dtype(lhs.data.dtype)
        shifted = np.right_shift(lhs.data.view(signed), rhs.data.view(stock._get_signed_np_dtype(rhs.data.dtype)))
        return TensorHandle(shifted.view(lhs.data.dtype), lhs.dtype.scalar)

    def create_umulhi(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return TensorHandle(numerics.multiply_high(lhs.data, rhs.data), lhs.dtype.scalar)

    def create_fma(self, x: TensorHandle, y: TensorHandle, z: TensorHandle) -> TensorHandle:
        return _computed(numerics.fused_multiply_add(_values(x), _values(y), _values(z)), z.dtype)

    def create_fabs(self, arg: TensorHandle) -> TensorHandle:
        return self.unary_op(arg, np.abs)

    def create_erf(self, arg: TensorHandle) -> TensorHandle:
        return self.unary_op(arg, numerics.erf)

    def create_dot(
        self, a: TensorHandle, b: TensorHandle, d: TensorHandle, input_precision: Any, max_num_imprecise_acc: Any
    ) -> TensorHandle:
        if self.monitor is not None:
            self.monitor.launch.dot_flops += 2 * a.data.size * b.data.shape[-1]
        if a.dtype.scalar.is_fp8():
            return super().create_dot(a, b, d, input_precision, max_num_imprecise_acc)
        precision = input_precision.name.lower()
        if a.dtype.scalar == tl.float32 and precision not in self.options.allowed_dot_input_precisions:
            raise NotImplementedError(f"The interpreter does not model input_precision={precision!r} of tl.dot.")
        return TensorHandle(numerics.matmul(_values(a), _values(b), d.data, precision), d.dtype.scalar)

    def create_extern_elementwise(
        self, library: str, path: str, symbol: str, arguments: list[TensorHandle], result: tl.dtype, is_pure: bool
    ) -> TensorHandle:
        return _cast(numerics.libdevice(symbol)(*map(_values, arguments)), result)

    def create_inline_asm(
        self, assembly: str, constraints: str, values: list[TensorHandle], types: list, is_pure: bool, pack: int
    ) -> _Results:
        return _Results(_cast(numerics.instruction(assembly)(*map(_values, values)), types[0]))


class _Results:
    """The results of inline assembly, of which there is one."""

    def __init__(self, handle: TensorHandle) -> None:
        self._handle = handle

    def get_result(self, index: int) -> TensorHandle:
        return self._handle


def _values(handle: TensorHandle) -> np.ndarray:
    """The numbers that a handle holds; bfloat16 as float32."""
    return numerics.decode_bfloat16(handle.data) if handle.dtype.scalar == tl.bfloat16 else handle.data


def _computed(values: np.ndarray, dtype: tl.dtype) -> TensorHandle:
    """The result of an operation on operands of type `dtype`; a comparison gives booleans."""
    return TensorHandle(values, tl.int1) if values.dtype == np.bool_ else _cast(values, dtype)


def _cast(values: np.ndarray, dtype: tl.dtype) -> TensorHandle:
    """A handle of type `dtype` from numbers, rounded."""
    scalar = dtype.scalar
    if scalar == tl.bfloat16:
        return TensorHandle(numerics.encode_bfloat16(values), scalar)
    return TensorHandle(values.astype(numpy_type(scalar), copy=False), scalar)


def _undefined(shape: tuple[int, ...], np_dtype: np.dtype, dtype: tl.dtype) -> np.ndarray:
    """What lanes hold that no one set."""
    if np_dtype.kind == "f":
        return np.full(shape, np.nan, np_dtype)
    if dtype.scalar == tl.bfloat16:
        return np.full(shape, 0x7FC0, np_dtype)
    if np_dtype == np.bool_:
        return np.ones(shape, np_dtype)
    return np.frombuffer(bytes([_CONSPICUOUS] * np_dtype.itemsize), np_dtype).repeat(int(np.prod(shape))).reshape(shape)


def _atomic_add_bfloat16(op: Any, address: TensorHandle, val: TensorHandle, mask: TensorHandle) -> TensorHandle:
    """Addition to bfloat16 in memory, lane after lane; the stock interpreter has none."""
    if op != ir.ATOMIC_OP.FADD:
        raise NotImplementedError("Of the atomics on bfloat16 the interpreter models the addition alone.")
    before = np.zeros(address.data.shape, np.uint16)
    lane = np.ones(1, bool)
    for index in zip(*np.nonzero(np.broadcast_to(mask.data, before.shape)), strict=True):
        pointer = address.data[index].reshape(1)
        old = _native.load(pointer, lane, np.zeros(1, np.uint16), np.dtype(np.uint16))
        total = numerics.decode_bfloat16(old) + numerics.decode_bfloat16(val.data[index].reshape(1))
        _native.store(pointer, numerics.encode_bfloat16(total), lane)
        before[index] = old[0]
    return TensorHandle(before, tl.bfloat16)
