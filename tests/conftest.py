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
