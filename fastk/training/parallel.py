"""What `fit`, `evaluate` and `predict` do where several processes train together.

Each process has the whole model. At the start it gets the first process's weights and seeds; each step it computes its
part of the batch; optimizers average the gradients (`fastk/distribution/gradients.py`); where results are read, the
states of the metrics are added up. What callbacks decide they so decide on all processes alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch

from fastk.distribution import sharding, share, strategies
from fastk.distribution.ranks import Group
from fastk.random.seed_generator import global_seed_generator
from fastk.training.data.parts import Part
from fastk.training.logs import Logs
from fastk.training.step import CapturedStep

_SEEDS_APART = 1_000_003
"""How far the seeds of two processes are apart: their dropout is not the same."""


def agree(group: Group, what: dict[str, Any]) -> None:
    """Raises `ValueError` unless all processes have the same values, which they need to go step by step together."""
    for rank, other in enumerate(group.gather_objects(what, "its arguments")):
        different = [name for name, value in what.items() if other.get(name) != value]
        if different:
            listing = ", ".join(f"{name}: {what[name]!r} here, {other.get(name)!r} there" for name in different)
            raise ValueError(
                f"Process {group.rank} and process {rank} do not train the same: {listing}. All processes must run the "
                "same program with the same data and arguments."
            )


# ------------------------------------------------------------ weights and seeds


def _by_dtype(tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    groups: dict[Any, list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


def _together(tensors: list[torch.Tensor], change: Callable[[torch.Tensor], Any]) -> None:
    """Applies `change`, which writes to what it is given, to many tensors as one of each dtype."""
    with torch.no_grad():
        for alike in _by_dtype(tensors):
            flat = torch.cat([x.detach().reshape(-1) for x in alike])
            change(flat)
            for x, part in zip(alike, flat.split([x.numel() for x in alike]), strict=True):
                x.detach().copy_(part.view(x.shape))


def _values(variables: list[Any]) -> list[torch.Tensor]:
    """The values of variables that each process has whole."""
    own = {id(v): v for v in variables if not isinstance(v, sharding.ShardedVariable)}
    return [v._value for v in own.values() if v._value is not None]


def _seeds(model: Any) -> list[torch.Tensor]:
    generators = [one for layer in model._flatten_layers() for one in layer._seed_generators]
    return _values([one.state for one in (*generators, global_seed_generator())])


def synchronise(model: Any, group: Group) -> None:
    """Gives all processes the first one's weights, optimizer state and seeds."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.weights, *(optimizer.variables if optimizer is not None else ())]
    agree(group, {"shapes of the weights": [(tuple(v.shape), v.dtype) for v in variables]})
    _together([*_values(variables), *_seeds(model)], partial(group.broadcast_, what="the first weights"))
    model._set_plain(_same_in=group)


def share_out(model: Any, group: Group) -> None:
    """Leaves each process a part of the model, where that is how models are trained; before its optimizer is built."""
    if not strategies.shards_models() or sharding.is_sharded(model):
        return
    synchronise(model, group)
    sharding.shard_model(model, group, sharding.device_mesh(group))
    if model.optimizer is not None:
        sharding.shard_optimizer(model.optimizer, model.trainable_variables)


def synchronise_once(model: Any, group: Group) -> None:
    """`synchronise`, where nothing has done so before."""
    if model._same_in is not group:
        synchronise(model, group)


@contextlib.contextmanager
def own_seeds(model: Any, group: Group) -> Iterator[None]:
    """Inside, each process draws random numbers of its own, which follow from the first one's seeds and its rank."""
    for seed in _seeds(model):
        seed.detach()[0] += _SEEDS_APART * group.rank
    yield
    _together(_seeds(model), partial(group.broadcast_, what="the seeds"))  # not where an error has ended the block


def average_statistics(model: Any, group: Group) -> None:
    """Makes what layers keep beside trained weights, such as moving averages, the mean over all processes.

    Of what is no fraction, counts above all, all take the first process's.
    """
    own = {id(v): v for layer in model._flatten_layers() for v in layer._non_trainable_variables}
    fractions = [v for v in own.values() if v.aggregation != "only_first_replica" and v._value.is_floating_point()]
    others = [v for v in own.values() if v.aggregation == "only_first_replica" or not v._value.is_floating_point()]

    def mean(flat: torch.Tensor) -> None:
        group.sum_(flat, "moving averages").div_(group.size)

    _together(_values(fractions), mean)
    _together(_values(others), partial(group.broadcast_, what="the state of layers"))


# ------------------------------------------------------------ steps


