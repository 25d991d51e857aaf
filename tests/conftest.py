"""What every test shares."""

import os

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():  # Triton reads it when a kernel is defined: before any test is imported
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_configure():
    torch.set_num_threads(1)  # the tests' tensors are small, and other test processes want the other cores


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def rng():
    """A numpy generator that starts the same for every test."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def new_session():
    """Names and seeds start anew for every test."""
    import fastk

    fastk.utils.clear_session(free_memory=False)
    fastk.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def cupy_emulator(request, tmp_path_factory):
    """What runs CuPy's kernels on the CPU; its compiled libraries outlive the session."""
    from fastk.kernels.verify.emulator import Emulator

    cache = getattr(request.config, "cache", None)
    return Emulator(cache.mkdir("cupy-emulation") if cache else tmp_path_factory.mktemp("cupy-emulation"))


@pytest.fixture
def emulated_cupy(cupy_emulator, monkeypatch):
    """The emulator, to which CuPy's launches go during the test; skipped where it cannot be had."""
    from fastk import dispatch
    from fastk.kernels.verify.emulator import emulated

    refusal = cupy_emulator.why_not("cpu")
    if refusal is not None:
        pytest.skip(refusal)
    for name, empty in {"_files": {}, "_settled": {}, "_searched": set()}.items():  # another machine, so to speak
        monkeypatch.setattr(dispatch, name, empty)
    cupy_emulator.launches.clear()
    with emulated(cupy_emulator):
        yield cupy_emulator
