"""What vocabulary layers look tokens up in: from strings, or from integers, to indices; and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk.layers.preprocessing.strings import text_array
from fastk.tensor import convert_to_tensor

Tokens = list[Any]


class StringTable:
    """Indices of strings, found on the host."""

    def __init__(self, tokens: Tokens, start: int):
        self.tokens = tokens
        self._indices = {token: start + i for i, token in enumerate(tokens)}

    def indices(self, values: np.ndarray, default: int) -> np.ndarray:
        """The index of each string, `default` where it is not in the vocabulary: int64, of the shape of `values`."""
        get = self._indices.get
        found = [get(value, default) for value in values.ravel().tolist()]
        return np.array(found, dtype=np.int64).reshape(values.shape)


class IntegerTable:
    """Indices of integers, found where these are: a search among the sorted vocabulary."""

    def __init__(self, tokens: Tokens, start: int):
        self.tokens = tokens
        keys = np.array(tokens, dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        self._keys = convert_to_tensor(keys[order])
        self._indices = convert_to_tensor(order + start)

    def indices(self, values: torch.Tensor, default: int) -> torch.Tensor:
        """The index of each integer, `default` where it is not in the vocabulary."""
        if not self.tokens:
            return torch.full_like(values, default)
        keys, indices = self._keys.to(values.device), self._indices.to(values.device)
        place = torch.searchsorted(keys, values).clamp(max=len(self.tokens) - 1)
        return torch.where(keys.take(place) == values, indices.take(place), default)


class InverseTable:
    """Tokens of indices."""

    def __init__(self, tokens: Tokens, start: int):
        self.tokens = tokens
        self._start = start
        self._integers: torch.Tensor | None = None

    def strings(self, indices: np.ndarray, default: str) -> np.ndarray:
        """The string of each index, `default` where there is none: an array of objects."""
        tokens = text_array([*self.tokens, default])
        place = indices - self._start
        return tokens[np.where((place >= 0) & (place < len(self.tokens)), place, len(self.tokens))]

    def integers(self, indices: torch.Tensor, default: int) -> torch.Tensor:
        """The integer of each index, `default` where there is none."""
        if self._integers is None or self._integers.device != indices.device:
            self._integers = torch.tensor([*self.tokens, default], dtype=torch.int64, device=indices.device)
        tokens = self._integers
        place = indices - self._start
        return tokens.take(torch.where((place >= 0) & (place < len(self.tokens)), place, len(self.tokens)))
