"""Sources that make their own batches, and what epochs and steps mean for every source."""

import random
import threading
import time
import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fastk.training.data import DataSource, convert_batch, make_source
from fastk.utils.py_dataset import PyDataset


def batches_of(count, start=0):
    for number in range(start, start + count):
        yield np.full((2, 3), number, "float64"), np.full(2, number)


def numbers(batches):
    return [int(y.flatten()[0]) for _, y, _ in batches]


class Numbered(PyDataset):
    def __init__(self, batches: Any = 5, **kwargs):
        super().__init__(**kwargs)
        self.batches = batches
        self.events = []

    @property
    def num_batches(self):
        return self.batches

    def __getitem__(self, index):
        return np.full((2, 3), index, "float64"), np.full(2, index)

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


class TestBatchForms:
    @pytest.mark.parametrize(
        "pack", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: (x, None), lambda x: (x, None, None)]
    )
    def test_inputs_alone(self, pack):
        x, y, w = convert_batch(pack(np.ones((2, 3))))
        assert x.dtype is torch.float32 and x.shape == (2, 3) and y is None and w is None

    def test_dict_is_the_inputs(self):
        x, y, _ = convert_batch({"a": np.ones(2), "b": [torch.ones(2, dtype=torch.int8)]})
        assert x["a"].dtype is torch.float32 and x["b"][0].dtype is torch.int8 and y is None

    def test_all_three_parts(self):
        x, y, w = convert_batch(({"a": np.ones(2)}, [np.zeros(2, "int32"), None], None))
        assert x["a"].shape == (2,) and y[0].dtype is torch.int32 and y[1] is None and w is None

    @pytest.mark.parametrize("data", [(), (1, 2, 3, 4)])
    def test_wrong_length_raises(self, data):
        with pytest.raises(ValueError, match=r"`\(x, y, sample_weight\)`.* of length"):
            convert_batch(data)

    def test_numbers_raise(self):
        with pytest.raises(ValueError, match=r"Expected an array, received 1.0 of type float"):
            convert_batch(([1.0, 2.0], np.ones(2)))

    def test_weights_for_several_outputs(self):
        _, _, w = convert_batch((np.ones(2), [np.ones(2), np.ones(2)], np.arange(2.0)))
        assert [leaf.tolist() for leaf in w] == [[0, 1], [0, 1]]


class TestGenerator:
    def test_one_epoch_is_the_rest_of_it(self):
        source = make_source(batches_of(3), shuffle=True)
        assert source.num_batches is None and source.batch_size is None and not source.exhausted
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert numbers(source.epoch()) == [0, 1, 2]
        assert source.exhausted
        with pytest.warns(UserWarning, match="ran out of data"):
            assert list(source.epoch()) == []

    def test_steps_go_on_where_the_last_epoch_ended(self):
        source = make_source(batches_of(5), steps=2)
        assert source.steps_per_epoch == 2
        assert numbers(source.epoch()) == [0, 1] and numbers(source.epoch()) == [2, 3]
        with pytest.warns(UserWarning, match="ran out of data; interrupting the epoch after 1 of 2 batches"):
            assert numbers(source.epoch()) == [4]

    def test_the_user_may_go_on_with_it(self):
        generator = batches_of(5)
        source = make_source(generator, steps=2)
        assert numbers(source.epoch()) == [0, 1]
        source.close()
        del source
        assert numbers(make_source(generator, steps=2).epoch()) == [2, 3]

    def test_peek_keeps_the_batch(self):
        source = make_source(batches_of(3))
        assert numbers([source.peek(), source.peek()]) == [0, 0]
        assert numbers(source.epoch()) == [0, 1, 2]

    def test_iterator(self):
        assert numbers(make_source(iter(list(batches_of(2)))).epoch()) == [0, 1]

    def test_class_weight(self):
        (_, _, w), *_ = make_source(batches_of(3, start=1), class_weight={1: 4.0}).epoch()
        assert w.tolist() == [4.0, 4.0]

    @pytest.mark.parametrize("use", ["peek", "epoch"])
    def test_empty_raises(self, use):
        source = make_source(x for x in ())
        with pytest.raises(ValueError, match="generator yielded no batch"):
            list(getattr(source, use)())

    def test_its_exception_comes_through(self):
        def broken():
            yield from batches_of(1)
            raise RuntimeError("no more")

        source = make_source(broken())
        with pytest.raises(RuntimeError, match="no more"):
            list(source.epoch())


