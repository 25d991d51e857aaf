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
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.capture.cuda import keep_for_replays
from fastk.kernels.adam.configurations import StepConfiguration
from fastk.kernels.step_options import StepOptions
from fastk.kernels.triton_runtime import INTERPRETED

SPANS = 128  # how many partial sums the norm of all gradients is made of; each program of a step reads them: 512 bytes
SQUARES: dict[str, Any] = {
    "TILE": 8192,
    "num_warps": 16,
    "enable_fp_fusion": True,
}  # 128 programs have to keep as many bytes under way as the memory takes
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
    kind = tl.pointer_type(DTYPE)  # pyright: ignore[reportArgumentType] - a constexpr is its value in a kernel
    ptr = tl.multiple_of(tl.load(row_ptr + LIST).to(kind), ALIGNMENT)
    return ptr + first


@triton.jit
def whole_vectors(count, DTYPE: tl.constexpr):
    """How many of `count` elements lie in whole 16-byte vectors: a multiple the compiler can see."""
    VECTOR: tl.constexpr = 128 // DTYPE.primitive_bitwidth  # pyright: ignore[reportAttributeAccessIssue]
    return count // VECTOR * VECTOR


@triton.jit
def gradient_factor(
    row_ptr,
    partials_ptr,
    scale_ptr,
    inverse_scale,
    spans,
    limit,
    LISTS: tl.constexpr,
    CLIP: tl.constexpr,
    SPANS: tl.constexpr,
):
    """1 / scale, times what clipping by a norm makes of it."""
    inverse = inverse_scale
    if scale_ptr is not None:
        inverse = 1.0 / tl.load(scale_ptr).to(tl.float32)
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
def rate_and_decay(rate_ptr, rate, weight_decay, row_ptr, LISTS: tl.constexpr, HAS_DECAY: tl.constexpr):
    """The learning rate, and what it leaves of a weight of this row."""
    if rate_ptr is not None:
        rate = tl.load(rate_ptr).to(tl.float32)
    decay = 1.0
    if HAS_DECAY:
        decay = 1.0 - rate * weight_decay * tl.load(row_ptr + LISTS + 1).to(tl.float32)
    return rate, decay


@triton.jit
def _squares_kernel(
    partials_ptr,
    table_ptr,
    spans_ptr,
    LISTS: tl.constexpr,
    DTYPE: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    TAIL: tl.constexpr,
):
    """partials[s] = sum of squared gradients over span s. Gradients are list 1."""
    span_ptr = spans_ptr + 3 * tl.program_id(0)
    row_ptr = table_ptr + tl.load(span_ptr) * (LISTS + 4)
    first = tl.load(span_ptr + 1).to(tl.int64) * BLOCK
    size = tl.minimum(tl.load(row_ptr + LISTS) - first, tl.load(span_ptr + 2).to(tl.int64) * BLOCK)
    g_ptr = values_at(row_ptr, 1, first, DTYPE, ALIGNMENT)
    offs = tl.arange(0, TILE)
    sums = tl.zeros([TILE], tl.float32)
    for tile in range(0, tl.cdiv(size, TILE)):
        start = tile * TILE
        whole = whole_vectors(tl.minimum(size - start, TILE).to(tl.int32), DTYPE)
        g = tl.load(g_ptr + start + offs, mask=offs < whole, other=0.0).to(tl.float32)  # [TILE]
        sums += g * g
    tail = whole_vectors(size, DTYPE) + tl.arange(0, TAIL)
    g = tl.load(g_ptr + tail, mask=tail < size, other=0.0).to(tl.float32)  # [TAIL]
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
_captured: list[Plan] = []  # a graph of the user's reads them for as long as it lives, and does not say when it ends


def plan_of(lists: tuple[list[Tensor], ...], decayed: Sequence[bool] | None, block: int) -> Plan:
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
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing() and not keep_for_replays(plan):
        _captured.append(plan)
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
    return Plan(_uploaded(rows, torch.int64, device), layout, alignment)


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


