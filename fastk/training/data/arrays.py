"""Arrays as a source of batches: converted once, kept on the device where they fit, cut or gathered there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Literal

import numpy as np
import torch

from fastk import tree
from fastk.training.data.convert import (
    SparseRows,
    TextRows,
    as_text,
    flatten_named,
    is_array,
    is_sparse_matrix,
    map_arrays,
    to_tensor,
)
from fastk.training.data.prefetch import to_device
from fastk.training.data.source import Batch, DataSource, drawn_by, positive_int
from fastk.training.data.weights import ClassWeights, arrange_sample_weight

DEFAULT_BATCH_SIZE = 32
RESIDENT_SHARE = 0.25
"""Arrays that take at most this share of a GPU's free memory stay on it whole; larger ones are gathered on the host."""
RESIDENT_BYTES = 64 * 2**20
"""Arrays of at most this size stay on a GPU without its being asked for its free memory."""
GATHER_BYTES = {"cpu": 512 * 2**10, "cuda": 64 * 2**20}
"""What is gathered of a shuffled array at a time, by the kind of device; the batches are views of it.

On a GPU it saves launches. On the CPU it spreads a gather over the threads; more than this leaves the cache, and is new
memory from the system each time, which was measured to cost more than the gather."""
_GROUP = 1024  # views are made this many at a time


