"""`model.explain()`: what a model runs as, op by op: what was fused, which kernels, why, and at what cost."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from fastk import dispatch, dtypes, losses, tree
from fastk.capture.recorder import DispatchMode
from fastk.device import get_device
from fastk.graph import Graph, OpNode, Untraceable, trace
from fastk.graph.cost import Cost, backward_cost, forward_cost
from fastk.graph.fuse import RULES, fuse
from fastk.graph.peaks import Peak, peak_of
from fastk.graph.plan import Calls
from fastk.layers.call_spec import CallContext
from fastk.training.step import CapturedStep

UNKNOWN_SIZE = 16  # for sizes, other than the batch's, that the model does not know
_NO_WORK = ("empty", "detach", "alias", "lift_fresh", "_unsafe_view", "new_empty", "resize_")


@dataclass(frozen=True)
class Row:
    """One op of the graph that runs.

    Attributes:
        op: its name.
        layers: the layers that are computed by it.
        rules: the fusion rules that made it.
        shape, dtype: of its result; the batch's size filled in.
        implementation: of each of fastk's kernels that it calls, by the kernel's name, and `torch` for what is not one.
        why: the reason of each of these choices, by the kernel's name.
        launches: calls of torch's operators that compute, one of fastk's kernels being one; forward, backward.
        flops: of products, forward and backward; None where it is not known.
        bytes: that must be moved, forward and backward; None where it is not known.
        microseconds: at the roofline of the device, forward and backward; None where its peaks are not known.
    """

    op: str
    layers: tuple[str, ...]
    rules: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    implementation: dict[str, str]
    why: dict[str, str]
    launches: tuple[int, int]
    flops: tuple[int, int] | None
    bytes: tuple[int, int] | None
    microseconds: tuple[float, float] | None


@dataclass(frozen=True)
class Explanation:
    """What `explain()` found; prints as a table.

    Attributes:
        model: the model's name.
        batch_size: what costs are counted for.
        training: whether for a training step or for inference.
        device: the device's name.
        rows: the ops that run, in their order.
        launches_unfused: of the same graph without the fusion rules.
        notes: what was not fused, planned or traced: (layers, reason).
        ends: what is known about the loss.
        steps: how the steps of `fit` and the others have run since the model was compiled.
        graph: the graph that runs, where there is one.
    """

    model: str
    batch_size: int
    training: bool
    device: str
    rows: tuple[Row, ...] = ()
    launches_unfused: int = 0
    notes: tuple[tuple[tuple[str, ...], str], ...] = ()
    ends: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    graph: Graph | None = field(default=None, compare=False)

    def totals(self) -> dict[str, Any]:
        """The sums over the ops; those whose cost is not known are left out, and counted."""
        passes = slice(0, 2 if self.training else 1)

        def total(name: str) -> Any:
            return sum(sum(value[passes]) for row in self.rows if (value := getattr(row, name)) is not None)

        known = any(row.microseconds is not None for row in self.rows)
        return {
            "ops": len(self.rows),
            "launches": total("launches"),
            "launches_unfused": self.launches_unfused,
            "flops": total("flops"),
            "bytes": total("bytes"),
            "microseconds": total("microseconds") if known else None,
            "ops_of_unknown_cost": sum(row.flops is None for row in self.rows),
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it as dicts, lists, numbers and texts, ready for JSON."""
        return {
            "model": self.model,
            "batch_size": self.batch_size,
            "training": self.training,
            "device": self.device,
            "ops": [{k: list(v) if isinstance(v, tuple) else v for k, v in vars(row).items()} for row in self.rows],
            "totals": self.totals(),
            "notes": [{"layers": list(layers), "why": why} for layers, why in self.notes],
            "loss": list(self.ends),
            "steps": list(self.steps),
        }

    def __str__(self) -> str:
        what = "a training step (forward, backward)" if self.training else "inference"
        parts = [f"{self.model}: {what} of {self.batch_size} samples on {self.device}"]
        if self.rows:
            parts += ["", *_table(self)]
        used = list(dict.fromkeys(rule for row in self.rows for rule in row.rules))
        says = {rule.name: rule.says for rule in RULES}
        reasons = dict.fromkeys(
            f"{row.implementation[k]} for {k}: {why}" for row in self.rows for k, why in row.why.items()
        )
        kept = [f"{' + '.join(layers)}: {why}" if layers else why for layers, why in self.notes]
        for title, lines in (
            ("Fused", [f"{rule}: {says[rule]}" for rule in used]),
            ("Loss", self.ends),
            ("Chosen", reasons),
            ("Left as it is", kept),
            ("Steps", self.steps),
        ):
            if lines:
                parts += ["", title, *(f"  {line}" for line in lines)]
        return "\n".join(parts)


