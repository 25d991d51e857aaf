"""Denormal numbers are zeros in the steps of `fit`, in all threads, and what they were before and after them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import fastk as keras
from fastk.training import denormals

CPU = torch.device("cpu")
MANY = 1 << 19  # elements: torch spreads them over its threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def survivors():
    """How many of many denormal numbers a multiplication leaves, in all threads."""
    return int((torch.full((MANY,), 1e-40) * 0.5).count_nonzero())


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the processor cannot flush denormal numbers")
def test_all_threads_take_them_as_zeros_in_between_alone(two_threads):
    assert survivors() == MANY
    with denormals.as_zeros(CPU) as flush:
        flush(True)
        assert survivors() == 0
        flush(False)
        assert not denormals.is_flushing()
        with denormals.as_zeros(CPU) as inner:
            inner(True)
            assert survivors() == 0
            inner(False)
    assert survivors() == MANY


def test_who_flushes_already_goes_on_to():
    try:
        if not torch.set_flush_denormal(True):
            pytest.skip("the processor cannot flush denormal numbers")
        with denormals.as_zeros(CPU) as flush:
            flush(True)
            flush(False)
            assert denormals.is_flushing()
        assert denormals.is_flushing()
    finally:
        torch.set_flush_denormal(False)


def test_an_error_in_a_step_leaves_the_thread_as_it_was():
    with pytest.raises(RuntimeError, match="stop"), denormals.as_zeros(CPU) as flush:
        flush(True)
        raise RuntimeError("stop")
    assert not denormals.is_flushing()


def test_moments_of_dead_units_become_zeros():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), "mse", steps_per_execution=50)
    rng = np.random.default_rng(0)
    x, y = rng.random((3200, 4), dtype=np.float32), rng.random((3200, 1), dtype=np.float32)
    model.fit(x, y, epochs=1, verbose=0)
    model.layers[0].bias.assign(np.full(8, -1e3, "float32"))  # all are dead from here on
    seen = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(denormals.is_flushing()))
    model.fit(x, y, epochs=12, verbose=0, callbacks=[look])
    assert seen == [False] * 12
    slots = [v.numpy() for v in model.optimizer.variables if v.shape == (4, 8)]
    smallest = np.float32(2.0**-126)
    assert slots and all(not np.any((s != 0) & (np.abs(s) < smallest)) for s in slots)
    assert np.all(slots[0] == 0)  # without it 0.9 of the smallest number is the smallest number, for ever


def test_the_first_fit_does_not_import_torchs_compiler():
    code = """
import sys
import numpy as np
import fastk as keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])
model.fit(np.ones((160, 4), "float32"), np.ones((160, 1), "float32"), verbose=0)
model.predict(np.ones((160, 4), "float32"), verbose=0)
assert model._steps["train"].programs, model._steps["train"].reasons
sys.exit("torch._dynamo was imported" if "torch._dynamo" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
