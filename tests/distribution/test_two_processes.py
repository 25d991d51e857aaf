"""Two processes train as one does with the same batches, whether each has the whole model or a half of it.

A process takes seconds to start: all is asked of the same two, in one test, which so runs once under pytest-xdist.
"""

import numpy as np
import pytest

import fastk
from tests.distribution import checks, checks_sharded, scenarios, sharded, together
from tests.distribution.launching import Together

WHOLE, HALF = "DataParallel", "FullySharded"
HALVED = [
    scenarios.uneven_batches,
    scenarios.weights_of_samples_and_classes,
    scenarios.masked_steps,
    scenarios.synchronized_batch_normalization,
    scenarios.kinds_of_optimizers,
    scenarios.models_in_models,
    scenarios.penalties,
]


def alone(functions):
    """The results of one process, by name."""
    results = {}
    for function in functions:
        fastk.utils.clear_session(free_memory=False)
        results[function.__name__] = function()
    return results


def agree(parts, expected, what):
    """Sums are in another order: a few roundings of float32 a step, over a few tens of steps.

    Among each other, processes have the same, bit for bit.
    """
    for part in parts:
        assert part.keys() == expected.keys(), what
        for key in expected:
            np.testing.assert_allclose(part[key], expected[key], rtol=1e-4, atol=2e-5, err_msg=f"{what}: {key}")
            np.testing.assert_array_equal(part[key], parts[0][key], err_msg=f"{what}: {key}")


@pytest.mark.timeout(400)
def test_two_processes(tmp_path):
    whole = [f"{WHOLE}:{function.__name__}" for function in (*scenarios.ALL, *together.ALL)]
    halves = [f"{HALF}:{function.__name__}" for function in (*HALVED, *sharded.ALL)]
    started = Together(2, tmp_path, *whole, *halves)
    expected = alone(scenarios.ALL)
    parts = started.results()
    for strategy, functions in ((WHOLE, scenarios.ALL), (HALF, HALVED)):
        for function in functions:
            name = f"{strategy}:{function.__name__}"
            agree([part[name] for part in parts], expected[function.__name__], name)
    for strategy, module, functions in ((WHOLE, checks, together.ALL), (HALF, checks_sharded, sharded.ALL)):
        for function in functions:
            check = getattr(module, f"check_{function.__name__}")
            check([part[f"{strategy}:{function.__name__}"] for part in parts])
    checks.check_what_is_written_once(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("strategy", [WHOLE, HALF])
def test_three_processes(tmp_path, strategy):
    # Halves refuse the one, and in the other count all processes alike, also where a batch does not go up evenly.
    not_for_halves = (scenarios.an_optimizer_of_whole_matrices, scenarios.a_step_of_the_users)
    functions = [f for f in scenarios.ALL if strategy == WHOLE or f not in not_for_halves]
    started = Together(3, tmp_path, *(f"{strategy}:{function.__name__}" for function in functions))
    expected, parts = alone(functions), started.results()
    for function in functions:
        name = f"{strategy}:{function.__name__}"
        agree([part[name] for part in parts], expected[function.__name__], name)