class TestLoader:
    def test_tensors(self):
        data = TensorDataset(torch.arange(10).double().reshape(10, 1), torch.arange(10))
        source = make_source(DataLoader(data, batch_size=4), shuffle=True)
        assert (source.num_batches, source.batch_size, source.partial_batch_size) == (3, 4, 2)
        for _ in range(2):
            batches = list(source.epoch())
            assert [x.dtype for x, _, _ in batches] == [torch.float32] * 3
            assert torch.cat([y for _, y, _ in batches]).tolist() == list(range(10))

    def test_dropped_last_batch(self):
        source = make_source(DataLoader(TensorDataset(torch.zeros(10, 1)), batch_size=4, drop_last=True))
        assert (source.num_batches, source.partial_batch_size) == (2, None)

    def test_dicts(self):
        class Dicts(Dataset):
            def __len__(self):
                return 5

            def __getitem__(self, index):
                return {"a": torch.tensor([index]), "b": np.float64(index)}

        batches = list(make_source(DataLoader(Dicts(), batch_size=3)).epoch())
        assert batches[1][0]["a"].tolist() == [[3], [4]] and batches[1][1] is None
        assert batches[0][0]["b"].dtype is torch.float32

    def test_arrays_of_a_collate_function(self):
        samples: Any = range(4)
        loader = DataLoader(
            samples, batch_size=2, collate_fn=lambda items: (np.array(items)[:, None], np.array(items, "int8"))
        )
        x, y, _ = list(make_source(loader).epoch())[1]
        assert x.tolist() == [[2], [3]] and y.dtype is torch.int8

    def test_iterable_without_length(self):
        class Stream(IterableDataset):
            def __iter__(self):
                return ((torch.tensor([float(i)]), i) for i in range(5))

        source = make_source(DataLoader(Stream(), batch_size=2))
        assert source.num_batches is None and source.partial_batch_size is None
        assert [numbers(source.epoch()) for _ in range(2)] == [[0, 2, 4]] * 2

    def test_empty_raises(self):
        with pytest.raises(ValueError, match="DataLoader yielded no batch"):
            list(make_source(DataLoader(TensorDataset(torch.zeros(0, 1)))).epoch())


class TestTensorFlow:
    """A stand-in with the names by which a `tf.data.Dataset` is known: TensorFlow itself takes seconds to import."""

    @staticmethod
    def dataset(cardinality, count=3):
        class DatasetV2:
            def __iter__(self):
                return batches_of(count)

            def cardinality(self):
                return np.int64(cardinality)

        DatasetV2.__module__ = "tensorflow.python.data.ops.dataset_ops"
        return type("BatchDataset", (DatasetV2,), {})()

    @pytest.mark.parametrize(("cardinality", "batches"), [(3, 3), (-1, None), (-2, None)])
    def test_batches(self, cardinality, batches):
        source = make_source(self.dataset(cardinality))
        assert source.num_batches == batches
        assert [numbers(source.epoch()) for _ in range(2)] == [[0, 1, 2]] * 2


