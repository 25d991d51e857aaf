"""The functions of triton.language as they are while an interpreted kernel runs.

The stock interpreter finds out what to replace, milliseconds of work, at every launch and at every call of a device
function. Here a launch sets attributes from a list that is made once. Two constructors are replaced besides, which take
half of the time of a kernel on small blocks: they derive what follows from a block's shape once for each shape.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as cuda_libdevice
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import TensorHandle

from fastk.kernels.verify import reductions


@contextlib.contextmanager
def interpreted_language() -> Iterator[None]:
    """Inside, the functions of triton.language compute with numpy."""
    scope = stock._LangPatchScope()
    for owner, name, value in _patches():
        scope.set_attr(owner, name, value)
    try:
        yield
    finally:
        scope.restore()


@functools.cache
def _patches() -> list[tuple[Any, str, Any]]:
    """What a launch sets: owner, name and value, as Triton's own patches leave them, then ours."""
    namespace: Any = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})  # in place of a kernel's
    scope = stock._patch_lang(namespace)
    patches = [(owner, name, getattr(owner, name)) for owner, name, _ in scope._changes]
    scope.restore()
    for language in (tl, tl.core):
        patches.append((language, "reduce", reductions.reduce))
        patches.append((language, "associative_scan", reductions.associative_scan))
    patches += [(tl.tensor, "__index__", _index), (tl.tensor, "__int__", _index), (tl.tensor, "__bool__", _truth)]
    patches += [(tl.tensor, "__init__", _init_tensor), (tl.block_type, "__init__", _init_block_type)]
    for name, function in inspect.getmembers(cuda_libdevice, tl.core.is_builtin):
        value = functools.partial(function, _semantic=stock.interpreter_semantic)
        patches += [(owner, name, value) for owner in (cuda_libdevice, libdevice)]
    return patches


def _index(tensor: Any) -> int:
    return int(tensor.handle.data.item())


def _truth(tensor: Any) -> bool:
    if sys._getframe(1).f_globals["__name__"] == "triton.language.semantic":
        return True  # there `if mask` asks whether one was given; a scalar that is zero is one too
    if tensor.handle.data.size != 1:
        raise TypeError(
            f"A block of shape {tensor.handle.data.shape} is neither true nor false. Combine masks with & and |, "
            "choose elements with tl.where."
        )
    return bool(tensor.handle.data.item())


_stock_init_block_type = tl.block_type.__init__


@functools.cache
def _shape_of_type(sizes: tuple[int, ...]) -> tuple[Any, int, str]:
    """A block type's shape, its number of elements and the shape's name; checked by Triton."""
    block_type: Any = tl.block_type.__new__(tl.block_type)
    _stock_init_block_type(block_type, tl.int32, list(sizes))
    return block_type.shape, block_type.numel, str(block_type.shape)


@functools.cache
def _shape_of_tensor(sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """A tensor's shape and number of elements, both of constants."""
    return tl.tuple([tl.constexpr(size) for size in sizes]), tl.constexpr(math.prod(sizes))


def _init_block_type(self: Any, element_ty: Any, shape: Any) -> None:
    self.element_ty = element_ty
    sizes = tuple([size.value if isinstance(size, tl.constexpr) else size for size in shape])
    self.shape, self.numel, name = _shape_of_type(sizes)
    self.name = f"<{name}, {element_ty}>"


def _init_tensor(self: Any, handle: TensorHandle, type: Any) -> None:
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = _shape_of_tensor(tuple(type.shape) if type.is_block() else ())
