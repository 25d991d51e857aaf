import random as python_random

import numpy as np
import pytest
import torch

from fastk import dtype_policies, initializers, naming, random, utils
from fastk.random.seed_generator import global_seed_generator


def draws():
    return [
        python_random.random(),
        np.random.rand(),
        torch.rand(1).item(),
        random.normal((1,)).item(),
        initializers.RandomNormal()((1,)).item(),
        random.uniform((1,), seed=random.SeedGenerator()).item(),
    ]


def test_one_seed_repeats_every_generator():
    utils.set_random_seed(42)
    first, second = draws(), draws()
    assert all(a != b for a, b in zip(first, second, strict=True))
    utils.set_random_seed(42)
    assert draws() == first
    utils.set_random_seed(43)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32, "1", 1.5, None])
def test_seed_out_of_range(seed):
    state = python_random.getstate()
    with pytest.raises(ValueError, match="Expected `seed`"):
        utils.set_random_seed(seed)
    assert python_random.getstate() == state


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_ends_of_the_range(seed):
    utils.set_random_seed(seed)


@pytest.mark.parametrize("free_memory", [True, False])
def test_clear_session(free_memory):
    naming.auto_name("Dense")
    generator = global_seed_generator()
    dtype_policies.set_dtype_policy("mixed_bfloat16")
    utils.clear_session(free_memory)
    assert naming.auto_name("Dense") == "dense"
    assert global_seed_generator() is not generator
    assert dtype_policies.dtype_policy().name == "float32"