class TestPyDataset:
    WORKERS = pytest.mark.parametrize(
        "settings",
        [{"workers": 0}, {"workers": 1}, {"workers": 3}, {"workers": 2, "use_multiprocessing": True}],
        ids=["none", "one", "threads", "processes"],
    )

    @WORKERS
    def test_order_and_hooks(self, settings):
        dataset = Numbered(7, max_queue_size=2, **settings)
        source = make_source(dataset)
        for _ in range(2):
            assert numbers(source.epoch()) == list(range(7))
        assert dataset.events == ["begin", "end"] * 2 and source.num_batches == 7

    @WORKERS
    def test_exceptions_come_through(self, settings):
        class Broken(Numbered):
            def __getitem__(self, index):
                if index >= 2:
                    raise KeyError(f"batch {index} is broken")
                return super().__getitem__(index)

        source = make_source(Broken(4, **settings))
        seen = []
        with pytest.raises(KeyError, match="batch 2 is broken"):
            for batch in source.epoch():
                seen.append(batch)
        assert numbers(seen) == [0, 1]

    def test_shuffle_takes_every_batch_once_in_a_new_order(self):
        def orders(seed, **settings):
            generator = torch.Generator().manual_seed(seed)
            source = make_source(Numbered(20, **settings), shuffle=True, generator=generator)
            return [numbers(source.epoch()) for _ in range(2)]

        first = orders(0)
        assert first[0] != first[1] and all(sorted(order) == list(range(20)) for order in first)
        assert first == orders(0) == orders(0, workers=3) and first != orders(1)

    def test_workers_fetch_at_the_same_time(self):
        barrier = threading.Barrier(3, timeout=5)

        class Meeting(Numbered):
            def __getitem__(self, index):
                barrier.wait()
                return super().__getitem__(index)

        assert numbers(make_source(Meeting(6, workers=3)).epoch()) == list(range(6))

    def test_no_more_than_max_queue_size_ahead(self):
        fetched = []

        class Counting(Numbered):
            def __getitem__(self, index):
                fetched.append(index)
                return super().__getitem__(index)

        for used, _ in enumerate(make_source(Counting(20, workers=4, max_queue_size=3)).epoch(), start=1):
            time.sleep(0.001)
            assert len(fetched) <= used + 3

    @pytest.mark.parametrize("steps", [None, 5])
    def test_workers_are_gone_after_the_epoch(self, steps):
        source = make_source(Numbered(5, workers=3), steps=steps)
        list(source.epoch())
        assert not [t for t in threading.enumerate() if t.name.startswith("fastk_worker")]

    def test_workers_are_gone_after_an_early_end(self):
        source = make_source(Numbered(50, workers=3))
        for _ in source.epoch():
            break
        assert not [t for t in threading.enumerate() if t.name.startswith("fastk_worker")]

    def test_close_ends_the_workers(self):
        source = make_source(Numbered(50, workers=3), steps=2)
        list(source.epoch())
        assert [t for t in threading.enumerate() if t.name.startswith("fastk_worker")]
        source.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("fastk_worker")]

    def test_processes_draw_different_numbers_that_repeat_by_seed(self):
        class Noise(Numbered):
            def __getitem__(self, index):
                return np.random.random((1, 2)), np.array([random.random()])

        def draws():
            source = make_source(
                Noise(4, workers=2, use_multiprocessing=True), generator=torch.Generator().manual_seed(3)
            )
            return [(*x.flatten().tolist(), y.item()) for x, y, _ in source.epoch()]

        first = draws()
        assert len({value for draw in first for value in draw}) == 12 and first == draws()

    @pytest.mark.parametrize("settings", [{}, {"workers": 2}], ids=["one", "threads"])
    def test_endless(self, settings):
        source = make_source(Numbered(None, **settings), steps=3, shuffle=True)
        assert source.num_batches is None and source.steps_per_epoch == 3
        assert [numbers(source.epoch()) for _ in range(2)] == [[0, 1, 2], [3, 4, 5]]

    def test_reordering_between_epochs(self):
        class Growing(Numbered):
            def on_epoch_end(self):
                self.batches += 1

        source = make_source(Growing(1))
        assert [numbers(source.epoch()) for _ in range(3)] == [[0], [0, 1], [0, 1, 2]]

    def test_peek_begins_no_epoch(self):
        dataset = Numbered()
        source = make_source(dataset)
        assert numbers([source.peek()]) == [0] and dataset.events == []
        assert numbers(source.epoch()) == list(range(5))

    @pytest.mark.parametrize("use", ["peek", "epoch"])
    def test_empty_raises(self, use):
        with pytest.raises(ValueError, match="PyDataset yielded no batch"):
            list(getattr(make_source(Numbered(0)), use)())

    def test_class_weight(self):
        got = [w.tolist() for _, _, w in make_source(Numbered(3), class_weight={2: 5.0}).epoch()]
        assert got == [[1, 1], [1, 1], [5, 5]]


