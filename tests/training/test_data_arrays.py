"""Arrays as a source of batches: conversion, memory, order, errors."""

import sys
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch

from fastk import config
from fastk.training.data import ArraySource, make_source, train_validation_split
from fastk.training.data import arrays as arrays_module


def epoch(source):
    return list(source.epoch())


def joined(batches, part=1):
    return torch.cat([batch[part] for batch in batches])


@pytest.fixture
def float64_default():
    config.set_floatx("float64")
    yield
    config.set_floatx("float32")


class TestConversion:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("float16", torch.float32),
            ("float32", torch.float32),
            ("float64", torch.float32),
            ("longdouble", torch.float32),
            (">f4", torch.float32),
            ("int8", torch.int8),
            ("uint8", torch.uint8),
            ("int16", torch.int16),
            (">i4", torch.int32),
            ("int32", torch.int32),
            ("int64", torch.int64),
            ("uint16", torch.int32),
            ("uint32", torch.int64),
            ("uint64", torch.int64),
            (">u2", torch.int32),
            ("bool", torch.bool),
            ("complex64", torch.complex64),
        ],
    )
    def test_dtypes(self, given, expected):
        x = np.arange(6).reshape(3, 2).astype(given)
        (batch,) = epoch(make_source(x))
        assert batch[0].dtype is expected
        np.testing.assert_array_equal(batch[0].numpy(), x.astype(batch[0].numpy().dtype))

    def test_floatx_is_what_floats_become(self, float64_default):
        x, y, _ = next(make_source(np.ones((2, 2), "float32"), torch.ones(2, dtype=torch.float16)).epoch())
        assert x.dtype is torch.float64 and y.dtype is torch.float64

    def test_bfloat16_of_other_frameworks(self):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        x, _, _ = next(make_source(np.array([[1.5]], ml_dtypes.bfloat16)).epoch())
        assert x.dtype is torch.float32 and x.item() == 1.5

    @pytest.mark.parametrize("values", [np.array([1, None], object), np.array(["2020"], "M8[D]")])
    def test_what_is_neither_number_nor_text_raises(self, values):
        with pytest.raises(ValueError, match="Invalid dtype"):
            make_source(values)

    @pytest.mark.parametrize("values", [np.array(["a", "b"]), np.array([b"a", b"b"]), np.array(["a", "b"], object)])
    def test_text_passes_as_arrays_of_it_and_not_as_targets(self, values):
        batches = list(make_source(values, np.arange(2), batch_size=1).epoch())
        assert [x.tolist() for x, _, _ in batches] == [[v] for v in values.tolist()]
        with pytest.raises(ValueError, match="Invalid dtype"):
            make_source(np.arange(2), values)

    def test_uint64_beyond_int64_raises(self):
        with pytest.raises(ValueError, match="does not fit in int64"):
            make_source(np.array([2**63], "uint64"))

    def test_a_value_without_samples_raises(self):
        with pytest.raises(ValueError, match="axis of samples"):
            make_source(np.float32(3.0))

    def test_sparse_torch_tensor_raises(self):
        with pytest.raises(ValueError, match="to_dense"):
            make_source(torch.eye(3).to_sparse())

    def test_tensor_of_a_graph_is_detached(self):
        x = torch.ones(4, 2, requires_grad=True)
        assert not next(make_source(x * 2, shuffle=True).epoch())[0].requires_grad

    def test_array_like(self):
        class ArrayLike:
            shape = (3, 1)

            def __array__(self, dtype=None, copy=None):
                return np.arange(3.0).reshape(3, 1)

        assert next(make_source(ArrayLike()).epoch())[0].tolist() == [[0], [1], [2]]


