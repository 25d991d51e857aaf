"""Sources that give whole batches of their own: datasets, loaders, generators."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from fastk.training.data.convert import map_arrays, to_leaf, to_tensor
from fastk.training.data.prefetch import to_device
from fastk.training.data.source import Batch, DataSource, drawn_by
from fastk.training.data.weights import ClassWeights, arrange_sample_weight
from fastk.utils.data import Dataset
from fastk.utils.packing import unpack_x_y_sample_weight
from fastk.utils.parallel import ordered_map
from fastk.utils.py_dataset import PyDataset


def convert_batch(data: Any, class_weights: ClassWeights | None = None) -> Batch:
    """One batch in the user's form as `(x, y, sample_weight)` of tensors, where its arrays are.

    >>> convert_batch((np.ones((1, 2)), np.array([3])))
    (tensor([[1., 1.]]), tensor([3]), None)
    """
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    x = map_arrays(to_leaf, x)
    y, sample_weight = (map_arrays(to_tensor, part) for part in (y, sample_weight))
    if sample_weight is not None or class_weights is not None:
        sample_weight = arrange_sample_weight(y, sample_weight, class_weights)
    return x, y, sample_weight


class StreamSource(DataSource):
    """Batches that something else makes, brought into the form of tensors on the device."""

    kind = "stream"
    """What the user calls such data, for messages."""

    def __init__(self, steps: int | None, class_weights: ClassWeights | None, device: torch.device | str):
        super().__init__(steps)
        self.class_weights = class_weights
        self.device = torch.device(device)

    @abstractmethod
    def raw_batches(self) -> Iterator[Any]:
        """The batches of a new pass as the user's object gives them."""

    def one_pass(self) -> Iterator[Batch]:
        """The batches of a new pass."""
        return to_device((convert_batch(data, self.class_weights) for data in self.raw_batches()), self.device)

    def _empty_message(self) -> str:
        return f"The {self.kind} yielded no batch: it must yield at least one."


class GeneratorSource(StreamSource):
    """A Python generator or iterator: every epoch goes on in the same one."""

    kind = "generator"

    def __init__(self, iterator: Iterator[Any], steps: int | None, class_weights: ClassWeights | None, device: Any):
        super().__init__(steps, class_weights, device)
        self._iterator = iterator

    def raw_batches(self) -> Iterator[Any]:
        """What is left of the iterator."""
        # `yield from` would close the iterator with this pass, but the user may go on with it.
        for data in self._iterator:  # noqa: UP028
            yield data
        self.exhausted = True


class LoaderSource(StreamSource):
    """A `torch.utils.data.DataLoader`."""

    kind = "torch DataLoader"

    def __init__(self, loader: DataLoader, steps: int | None, class_weights: ClassWeights | None, device: Any):
        super().__init__(steps, class_weights, device)
        self._loader = loader
        self.batch_size = loader.batch_size
        try:
            self.num_batches = len(loader)
        except TypeError:  # an iterable dataset without a length
            return
        if self.batch_size and not loader.drop_last:
            self.partial_batch_size = len(loader.dataset) % self.batch_size or None  # pyright: ignore[reportArgumentType]

    def raw_batches(self) -> Iterator[Any]:
        """The loader's batches."""
        return iter(self._loader)


class DatasetSource(StreamSource):
    """A dataset of fastk's own, whose elements are batches."""

    kind = "Dataset"

    def __init__(self, dataset: Dataset, steps: int | None, class_weights: ClassWeights | None, device: Any):
        super().__init__(steps, class_weights, device)
        self._dataset = dataset
        batches = int(dataset.cardinality())
        self.num_batches = batches if batches >= 0 else None  # negative: unknown or endless

    def raw_batches(self) -> Iterator[Any]:
        """The dataset's batches."""
        return iter(self._dataset)


class TensorFlowSource(StreamSource):
    """A `tf.data.Dataset`; TensorFlow is not imported for it."""

    kind = "tf.data.Dataset"

    def __init__(self, dataset: Any, steps: int | None, class_weights: ClassWeights | None, device: Any):
        super().__init__(steps, class_weights, device)
        self._dataset = dataset
        cardinality = dataset.cardinality
        # A method, except for a distributed dataset, whose cardinality is a number.
        batches = int(cardinality() if callable(cardinality) else cardinality)  # pyright: ignore[reportArgumentType]
        self.num_batches = batches if batches >= 0 else None  # negative: unknown or endless

    def raw_batches(self) -> Iterator[Any]:
        """The dataset's batches."""
        return iter(self._dataset)


class PyDatasetSource(StreamSource):
    """A `PyDataset`, its batches fetched by its workers.

    Args:
        dataset: the dataset.
        shuffle: whether each pass takes the batches of a finite dataset in a new order.
        generator: the source of the orders.
    """

    kind = "PyDataset"

    def __init__(
        self,
        dataset: PyDataset,
        steps: int | None,
        class_weights: ClassWeights | None,
        device: Any,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__(steps, class_weights, device)
        self._dataset = dataset
        self._shuffle = shuffle
        self._generator = generator

    @property
    def num_batches(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The dataset's own number, which may change between epochs."""
        return self._dataset.num_batches

    def on_epoch_begin(self) -> None:
        """The dataset's hook."""
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """The dataset's hook."""
        self._dataset.on_epoch_end()

    def peek(self) -> Batch:
        """Batch 0, fetched apart: a pass would begin before the hook of its epoch."""
        if self.num_batches == 0:
            raise ValueError(self._empty_message())
        return next(to_device(iter([convert_batch(self._dataset[0], self.class_weights)]), self.device))

    def skip_orders(self, epochs: int) -> None:
        """As in `DataSource`; the dataset's hooks are left alone."""
        if self._shuffle and self.num_batches is not None:
            for _ in range(epochs):
                torch.randperm(self.num_batches, **drawn_by(self._generator))

    def raw_batches(self) -> Iterator[Any]:
        """The batches in order, or shuffled."""
        dataset, generator = self._dataset, self._generator
        batches = dataset.num_batches
        order = count() if batches is None else range(batches)
        if batches is not None and self._shuffle:
            order = torch.randperm(batches, **drawn_by(generator)).tolist()
        workers, ahead = dataset.workers, max(1, dataset.max_queue_size)
        if dataset.use_multiprocessing and workers > 0:
            seed = int(torch.randint(2**31, (), **drawn_by(generator)))
            executor = ProcessPoolExecutor(workers, initializer=_keep_dataset, initargs=(dataset, seed))
            return ordered_map(executor, _batch_of_kept_dataset, order, ahead)
        if workers > 1:
            return ordered_map(ThreadPoolExecutor(workers, "fastk_worker"), dataset.__getitem__, order, ahead)
        return map(dataset.__getitem__, order)


_kept: tuple[PyDataset, int]  # set in the worker processes alone


def _keep_dataset(dataset: PyDataset, seed: int) -> None:
    global _kept
    _kept = dataset, seed


def _batch_of_kept_dataset(index: int) -> Any:
    dataset, seed = _kept
    # Forked workers would all draw the same numbers; a seed for each batch holds whichever worker fetches it.
    random.seed(seed + index)
    np.random.seed((seed + index) % 2**32)
    return dataset[index]
