"""What the one-launch optimizer steps share: the table of addresses, the walk over it, gradient norms.

A step moves T tensors, each with L lists of values beside it (parameter, gradient, states). One launch does them all:

    table   int64 [T, L + 4]   the L addresses; the size; 1 where weight decay applies; first partial, partials
    chunks  int32 [K, 2]       (tensor, number of the chunk in it): program k moves BLOCK elements of one tensor
    spans   int32 [S, 3]       (tensor, first chunk, chunks): program s of the norm kernel sums squares over one span

A table is built at first use and kept while the addresses are the same: always, where a graph is replayed. Sizes are no
multiples of anything, so a chunk is a body of whole 16-byte vectors and, at a tensor's end, a tail of single elements.

Norms are deterministic: each span has one partial sum, and whoever needs a norm adds the partials in their order.
"""

from __future__ import annotations

import collections
import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.step_options import StepOptions

SPANS = 256  # how many partial sums the norm of all gradients is made of; each program of a step reads them: 1 KiB
TAIL = 8  # elements; a 16-byte vector of the smallest type has as many
DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
_KEPT = 32  # tables, the latest ones


# ------------------------------------------------------------ device


@triton.jit
def open_chunk(table_ptr, chunks_ptr, found_inf_ptr, LISTS: tl.constexpr, BLOCK: tl.constexpr):
    """(row of the table, first element, how many) of this program's chunk; none where `found_inf` is not 0."""
    chunk = tl.program_id(0)
    row_ptr = table_ptr + tl.load(chunks_ptr + 2 * chunk) * (LISTS + 4)
    first = tl.load(chunks_ptr + 2 * chunk + 1).to(tl.int64) * BLOCK
    count = tl.minimum(tl.load(row_ptr + LISTS) - first, BLOCK).to(tl.int32)
    if found_inf_ptr is not None:
        count = tl.where(tl.load(found_inf_ptr) != 0, 0, count)
    return row_ptr, first, count


@triton.jit
def values_at(row_ptr, LIST: tl.constexpr, first, DTYPE: tl.constexpr, ALIGNMENT: tl.constexpr):
    """Pointer to element `first` of the row's tensor in list `LIST`."""
    ptr = tl.load(row_ptr + LIST).to(tl.pointer_type(DTYPE)) + first
    return tl.multiple_of(ptr, ALIGNMENT)


@triton.jit
def whole_vectors(count, DTYPE: tl.constexpr):
    """How many of `count` elements lie in whole 16-byte vectors: a multiple the compiler can see."""
    VECTOR: tl.constexpr = 128 // DTYPE.primitive_bitwidth
    return count // VECTOR * VECTOR


@triton.jit
def gradient_factor(
    row_ptr, partials_ptr, spans, limit, scale, LISTS: tl.constexpr, CLIP: tl.constexpr, SPANS: tl.constexpr
):
    """1 / scale, times what clipping by a norm makes of it."""
    if scale is None:
        inverse = 1.0
    elif scale.dtype.is_ptr():
        inverse = 1.0 / tl.load(scale).to(tl.float32)
    else:
        inverse = 1.0 / scale
    factor = inverse
    if CLIP == "norm" or CLIP == "global":
        if CLIP == "norm":
            partials_ptr += tl.load(row_ptr + LISTS + 2)
            spans = tl.load(row_ptr + LISTS + 3).to(tl.int32)
        offs = tl.arange(0, SPANS)
        sums = tl.zeros([SPANS], tl.float32)
        for start in range(0, spans, SPANS):
            sums += tl.load(partials_ptr + start + offs, mask=start + offs < spans, other=0.0)  # [SPANS]
        norm = tl.sqrt(tl.sum(sums)) * inverse
        factor = inverse * (limit / tl.where(norm < limit, limit, norm))
        if CLIP == "global":
            factor += norm - norm  # 0, or NaN: gradients that overflowed must not pass for large finite ones
    return factor


@triton.jit
def clipped(g, factor, limit, HAS_FACTOR: tl.constexpr, CLIP: tl.constexpr):
    """The gradient that the step takes; NaN stays NaN."""
    if HAS_FACTOR:
        g *= factor
    if CLIP == "value":
        g = tl.where(g > limit, limit, tl.where(g < -limit, -limit, g))
    return g


@triton.jit
def scalar(value):
    """A float argument, or the one element behind a pointer."""
    if value.dtype.is_ptr():
        result = tl.load(value).to(tl.float32)
    else:
        result = value
    return result