class TestMemory:
    def test_float32_is_not_copied(self):
        x = np.ones((4, 2), "float32")
        batch, _, _ = next(make_source(x).epoch())
        assert batch.data_ptr() == x.ctypes.data

    @pytest.mark.parametrize("shuffle", [False, True, "batch"])
    def test_the_callers_arrays_stay_as_they_are(self, shuffle):
        x, y = np.random.default_rng(0).normal(size=(10, 3)), np.arange(10)
        before = x.copy(), y.copy()
        epoch(make_source(x, y, batch_size=4, shuffle=shuffle, class_weight={1: 2.0}))
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])

    @pytest.mark.parametrize("shape", [(5, 3), (0, 3)])
    def test_read_only_array_neither_warns_nor_is_copied(self, shape):
        x = np.ones(shape, "float32")
        x.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if shape[0] == 0:
                with pytest.raises(ValueError, match="0 samples"):
                    make_source(x)
            else:
                batch, _, _ = next(make_source(x).epoch())
                assert batch.data_ptr() == x.ctypes.data

    def test_memory_of_a_read_only_array_outlives_its_name(self):
        x = np.full((1000, 50), 7, "float32")
        x.flags.writeable = False
        source = make_source(x, batch_size=1000)
        del x
        np.full((1000, 50), 1, "float32")  # would likely take the freed memory
        assert torch.all(next(source.epoch())[0] == 7)

    def test_memory_map(self, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(12.0, dtype="float32").reshape(6, 2))
        source = make_source(np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=4)
        assert joined(epoch(source), 0)[:, 0].tolist() == [0, 2, 4, 6, 8, 10]

    @pytest.mark.parametrize(
        "view",
        [
            lambda x: x[::-1],  # negative stride: torch has none
            lambda x: x[:, ::2],
            lambda x: x.T,
            lambda x: np.asfortranarray(x),
            lambda x: np.broadcast_to(x[:1], (6, 6)),  # stride 0
            lambda x: x.astype([("a", "f4"), ("b", "i1")])["a"],  # stride no multiple of the item's size
        ],
    )
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_layouts(self, view, shuffle):
        x = view(np.arange(36, dtype="float32").reshape(6, 6))
        batches = epoch(make_source(x, np.arange(6), batch_size=4, shuffle=shuffle))
        assert all(batch[0].is_contiguous() for batch in batches)
        order = joined(batches).numpy()
        np.testing.assert_array_equal(joined(batches, 0).numpy(), x[order])

    def test_torch_view(self):
        x = torch.arange(12.0).reshape(3, 4).T
        batches = epoch(make_source(x, batch_size=3))
        assert torch.equal(joined(batches, 0), x) and batches[0][0].is_contiguous()


class TestBatches:
    def test_sizes(self):
        source = make_source(np.zeros((100, 2)), batch_size=32)
        assert (source.num_batches, source.batch_size, source.partial_batch_size) == (4, 32, 4)
        assert [len(x) for x, _, _ in source.epoch()] == [32, 32, 32, 4]

    def test_no_partial_batch(self):
        assert make_source(np.zeros((64, 2))).partial_batch_size is None

    def test_fewer_samples_than_a_batch(self):
        source = make_source(np.zeros((5, 2)), batch_size=8)
        assert (source.num_batches, source.partial_batch_size) == (1, 5)

    def test_default_batch_size(self):
        assert make_source(np.zeros((100, 2))).batch_size == 32

    def test_batch_size_by_steps(self):
        source = make_source(np.zeros((100, 2)), steps=3)
        assert source.batch_size == 34 and len(epoch(source)) == 3

    @pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
    def test_wrong_batch_size_raises(self, size):
        with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
            make_source(np.zeros((4, 2)), batch_size=size)

    def test_structures_are_kept(self):
        x = {"b": np.arange(4), "a": [np.arange(4.0), (torch.arange(4),)]}
        y = OrderedDict(o=np.arange(4, dtype="int8"), n=None)
        (bx, by, bw) = epoch(make_source(x, y, batch_size=3))[1]
        assert bx["b"].tolist() == [3] and bx["a"][0].tolist() == [3.0] and bx["a"][1][0].tolist() == [3]
        assert isinstance(bx["a"][1], tuple) and isinstance(by, OrderedDict) and list(by) == ["o", "n"]
        assert by["o"].dtype is torch.int8 and by["n"] is None and bw is None

    def test_the_arrays_whole(self):
        for x in (np.arange(4), [np.arange(4)]):
            source = make_source(x, np.arange(4), shuffle=True)
            assert isinstance(source, ArraySource) and source.resident
            got, y, w = source.arrays
            assert (got[0] if isinstance(x, list) else got).tolist() == y.tolist() == [0, 1, 2, 3] and w is None

    @pytest.mark.parametrize("shuffle", [False, True, "batch"])
    def test_views_in_groups(self, monkeypatch, shuffle):
        monkeypatch.setattr(arrays_module, "_GROUP", 2)
        monkeypatch.setitem(arrays_module.GATHER_BYTES, "cpu", 64)
        batches = epoch(make_source(np.arange(31), np.arange(31.0), batch_size=3, shuffle=shuffle))
        assert [len(y) for _, y, _ in batches] == [3] * 10 + [1]
        assert torch.equal(joined(batches, 0), joined(batches, 1).long())
        assert sorted(joined(batches, 0).tolist()) == list(range(31))