def explain(model: Any, batch_size: int, training: bool) -> Explanation:
    """What `model` runs as.

    Launches and choices of kernels are counted by running each op once on two samples; weights, running statistics and
    seeds are left as they are.

    Args:
        model: the model.
        batch_size: the samples that costs are counted for.
        training: whether for a training step or for inference.
    """
    where = get_device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    result = Explanation(model.name, batch_size, training, name, steps=_step_notes(model))
    try:
        graph = trace(model, training)
    except Untraceable as error:
        return dataclasses.replace(result, notes=(((), f"not traced, so that the layers run one by one: {error}"),))
    notes: tuple[tuple[tuple[str, ...], str], ...] = ()
    runs = graph
    try:
        model.plan()
        runs = fuse(graph, training, where.type)
    except Untraceable as error:
        notes = (((), f"not planned, so that the layers run one by one: {error}"),)
    if model.run_eagerly:
        runs, notes = graph, (((), "not planned, since the model was compiled with run_eagerly=True"), *notes)
    measured = _measured(model, runs, training)
    plain = measured if runs is graph else _measured(model, graph, training)
    passes = slice(0, 2 if training else 1)
    trained = _values_with_gradients(runs) if training else set()
    rows = [
        _row(node, batch_size, *found, peak_of(name), training, any(x in trained for x in node.inputs))
        for node, found in zip(runs.nodes, measured, strict=True)
    ]
    launches = sum(sum(launches[passes]) for _, launches in plain)
    ends = _loss_notes(model, runs)
    if ends and training:  # no gradient goes through the softmax
        launches -= rows[-1].launches[1]
        rows[-1] = _forward_alone(rows[-1])
    return dataclasses.replace(
        result, rows=tuple(rows), launches_unfused=launches, notes=(*notes, *runs.notes), ends=ends, graph=runs
    )


# ---------------------------------------------------------------- costs


def _row(
    node: OpNode, batch_size: int, choices: dict, launches: tuple[int, int], peak: Peak | None, training: bool,
    wants_input: bool,
) -> Row:  # fmt: skip
    forward = forward_cost(node, batch_size, UNKNOWN_SIZE)
    backward = backward_cost(node, batch_size, UNKNOWN_SIZE, wants_input) if training else Cost()
    flops = moved = times = None
    if forward is not None and backward is not None:
        costs = (forward, backward)
        flops, moved = (forward.flops, backward.flops), (forward.bytes, backward.bytes)
        if peak is not None:
            times = tuple(peak.seconds(c.flops, c.bytes, node.output.dtype) * 1e6 for c in costs)
    shape = [(UNKNOWN_SIZE if i else batch_size) if size is None else size for i, size in enumerate(node.output.shape)]
    return Row(
        op=node.op,
        layers=tuple(dict.fromkeys(node.layers)),
        rules=node.fused,
        shape=tuple(shape),
        dtype=node.output.dtype,
        implementation={op: choice.implementation for op, choice in choices.items()} or {"": "torch"},
        why={op: choice.reason for op, choice in choices.items()},
        launches=launches,
        flops=flops,
        bytes=moved,
        microseconds=times,  # type: ignore[arg-type]
    )


def _forward_alone(row: Row) -> Row:
    both = {name: getattr(row, name) for name in ("launches", "flops", "bytes", "microseconds")}
    return dataclasses.replace(row, **{name: (x[0], 0) for name, x in both.items() if x is not None})


def _values_with_gradients(graph: Graph) -> set[Any]:
    """The values that depend on something trained."""
    found: set[Any] = set()
    for node in graph.nodes:
        weights = [v for v in node.spec.weights.values() if v is not None and v.trainable]
        if weights or any(x in found for x in node.inputs):
            found.update(node.outputs)
    return found


# ---------------------------------------------------------------- launches