def run_part(model: Any, group: Group, step: Callable[..., Any], part: Part) -> Any:
    """A step over this process's part of a batch."""
    if part.share is not None:
        if not sharding.is_sharded(model):
            with share.of_batch(group, part.share):
                return step(*part.batch)
        with share.of_batch(group, part.share, is_in_loss=True), group.explained("the parts of the model"):
            return step(*part.batch)
    # All compute the whole of a batch that has fewer samples than there are processes; one of them counts it.
    plain = step.step if isinstance(step, CapturedStep) else step
    if group.is_first:
        return plain(*part.batch)
    before = [(v, v.value.detach().clone()) for v in model.metrics_variables]
    result = plain(*part.batch)
    for variable in model.metrics_variables:
        variable.value.detach().zero_()
    for variable, value in before:
        variable.value.detach().copy_(value)
    return result


# ------------------------------------------------------------ results


def add_up_metrics(model: Any, group: Group) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Makes the states of the metrics those of all data; returns each state with what it was before.

    Raises:
        ValueError: for a state that cannot be combined.
    """
    by_way: dict[str, list[Any]] = {"sum": [], "mean": [], "only_first_replica": []}
    for variable in {id(v): v for metric in _all_metrics(model) for v in metric.variables}.values():
        if variable.aggregation not in by_way:
            raise ValueError(
                f"The state '{variable.path}' of a metric cannot be combined over {group.size} processes: its "
                f"`aggregation` is {variable.aggregation!r}. Make it by the metric's `add_weight()` or "
                "`add_variable()`, which adds it up, or with `aggregation='mean'` or 'only_first_replica'."
            )
        by_way[variable.aggregation].append(variable)
    states = [x.detach() for x in chain.from_iterable(map(_values, by_way.values()))]
    before = [(x, x.clone()) for x in states]

    def mean(flat: torch.Tensor) -> None:
        group.sum_(flat, "metrics").div_(group.size)

    _together(_values(by_way["sum"]), partial(group.sum_, what="metrics"))
    _together(_values(by_way["mean"]), mean)
    _together(_values(by_way["only_first_replica"]), partial(group.broadcast_, what="metrics"))
    return before


def _all_metrics(model: Any) -> list[Any]:
    trackers = [] if model._loss_tracker is None else [model._loss_tracker]
    return [*trackers, *model.metrics, *model._output_losses()]


def combined_logs(logs: Logs, own: Logs, of_all: Logs, group: Group, part_share: float | None) -> Logs:
    """The logs of a user's step: results of metrics are those of all data, other numbers are means.

    Args:
        logs: what the step returned.
        own: the results of the metrics over this process's data.
        of_all: their results over all data.
        part_share: this process's share of the batch, by which its numbers count.
    """
    weight = 1 / group.size if part_share is None else part_share
    from_metric = [name for name, value in logs.items() if name in own and value == own[name]]
    everyone = group.gather_objects((weight, logs, from_metric), "logs")
    combined = {}
    for name, value in logs.items():
        if all(name in names for _, _, names in everyone):
            value = of_all[name]
        elif isinstance(value, (int, float)) and all(name in other for _, other, _ in everyone):
            value = sum(w * other[name] for w, other, _ in everyone)
        combined[name] = value
    return combined


class Results:
    """The results so far, of all processes together: called by all of them. `finished()` are this process's own.

    Args:
        everyone: returns the results of all data.
        own: returns those of this process's part, for what is shown in passing.
    """

    def __init__(self, everyone: Callable[[], Logs], own: Callable[[], Logs]):
        self._everyone = everyone
        self.finished = own

    def __call__(self) -> Logs:
        """The results of all data."""
        return self._everyone()


def gathered(columns: list[np.ndarray], rows: list[tuple[int, bool]], group: Group) -> list[np.ndarray]:
    """The predictions of all processes, in the order of the data.

    Args:
        columns: this process's, one array an output.
        rows: for each step how many samples this process had, and whether they were a part of the batch.
    """
    counts = group.gather_objects(rows, "predictions")
    # Where each process's rows of each step begin in what that process has.
    order: list[tuple[int, int, int]] = []
    at = [0] * group.size
    for step in zip(*counts, strict=True):
        for rank, (count, is_part) in enumerate(step):
            if is_part or rank == 0:
                order.append((rank, at[rank], at[rank] + count))
            at[rank] += count
    result = []
    for column in columns:
        parts = _gather_rows(column, at, group)
        result.append(np.concatenate([parts[rank][start:stop] for rank, start, stop in order]))
    return result


def _gather_rows(own: np.ndarray, rows: list[int], group: Group) -> list[np.ndarray]:
    if own.dtype.kind not in "biufc":
        return group.gather_objects(own, "predictions")
    padded = np.zeros((max(rows), *own.shape[1:]), own.dtype)
    padded[: len(own)] = own
    whole = group.gather(torch.from_numpy(padded.view(np.uint8).reshape(-1)), "predictions")
    return [x.numpy().view(own.dtype).reshape(padded.shape)[:n] for x, n in zip(whole, rows, strict=True)]
