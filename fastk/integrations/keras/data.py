"""Arrays for Keras's loops: the batches that Keras would make of them, in the same order, without its `DataLoader`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fastk.training.data.arrays import ArraySource
from fastk.training.data.convert import to_tensor


def is_arrays(data: Any) -> bool:
    """Whether data are arrays, in any structure, that are taken as they are: of numbers, of NumPy or torch."""
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, (list, tuple)):
        return bool(data) and all(is_arrays(part) for part in data)
    if isinstance(data, np.ndarray):
        return data.dtype.kind in "fiub" and data.ndim > 0 and data.dtype.isnative
    return isinstance(data, torch.Tensor) and data.layout is torch.strided and data.ndim > 0


def feed(keras: Any, x: Any, y: Any, sample_weight: Any, **options: Any) -> Any:
    """A data adapter of Keras's for arrays, to be passed as `x`; None where Keras is to make its own.

    Args:
        keras: the module.
        x, y, sample_weight: as `fit` takes them.
        options: `batch_size`, `steps`, `shuffle` and `class_weight`.
    """
    if not is_arrays(x) or not all(part is None or is_arrays(part) for part in (y, sample_weight)):
        return None
    return _adapter_class()(x, y, sample_weight, **options)


@functools.cache
def _adapter_class() -> type:
    from keras.src.backend.torch.core import convert_to_tensor, get_device
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    class ArrayFeed(ArrayDataAdapter):
        """Keras's adapter, which checks and converts; but for the batches."""

        source: Any = None

        def get_torch_dataloader(self) -> Any:
            """The batches of an epoch; Keras's own loader where fastk would give them another dtype."""
            if self.source is None:
                self.source = self._source(torch.device(get_device()))
            if self.source is False:
                return super().get_torch_dataloader()
            return self.source.batches()

        def _source(self, device: torch.device) -> Any:
            leaves = [x for x in _flat(self._inputs) if x is not None]
            if not all(is_arrays(x) for x in leaves):
                return False
            if any(to_tensor(x[:1]).dtype is not convert_to_tensor(x[:1]).dtype for x in leaves):
                return False
            return _Batches(self._inputs, self._batch_size, self._shuffle, device)

    return ArrayFeed


class _Batches(ArraySource):
    """Batches in the order in which torch's `DataLoader` gives them after the same calls of `torch.manual_seed`."""

    def __init__(self, inputs: Any, batch_size: int, shuffle: Any, device: torch.device):
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        super().__init__(*parts, batch_size=batch_size, shuffle=shuffle, device=device)
        self._parts = len(parts) if isinstance(inputs, tuple) else 0

    def batches(self) -> Iterator[Any]:
        """The batches of a new pass: as many of `(x, y, sample_weight)` as there are, or `x` alone."""
        torch.empty((), dtype=torch.int64).random_()  # the loader's seed for its workers, of which there are none
        return self._lazily()

    def _lazily(self) -> Iterator[Any]:
        """Draws the order at the first batch: Keras also asks for passes that it does not begin."""
        cut = slice(self._parts) if self._parts else 0
        yield from (batch[cut] for batch in self.one_pass())

    def order(self) -> torch.Tensor | None:
        """The numbers of the samples, as torch's samplers draw them."""
        if not self.shuffle:
            return None
        if self.shuffle == "batch":
            starts = range(0, self.num_samples, self.rows)
            sizes = [min(self.rows, self.num_samples - start) for start in starts]
            return torch.cat([torch.randperm(size) + start for start, size in zip(starts, sizes, strict=True)])
        generator = torch.Generator()
        generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
        return torch.randperm(self.num_samples, generator=generator)


def _flat(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [leaf for key in structure for leaf in _flat(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in _flat(part)]
    return [structure]