class TestShuffle:
    @pytest.mark.parametrize("samples", [1, 31, 32, 33, 97, 1000])
    @pytest.mark.parametrize("shuffle", [True, "batch"])
    def test_every_sample_once(self, samples, shuffle):
        source = make_source(np.arange(samples), np.arange(samples), batch_size=8, shuffle=shuffle)
        for _ in range(2):
            batches = epoch(source)
            assert torch.equal(joined(batches, 0), joined(batches, 1))
            assert sorted(joined(batches).tolist()) == list(range(samples))

    @pytest.mark.parametrize("shuffle", [True, "batch"])
    def test_orders_differ_by_epoch_and_repeat_by_seed(self, shuffle):
        def orders(seed):
            generator = torch.Generator().manual_seed(seed)
            source = make_source(np.arange(100), batch_size=16, shuffle=shuffle, generator=generator)
            return [joined(epoch(source), 0).tolist() for _ in range(3)]

        first = orders(1)
        assert first == orders(1) and first != orders(2)
        assert first[0] != first[1] != first[2] and list(range(100)) not in first

    def test_default_generator(self):
        source = make_source(np.arange(100), shuffle=True)
        torch.manual_seed(5)
        first = joined(epoch(source), 0)
        torch.manual_seed(5)
        assert torch.equal(first, joined(epoch(source), 0))

    def test_within_batches(self):
        batches = epoch(
            make_source(np.arange(20), batch_size=8, shuffle="batch", generator=torch.Generator().manual_seed(0))
        )
        assert [sorted(x.tolist()) for x, _, _ in batches] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
        assert batches[0][0].tolist() != list(range(8))

    def test_orders_are_uniform(self):
        """Each of 4 samples is first in a quarter of 4000 orders, to 5 standard deviations."""
        for shuffle in (True, "batch"):
            source = make_source(
                np.arange(4), batch_size=4, shuffle=shuffle, generator=torch.Generator().manual_seed(0)
            )
            firsts = np.bincount([next(source.epoch())[0][0].item() for _ in range(4000)], minlength=4)
            assert np.all(np.abs(firsts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75))

    def test_unknown_value_raises(self):
        with pytest.raises(ValueError, match="`shuffle` must be"):
            make_source(np.arange(4), shuffle="samples")  # pyright: ignore[reportArgumentType]


class TestPandasAndScipy:
    def test_pandas(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"a": [1.5, 2, 3], "b": [True, False, True], "c": [1, 2, 3]})
        x, y, w = next(make_source(frame, frame["c"], frame["a"]).epoch())
        assert x.dtype is torch.float32 and x.tolist() == [[1.5, 1, 1], [2, 0, 2], [3, 1, 3]]
        assert y.dtype is torch.int64 and y.tolist() == [[1], [2], [3]]
        assert w.shape == (3, 1)

    def test_pandas_integers(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"a": [1, 2], "b": [True, False], "c": pandas.array([1, 2], dtype="Int64")})
        assert next(make_source(frame).epoch())[0].tolist() == [[1, 1, 1], [2, 0, 2]]
        assert next(make_source(frame[["b"]]).epoch())[0].dtype is torch.bool

    def test_pandas_text_raises_and_names_the_column(self):
        pandas = pytest.importorskip("pandas")
        with pytest.raises(ValueError, match="Invalid dtype: the columns name are not numeric"):
            make_source(pandas.DataFrame({"a": [1.0], "name": ["x"]}))

    @pytest.mark.parametrize("shuffle", [False, True, "batch"])
    @pytest.mark.parametrize("kind", ["csr_matrix", "coo_array"])
    def test_scipy_sparse(self, shuffle, kind):
        sparse = pytest.importorskip("scipy.sparse")
        dense = np.eye(7) * np.arange(7)
        batches = epoch(make_source(getattr(sparse, kind)(dense), np.arange(7), batch_size=3, shuffle=shuffle))
        assert [x.dtype for x, _, _ in batches] == [torch.float32] * 3
        np.testing.assert_array_equal(joined(batches, 0).numpy(), dense[joined(batches).numpy()])


