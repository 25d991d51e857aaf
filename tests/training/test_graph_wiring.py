"""What becomes a graph on a GPU, and what does not: with stand-ins for the graph and for where it is captured."""

import pytest
import torch

import fastk as keras
from fastk import capture, layers
from fastk.capture import cuda
from fastk.training import executions, step
from tests.training.step_models import data, mlp


class Place:
    """Stands in for `capture.cuda.Space`."""

    def __init__(self):
        self.recorded = self.graphs = 0

    def record(self, function, *inputs):
        self.recorded += 1
        return capture.record(function, *inputs)


class Graph:
    """Stands in for `CudaGraph`: does the step at each replay; a capture does nothing."""

    failure: Exception | None = None

    def __init__(self, space, function, *inputs):
        if self.failure is not None:
            raise self.failure
        space.graphs += 1
        self.call = lambda: function(*inputs)

    def run(self):
        return self.call()


@pytest.fixture
def place(monkeypatch):
    place = Place()
    monkeypatch.setattr(step.CapturedStep, "space_of", lambda self, batch: place)
    monkeypatch.setattr(step, "CudaGraph", Graph)
    return place


def evaluated(samples=70, together: int | str = 1):
    keras.utils.set_random_seed(0)
    model = mlp()
    options = {"metrics": ["accuracy"], "steps_per_execution": together}
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    x, y = data(samples)
    return model, [model.evaluate(x, y, batch_size=8, verbose=0) for _ in range(3)]


def test_each_shape_is_a_graph_in_the_same_place(place):
    model, results = evaluated()
    captured = model._steps["test"]
    assert [type(program) for program in captured.programs] == [Graph, Graph]
    # Recorded are two batches of each shape, and again the first of each in each evaluation after the one before.
    assert place.graphs == 2 and place.recorded >= 4
    assert results[0] == results[1] == results[2]


def test_steps_together_are_a_graph_of_the_step_itself(place, monkeypatch):
    monkeypatch.setitem(executions.STEPS_TOGETHER, "cpu", 2)
    model, results = evaluated(together="auto")
    (together,) = [s for key, s in model._steps.items() if key.startswith("test of")]
    assert [type(program) for program in together.programs] == [Graph]
    monkeypatch.undo()
    assert results == evaluated()[1]


def test_what_the_host_does_keeps_a_step_out_of_graphs(place):
    model = mlp()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*data(), batch_size=8, verbose=0)
    captured = model._steps["train"]
    assert captured.programs == [] and place.graphs == 0
    assert all("is computed on the host" in reason for reason in captured.reasons)


def test_a_capture_that_fails_is_the_reason(place, monkeypatch):
    monkeypatch.setattr(Graph, "failure", RuntimeError("operation not permitted when stream is capturing"))
    model, results = evaluated()
    assert model._steps["test"].programs == []
    assert "CUDA cannot capture it: operation not permitted" in model._steps["test"].reasons[0]
    monkeypatch.undo()
    assert results == evaluated()[1]


def test_an_error_of_the_users_is_no_reason(place, monkeypatch):
    monkeypatch.setattr(Graph, "failure", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        evaluated()


def test_what_a_graph_reads_is_kept_as_long_as_it_is():
    assert not cuda.keep_for_replays("a table")  # of a capture of the user's own
    with cuda.keeping() as kept:
        assert cuda.keep_for_replays("a table")
        with cuda.keeping() as inner:
            assert cuda.keep_for_replays("another")
        assert cuda.keep_for_replays("a third")
    assert kept == ["a table", "a third"] and inner == ["another"]
    assert not cuda.keep_for_replays("a table")


def test_the_address_of_a_tensor_is_a_value_on_the_host_alone():
    def addresses(device):
        return capture.record(lambda x: x.add_(0 if x.data_ptr() else 1), torch.ones(2, device=device)).refusal

    assert "data_ptr" in str(addresses("cpu"))
    assert addresses("meta") is None  # a launch of a kernel asks for it


def test_a_variable_without_a_gradient_leaves_the_update_on_the_device():
    from fastk.scopes import internal
    from tests.training.stand_in import DEVICE, on_stand_in

    class Unused(layers.Layer):
        def build(self, input_shape):
            self.unused = self.add_weight(shape=(2,), name="unused")

        def call(self, inputs):
            return inputs * 2.0

    model = keras.Sequential([keras.Input((12,)), Unused(), layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    on_stand_in(model)
    with keras.device(DEVICE), internal(), pytest.warns(UserWarning, match="Gradients do not exist"):
        train = model._start("train").step
        recording = capture.record(train, torch.empty(8, 12, device=DEVICE), torch.empty(8, device=DEVICE).long(), None)
    assert recording.refusal is None and not any(call.is_host_call for call in recording.calls)
