"""Weights of samples: from classes, from the user, or their product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fastk import config, tree


class ClassWeights:
    """The weight of each sample by the class in its target.

    Args:
        class_weight: class number to weight; a class that is not in it weighs 1.

    >>> weights = ClassWeights({0: 0.5, 2: 3.0})
    >>> weights(torch.tensor([0, 1, 2]))
    tensor([0.5000, 1.0000, 3.0000])
    >>> weights(torch.tensor([[1.0, 0.0, 0.0], [0.1, 0.2, 0.7]]))
    tensor([0.5000, 3.0000])
    """

    def __init__(self, class_weight: Mapping[Any, float]):
        try:
            table = sorted((int(key), float(value)) for key, value in class_weight.items())
            exact = all(key == int(key) for key in class_weight)
        except (AttributeError, TypeError, ValueError):
            table, exact = [], False
        if not table or not exact:
            raise ValueError(
                "`class_weight` must be a dict of class numbers to weights, such as {0: 1.0, 1: 5.0}. "
                f"Received: class_weight={class_weight!r}."
            )
        keys, values = zip(*table, strict=True)
        self.keys = torch.tensor(keys)
        self.values = torch.tensor(values, dtype=getattr(torch, config.floatx()))

    def __call__(self, y: torch.Tensor) -> torch.Tensor:
        """Weights of the targets `y`: class numbers `(n,)` or `(n, 1)`, or scores of classes `(n, classes)`."""
        if y.dim() > 1:
            y = y.squeeze(-1) if y.shape[-1] == 1 else (y.byte() if y.dtype is torch.bool else y).argmax(-1)
        labels = (y.round() if y.is_floating_point() else y).long().contiguous()
        if labels.device != self.keys.device:
            self.keys, self.values = self.keys.to(labels.device), self.values.to(labels.device)
        place = torch.searchsorted(self.keys, labels).clamp_(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == labels, self.values[place], 1.0)


def arrange_sample_weight(y: Any, sample_weight: Any, class_weights: ClassWeights | None) -> Any:
    """The weights in the structure of `y`: one array for each target, or None.

    Args:
        y: tensors in any structure.
        sample_weight: tensors in the structure of `y`; or one tensor `(n,)` or `(n, 1)`, which holds for every target.
        class_weights: multiplied in where `y` is one tensor.
    """
    if class_weights is not None:
        if y is None:
            raise ValueError("`class_weight` needs targets, but `y` is None: pass `y`, or weigh by `sample_weight`.")
        if tree.is_nested(y):
            raise ValueError(
                "`class_weight` is only supported for models with a single output: weigh several by `sample_weight`, "
                f"one array per output. Received `y` as a {type(y).__name__}."
            )
        by_class = class_weights(y)
        return by_class if sample_weight is None else _product(by_class, sample_weight)
    if sample_weight is None or not tree.is_nested(y):
        return sample_weight
    if tree.is_nested(sample_weight):
        try:
            tree.assert_same_structure(y, sample_weight)
        except ValueError:
            shapes = [
                tree.map_structure(lambda leaf: None if leaf is None else tuple(leaf.shape), s)
                for s in (y, sample_weight)
            ]
            raise ValueError(
                "`sample_weight` needs one array per output, in the structure of `y`. The shapes of their arrays are "
                f"y={shapes[0]}, sample_weight={shapes[1]}."
            ) from None
        return sample_weight
    if len(sample_weight.shape) > 2 or tuple(sample_weight.shape[1:]) not in {(), (1,)}:
        raise ValueError(
            "For a model with several outputs, one `sample_weight` array must have one weight per sample, shape (n,); "
            f"for other weights pass one array per output. Received an array of shape {tuple(sample_weight.shape)}."
        )
    return tree.map_structure(lambda _: sample_weight, y)


def _product(a: torch.Tensor, b: Any) -> torch.Tensor:
    """`a * b`, the one with fewer axes stretched over the other's last ones; `(n,)` and `(n, 1)` give `(n,)`."""
    if tree.is_nested(b):
        raise ValueError("With `class_weight`, `sample_weight` must be one array, as `y` is.")
    if a.dim() == 1 and tuple(b.shape[1:]) == (1,):
        b = b.squeeze(1)
    axes = max(a.dim(), b.dim())
    a, b = (t.reshape(t.shape + (1,) * (axes - t.dim())) for t in (a, b))
    return a * b
