"""Windows of time series, and one dataset as two."""

import numpy as np
import pytest
import torch

from fastk.utils import Dataset, split_dataset, timeseries_dataset_from_array


def windows(dataset):
    return [x.tolist() for x in dataset.unbatch()]


def test_windows_and_their_targets():
    data = np.arange(20)
    dataset = timeseries_dataset_from_array(
        data, 10 * data, sequence_length=3, sequence_stride=4, sampling_rate=2, batch_size=2
    )
    assert len(dataset) == 2
    pairs = [(x.tolist(), y.item()) for x, y in dataset.unbatch()]
    assert pairs == [([i, i + 2, i + 4], 10 * i) for i in (0, 4, 8, 12)]


@pytest.mark.parametrize("targets", (None, "all"))
def test_a_part_of_the_series(targets):
    data = np.arange(100.0).reshape(50, 2)
    targets = None if targets is None else np.arange(50)
    dataset = timeseries_dataset_from_array(data, targets, 5, start_index=10, end_index=20, batch_size=None)
    found = list(dataset)
    assert len(found) == 6
    for i, element in enumerate(found):
        x, y = element if targets is not None else (element, None)
        np.testing.assert_array_equal(x, data[10 + i : 15 + i])
        assert y is None or y.item() == 10 + i


def test_few_targets_make_few_windows():
    assert len(list(timeseries_dataset_from_array(np.arange(10), np.arange(4), 2, batch_size=None))) == 4


def test_shuffled_windows():
    dataset = timeseries_dataset_from_array(np.arange(30), None, 2, shuffle=True, seed=2, batch_size=5)
    first, second = windows(dataset), windows(dataset)
    assert first != second
    assert sorted(first) == sorted(second) == [[i, i + 1] for i in range(29)]


@pytest.mark.parametrize(
    "arguments, message",
    (
        ({"start_index": -1}, "0 or greater"),
        ({"start_index": 10}, "`start_index` must be lower"),
        ({"end_index": 10}, "`end_index` must be lower"),
        ({"end_index": 0}, "higher than 0"),
        ({"start_index": 5, "end_index": 5}, "higher than `start_index`"),
        ({"sampling_rate": 0}, "`sampling_rate` must be higher"),
        ({"sampling_rate": 10}, "`sampling_rate` must be lower"),
        ({"sequence_stride": 0}, "`sequence_stride` must be higher"),
        ({"sequence_stride": 10}, "`sequence_stride` must be lower"),
        ({"format": "numpy"}, "`format` should be"),
    ),
)
def test_what_cannot_be_cut_is_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        timeseries_dataset_from_array(np.arange(10), None, 2, **arguments)


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, index**2


def sizes(left, right):
    return len(left), len(right)


def test_arrays_are_split_in_order():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    left, right = split_dataset((x, y), left_size=0.8)
    assert sizes(left, right) == (8, 2)
    assert [(a.tolist(), b.item()) for a, b in right] == [([16, 17], 8), ([18, 19], 9)]
    assert left[3][1].item() == 3
    (batch,) = torch.utils.data.DataLoader(right, batch_size=2)
    assert batch[1].tolist() == [8, 9]
    assert len(list(left.batch(4))) == 2
    assert sizes(*split_dataset(x, left_size=2, right_size=3)) == (2, 3)


def test_a_seed_shuffles_the_same_way():
    splits = [split_dataset(np.arange(50), left_size=0.5, shuffle=True, seed=1) for _ in range(2)]
    first, second = ([x.item() for (x,) in left] for left, _ in splits)
    assert first == second != sorted(first)
    assert sorted(first + [x.item() for (x,) in splits[0][1]]) == list(range(50))


def test_torch_datasets_become_subsets():
    left, right = split_dataset(Squares(), right_size=3)
    assert isinstance(left, torch.utils.data.Subset) and sizes(left, right) == (7, 3)
    assert right[0] == (7, 49)


def test_datasets_are_split_by_their_elements():
    left, right = split_dataset(Dataset.from_tensor_slices(([1, 2, 3], ["a", "b", "c"])), left_size=1)
    assert [(x.item(), name) for x, name in right] == [(2, "b"), (3, "c")] and len(left) == 1


@pytest.mark.parametrize(
    "dataset, arguments, error, message",
    (
        (np.arange(4), {}, ValueError, "At least one"),
        (np.arange(4), {"left_size": 4}, ValueError, "smaller than 4"),
        (np.arange(4), {"left_size": 1.5}, ValueError, "within the range"),
        (np.arange(4), {"left_size": 0.9, "right_size": 0.2}, ValueError, "greater than 1"),
        (np.arange(4), {"left_size": 3, "right_size": 2}, ValueError, "should be smaller"),
        (np.arange(4), {"left_size": "a"}, TypeError, "Invalid `left_size` Type"),
        (np.arange(4), {"left_size": 0.01}, ValueError, "left side dataset split will be empty"),
        (np.arange(4), {"left_size": 1, "preferred_backend": "mxnet"}, ValueError, "`preferred_backend`"),
        ([], {"left_size": 1}, ValueError, "empty list"),
        ([np.arange(3), np.arange(4)], {"left_size": 1}, ValueError, "different lengths"),
        ([[1, 2]], {"left_size": 1}, ValueError, "Expected a list of"),
        ("text", {"left_size": 1}, TypeError, "must be an array"),
    ),
)
def test_what_cannot_be_split_is_explained(dataset, arguments, error, message):
    with pytest.raises(error, match=message):
        split_dataset(dataset, **arguments)
