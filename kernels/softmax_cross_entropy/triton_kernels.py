"""Softmax cross-entropy: the loss of each row in one pass over the logits, its gradient in another, or both in one.

    p = softmax(x),  loss = -sum over k of q_k log p_k,  dx = (Q p - q) dloss,  dlabel_k = -(1 - s) log p_k dloss

    x [M, C] logits; q = (1 - s) label + s / C [M, C], labels one-hot or dense, smoothed by s; Q = sum q; dloss [M]

Long rows are walked in blocks, with the running maximum m and the sums that belong to it (Milakov and Gimelshein 2018,
"Online normalizer calculation for softmax"):

    T = sum exp(x - m),  A = sum w (x - m),  W = sum w,  P = x_label      w = s / C, for dense labels q
    loss = -(1 - s) (P - m - log T) - (A - W log T), the first term for sparse labels only

Saved are m, log T and Q, up to 12 bytes a row; probabilities are computed again. Kept apart, m and log T lose nothing
where logits are large. Bytes, with e an element: forward e M C, backward 2 e M C. To store p - q in forward and scale
it in backward would move 4 e M C instead of these 3; where dloss is known beforehand, `with_gradient` moves 2 e M C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.max_pool2d.configurations import vector
from fastk.kernels.softmax_cross_entropy.configurations import BACKWARD, BOTH, FORWARD, Logits, RowConfiguration
from fastk.kernels.triton_runtime import architecture, sm_count

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_LOWEST = tl.constexpr(-3.0e38)  # below all maxima; -inf would make 0 * (m - m') NaN


@triton.jit
def _rows(ptr, offs_m, mask_m, offs_c, class_units, VEC: tl.constexpr):
    """Pointers and mask [BLOCK_M, BLOCK_C]. The mask compares units: see `dropout_kernel`."""
    row = offs_m.to(tl.int64)[:, None] * (class_units * VEC)
    return ptr + (row + offs_c[None, :]), mask_m[:, None] & (offs_c // VEC < class_units)[None, :]


@triton.jit
def _label(labels_ptr, offs_m, mask_m, classes, ignore_class, IGNORES: tl.constexpr):
    """(label, whether it is ignored, whether it is a class), each [BLOCK_M]."""
    label = tl.load(labels_ptr + offs_m, mask=mask_m, other=0).to(tl.int64)
    ignored = (label == ignore_class) & IGNORES
    return label, ignored, (label >= 0) & (label < classes)


@triton.jit
def _targets(
    labels_ptr, label, offs_m, mask_m, offs_c, class_units,
    SPARSE: tl.constexpr, SMOOTHING: tl.constexpr, VEC: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """q [BLOCK_M, BLOCK_C], 0 beyond the classes."""
    share = tl.full([1, 1], 1.0 - SMOOTHING, ACC)
    if SPARSE:
        q = tl.where(label[:, None] == offs_c[None, :], share, 0.0)
        if SMOOTHING != 0:
            q += tl.full([1, 1], SMOOTHING, ACC) / (class_units * VEC)
    else:
        ptrs, mask = _rows(labels_ptr, offs_m, mask_m, offs_c, class_units, VEC)
        q = tl.load(ptrs, mask=mask, other=0).to(ACC)  # [BLOCK_M, BLOCK_C]
        if SMOOTHING != 0:
            q = tl.where(mask, share * q + tl.full([1, 1], SMOOTHING, ACC) / (class_units * VEC), 0.0)
    return q


@triton.jit
def _store_gradient(
    dx_ptr, dlabels_ptr, x, q, ignored, valid, offs_m, mask_m, offs_c, class_units,
    maximum, log_total, weight_sum, g,
    SPARSE: tl.constexpr, SMOOTHING: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """dx and, unless it is None, dlabels of a block of x."""
    log_p = (x - maximum[:, None]) - log_total[:, None]
    if SPARSE:
        dx = (tl.exp(log_p) - q) * tl.where(valid, g, float("nan"))[:, None]
        dx = tl.where(ignored[:, None], 0.0, dx)
    else:
        dx = (tl.exp(log_p) * weight_sum[:, None] - q) * g[:, None]
    ptrs, mask = _rows(dx_ptr, offs_m, mask_m, offs_c, class_units, VEC)
    tl.store(ptrs, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    if dlabels_ptr is not None:
        dq = tl.full([1, 1], SMOOTHING - 1.0, x.dtype) * log_p * g[:, None]
        ptrs, mask = _rows(dlabels_ptr, offs_m, mask_m, offs_c, class_units, VEC)
        tl.store(ptrs, dq.to(dlabels_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _block(
    x_ptr, labels_ptr, label, offs_m, mask_m, offs_c, class_units, maximum, total, weighted, weight_sum, picked,
    SPARSE: tl.constexpr, SMOOTHING: tl.constexpr, VEC: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The block's x, w, and m, T, A, W, P with it; see the top."""
    ptrs, mask = _rows(x_ptr, offs_m, mask_m, offs_c, class_units, VEC)
    x = tl.load(ptrs, mask=mask, other=float("-inf")).to(ACC)  # [BLOCK_M, BLOCK_C]
    larger = tl.maximum(maximum, tl.max(x, 1))
    total = total * tl.exp(maximum - larger) + tl.sum(tl.exp(x - larger[:, None]), 1)
    w = x
    if SPARSE:
        picked += tl.sum(tl.where(label[:, None] == offs_c[None, :], x, 0.0), 1)
    if not SPARSE or SMOOTHING != 0:
        if SPARSE:
            w = tl.where(mask, tl.full([1, 1], SMOOTHING, ACC) / (class_units * VEC), 0.0)
        else:
            w = _targets(labels_ptr, label, offs_m, mask_m, offs_c, class_units, SPARSE, SMOOTHING, VEC, ACC)
        distances = tl.where(mask, w * (x - larger[:, None]), 0.0)
        weighted += weight_sum * (maximum - larger) + tl.sum(distances, 1)
        weight_sum += tl.sum(w, 1)
    return x, w, larger, total, weighted, weight_sum, picked