class TestErrors:
    def test_cardinality(self):
        with pytest.raises(ValueError, match=r"Data cardinality is ambiguous[\s\S]*x\['a'\]: 3 [\s\S]*y: 4 samples"):
            make_source({"a": np.zeros((3, 2)), "b": np.zeros(4)}, np.zeros(4))

    def test_no_samples(self):
        with pytest.raises(ValueError, match="0 samples"):
            make_source(np.zeros((0, 2)), np.zeros(0))

    @pytest.mark.parametrize("x", [None, [], {}])
    def test_no_arrays(self, x):
        with pytest.raises(ValueError, match=r"None|no data"):
            make_source(x)

    @pytest.mark.parametrize(
        ("x", "hint"),
        [
            ([[1.0, 2.0], [3.0, 4.0]], r"x\[0\]\[0\] is 1.0 of type float.*np.array\(x\)"),
            (3.0, "np.array"),
            (range(3), "DataLoader"),
            (torch.utils.data.TensorDataset(torch.zeros(2)), "DataLoader"),
            ({1, 2}, r"iter\("),
            (np.ndarray, "Accepted are"),
            (object(), "Accepted are"),
        ],
    )
    def test_unknown_data(self, x, hint):
        with pytest.raises(ValueError, match=f"Unrecognized data type: x=.*{hint}"):
            make_source(x)

    def test_unknown_targets(self):
        with pytest.raises(ValueError, match=r"Unrecognized data type: y=.*y\[0\] is 0 of type int"):
            make_source(np.zeros((2, 1)), [0, 1])


class TestSplit:
    def test_the_last_samples_validate(self):
        x, y = np.arange(10), {"a": torch.arange(10), "b": None}
        (x1, y1, w1), (x2, y2, w2) = train_validation_split((x, y, None), 0.25)
        assert x1.tolist() == list(range(7)) and x2.tolist() == [7, 8, 9]
        assert y1["a"].tolist() == list(range(7)) and y2["a"].tolist() == [7, 8, 9] and y2["b"] is None
        assert w1 is None and w2 is None
        assert np.shares_memory(x1, x)

    def test_pandas_and_scipy(self):
        pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
        frame = pandas.DataFrame({"a": range(4)}, index=[9, 8, 7, 6])
        (f1, s1), (f2, s2) = train_validation_split((frame, sparse.coo_matrix(np.eye(4))), 0.5)
        assert f1["a"].tolist() == [0, 1] and f2["a"].tolist() == [2, 3]
        np.testing.assert_array_equal(np.vstack([s1.toarray(), s2.toarray()]), np.eye(4))

    @pytest.mark.parametrize("split", [0.99, 0.0, 1.0, 1.5, -1.0])
    def test_nothing_left_raises(self, split):
        with pytest.raises(ValueError, match="cannot be split"):
            train_validation_split((np.zeros(4), np.zeros(4)), split)

    def test_generator_raises(self):
        with pytest.raises(ValueError, match=r"only supported for tensors or arrays.*generator"):
            train_validation_split(((i for i in ()), None), 0.5)

    def test_different_sizes_raise(self):
        with pytest.raises(ValueError, match="Data cardinality is ambiguous"):
            train_validation_split((np.zeros(10), np.zeros(8)), 0.2)


def test_importing_loads_nothing_heavy():
    import subprocess

    heavy = "('pandas', 'scipy', 'tensorflow', 'h5py')"
    code = f"import sys, fastk.training.data; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_cuda(resident, shuffle, monkeypatch):
    if not resident:
        monkeypatch.setattr(arrays_module, "RESIDENT_BYTES", 0)
        monkeypatch.setattr(arrays_module, "RESIDENT_SHARE", 0.0)
    x, y = np.random.default_rng(0).normal(size=(1000, 16)).astype("float32"), np.arange(1000)
    source = make_source({"x": x}, y, batch_size=64, shuffle=shuffle, device="cuda")
    assert isinstance(source, ArraySource) and source.resident is resident
    batches = epoch(source)
    assert all(batch[0]["x"].is_cuda and batch[1].is_cuda for batch in batches)
    order = joined(batches).cpu().numpy()
    assert sorted(order) == list(range(1000))
    np.testing.assert_array_equal(torch.cat([batch[0]["x"] for batch in batches]).cpu().numpy(), x[order])


@pytest.mark.parametrize("peeked", [False, True])
@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_skipped_epochs_leave_the_orders_of_those_after(shuffle, steps, peeked):
    x = np.arange(10.0)

    def epochs(skipped):
        source = make_source(x, batch_size=3, steps=steps, shuffle=shuffle, generator=torch.Generator().manual_seed(1))
        if peeked:
            source.peek()
        source.skip_orders(skipped)
        return [[batch[0].tolist() for batch in source.epoch()] for _ in range(4 - skipped)]

    if shuffle:
        assert epochs(2) == epochs(0)[2:]
    assert epochs(0) == epochs(0)
