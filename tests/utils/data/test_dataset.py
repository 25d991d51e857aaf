"""`Dataset` and its chained methods."""

import collections
import threading

import numpy as np
import pytest
import torch

import fastk
from fastk.utils import Dataset
from fastk.utils.data.elements import StringArray


def values(dataset):
    return [element.tolist() for element in dataset]


@pytest.fixture(params=("rows", "passes"))
def numbers(request):
    """0 to 9, as a dataset whose elements have numbers, and as one that is merely passed over."""
    if request.param == "rows":
        return Dataset.from_tensor_slices(np.arange(10))
    return Dataset(lambda: (torch.tensor(i) for i in range(10)), 10)


def test_which_elements(numbers):
    assert values(numbers.take(3)) == [0, 1, 2]
    assert values(numbers.skip(8)) == [8, 9]
    assert values(numbers.take(-1)) == list(range(10))
    assert values(numbers.skip(-1)) == []
    assert values(numbers.skip(3).take(2).repeat(2)) == [3, 4, 3, 4]
    assert values(numbers.shard(4, 1)) == [1, 5, 9]
    assert values(numbers.filter(lambda x: x % 3 == 0)) == [0, 3, 6, 9]
    assert values(numbers.take(1).concatenate(numbers.skip(9))) == [0, 9]
    assert values(numbers.take(2).repeat().take(5)) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "make, size",
    (
        (lambda d: d.take(3), 3),
        (lambda d: d.take(30), 10),
        (lambda d: d.skip(3), 7),
        (lambda d: d.skip(30), 0),
        (lambda d: d.shard(4, 1), 3),
        (lambda d: d.repeat(3), 30),
        (lambda d: d.batch(4), 3),
        (lambda d: d.batch(4, drop_remainder=True), 2),
        (lambda d: d.batch(5).prefetch(2).cache().shuffle(3).map(lambda x: x).enumerate(), 2),
        (lambda d: d.concatenate(d), 20),
        (lambda d: Dataset.zip(d, d.take(4)), 4),
        (lambda d: Dataset.zip(d, d.repeat()), 10),
    ),
)
def test_lengths_are_those_of_a_pass(numbers, make, size):
    dataset = make(numbers)
    assert len(dataset) == size == int(dataset.cardinality())
    assert len(list(dataset)) == size


def test_lengths_that_are_no_number(numbers):
    for dataset, cardinality in ((numbers.repeat(), -1), (numbers.filter(bool), -2), (numbers.batch(2).unbatch(), -2)):
        assert int(dataset.cardinality()) == cardinality
        assert bool(dataset)
        with pytest.raises(TypeError, match="length of the dataset is"):
            len(dataset)


