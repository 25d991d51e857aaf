"""The way of the user's data into the training loop: whatever `fit`, `evaluate` and `predict` accept as a `DataSource`.

make_source(x, y, ...)          which source, and what it cannot take
    ├ arrays.py                 arrays: converted once, resident on the device, cut or gathered there
    ├ streams.py                datasets, loaders, generators: batches converted one by one
    ├ prefetch.py               copies to a GPU ahead of their use
    ├ convert.py, weights.py    one array as a tensor; weights of samples and classes
    └ source.py                 `DataSource`: epochs and steps, the one interface of the training loop
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from fastk import tree
from fastk.training.data.arrays import ArraySource, train_validation_split
from fastk.training.data.convert import ACCEPTED, flatten_named, is_array
from fastk.training.data.source import Batch, DataSource
from fastk.training.data.streams import (
    DatasetSource,
    GeneratorSource,
    LoaderSource,
    PyDatasetSource,
    StreamSource,
    TensorFlowSource,
    convert_batch,
)
from fastk.training.data.weights import ClassWeights
from fastk.user_warning import warn_user
from fastk.utils.data import Dataset
from fastk.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight
from fastk.utils.py_dataset import PyDataset

__all__ = [
    "ArraySource",
    "Batch",
    "ClassWeights",
    "DataSource",
    "StreamSource",
    "convert_batch",
    "make_source",
    "pack_x_y_sample_weight",
    "train_validation_split",
    "unpack_x_y_sample_weight",
]


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | Literal["batch"] = False,
    class_weight: Mapping[Any, float] | None = None,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> DataSource:
    """The source of batches for what a user passed to `fit`, `evaluate` or `predict`.

    Args:
        x: arrays in any structure, a `PyDataset`, `DataLoader`, `tf.data.Dataset`, a `fastk.utils.Dataset`, a generator
            or iterator, or a `DataSource`, which is returned as it is.
        y: targets, beside arrays alone: other data has them in its batches.
        sample_weight: weights, beside arrays alone.
        batch_size: samples in a batch of arrays, 32 unless given; other data has batches of its own, with a warning.
        steps: batches in an epoch; None for one pass over the data.
        shuffle: a new order each epoch: of the samples of arrays, of the batches of a `PyDataset`; `"batch"` shuffles
            within the batches of arrays. True, the default of `fit`, leaves other data in its own order.
        class_weight: class number to weight; multiplied with `sample_weight`.
        device: where the batches are to be.
        generator: the source of random orders: one seed, one sequence of orders. None for torch's default generator.

    Raises:
        ValueError: for data that is not accepted, is empty, or has different numbers of samples, and for what cannot go
            with it.

    >>> import numpy as np
    >>> source = make_source(np.zeros((5, 2)), np.arange(5), batch_size=2)
    >>> source.num_batches, source.partial_batch_size
    (3, 1)
    >>> [y.tolist() for x, y, sample_weight in source.epoch()]
    [[0, 1], [2, 3], [4]]
    """
    class_weights = ClassWeights(class_weight) if class_weight else None
    if isinstance(x, list) and x and all(isinstance(text, (str, bytes)) for text in x):
        x = np.array(x, dtype=object)
    if isinstance(x, (np.ndarray, torch.Tensor)):  # first, for the sake of `predict` on a few rows
        _check_arrays(x, y, sample_weight)
        return ArraySource(x, y, sample_weight, batch_size, steps, shuffle, class_weights, device, generator)
    if isinstance(x, DataSource):
        given = {
            "y": y,
            "sample_weight": sample_weight,
            "batch_size": batch_size,
            "steps": steps,
            "class_weight": class_weight,
        }
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise ValueError(
                f"A {type(x).__name__} as `x` has its own {', '.join(wrong)}: give them to it, not beside it."
            )
        return x
    if isinstance(x, PyDataset):
        source: StreamSource = PyDatasetSource(x, steps, class_weights, device, bool(shuffle), generator)
    elif isinstance(x, Dataset):
        source = DatasetSource(x, steps, class_weights, device)
    elif isinstance(x, DataLoader):
        source = LoaderSource(x, steps, class_weights, device)
    elif _is_tensorflow_dataset(x):
        source = TensorFlowSource(x, steps, class_weights, device)
    elif isinstance(x, Iterator):
        source = GeneratorSource(x, steps, class_weights, device)
    else:
        _check_arrays(x, y, sample_weight)
        return ArraySource(x, y, sample_weight, batch_size, steps, shuffle, class_weights, device, generator)

    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"When providing `x` as a {source.kind}, `{name}` should not be passed: "
                "its batches hold it, as `(x, y)` or `(x, y, sample_weight)`."
            )
    ignored = [f"batch_size={batch_size}"] if batch_size is not None else []
    ignored += ["shuffle='batch'"] if shuffle == "batch" else []
    if ignored:
        given = " and ".join(f"`{text}`" for text in ignored)
        warn_user(f"{given} will be ignored: a {source.kind} makes its own batches.")
    return source


def _is_tensorflow_dataset(x: Any) -> bool:
    return any(
        parent.__name__ in {"DatasetV2", "DistributedDataset", "DistributedDatasetsFromFunction"}
        and parent.__module__.startswith("tensorflow.python.")
        for parent in type(x).__mro__
    )


def _check_arrays(x: Any, y: Any, sample_weight: Any) -> None:
    if x is None:
        raise ValueError(f"`x` is None. Accepted are {ACCEPTED}.")
    for label, structure in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        for name, leaf in flatten_named(label, structure) if tree.is_nested(structure) else [(label, structure)]:
            if leaf is None or is_array(leaf):
                continue
            hint = ""
            if isinstance(leaf, (int, float, complex, str)):
                hint = f" Make one array of it: `np.array({label})`; a list reads as a list of inputs."
            elif hasattr(leaf, "__getitem__"):
                hint = " Wrap a dataset of samples: `torch.utils.data.DataLoader(dataset, batch_size=32)`."
            elif hasattr(leaf, "__iter__"):
                hint = " Pass an iterable of batches as `iter(...)`."
            where = "" if name == label else f", in which {name} is {reprlib.repr(leaf)} of type {type(leaf).__name__}"
            raise ValueError(
                f"Unrecognized data type: {label}={reprlib.repr(structure)} (of type {type(structure)}){where}.{hint} "
                f"Accepted are {ACCEPTED}."
            )
