"""Processes with a GPU each, which talk by NCCL. What needs several GPUs is skipped where there are fewer."""

import numpy as np
import pytest
import torch

from tests.distribution import gpus, scenarios
from tests.distribution.launching import Together
from tests.distribution.test_two_processes import alone


def close(found, expected):
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-3, atol=1e-4, err_msg=key)


def one_in_a_group(tmp_path, **variables):
    (result,) = Together(1, tmp_path, "DataParallel:one_in_a_group", **variables).results()
    found = result["DataParallel:one_in_a_group"]
    for together, expected in zip(found["together"], found["alone"], strict=True):
        close(together, expected)


@pytest.mark.gpu
@pytest.mark.timeout(300)
def test_one_gpu(tmp_path):
    one_in_a_group(tmp_path, FASTK_DEVICE="auto")


@pytest.mark.slow
def test_one_cpu(tmp_path):
    """The same without a GPU: a group of one changes nothing."""
    one_in_a_group(tmp_path)


@pytest.mark.gpu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["DataParallel", "FullySharded"])
def test_several_gpus(tmp_path, strategy):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    functions = [*gpus.FUNCTIONS, scenarios.uneven_batches, scenarios.kinds_of_optimizers, scenarios.models_in_models]
    names = [f"{strategy}:{function.__name__}" for function in functions]
    started = Together(2, tmp_path, *names, FASTK_DEVICE="auto")
    expected = alone(functions)
    for part in started.results():
        for name, function in zip(names, functions, strict=True):
            close(part[name], expected[function.__name__])
