"""The captured step on a GPU: 20 replayed steps beside 20 steps op by op. The logic is tested without one elsewhere."""

import gc

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.capture.cuda import CudaGraph
from fastk.device import get_device
from fastk.training.data import make_source
from tests.training.step_models import MODELS, attention, cnn, data, mlp, recurrent
from tests.training.test_no_host_reads import OPTIMIZERS

pytestmark = pytest.mark.gpu

STEPS, BATCH = 20, 16


def train(make, optimizer, eager=False, samples=STEPS * BATCH, epochs=2, **options):
    keras.utils.set_random_seed(3)
    model = make()
    compile_options = {"steps_per_execution": options.pop("steps_per_execution", 1)}
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eager, **compile_options
    )
    x, y = data(samples)
    history = model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, **options).history
    return model, history


def assert_alike(ours, theirs):
    """Weights that took the same steps: kernels that add in another order round otherwise, each step a little."""
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=STEPS * 1e-5, atol=STEPS * 1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("make", [mlp, cnn, recurrent], ids=["mlp", "cnn", "recurrent"])
def test_replayed_steps_are_the_steps(make, optimizer):
    model, history = train(make, optimizer())
    expected, expected_history = train(make, optimizer(), eager=True)
    step = model._steps["train"]
    assert step.reasons == [] and [type(program) for program in step.programs] == [CudaGraph]
    np.testing.assert_allclose(history["loss"], expected_history["loss"], rtol=STEPS * 1e-5)
    assert_alike(model, expected)
    assert int(model.optimizer.iterations) == int(expected.optimizer.iterations)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_no_step_waits_for_the_device(make):
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data(STEPS * BATCH)
    source = make_source(x, y, batch_size=BATCH, device=get_device())
    model.fit(source, verbose=0, epochs=1)
    step, batches = model._steps["train"], list(source.epoch())
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            step(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.programs and step.reasons == []


@pytest.mark.parametrize("make", [mlp, cnn, recurrent, attention], ids=["mlp", "cnn", "recurrent", "attention"])
def test_sixteen_steps_are_one_launch(make):
    model, history = train(make, "adam", steps_per_execution="auto", samples=40 * BATCH + 5)
    expected, expected_history = train(make, "adam", samples=40 * BATCH + 5)
    (together,) = [step for key, step in model._steps.items() if key.startswith("train of 16")]
    assert [type(program) for program in together.programs] == [CudaGraph]
    np.testing.assert_allclose(history["loss"], expected_history["loss"], rtol=40 * 1e-5)
    assert_alike(model, expected)


def test_batches_of_two_sizes_are_two_graphs_in_one_pool():
    model, _ = train(mlp, "adam", samples=STEPS * BATCH + 5)
    expected, _ = train(mlp, "adam", samples=STEPS * BATCH + 5, eager=True)
    whole, last = model._steps["train"].programs
    assert whole._graph.pool() == last._graph.pool()
    assert_alike(model, expected)


def test_optimizers_that_the_host_steers_run_as_they_are():
    model, history = train(mlp, keras.optimizers.Lion(0.01, gradient_accumulation_steps=2))
    assert not model._steps["train"].programs
    assert "computed on the host" in model._steps["train"].reasons[0]
    eager = train(mlp, keras.optimizers.Lion(0.01, gradient_accumulation_steps=2), eager=True)[1]
    np.testing.assert_allclose(history["loss"], eager["loss"], rtol=1e-4)


def test_a_rate_that_a_callback_sets_counts_in_the_graph():
    def halved():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)]

    history = train(mlp, "adam", epochs=4, callbacks=halved())[1]
    expected = train(mlp, "adam", epochs=4, callbacks=halved(), eager=True)[1]
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-3)
    assert history["learning_rate"] == expected["learning_rate"]


def test_masks_of_dropout_differ_between_replays():
    model = keras.Sequential([keras.Input((64,)), layers.Dropout(0.5), layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.ones((BATCH, 64), "float32"), np.zeros((BATCH, 1), "float32")
    losses = [model.train_on_batch(x, y) for _ in range(10)]
    assert model._steps["train on batch"].programs
    assert len(set(losses)) == 10


def test_what_cuda_cannot_capture_runs_as_it_is_and_says_why():
    class Waits(layers.Layer):
        def call(self, inputs):
            torch.cuda.synchronize()
            return inputs

        def compute_output_shape(self, input_shape):
            return input_shape

    def make():
        return keras.Sequential([keras.Input((12,)), Waits(), layers.Dense(3, activation="softmax")])

    before = torch.cuda.current_stream()
    model, history = train(make, "adam")
    assert "CUDA cannot capture it" in model._steps["train"].reasons[0]
    assert torch.cuda.current_stream() == before
    assert torch.rand(2, device="cuda").isfinite().all()
    assert history["loss"][1] < history["loss"][0]
    assert train(mlp, "adam")[0]._steps["train"].programs  # a capture that failed leaves others as they are


def test_a_deleted_model_gives_its_memory_back():
    def used():
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    train(cnn, "adam")
    before = used()
    for _ in range(5):
        train(cnn, "adam")
    assert used() <= before
