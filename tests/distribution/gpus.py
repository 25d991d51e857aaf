"""A group of one process, whose sums go the ways of several: by NCCL on a GPU."""

from fastk.distribution import ranks, strategies
from tests.distribution import scenarios

FUNCTIONS = [scenarios.uneven_batches, scenarios.masked_steps, scenarios.synchronized_batch_normalization]


def one_in_a_group():
    """The results alone, and those in the group."""
    strategies.set_distribution(None)
    alone = [function() for function in FUNCTIONS]
    strategies.set_distribution(strategies.DataParallel(devices=["cpu:0"]))
    strategies._state.group, strategies._state.is_found = ranks.Group(), True
    together = [function() for function in FUNCTIONS]
    strategies.set_distribution(None)
    return {"alone": alone, "together": together}