class TestEpochs:
    """Steps, for a source that starts anew: an epoch ends where the pass ends, as in Keras."""

    def test_more_steps_than_batches(self):
        source = make_source(np.arange(4), np.arange(4), batch_size=1, steps=6)
        for _ in range(2):
            with pytest.warns(UserWarning, match="interrupting the epoch after 4 of 6 batches"):
                assert numbers(source.epoch()) == [0, 1, 2, 3]

    def test_a_pass_over_several_epochs(self):
        source = make_source(np.arange(4), np.arange(4), batch_size=1, steps=2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [numbers(source.epoch()) for _ in range(4)] == [[0, 1], [2, 3]] * 2

    def test_peek(self):
        source = make_source(np.arange(50), np.arange(50), batch_size=50, shuffle=True)
        peeked = source.peek()
        assert torch.equal(peeked[1], next(source.epoch())[1])

    def test_an_epoch_left_early_is_not_gone_on_with(self):
        source = make_source(np.arange(4), np.arange(4), batch_size=1)
        for _ in source.epoch():
            break
        assert numbers(source.epoch()) == [0, 1, 2, 3]

    def test_warning_points_at_the_caller(self):
        source = make_source(np.arange(2), batch_size=1, steps=3)
        with pytest.warns(UserWarning) as caught:
            list(source.epoch())
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("steps", [0, -1, 1.5])
    def test_wrong_steps_raise(self, steps):
        with pytest.raises(ValueError, match="`steps` must be a positive integer"):
            make_source(np.arange(4), steps=steps)


class TestWhatDoesNotGoTogether:
    @pytest.fixture(params=["generator", "loader", "dataset"])
    def stream(self, request):
        return {
            "generator": batches_of(2),
            "loader": DataLoader(TensorDataset(torch.zeros(4, 1), torch.zeros(4))),
            "dataset": Numbered(),
        }[request.param]

    @pytest.mark.parametrize("name", ["y", "sample_weight"])
    def test_targets_beside_a_stream_raise(self, stream, name):
        with pytest.raises(ValueError, match=f"`{name}` should not be passed"):
            given: dict[str, Any] = {name: np.zeros(4)}
            make_source(stream, **given)

    def test_batch_size_beside_a_stream_warns(self, stream):
        with pytest.warns(UserWarning, match="`batch_size=8` will be ignored"):
            make_source(stream, batch_size=8)

    def test_shuffling_in_batches_of_a_stream_warns(self, stream):
        with pytest.warns(UserWarning, match="`shuffle='batch'` will be ignored"):
            make_source(stream, shuffle="batch")

    def test_source_is_passed_through(self):
        source = make_source(np.arange(4))
        assert isinstance(source, DataSource) and make_source(source, shuffle=True) is source
        with pytest.raises(ValueError, match="its own batch_size, steps"):
            make_source(source, batch_size=2, steps=3)


@pytest.mark.gpu
@pytest.mark.parametrize("pin_memory", [False, True])
def test_cuda_copies_ahead(pin_memory):
    data = TensorDataset(torch.randn(1000, 8), torch.arange(1000))
    source = make_source(DataLoader(data, batch_size=64, pin_memory=pin_memory), device="cuda")
    batches = list(source.epoch())
    assert isinstance(source.one_pass(), types.GeneratorType) and all(x.is_cuda for x, _, _ in batches)
    assert torch.equal(torch.cat([x for x, _, _ in batches]).cpu(), data.tensors[0])
    assert torch.equal(torch.cat([y for _, y, _ in batches]).cpu(), data.tensors[1])