@triton.jit
def _squares_kernel(
    partials_ptr,
    table_ptr,
    spans_ptr,
    LISTS: tl.constexpr,
    DTYPE: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    BLOCK: tl.constexpr,
    TAIL: tl.constexpr,
):
    """partials[s] = sum of squared gradients over span s. Gradients are list 1."""
    span_ptr = spans_ptr + 3 * tl.program_id(0)
    row_ptr = table_ptr + tl.load(span_ptr) * (LISTS + 4)
    first = tl.load(span_ptr + 1).to(tl.int64) * BLOCK
    size = tl.minimum(tl.load(row_ptr + LISTS) - first, tl.load(span_ptr + 2).to(tl.int64) * BLOCK)
    g_ptr = values_at(row_ptr, 1, first, DTYPE, ALIGNMENT)
    offs = tl.arange(0, BLOCK)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        whole = whole_vectors(tl.minimum(size - start, BLOCK).to(tl.int32), DTYPE)
        g = tl.load(g_ptr + start + offs, mask=offs < whole, other=0.0).to(tl.float32)  # [BLOCK]
        sums += g * g
    offs = tl.arange(0, TAIL)
    whole = whole_vectors(size, DTYPE)
    g = tl.load(g_ptr + whole + offs, mask=whole + offs < size, other=0.0).to(tl.float32)  # [TAIL]
    tl.store(partials_ptr + tl.program_id(0), tl.sum(sums) + tl.sum(g * g))


# ------------------------------------------------------------ host


class Layout(NamedTuple):
    """What follows from the sizes alone. `partials`: for each tensor (first, how many), in a list of rows."""

    chunks: Tensor
    spans: Tensor
    partials: list[tuple[int, int]]


class Plan(NamedTuple):
    """A step's table, its layout, and whether all addresses are multiples of 16 bytes."""

    table: Tensor
    layout: Layout
    alignment: int


_layouts: dict[tuple, Layout] = {}
_plans: collections.OrderedDict[tuple, Plan] = collections.OrderedDict()
_captured: list[Plan] = []  # a recorded graph reads them for as long as it lives, and does not say when it ends


def plan_of(lists: tuple[list[Tensor], ...], decayed: list[bool] | None, block: int) -> Plan:
    """The plan for lists of tensors of one dtype on one device; `lists[1]` are the gradients."""
    params = lists[0]
    addresses = [tensor.data_ptr() for tensors in lists for tensor in tensors]
    sizes = tuple([tensor.numel() for tensor in params])
    device = params[0].device
    key = (device, params[0].dtype, block, None if decayed is None else tuple(decayed), sizes, *addresses)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _make_plan(lists, addresses, sizes, decayed, block, device)
        if len(_plans) > _KEPT:
            _plans.popitem(last=False)
    else:
        _plans.move_to_end(key)
    return plan


def _make_plan(lists, addresses: list[int], sizes: tuple[int, ...], decayed, block: int, device) -> Plan:
    key = (device, block, sizes)
    layout = _layouts.get(key)
    if layout is None:
        layout = _layouts[key] = _make_layout(sizes, block, device)
    count = len(sizes)
    rows = [
        [*addresses[i::count], size, 1 if decayed is None else int(decayed[i]), *layout.partials[i]]
        for i, size in enumerate(sizes)
    ]
    alignment = math.gcd(16, *(address for address, size in zip(addresses, sizes * len(lists), strict=True) if size))
    plan = Plan(_uploaded(rows, torch.int64, device), layout, alignment)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        _captured.append(plan)
    return plan


def _make_layout(sizes: tuple[int, ...], block: int, device: torch.device) -> Layout:
    numbers = [-(-size // block) for size in sizes]
    longest = max(1, -(-sum(numbers) // SPANS))
    chunks = [(i, k) for i, number in enumerate(numbers) for k in range(number)]
    spans, partials = [], []
    for i, number in enumerate(numbers):
        own = [(i, first, min(longest, number - first)) for first in range(0, number, longest)]
        partials.append((len(spans), len(own)))
        spans += own
    return Layout(_uploaded(chunks, torch.int32, device), _uploaded(spans, torch.int32, device), partials)


def _uploaded(rows: list, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`rows` on the device, copied without waiting; beside the recording where a graph is being recorded."""
    host = torch.tensor(rows, dtype=dtype)
    if device.type != "cuda":
        return host.to(device)
    if not torch.cuda.is_current_stream_capturing():
        return host.pin_memory().to(device, non_blocking=True)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        uploaded = host.to(device)
    stream.synchronize()
    return uploaded


def clip_of(options: StepOptions | None) -> tuple[str | None, float]:
    """(which clipping, its limit), as the kernels take them."""
    if options is not None:
        if options.clipnorm:
            return "norm", float(options.clipnorm)
        if options.global_clipnorm:
            return "global", float(options.global_clipnorm)
        if options.clipvalue:
            return "value", float(options.clipvalue)
    return None, 0.0


def partial_sums(plan: Plan, lists: int, dtype: torch.dtype, block: int, num_warps: int) -> Tensor:
    """The partial sums of squared gradients, one for each span: the launch before a step that clips by a norm."""
    spans = plan.layout.spans
    partials = torch.empty(len(spans), dtype=torch.float32, device=spans.device)
    _squares_kernel[(len(spans),)](
        partials, plan.table, spans, lists, DTYPES[dtype], plan.alignment, block, TAIL, num_warps=num_warps
    )
    return partials