class Launch(NamedTuple):
    """What the three steps' launches have in common: the grid, and arguments by name."""

    grid: tuple[int]
    arguments: dict[str, Any]


def prepare(
    lists: tuple[list[Tensor], ...],
    learning_rate: Tensor | float,
    options: StepOptions | None,
    chosen: StepConfiguration,
) -> Launch | None:
    """Launches the partial sums of norms where they are needed. None where there is no element to move."""
    options = options or StepOptions()
    plan = plan_of(lists, options.decayed if options.weight_decay else None, chosen.BLOCK)
    layout = plan.layout
    if not len(layout.chunks):
        return None
    clip, limit = _clip_of(options)
    shared = dict[str, Any](
        LISTS=len(lists),
        DTYPE=DTYPES[lists[0][0].dtype],
        ALIGNMENT=plan.alignment,
        BLOCK=chosen.BLOCK,
        TAIL=TAIL,
    )
    partials = None
    if clip in ("norm", "global"):
        partials = torch.empty(len(layout.spans), dtype=torch.float32, device=layout.spans.device)
        _squares_kernel[(len(partials),)](partials, plan.table, layout.spans, **shared, **SQUARES)
    scale = options.gradient_scale
    scale_ptr, scale = (scale, 1.0) if on_device(scale) else (None, 1.0 if scale is None else float(scale))
    rate_ptr, rate = (learning_rate, 0.0) if on_device(learning_rate) else (None, float(learning_rate))
    return Launch(
        (len(layout.chunks),),
        shared
        | {
            "table_ptr": plan.table,
            "chunks_ptr": layout.chunks,
            "partials_ptr": partials,
            "scale_ptr": scale_ptr,
            "found_inf_ptr": options.found_inf,
            "rate_ptr": rate_ptr,
            "rate": rate,
            "inverse_scale": 1.0 / scale,
            "weight_decay": float(options.weight_decay),
            "limit": limit,
            "spans": len(layout.spans),
            "HAS_DECAY": bool(options.weight_decay),
            "HAS_FACTOR": partials is not None or options.gradient_scale is not None,
            "CLIP": clip,
            "SPANS": SPANS,
            "num_warps": chosen.num_warps,
            "enable_fp_fusion": True,
        },
    )


def why_not(*lists: list[Tensor]) -> str | None:
    """None, or why the kernels cannot take these lists: `lists[0]` the params, `lists[1]` the gradients."""
    params = lists[0]
    dtype = params[0].dtype
    if dtype not in DTYPES:
        return f"the kernel takes {', '.join(str(known) for known in DTYPES)}, and the params are {dtype}"
    for tensors in lists:
        for param, tensor in zip(params, tensors, strict=True):
            if tensor.dtype is not dtype:
                return f"the params are {dtype}, and a tensor beside them is {tensor.dtype}"
            if not (tensor.is_contiguous() and param.is_contiguous()) and not _lie_alike(param, tensor):
                return f"a param of shape {tuple(param.shape)} and a tensor beside it lie in memory in different orders"
    return None


def _lie_alike(param: Tensor, tensor: Tensor) -> bool:
    """Whether both fill one stretch of memory, in the same order of axes."""
    order = sorted(range(param.dim()), key=lambda axis: -param.stride(axis))
    return param.stride() == tensor.stride() and param.permute(order).is_contiguous()


def on_device(value: Tensor | float | None) -> bool:
    """Whether a scalar is read by the kernel. The interpreter's device is the CPU."""
    return isinstance(value, Tensor) and (INTERPRETED or not value.is_cpu)


def _clip_of(options: StepOptions) -> tuple[str | None, float]:
    """(which clipping, its limit)."""
    if options.clipnorm:
        return "norm", float(options.clipnorm)
    if options.global_clipnorm:
        return "global", float(options.global_clipnorm)
    if options.clipvalue:
        return "value", float(options.clipvalue)
    return None, 0.0
