"""How batches are cut and gradients are put together, with made-up processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastk.distribution import gradients
from fastk.training import parallel
from fastk.training.data import make_source
from fastk.training.data.parts import PartSource, bounds, part_of


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_are_disjoint_and_even(rows, size):
    cuts = [bounds(rows, SimpleNamespace(rank=rank, size=size)) for rank in range(size)]  # type: ignore[arg-type]
    assert [i for start, stop in cuts for i in range(start, stop)] == list(range(rows))
    lengths = [stop - start for start, stop in cuts]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
@pytest.mark.parametrize(("rows", "batch_size"), [(17, 5), (6, 6), (7, 3), (5, 2), (4, 1), (9, 4)])
def test_all_parts_are_the_batches(shuffle, rows, batch_size):
    """Shuffled or not, with whole, uneven and tiny last batches: each sample counts once, in its batch."""

    def source():
        return make_source(
            np.arange(rows), batch_size=batch_size, shuffle=shuffle, generator=torch.Generator().manual_seed(3)
        )

    size = 3
    groups = [SimpleNamespace(rank=rank, size=size) for rank in range(size)]
    parts = [PartSource(source(), group, True) for group in groups]  # type: ignore[arg-type]
    whole, cut = source(), [list(part.epoch()) for part in parts]
    batches = list(whole.epoch())
    assert {len(each) for each in cut} == {len(batches)}
    for (expected, _, _), *of_each in zip(batches, *cut, strict=True):
        if len(expected) < size:
            assert all(part.share is None for part in of_each)
            for part in of_each:
                torch.testing.assert_close(part.batch[0], expected)
            continue
        torch.testing.assert_close(torch.cat([part.batch[0] for part in of_each]), expected)
        assert [part.share for part in of_each] == [len(part.batch[0]) / len(expected) for part in of_each]


def test_peeking_and_skipping_keep_the_order():
    """As without: the batch that is looked at is the next one, and skipped epochs draw their orders."""

    def source():
        return make_source(np.arange(8), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))

    group = SimpleNamespace(rank=0, size=2)
    plain, cut = source(), PartSource(source(), group, True)  # type: ignore[arg-type]
    for one in (plain, cut):
        one.peek()
        one.skip_orders(2)
    expected = [part_of(batch, group).batch[0] for batch in plain.epoch()]  # type: ignore[arg-type]
    for found, wanted in zip(cut.epoch(), expected, strict=True):
        torch.testing.assert_close(found.batch[0], wanted)  # type: ignore[attr-defined]


class Pair:
    """A group of two, of which the other one has twice the gradients."""

    rank, size = 0, 2

    def __init__(self):
        self.sent = []

    def sum_all_(self, tensors, what):
        self.sent += [x.numel() for x in tensors]
        for x in tensors[:-1]:
            x.mul_(3)
        tensors[-1].mul_(2)


def test_gradients_travel_in_buckets(monkeypatch):
    """By dtype, up to a size, and the layout of a parameter does not matter."""
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 100)
    shapes = [(4, 5), (3,), (2, 3), (7,), (200,)]
    parameters = [torch.zeros(shape, dtype=torch.float64 if shape == (7,) else torch.float32) for shape in shapes]
    own = [torch.randn(p.shape, dtype=p.dtype) for p in parameters]
    own[2] = own[2].t().contiguous().t()
    group = Pair()
    found = gradients.averaged(own, parameters, group)  # type: ignore[arg-type]
    assert sorted(group.sent) == sorted([23, 6, 7, 200, 5])
    for one, before in zip(found, own, strict=True):
        torch.testing.assert_close(one, before * 1.5)
        assert one.dtype is before.dtype and one.data_ptr() != before.data_ptr()


def test_gradients_are_averaged_once():
    group = Pair()
    with gradients.averaged_already():
        assert gradients.averaged([torch.ones(2)], [torch.zeros(2)], group)[0].tolist() == [1, 1]  # type: ignore[arg-type]
    assert group.sent == []


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16", "U3"])
def test_predictions_come_in_the_order_of_the_data(dtype):
    """Steps of 5 and of 1, of which the latter was computed by both."""
    everything = np.array(["abc", "de", "f", "g", "h", "i"]) if dtype == "U3" else np.arange(6).astype(dtype)
    columns = [everything[[0, 1, 2, 5]], everything[[3, 4, 5]]]
    rows = [[(3, True), (1, False)], [(2, True), (1, False)]]

    class Both:
        size = 2

        def gather_objects(self, value, what):
            return rows if value is rows[0] else columns

        def gather(self, x, what):
            other = np.zeros(4, everything.dtype)
            other[:3] = columns[1]
            return [x, torch.from_numpy(other.view(np.uint8))]

    (found,) = parallel.gathered([columns[0]], rows[0], Both())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, everything)