@triton.jit
def softmax_cross_entropy_forward_kernel(
    loss_ptr, statistics_ptr, dx_ptr, x_ptr, labels_ptr, g_ptr,
    rows, class_units, ignore_class, stride_g,
    SPARSE: tl.constexpr, SMOOTHING: tl.constexpr, IGNORES: tl.constexpr, ONE_BLOCK: tl.constexpr,
    VEC: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """loss [M], statistics [2 or 3, M]: m, log T and, with dense labels, Q; unless it is None dx, for g [M]."""
    ACC: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    classes = class_units * VEC
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    mask_m = offs_m < rows
    offs_c = tl.arange(0, BLOCK_C)
    label, ignored, valid = offs_m, mask_m, mask_m
    if SPARSE:
        label, ignored, valid = _label(labels_ptr, offs_m, mask_m, classes, ignore_class, IGNORES)
    maximum = tl.full([BLOCK_M], _LOWEST, ACC)
    total = tl.zeros([BLOCK_M], ACC)
    weighted = tl.zeros([BLOCK_M], ACC)
    weight_sum = tl.zeros([BLOCK_M], ACC)
    picked = tl.zeros([BLOCK_M], ACC)
    if ONE_BLOCK:
        x, q, maximum, total, weighted, weight_sum, picked = _block(
            x_ptr, labels_ptr, label, offs_m, mask_m, offs_c, class_units,
            maximum, total, weighted, weight_sum, picked, SPARSE, SMOOTHING, VEC, ACC,
        )  # fmt: skip
    else:
        for start in range(0, classes, BLOCK_C):
            _, _, maximum, total, weighted, weight_sum, picked = _block(
                x_ptr, labels_ptr, label, offs_m, mask_m, start + offs_c, class_units,
                maximum, total, weighted, weight_sum, picked, SPARSE, SMOOTHING, VEC, ACC,
            )  # fmt: skip
    log_total = tl.log(total)
    loss = weight_sum * log_total - weighted
    if SPARSE:
        loss += tl.full([1], 1.0 - SMOOTHING, ACC) * (log_total - (picked - maximum))
        loss = tl.where(ignored, 0.0, tl.where(valid, loss, float("nan")))
    tl.store(loss_ptr + offs_m, loss.to(loss_ptr.dtype.element_ty), mask=mask_m)
    if statistics_ptr is not None:
        tl.store(statistics_ptr + offs_m, maximum, mask=mask_m)
        tl.store(statistics_ptr + rows + offs_m, log_total, mask=mask_m)
        if not SPARSE:
            tl.store(statistics_ptr + 2 * rows + offs_m, weight_sum, mask=mask_m)
    if dx_ptr is not None:
        g = tl.load(g_ptr + offs_m * stride_g, mask=mask_m, other=0.0).to(ACC)
        if ONE_BLOCK:
            if SPARSE:
                q = _targets(labels_ptr, label, offs_m, mask_m, offs_c, class_units, True, SMOOTHING, VEC, ACC)
            _store_gradient(
                dx_ptr, None, x, q, ignored, valid, offs_m, mask_m, offs_c, class_units,
                maximum, log_total, weight_sum, g, SPARSE, SMOOTHING, VEC,
            )  # fmt: skip
        else:  # the row is in the cache still
            for start in range(0, classes, BLOCK_C):
                ptrs, mask = _rows(x_ptr, offs_m, mask_m, start + offs_c, class_units, VEC)
                x = tl.load(ptrs, mask=mask, other=float("-inf")).to(ACC)  # [BLOCK_M, BLOCK_C]
                q = _targets(
                    labels_ptr, label, offs_m, mask_m, start + offs_c, class_units, SPARSE, SMOOTHING, VEC, ACC
                )  # fmt: skip
                _store_gradient(
                    dx_ptr, None, x, q, ignored, valid, offs_m, mask_m, start + offs_c, class_units,
                    maximum, log_total, weight_sum, g, SPARSE, SMOOTHING, VEC,
                )  # fmt: skip


@triton.jit
def softmax_cross_entropy_backward_kernel(
    dx_ptr, dlabels_ptr, g_ptr, x_ptr, labels_ptr, statistics_ptr,
    rows, class_units, ignore_class, stride_g,
    SPARSE: tl.constexpr, SMOOTHING: tl.constexpr, IGNORES: tl.constexpr,
    VEC: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx [M, C] and, unless it is None, dlabels [M, C]."""
    ACC: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    mask_m = offs_m < rows
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    label, ignored, valid = offs_m, mask_m, mask_m
    weight_sum = tl.zeros([BLOCK_M], ACC)
    if SPARSE:
        label, ignored, valid = _label(labels_ptr, offs_m, mask_m, class_units * VEC, ignore_class, IGNORES)
    else:
        weight_sum = tl.load(statistics_ptr + 2 * rows + offs_m, mask=mask_m, other=0.0)
    maximum = tl.load(statistics_ptr + offs_m, mask=mask_m, other=0.0)
    log_total = tl.load(statistics_ptr + rows + offs_m, mask=mask_m, other=0.0)
    g = tl.load(g_ptr + offs_m * stride_g, mask=mask_m, other=0.0).to(ACC)
    ptrs, mask = _rows(x_ptr, offs_m, mask_m, offs_c, class_units, VEC)
    x = tl.load(ptrs, mask=mask, other=float("-inf")).to(ACC)  # [BLOCK_M, BLOCK_C]
    q = _targets(labels_ptr, label, offs_m, mask_m, offs_c, class_units, SPARSE, SMOOTHING, VEC, ACC)
    _store_gradient(
        dx_ptr, dlabels_ptr, x, q, ignored, valid, offs_m, mask_m, offs_c, class_units,
        maximum, log_total, weight_sum, g, SPARSE, SMOOTHING, VEC,
    )  # fmt: skip


def supports(op: str, logits: Tensor, *others: Any) -> str | None:
    """None, or why not."""
    if logits.dtype not in _DTYPES:
        return f"the Triton kernels of {op} take floats of 16 to 64 bits, not {logits.dtype}"
    if not logits.size(-1):
        return f"the Triton kernels of {op} need a class at least, and logits have the shape {tuple(logits.shape)}"
    return None


def softmax_cross_entropy_forward(
    logits: Tensor,
    labels: Tensor,
    sparse: bool,
    label_smoothing: float,
    ignore_class: int | None,
    configuration: RowConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and statistics [2 or 3, rows] for backward: m, log T and, with dense labels, Q."""
    rows = logits.numel() // logits.size(-1)
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    loss = logits.new_empty(logits.shape[:-1])
    statistics = logits.new_empty((2 if sparse else 3, rows), dtype=wide)
    options = sparse, label_smoothing, ignore_class
    chosen = configuration or configuration_for(FORWARD, _problem(logits, sparse), (logits, labels, *options))
    _forward(loss, statistics, None, logits, labels, None, *options, chosen)
    return loss, statistics


def softmax_cross_entropy_with_gradient(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    sparse: bool,
    label_smoothing: float,
    ignore_class: int | None,
    configuration: RowConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of each row and, from the same reading of the logits, the gradient of the losses' sum by `weights`."""
    loss = logits.new_empty(logits.shape[:-1])
    dlogits = logits.new_empty(logits.shape)
    options = sparse, label_smoothing, ignore_class
    chosen = configuration or configuration_for(BOTH, _problem(logits, sparse), (logits, labels, weights, *options))
    _forward(loss, None, dlogits, logits, labels, weights, *options, chosen)
    return loss, dlogits


def softmax_cross_entropy_backward(
    g: Tensor,
    logits: Tensor,
    labels: Tensor,
    statistics: Tensor,
    sparse: bool,
    label_smoothing: float,
    ignore_class: int | None,
    needed: Sequence[bool],
    configuration: RowConfiguration | None = None,
) -> tuple[Tensor, Tensor]:
    """The gradients of logits and, where `needed` says so, of dense labels, else an empty tensor."""
    classes = logits.size(-1)
    rows = logits.numel() // classes
    dlogits = logits.new_empty(logits.shape)
    dlabels = labels.new_empty(labels.shape if needed[1] else 0)
    if not rows:
        return dlogits, dlabels
    options = sparse, label_smoothing, ignore_class
    chosen = configuration or configuration_for(
        BACKWARD, _problem(logits, sparse), (g, logits, labels, statistics, *options, needed)
    )
    blocks = _blocks(classes, *options, chosen)
    g = g.reshape(-1)
    softmax_cross_entropy_backward_kernel[triton.cdiv(rows, chosen.BLOCK_M), triton.cdiv(classes, chosen.BLOCK_C)](
        dlogits, dlabels if needed[1] else None, g, logits.contiguous(), _addressable(labels), statistics,
        rows, classes // blocks["VEC"], ignore_class or 0, g.stride(0), **blocks,
    )  # fmt: skip
    return dlogits, dlabels


def _forward(
    loss: Tensor,
    statistics: Tensor | None,
    dlogits: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    g: Tensor | None,
    sparse: bool,
    label_smoothing: float,
    ignore_class: int | None,
    chosen: RowConfiguration,
) -> None:
    classes = logits.size(-1)
    rows = logits.numel() // classes
    if not rows:
        return
    blocks = _blocks(classes, sparse, label_smoothing, ignore_class, chosen)
    g = None if g is None else g.reshape(-1)
    softmax_cross_entropy_forward_kernel[(triton.cdiv(rows, chosen.BLOCK_M),)](
        loss, statistics, dlogits, logits.contiguous(), _addressable(labels), g,
        rows, classes // blocks["VEC"], ignore_class or 0, 0 if g is None else g.stride(0),
        ONE_BLOCK=classes <= chosen.BLOCK_C, **blocks,
    )  # fmt: skip


def _blocks(
    classes: int, sparse: bool, label_smoothing: float, ignore_class: int | None, chosen: RowConfiguration
) -> dict[str, Any]:
    flags = {"SPARSE": sparse, "SMOOTHING": float(label_smoothing), "IGNORES": ignore_class is not None}
    sizes = {"VEC": vector(classes), "BLOCK_M": chosen.BLOCK_M, "BLOCK_C": chosen.BLOCK_C}
    return {**flags, **sizes, "num_warps": chosen.num_warps, "enable_fp_fusion": True}


def _problem(logits: Tensor, sparse: bool) -> Logits:
    classes = logits.size(-1)
    return Logits(logits.numel() // classes, classes, logits.dtype, sparse, architecture(), sm_count())


def _addressable(labels: Tensor) -> Tensor:
    """Labels as the kernels read them."""
    labels = labels.contiguous()
    return labels.view(torch.uint8) if labels.dtype == torch.bool else labels