class _Launches(DispatchMode):
    """Counts the operators of torch that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and not func._schema.name.split("::")[-1].startswith(_NO_WORK):
            self.count += 1
        return func(*args, **(kwargs or {}))


def _measured(model: Any, graph: Graph, training: bool) -> list[tuple[dict[str, Any], tuple[int, int]]]:
    """For each op the choices of kernels and the launches, forward and backward."""
    inputs = [_sample(x.shape, x.dtype) for x in graph.inputs]
    with _as_it_was(model):
        return model._run_outermost(_run_ops, (graph, inputs), training)


def _sample(shape: tuple, dtype: str) -> torch.Tensor:
    sizes = [(UNKNOWN_SIZE if i else 2) if size is None else size for i, size in enumerate(shape)]
    return torch.zeros(sizes, dtype=dtypes.to_torch_dtype(dtype), device=get_device())


def _run_ops(context: CallContext, work: tuple[Graph, list], training: bool) -> list:
    """Runs the ops of a graph one by one, each cut off from the others, in the form of a layer's `_call_short`."""
    graph, inputs = work
    context.values["training"] = training
    values: dict[int, Any] = dict(enumerate(inputs))
    trained = _values_with_gradients(graph)
    found = []
    for (function, sources, targets, _), node in zip(Calls(graph, training).steps, graph.nodes, strict=True):
        taken = [values[i] for i in ((sources,) if isinstance(sources, int) else sources)]
        cut = [
            x.detach().requires_grad_(training and value in trained and x.is_floating_point())
            for x, value in zip(taken, node.inputs, strict=True)
        ]
        with torch.set_grad_enabled(training), dispatch.recorded_choices() as choices, _Launches() as launches:
            made = function(*cut)
            forward = launches.count
            flat = [x for x in tree.flatten(made) if isinstance(x, torch.Tensor) and x.requires_grad]
            if flat:
                leaves = [x for x in cut if x.requires_grad]
                leaves += [v.value for v in node.spec.weights.values() if v is not None and v.value.requires_grad]
                ones = [torch.ones_like(x) for x in flat]
                before = launches.count
                torch.autograd.grad(flat, leaves, ones, allow_unused=True)
                backward = launches.count - before
            else:
                backward = 0
        slots = (targets,) if isinstance(targets, int) else targets
        values.update(zip(slots, tree.flatten(made) if len(slots) > 1 else [made], strict=True))
        found.append((choices, (forward, backward)))
    return found


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Restores what running a model changes: statistics, seeds, states, the lists of losses."""
    layers = model._flatten_layers()
    states = [v for layer in layers for v in tree.flatten(getattr(layer, "states", None) or [])]
    changing = [(v, v.value.detach().clone()) for v in (*model.variables, *states) if not v.trainable]
    added = [(layer, list(layer._losses), layer._losses_context) for layer in layers]
    try:
        yield
    finally:
        with torch.no_grad():
            for variable, value in changing:
                variable._value.copy_(value)
        for layer, values, context in added:
            layer._losses[:] = values
            object.__setattr__(layer, "_losses_context", context)


# ---------------------------------------------------------------- loss


def _loss_notes(model: Any, graph: Graph) -> tuple[str, ...]:
    """What the loss does with a softmax at the end."""
    if model.loss is None or isinstance(model.loss, (list, tuple, dict)):
        return ()
    loss = losses.get(model.loss)
    kinds = (losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy)
    functions = (losses.categorical_crossentropy, losses.sparse_categorical_crossentropy)
    makers = {node.output: node for node in graph.nodes}
    ends = [makers[x] for x in graph.outputs if x in makers]
    if (isinstance(loss, kinds) or loss in functions) and len(ends) == 1 and graph.nodes[-1].op == "softmax":
        name = loss.name if isinstance(loss, kinds) else loss.__name__
        return (
            f"{name} is computed from the logits that {ends[0].layers[-1]} takes its softmax of",
            "the softmax is for metrics and predictions alone: no gradient goes through it",
        )
    return ()


def _step_notes(model: Any) -> tuple[str, ...]:
    """Which steps are replayed, and why others are not."""
    notes = []
    for name, step in model._steps.items():
        if isinstance(step, CapturedStep):
            count = len(step.programs)
            if count:
                notes.append(f"{name}: replayed, as recorded for batches of {count} shape{'s'[: count > 1]}")
            notes += [f"{name}: run op by op, since {reason}" for reason in dict.fromkeys(step.reasons)]
        elif step.programs:
            notes.append(f"{name}: replayed as one")
    return tuple(notes)


# ---------------------------------------------------------------- the table


def _table(explanation: Explanation) -> list[str]:
    passes = slice(0, 2 if explanation.training else 1)
    timed = any(row.microseconds is not None for row in explanation.rows)
    header = ["", "layers", "op", "result", "by", "launches", "MFLOP", "MB", *(["µs"] if timed else [])]
    lines = []
    for i, row in enumerate(explanation.rows, 1):
        costs: list[Any] = [row.flops, row.bytes, *([row.microseconds] if timed else [])]
        by = ", ".join(dict.fromkeys(row.implementation.values()))
        cells = [str(i), " + ".join(row.layers), row.op, "×".join(map(str, row.shape)), by]
        cells.append("+".join(map(str, row.launches[passes])))
        scales = (1e6, 1e6, 1.0)
        cells += ["?" if c is None else _number(sum(c[passes]) / s) for c, s in zip(costs, scales, strict=False)]
        lines.append(cells)
    totals = explanation.totals()
    whole = ["", "in all", f"{totals['ops']} ops", "", "", str(totals["launches"])]
    whole += [_number(totals["flops"] / 1e6), _number(totals["bytes"] / 1e6)]
    lines.append(whole + ([_number(totals["microseconds"])] if timed else []))
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    right = {0, *range(5, len(header))}

    def joined(cells: list[str]) -> str:
        padded = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(padded).rstrip()

    rule = "─" * len(joined(header).ljust(sum(widths) + 2 * (len(widths) - 1)))
    said = f"Without fusion: {totals['launches_unfused']} launches."
    said += "" if timed else " Predicted time: not known, since the peaks of this device are not."
    return [joined(header), rule, *map(joined, lines[:-1]), rule, joined(lines[-1]), "", said]


def _number(x: float) -> str:
    return f"{x:,.3g}" if x < 1000 else f"{x:,.0f}"
