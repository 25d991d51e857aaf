"""`timeseries_dataset_from_array`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastk.utils.data import elements
from fastk.utils.data.dataset import AUTOTUNE, Dataset
from fastk.utils.data.directory import check_format
from fastk.utils.data.rows import Rows


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> Dataset:
    """A dataset of windows that slide over a time series.

    Args:
        data: an array or tensor of shape `(steps, ...)`.
        targets: `targets[i]` belongs to the window that begins at step i; None for windows alone.
        sequence_length: steps in a window.
        sequence_stride: steps between the beginnings of two windows.
        sampling_rate: steps of the series between two steps of a window.
        batch_size: windows in a batch; None for single windows.
        shuffle: whether each pass has an order of its own; else windows come in the order of time.
        seed: makes the orders reproducible.
        start_index: the first step that is used; None for 0.
        end_index: the step after the last that is used; None for all.
        format: `"tf"` or `"grain"`, which make no difference: neither library is needed.

    Returns:
        A dataset of windows `(batch, sequence_length, ...)`, or of pairs `(windows, targets)`.

    Raises:
        ValueError: an index, stride or rate that does not go with the length of `data`.

    >>> import numpy as np
    >>> data = np.arange(6)
    >>> for x, y in timeseries_dataset_from_array(data, data[3:], sequence_length=3):
    ...     print(x.tolist(), y.tolist())
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]] [3, 4, 5]
    """
    _check_arguments(len(data), sequence_stride, sampling_rate, start_index, end_index)
    check_format(format)
    start, end = start_index or 0, len(data) if end_index is None else end_index
    windows = end - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        windows = min(windows, len(targets) - start)
    starts = np.arange(0, windows, sequence_stride) + start
    steps = np.arange(sequence_length) * sampling_rate
    series = elements.to_leaf(data)
    goals = None if targets is None else elements.to_leaf(targets)

    def several(numbers: np.ndarray) -> Any:
        first = starts[numbers]
        x = elements.gather(series, first[:, np.newaxis] + steps)
        return x if goals is None else (x, elements.gather(goals, first))

    def one(number: int) -> Any:
        return elements.map_leaves(lambda leaf: leaf[0], several(np.array([number])))

    dataset: Dataset = Rows(lambda: np.arange(len(starts)), len(starts), one, several)
    if shuffle:
        dataset = dataset.shuffle(max(len(starts), 1), seed=seed)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    return dataset.prefetch(AUTOTUNE)


def _check_arguments(length: int, stride: int, rate: int, start: int | None, end: int | None) -> None:
    if start is not None and start < 0:
        raise ValueError(f"`start_index` must be 0 or greater. Received: start_index={start}")
    if start is not None and start >= length:
        raise ValueError(
            f"`start_index` must be lower than the length of the data. Received: start_index={start}, for data of "
            f"length {length}"
        )
    if end is not None:
        if start and end <= start:
            raise ValueError(
                f"`end_index` must be higher than `start_index`. Received: start_index={start}, and end_index={end} "
            )
        if end >= length:
            raise ValueError(
                f"`end_index` must be lower than the length of the data. Received: end_index={end}, for data of length "
                f"{length}"
            )
        if end <= 0:
            raise ValueError(f"`end_index` must be higher than 0. Received: end_index={end}")
    for name, value in (("sampling_rate", rate), ("sequence_stride", stride)):
        if value <= 0:
            raise ValueError(f"`{name}` must be higher than 0. Received: {name}={value}")
        if value >= length:
            raise ValueError(
                f"`{name}` must be lower than the length of the data. Received: {name}={value}, for data of length "
                f"{length}"
            )
