import itertools
import warnings

import pytest

from fastk.utils.py_dataset import PyDataset


class Finite(PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index


class Endless(PyDataset):
    num_batches = None  # pyright: ignore

    def __getitem__(self, index):
        return index


def test_settings():
    dataset = Finite()
    assert (dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size) == (1, False, 10)
    dataset = Finite(workers=4, use_multiprocessing=True, max_queue_size=2)
    assert (dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size) == (4, True, 2)
    dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size = 2, False, 5
    assert (dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size) == (2, False, 5)


def test_a_constructor_that_calls_no_super_is_warned_of_once():
    class Forgetful(Finite):
        def __init__(self):
            self.workers = 7

    dataset = Forgetful()
    with pytest.warns(UserWarning, match=r"Forgetful.__init__ should call `super\(\).__init__"):
        assert dataset.max_queue_size == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset.workers == 7 and dataset.use_multiprocessing is False


def test_iteration():
    assert list(Finite()) == [0, 1, 2] and Finite().num_batches == 3
    assert list(itertools.islice(Endless(), 5)) == [0, 1, 2, 3, 4]


def test_what_a_subclass_must_define():
    dataset = PyDataset()
    with pytest.raises(NotImplementedError, match="must define `__len__"):
        _ = dataset.num_batches
    with pytest.raises(NotImplementedError, match="must define `__getitem__"):
        dataset[0]


def test_hooks_are_empty():
    assert Finite().on_epoch_begin() is None and Finite().on_epoch_end() is None
