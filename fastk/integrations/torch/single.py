"""Single layers that one op of fastk computes: normalization, pooling, the loss; `recurrent` has the recurrent ones.

Each function is called with a module and the arguments of its forward, and returns its result; or `Declined`, with the
reason, where torch's own forward is to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastk import autograd
from fastk.integrations.torch.fused import by_torch, is_channels_last, max_pool, pair
from fastk.integrations.torch.rewriting import pool_refusal

SAME_ON_CPU = "on the CPU fastk's op is torch's own call"


@dataclass(frozen=True)
class Declined:
    """Why a call is left to torch."""

    reason: str


def layer_norm(module: nn.LayerNorm, input: Tensor) -> Tensor | Declined:
    """LayerNorm over the last axes."""
    if by_torch(input):
        return Declined(SAME_ON_CPU)
    axes = range(-len(module.normalized_shape), 0)
    if tuple(input.shape[-len(axes) :]) != tuple(module.normalized_shape):
        return Declined("an input of another shape than `normalized_shape`")
    return autograd.layer_norm(input, module.weight, module.bias, tuple(axes), module.eps)


def max_pool_2d(module: nn.MaxPool2d, input: Tensor) -> Tensor | Declined:
    """MaxPool2d of channels-last images."""
    refusal = pool_refusal({**vars(module)})
    if refusal is not None:
        return Declined(refusal)
    if input.dim() != 4 or not is_channels_last(input):
        return Declined("images that are not channels last: copies would cost more than the op gives")
    window = pair(module.kernel_size)
    return max_pool(input, window, pair(module.stride), pair(module.padding))


def cross_entropy(module: nn.CrossEntropyLoss, input: Tensor, target: Tensor) -> Tensor | Declined:
    """CrossEntropyLoss of logits [B, C], or [B, C, ...] where the classes lie last in memory."""
    sparse = input.shape != target.shape
    if by_torch(input):
        return Declined(SAME_ON_CPU)
    if input.dim() < 2 or (sparse and target.shape != (input.shape[0], *input.shape[2:])):
        return Declined("logits without a batch, or a target of a shape that does not fit")
    if sparse and target.dtype != torch.int64:
        return Declined(f"a target of {target.dtype}")
    if module.weight is not None and module.label_smoothing:
        return Declined("class weights together with label smoothing")
    logits = input.movedim(1, -1)
    if not logits.is_contiguous():
        return Declined("classes that do not lie last in memory: a copy would cost more than the op gives")
    return _cross_entropy(module, logits, target if sparse else target.movedim(1, -1), sparse)


def _cross_entropy(module: nn.CrossEntropyLoss, logits: Tensor, target: Tensor, sparse: bool) -> Tensor:
    weight, ignored = module.weight, module.ignore_index
    if not sparse:
        q = target if weight is None else target * weight
        losses = autograd.softmax_cross_entropy(logits, q, False, module.label_smoothing)
        return losses.sum() / losses.numel() if module.reduction == "mean" else _reduced(losses, module.reduction)
    losses = autograd.softmax_cross_entropy(logits, target, True, module.label_smoothing, ignored)
    counted = target != ignored
    if weight is None:
        return losses.sum() / counted.sum() if module.reduction == "mean" else _reduced(losses, module.reduction)
    weights = weight[torch.where(counted, target, 0)] * counted
    losses = losses * weights
    return losses.sum() / weights.sum() if module.reduction == "mean" else _reduced(losses, module.reduction)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.sum() if reduction == "sum" else losses


def refusal_of(module: Any) -> str | None:
    """None, or why a layer of these kinds is never computed by fastk's op."""
    if isinstance(module, nn.MaxPool2d):
        return pool_refusal({**vars(module)})
    if isinstance(module, nn.CrossEntropyLoss) and module.weight is not None and module.label_smoothing:
        return "class weights together with label smoothing"
    return None
