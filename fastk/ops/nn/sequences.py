"""Connectionist temporal classification (CTC): the loss and the decoding. Source: Graves et al., 2006."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import dtype_of, result_dtype
from fastk.ops.registration import operation
from fastk.ops.shapes import shape_of
from fastk.tensor import convert_to_numpy, convert_to_tensor

__all__ = [
    "ctc_decode",
    "ctc_loss",
]


def _check_batch(name1: str, x1: Any, name2: str, x2: Any) -> None:
    first, second = shape_of(x1), shape_of(x2)
    if first[0] != second[0] and None not in (first[0], second[0]):
        raise ValueError(
            f"Arguments `{name1}` and `{name2}` must have the same first dimension. "
            f"Received shapes: `{first}` and `{second}`."
        )


def _ctc_loss_spec(
    target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0
) -> KerasTensor:
    _check_batch("target", target, "output", output)
    _check_batch("target_length", target_length, "target", target)
    _check_batch("output_length", output_length, "output", output)
    return KerasTensor(shape_of(target)[:1], dtype=dtypes.result_type(dtype_of(output), "float32"))


@operation("target output target_length output_length", spec=_ctc_loss_spec, name="CTCLoss")
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> torch.Tensor:
    """The negative logarithm of the probability of the target sequences.

    Args:
        target: (batch, labels), integers.
        output: (batch, steps, classes), logits.
        target_length, output_length: (batch,), how much of each counts.
        mask_index: the class of the blank.

    Returns:
        (batch,).
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    _ctc_loss_spec(target, output, target_length, output_length)
    scores = torch.log_softmax(output.to(result_dtype(output.dtype, "float32")), dim=-1)
    lengths = [convert_to_tensor(x, dtype="int64") for x in (output_length, target_length)]
    return F.ctc_loss(scores.transpose(0, 1), target, *lengths, blank=mask_index, reduction="none")


def _ctc_decode_spec(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[KerasTensor, KerasTensor]:
    paths = 1 if strategy == "greedy" else top_paths
    batch, steps = inputs.shape[:2]
    scores = KerasTensor((batch, paths), dtype=dtypes.result_type(inputs.dtype, "float32"))
    return KerasTensor((paths, batch, steps), dtype="int32"), scores


@operation("inputs sequence_lengths", spec=_ctc_decode_spec, name="CTCDecode")
def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable label sequences.

    Args:
        inputs: (batch, steps, classes), logits.
        sequence_lengths: (batch,), how many steps count.
        strategy: `"greedy"`, the best class of each step, or `"beam_search"`, on the host.
        beam_width: sequences that the search keeps.
        top_paths: sequences that it returns.
        merge_repeated: whether a class that follows itself counts once, with `"greedy"`.
        mask_index: the class of the blank.

    Returns:
        Sequences (paths, batch, steps), int32, filled up with -1, and their scores (batch, paths): with `"greedy"` the
        negative sum of the largest logits, with `"beam_search"` logarithms of probabilities.
    """
    inputs = convert_to_tensor(inputs)
    inputs = inputs.to(result_dtype(inputs.dtype, "float32"))
    lengths = convert_to_tensor(sequence_lengths, dtype="int32")
    mask_index = inputs.shape[-1] - 1 if mask_index is None else mask_index
    if strategy == "greedy":
        return _greedy(inputs, lengths, merge_repeated, mask_index)
    if strategy == "beam_search":
        return _beam_search(inputs, lengths, beam_width, top_paths, mask_index)
    raise ValueError(f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'.")


def _greedy(
    inputs: torch.Tensor, lengths: torch.Tensor, merge_repeated: bool, blank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    steps = inputs.shape[1]
    best, classes = inputs.max(dim=-1)
    places = torch.arange(steps, device=inputs.device)
    outside = places[None] >= lengths[:, None]
    classes = torch.where(outside, blank, classes)
    left_out = classes == blank
    if merge_repeated:
        left_out[:, 1:] |= classes[:, 1:] == classes[:, :-1]
    # What is left out goes to the end, the rest keeps its order.
    order = torch.argsort(torch.where(left_out, steps, places[None]), dim=-1, stable=True)
    labels = torch.gather(torch.where(left_out, -1, classes), 1, order)
    return labels.to(torch.int32)[None], -torch.where(outside, 0.0, best).sum(dim=1, keepdim=True)


def _beam_search(
    inputs: torch.Tensor, lengths: torch.Tensor, beam_width: int, top_paths: int, blank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    probabilities = convert_to_numpy(torch.log_softmax(inputs.double(), dim=-1))
    paths = np.full((top_paths, *inputs.shape[:2]), -1, "int32")
    scores = np.full((inputs.shape[0], top_paths), -np.inf)
    for i, (rows, length) in enumerate(zip(probabilities, convert_to_numpy(lengths).tolist(), strict=True)):
        for k, (labels, score) in enumerate(_best_prefixes(rows[:length], beam_width, blank)[:top_paths]):
            paths[k, i, : len(labels)] = labels
            scores[i, k] = score
    return convert_to_tensor(paths), convert_to_tensor(scores, dtype=inputs.dtype)


def _best_prefixes(rows: np.ndarray, beam_width: int, blank: int) -> list[tuple[tuple[int, ...], float]]:
    """Prefix search: (labels, log probability), the most probable first. Source: Hannun et al., 2014."""
    # For each prefix the log probability of the paths to it that end in a blank, and of those that end in its label.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in rows:
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(prefix: tuple[int, ...], blank_score: float, label_score: float, grown: dict = grown) -> None:
            before = grown.get(prefix, (-math.inf, -math.inf))
            grown[prefix] = (_log_add(before[0], blank_score), _log_add(before[1], label_score))

        for prefix, (ends_blank, ends_label) in beams.items():
            total = _log_add(ends_blank, ends_label)
            for label, score in enumerate(row.tolist()):
                if label == blank:
                    add(prefix, total + score, -math.inf)
                elif prefix and prefix[-1] == label:
                    add(prefix, -math.inf, ends_label + score)
                    add((*prefix, label), -math.inf, ends_blank + score)
                else:
                    add((*prefix, label), -math.inf, total + score)
        ranked = sorted(grown.items(), key=lambda item: -_log_add(*item[1]))
        beams = dict(ranked[:beam_width])
    return [(prefix, _log_add(*score)) for prefix, score in beams.items()]


def _log_add(a: float, b: float) -> float:
    low, high = min(a, b), max(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
