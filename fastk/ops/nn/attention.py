"""Scaled dot-product attention."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config, dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import dtype_of, promoted
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "dot_product_attention",
]

# Below every logit, and far enough from the least number that sums stay finite.
_MASKED = {torch.float16: -0.7 * 65500.0}
_MASKED_WIDE = -0.7 * 3.38953e38


def _attention_spec(query: Any, key: Any, value: Any, **options: Any) -> KerasTensor:
    dtype = dtypes.result_type(dtype_of(query), dtype_of(key), dtype_of(value))
    return KerasTensor((*shape_of(query)[:-1], shape_of(value)[-1]), dtype=dtype)


@operation("query key value bias mask scale", spec=_attention_spec)
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: Any = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> torch.Tensor:
    """softmax(scale * query key^T + bias) value, for each head. Source: Vaswani et al., 2017.

    Args:
        query: (batch, queries, heads, size).
        key: (batch, keys, heads, size); fewer heads are shared among those of `query`.
        value: (batch, keys, heads, value size).
        bias: added to the logits; broadcasts to (batch, heads, queries, keys). Not with `mask`.
        mask: booleans, True where a query may see a key; broadcasts to (batch, heads, queries, keys).
        scale: of the logits; `1 / sqrt(size)` by default.
        is_causal: whether a query sees no later key.
        flash_attention: True asks for the flash implementation (an error where it cannot run), False rules it out; by
            default as `keras.config.is_flash_attention_enabled()` says.
        attn_logits_soft_cap: logits are bounded by it, through tanh.

    Returns:
        (batch, queries, heads, value size).
    """
    if flash_attention is None:
        flash_attention = config.is_flash_attention_enabled()
    query, key, value = promoted(query, key, value)
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            f"`dot_product_attention` only supports 4D inputs. Received: query.shape={query.shape}, "
            f"key.shape={key.shape}, value.shape={value.shape}."
        )
    if bias is not None and mask is not None:
        raise ValueError("Only one of `bias` and `mask` can be provided. Received both.")
    added = _added(query, key, bias, mask, is_causal)
    heads = torch.transpose(query, 1, 2), torch.transpose(key, 1, 2), torch.transpose(value, 1, 2)
    if attn_logits_soft_cap is not None:
        if flash_attention:
            raise ValueError(
                "Flash attention does not support `attn_logits_soft_cap`. Pass flash_attention=None or False."
            )
        result = _capped(*heads, added, scale, is_causal and added is None, attn_logits_soft_cap)
    else:
        with _kernels(flash_attention):
            result = F.scaled_dot_product_attention(
                *heads,
                attn_mask=added,
                is_causal=is_causal and added is None,
                scale=scale,
                enable_gqa=query.shape[2] != key.shape[2],
            )
    return torch.transpose(result, 1, 2)


def _added(query: torch.Tensor, key: torch.Tensor, bias: Any, mask: Any, is_causal: bool) -> torch.Tensor | None:
    """What is added to the logits; None where only `is_causal` may count."""
    if bias is None and mask is None:
        return None
    masked = _MASKED.get(query.dtype, _MASKED_WIDE)
    if bias is not None:
        added = convert_to_tensor(bias, dtype=query.dtype)
        return added if not is_causal else torch.where(_causal(query, key), added, masked)
    mask = convert_to_tensor(mask, dtype="bool")
    mask = torch.logical_and(mask, _causal(query, key)) if is_causal else mask
    return torch.where(mask, 0.0, masked).to(query.dtype)


def _causal(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return torch.ones((query.shape[1], key.shape[1]), dtype=torch.bool, device=query.device).tril()


def _kernels(flash_attention: bool | None) -> Any:
    if flash_attention is None:
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    others = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION] if flash_attention else others)


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    added: torch.Tensor | None,
    scale: Any,
    is_causal: bool,
    cap: float,
) -> torch.Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    logits = torch.matmul(query, key.mT) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    logits = cap * torch.tanh(logits / cap)
    if added is not None:
        logits = logits + added
    if is_causal:
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        logits = torch.where(seen, logits, _MASKED.get(logits.dtype, _MASKED_WIDE))
    return torch.matmul(torch.softmax(logits, dim=-1), value)