class ArraySource(DataSource):
    """Batches of arrays in any structure, all with the same number of samples.

    A batch that is not shuffled is a view of the arrays: on the CPU, of the caller's own memory where nothing had to be
    converted.

    Args:
        x, y, sample_weight: arrays in any structure; `y` and `sample_weight` may be None.
        batch_size: samples in a batch; None for `ceil(samples / steps)` where steps are given, else 32.
        steps: batches in an epoch.
        shuffle: True for a new order of the samples each pass; `"batch"` for one within each batch.
        class_weights: see `ClassWeights`.
        device: where the batches are to be.
        generator: the source of the orders; None for torch's default one.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
        shuffle: bool | Literal["batch"] = False,
        class_weights: ClassWeights | None = None,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ):
        super().__init__(steps)
        if shuffle not in (True, False, "batch"):
            raise ValueError(f'`shuffle` must be True, False or "batch". Received: {shuffle!r}.')
        self.shuffle: bool | Literal["batch"] = shuffle if shuffle == "batch" else bool(shuffle)
        self.device = torch.device(device)
        self.generator = generator

        x = map_arrays(_inputs_to_rows, x)
        y, sample_weight = (map_arrays(_to_rows, part) for part in (y, sample_weight))
        data = x, y, sample_weight
        self.num_samples = _check_cardinality(data)
        if sample_weight is not None or class_weights is not None:
            data = x, y, arrange_sample_weight(y, sample_weight, class_weights)
        nested = any(map(tree.is_nested, data))
        leaves = tree.flatten(data) if nested else data
        self.resident = _fits(leaves, self.device)
        self._leaves = [_place(leaf, self.device if self.resident else None) for leaf in leaves]
        self._pack = partial(tree.pack_sequence_as, tree.map_structure(lambda _: None, data)) if nested else None

        size = positive_int(batch_size, "batch_size")
        if size is None:
            size = math.ceil(self.num_samples / self.steps) if self.steps else DEFAULT_BATCH_SIZE
        self.batch_size = self.rows = size
        self._joined = 1
        self._order: torch.Tensor | None = None  # of the pass under way
        self.num_batches = math.ceil(self.num_samples / size)
        self.partial_batch_size = self.num_samples % size or None

    @property
    def arrays(self) -> Batch:
        """The arrays whole, as `(x, y, sample_weight)`; on the device where `resident`."""
        return self._pack(self._leaves) if self._pack else tuple(self._leaves)

    def order(self) -> torch.Tensor | None:
        """The numbers of the samples in the order of a new pass; None for the order in which they came."""
        if not self.shuffle:
            return None
        where = drawn_by(self.generator)
        if self.shuffle is True:
            return torch.randperm(self.num_samples, **where)
        rest = self.num_samples % self.rows
        starts = torch.arange(0, self.num_samples - rest, self.rows, device=where.get("device"))
        # Sorting noise shuffles all batches at once.
        within = torch.rand(len(starts), self.rows, **where).argsort(1)
        tail = torch.randperm(rest, **where) + (self.num_samples - rest)
        return torch.cat([(within + starts[:, None]).flatten(), tail])

    def skip_orders(self, epochs: int) -> None:
        """As in `DataSource`; with steps of its own an epoch is no whole pass, and its batches are passed over
        instead."""
        if not self.shuffle or epochs == 0:
            return
        if self.steps is not None:
            for _ in range(epochs):
                for _ in self.epoch():
                    pass
            return
        drawn = 1 if self._pass is not None else 0  # `peek` has begun the first pass
        self._pass = None
        for _ in range(epochs - drawn):
            self.order()

    def one_pass(self) -> Iterator[Batch]:
        """The batches of a new pass. On the host they are made without a line of Python for each."""
        self._order = self.order()
        return self._batches(self._order)

    def join_batches(self, count: int) -> None:
        """Has `count` batches come as one, which its user cuts into them, from the next pass on.

        Also in a pass of which nothing was taken but by `peek`.
        """
        if count == self._joined:
            return
        self._joined = count
        if self._pass is not None:
            self._pass = self._batches(self._order)

    def batches_in(self, order: torch.Tensor, rows: int) -> Iterator[Batch]:
        """Batches of `rows` samples, those numbered in `order`: a part of a pass."""
        return self._batches(order, rows)

    def _batches(self, order: torch.Tensor | None, rows: int | None = None) -> Iterator[Batch]:
        if order is not None and self.resident:
            order = _sent(order, self.device)  # once, for all arrays and the whole pass
        size = self.rows * self._joined if rows is None else rows
        batches = zip(*(self._column(leaf, order, size) for leaf in self._leaves), strict=False)  # None has no end
        if self._pack is not None:
            batches = map(self._pack, batches)
        return batches if self.resident else to_device(batches, self.device)

    def _column(self, leaf: Any, order: torch.Tensor | None, size: int) -> Iterator[Any]:
        """One array's part of each batch."""
        if leaf is None:
            return repeat(None)
        if order is None:
            if isinstance(leaf, torch.Tensor):
                return _split(leaf, size)
            order = torch.arange(self.num_samples)
        if not isinstance(leaf, torch.Tensor):
            return map(leaf.index_select, repeat(0), _split(order, size))
        limit = GATHER_BYTES.get(leaf.device.type, GATHER_BYTES["cuda"])
        rows = size * max(1, limit * self.num_samples // max(1, leaf.nbytes * size))
        gathered = map(leaf.index_select, repeat(0), _split(order.to(leaf.device), rows))  # or a GPU's, of the user's
        return gathered if rows == size else chain.from_iterable(map(torch.Tensor.split, gathered, repeat(size)))


def _split(tensor: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """`tensor.split(size)`, some at a time: the views of a long tensor would take memory."""
    if len(tensor) <= size * _GROUP:
        return iter(tensor.split(size))
    groups = (tensor[start : start + size * _GROUP] for start in range(0, len(tensor), size * _GROUP))
    return chain.from_iterable(group.split(size) for group in groups)


def _check_cardinality(data: tuple[Any, ...], labels: tuple[str, ...] = ("x", "y", "sample_weight")) -> int:
    """The number of samples that all the arrays have."""
    sizes = {leaf.shape[0] for leaf in tree.flatten(data) if leaf is not None}
    if not sizes:
        raise ValueError("There is no data: every array is None. Pass arrays, a dataset or a generator as `x`.")
    if len(sizes) > 1:
        listing = "\n".join(
            f"- {name}: {leaf.shape[0]} samples, of shape {tuple(leaf.shape)}"
            for label, structure in zip(labels, data, strict=True)
            for name, leaf in flatten_named(label, structure)
            if leaf is not None
        )
        raise ValueError(
            "Data cardinality is ambiguous. All arrays must have the same number of samples, their first axis:\n"
            f"{listing}\nCut or reshape them to one size. A list of samples is one array only after `np.array`."
        )
    (samples,) = sizes
    if samples == 0:
        raise ValueError("The data has 0 samples. Pass arrays whose first axis is at least 1 long.")
    return samples


def _fits(leaves: Sequence[Any], device: torch.device) -> bool:
    """Whether the arrays can stay on the device whole."""
    if any(isinstance(leaf, (SparseRows, TextRows)) for leaf in leaves):
        return device.type == "cpu"
    if device.type != "cuda":
        return True
    size = sum(leaf.nbytes for leaf in leaves if leaf is not None and not leaf.is_cuda)
    return size <= RESIDENT_BYTES or size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def _sent(order: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`order` on the device, without waiting for the work that a GPU has to do before."""
    return order.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else order.to(device)


def _to_rows(value: Any) -> torch.Tensor | SparseRows:
    return SparseRows(value) if is_sparse_matrix(value) else to_tensor(value)


def _inputs_to_rows(value: Any) -> torch.Tensor | SparseRows | TextRows:
    text = as_text(value)
    return _to_rows(value) if text is None else TextRows(text)


def _place(leaf: Any, device: torch.device | None) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return (leaf if device is None else leaf.to(device)).contiguous()


def train_validation_split(arrays: Any, validation_split: float) -> tuple[Any, Any]:
    """The first samples for training, the last ones for validation, in the order in which they came.

    Args:
        arrays: arrays in any structure, such as `(x, y, sample_weight)`; None stays None.
        validation_split: the share of the samples for validation, between 0 and 1.

    Returns:
        Two structures like `arrays`; the parts of an array are views of it.

    >>> train_validation_split((np.arange(5), None), 0.4)
    ((array([0, 1, 2]), None), (array([3, 4]), None))
    """
    leaves = [leaf for leaf in tree.flatten(arrays) if leaf is not None]
    unsplittable = sorted({type(leaf).__name__ for leaf in leaves if not is_array(leaf)})
    if unsplittable:
        raise ValueError(
            "`validation_split` is only supported for tensors or arrays: pass `validation_data` for other data. "
            f"Received: {', '.join(unsplittable)}."
        )
    if not leaves:
        return arrays, arrays
    arrays = tree.map_structure(_sliceable, arrays, none_is_leaf=False)
    samples = _check_cardinality((arrays,), ("data",))
    split_at = math.floor(samples * (1.0 - validation_split))
    if not 0 < split_at < samples:
        raise ValueError(
            f"{samples} samples cannot be split by `validation_split={validation_split}`: {split_at} would be for "
            f"training, {samples - split_at} for validation. Give more data, or another share between 0 and 1."
        )

    def cut(rows: slice) -> Any:
        return tree.map_structure(
            lambda leaf: leaf.iloc[rows] if hasattr(leaf, "iloc") else leaf[rows], arrays, none_is_leaf=False
        )

    return cut(slice(0, split_at)), cut(slice(split_at, samples))


def _sliceable(value: Any) -> Any:
    if is_sparse_matrix(value):
        return value.tocsr()
    return value if hasattr(value, "__getitem__") and getattr(value, "shape", ()) else np.atleast_1d(np.asarray(value))
