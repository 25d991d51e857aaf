import numpy as np
import pytest
import torch

from fastk import random, serialization
from fastk.random.seed_generator import draw_seed, global_seed_generator, host_generator, reset_global_seed_generator


def test_state_moves_on_by_one():
    generator = random.SeedGenerator(1337)
    assert [generator.next().tolist() for _ in range(3)] == [[1337, 0], [1337, 1], [1337, 2]]


def test_next_hands_out_a_copy():
    generator = random.SeedGenerator(1)
    seed = generator.next()
    generator.next()
    assert seed.tolist() == [1, 0]


def test_unordered_seeds_differ():
    generator = random.SeedGenerator(1)
    seeds = {tuple(generator.next(ordered=False).tolist()) for _ in range(20)}
    assert len(seeds) == 20


def test_state_is_no_trainable_weight():
    generator = random.SeedGenerator(1, name="noise")
    assert not generator.state.trainable and generator.state.path == "noise/seed_generator_state"


def test_config_round_trip():
    generator = random.SeedGenerator(7, name="noise")
    assert generator.get_config() == {"seed": 7, "name": "noise"}
    written = serialization.serialize_keras_object(generator)
    assert written == {
        "module": "keras.random",
        "class_name": "SeedGenerator",
        "config": {"seed": 7, "name": "noise"},
        "registered_name": None,
    }
    assert serialization.deserialize_keras_object(written).get_config() == generator.get_config()


@pytest.mark.parametrize("seed", ["1", 1.0, True, [1, 2]])
def test_seed_is_an_integer(seed):
    with pytest.raises(ValueError, match="must be an integer"):
        random.SeedGenerator(seed)


@pytest.mark.parametrize("seed", ["1", 1.0, True, np.float32(1)])
def test_draw_seed_takes_integers_and_generators(seed):
    with pytest.raises(ValueError, match="`SeedGenerator`"):
        draw_seed(seed)


def test_global_generator_is_one_until_reset():
    first = global_seed_generator()
    assert global_seed_generator() is first
    reset_global_seed_generator()
    assert global_seed_generator() is not first


def test_neighbouring_offsets_give_unrelated_numbers():
    # Correlations of n pairs of independent normal numbers have standard deviation 1 / sqrt(n).
    n = 4096
    draws = torch.stack([torch.randn(n, generator=host_generator(torch.tensor([1, i]))) for i in range(8)]).double()
    correlations = torch.corrcoef(draws) - torch.eye(8)
    assert correlations.abs().max() < 5 / n**0.5


def test_host_generator_takes_any_integer():
    for seed in ([0, 0], [-5, 3], [2**62, 2**40]):
        host_generator(torch.tensor(seed)).initial_seed()