def test_batches(numbers):
    assert values(numbers.batch(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert values(numbers.batch(4, drop_remainder=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert values(numbers.batch(3, num_parallel_calls=2)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert values(numbers.batch(4).unbatch()) == list(range(10))
    assert values(numbers.batch(4).rebatch(5)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        numbers.batch(0)


Point = collections.namedtuple("Point", "x y")


def test_structures_keep_their_form():
    dataset = Dataset.from_tensor_slices(({"a": [1, 2], "b": ["p", "q"]}, Point(np.ones((2, 3)), [0.5, 1.5])))
    (named, point), _ = list(dataset)
    assert named["a"].dtype is torch.int32 and named["b"] == "p"
    assert isinstance(point, Point) and point.x.dtype is torch.float64 and point.y.dtype is torch.float32
    ((named, point),) = dataset.batch(2)
    assert named["a"].tolist() == [1, 2] and isinstance(point, Point) and point.x.shape == (2, 3)
    assert isinstance(named["b"], StringArray) and named["b"].numpy().tolist() == ["p", "q"]
    ((named, point),) = dataset.map(lambda named, point: (named, point)).batch(2)  # stacked one by one
    assert named["b"].tolist() == ["p", "q"] and point.y.tolist() == [0.5, 1.5]


def test_map_unpacks_tuples_and_takes_any_number():
    pairs = Dataset.from_tensor_slices(([1, 2], [3, 4]))
    assert values(pairs.map(lambda x, y: x * y)) == [3, 8]
    assert [(x.item(), y.item()) for x, y in pairs.map(lambda x, y: (x, 1.5))] == [(1, 1.5), (2, 1.5)]
    named = Dataset.from_tensor_slices({"x": [1, 2]})
    assert values(named.map(lambda element: element["x"])) == [1, 2]
    assert values(pairs.map(lambda x, y: fastk.ops.add(x, y))) == [4, 6]


def test_map_on_several_threads_keeps_the_order():
    seen = set()
    both = threading.Barrier(2, timeout=10)

    def work(x):
        seen.add(threading.get_ident())
        if x < 2:
            both.wait()  # passes only where two threads come here
        return x * 2

    assert values(Dataset.range(20).map(work, num_parallel_calls=2)) == list(range(0, 40, 2))
    assert len(seen) == 2
    assert values(Dataset.range(5).map(lambda x: x, num_parallel_calls=-1, deterministic=False)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="`num_parallel_calls`"):
        Dataset.range(5).map(lambda x: x, num_parallel_calls=0)


@pytest.mark.parametrize("make", (lambda d: d.map(_fail, num_parallel_calls=2), lambda d: d.map(_fail).prefetch(1)))
def test_errors_of_threads_come_where_their_element_would(make):
    passed = iter(make(Dataset.range(5)))
    assert [next(passed).item(), next(passed).item()] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(passed)


def _fail(x):
    return 1 / 0 if x == 2 else x


def test_shuffles(numbers):
    shuffled = numbers.shuffle(100, seed=1)
    first, second = values(shuffled), values(shuffled)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    again = numbers.shuffle(100, seed=1)
    assert [values(again), values(again)] == [first, second]
    fixed = numbers.shuffle(100, reshuffle_each_iteration=False)
    assert values(fixed) == values(fixed)
    fastk.utils.set_random_seed(3)
    drawn = values(numbers.shuffle(100))
    fastk.utils.set_random_seed(3)
    assert values(numbers.shuffle(100)) == drawn


def test_a_small_buffer_moves_elements_forward_a_little(numbers):
    assert values(numbers.shuffle(1)) == list(range(10))
    for seed in range(20):
        order = values(numbers.shuffle(3, seed=seed))
        assert sorted(order) == list(range(10))
        assert all(place >= value - 2 for place, value in enumerate(order))
    with pytest.raises(ValueError, match="`buffer_size`"):
        numbers.shuffle(0)


def test_cache_computes_once():
    calls = []
    cached = Dataset.range(3).map(lambda x: calls.append(int(x)) or x).cache()
    next(iter(cached))
    assert calls == [0]
    assert values(cached) == values(cached) == [0, 1, 2]
    assert calls == [0, 0, 1, 2]
    with pytest.raises(ValueError, match="cache in a file"):
        cached.cache("file")


def test_prefetch_works_ahead_and_ends_with_its_pass():
    made = []
    ready = threading.Event()

    def make(x):
        made.append(int(x))
        if len(made) == 3:
            ready.set()
        return x

    dataset = Dataset.range(10).map(make).prefetch(2)
    passed = iter(dataset)
    assert next(passed).item() == 0
    assert ready.wait(10)
    passed.close()
    assert len(made) <= 4
    assert values(dataset) == list(range(10))
    assert values(Dataset.range(3).prefetch(0)) == values(Dataset.range(3).prefetch(-1)) == [0, 1, 2]


def test_padded_batches():
    ragged = Dataset.from_generator(lambda: ((np.ones(n, "float32"), n) for n in (1, 3, 2)))
    ((x, n),) = ragged.padded_batch(3)
    assert x.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]] and n.tolist() == [1, 3, 2]
    ((x, n),) = ragged.padded_batch(3, padded_shapes=([4], []), padding_values=(-1.0, 0))
    assert x.shape == (3, 4) and x[0].tolist() == [1, -1, -1, -1]
    with pytest.raises(ValueError, match="larger than `padded_shapes`"):
        list(ragged.padded_batch(3, padded_shapes=([2], [])))
    with pytest.raises(ValueError, match=r"several shapes.*padded_batch"):
        list(ragged.batch(3))


def test_generators_are_called_for_each_pass():
    dataset = Dataset.from_generator(lambda n: iter(range(n)), args=(3,))
    assert values(dataset) == values(dataset) == [0, 1, 2]
    assert [d.dtype for d in Dataset.from_generator(lambda: iter([1.5, True, 2**40]))] == [
        torch.float32, torch.bool, torch.int64,
    ]  # fmt: skip
    with pytest.raises(TypeError, match="must be a function"):
        Dataset.from_generator(iter([1]))  # type: ignore[arg-type]


def test_the_rest_of_the_methods():
    pairs = Dataset.zip({"a": Dataset.range(2), "b": Dataset.from_tensor_slices(["x", "y"])})
    assert [(p["a"].item(), p["b"]) for p in pairs] == [(0, "x"), (1, "y")]
    assert [(i.item(), x.item()) for i, x in Dataset.range(5, 7).enumerate(1)] == [(1, 5), (2, 6)]
    assert values(Dataset.range(3).flat_map(Dataset.range)) == [0, 0, 1]
    assert Dataset.range(5).reduce(0, lambda total, x: total + x).item() == 10
    assert Dataset.from_tensors(([1, 2], 3)).get_single_element()[1].item() == 3
    with pytest.raises(ValueError, match="one element"):
        Dataset.range(2).get_single_element()
    assert values(Dataset.range(3).apply(lambda d: d.take(1))) == [0]
    (array,) = Dataset.from_tensor_slices([[1, 2]]).as_numpy_iterator()
    assert isinstance(array, np.ndarray) and array.tolist() == [1, 2]
    assert next(Dataset.range(1).as_numpy_iterator()) == 0
    assert repr(Dataset.range(3)) == "<Dataset cardinality=3>"


def test_elements_have_memory_of_their_own():
    data = np.zeros((4, 2))
    dataset = Dataset.from_tensor_slices(data)
    for element in (next(iter(dataset)), next(iter(dataset.batch(2)))):
        element += 1
    assert not data.any()


def test_what_cannot_be_elements_is_explained():
    with pytest.raises(ValueError, match=r"one length.*\[2, 3\]"):
        Dataset.from_tensor_slices(([1, 2], [1, 2, 3]))
    with pytest.raises(TypeError, match="strings alone"):
        Dataset.from_tensor_slices(np.array([{}, {}], dtype=object))
    with pytest.raises(TypeError, match="numbers and strings"):
        Dataset.from_tensor_slices(np.array(["2020-01-01"], dtype="datetime64[D]"))
    with pytest.raises(ValueError, match="axis of elements"):
        Dataset.from_tensor_slices(3)


def test_a_model_trains_on_one():
    x, y = np.random.default_rng(0).normal(size=(20, 3)).astype("float32"), np.ones((20, 1), "float32")
    data = Dataset.from_tensor_slices((x, y)).batch(8)
    results = []
    for given in (data.prefetch(1), None):
        fastk.utils.set_random_seed(0)
        model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
        model.compile("sgd", "mse")
        if given is None:
            history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, validation_data=(x, y), verbose=0)
            predicted = model.predict(x, batch_size=8, verbose=0)
        else:
            history = model.fit(given, epochs=2, validation_data=given, verbose=0)
            predicted = model.predict(given.map(lambda x, y: x), verbose=0)
            np.testing.assert_allclose(model.evaluate(given, verbose=0), history.history["val_loss"][-1], rtol=1e-6)
        results.append((history.history["loss"], history.history["val_loss"], predicted))
    for ours, arrays in zip(*results, strict=True):
        np.testing.assert_allclose(ours, arrays, rtol=1e-5)
    with pytest.raises(ValueError, match="`y` should not be passed"):
        model.fit(data, y)


def test_a_layer_adapts_to_one():
    x = np.random.default_rng(0).normal(3, 2, size=(20, 3)).astype("float32")
    layer = fastk.layers.Normalization()
    layer.adapt(Dataset.from_tensor_slices(x).batch(7))
    np.testing.assert_allclose(layer.mean.numpy().ravel(), x.mean(0), rtol=1e-5)
