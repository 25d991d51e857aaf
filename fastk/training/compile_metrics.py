"""The metrics given to `compile`, updated with the outputs they belong to."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch

from fastk import metrics, tree
from fastk.metrics.resolve import kind_of_labels
from fastk.training.compile_loss import CompileLoss, match_labels, match_sample_weight, name_of
from fastk.training.outputs import Outputs

_ACCURACIES = {
    "binary": metrics.BinaryAccuracy,
    "sparse_categorical": metrics.SparseCategoricalAccuracy,
    "categorical": metrics.CategoricalAccuracy,
}


class UnresolvedAccuracy(metrics.Metric):
    """Stands for the metric named "accuracy" until the shapes of the first batch say which one it is."""

    _direction = "up"

    def resolved(self, y_true: Any, y_pred: Any) -> Any:
        """The accuracy for labels and predictions of these shapes."""
        return _ACCURACIES[kind_of_labels(y_true.shape, y_pred.shape)](name=self.name)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Not called: the resolved metric takes this one's place before."""
        raise NotImplementedError("An accuracy must be resolved before it is updated.")

    def result(self) -> float:
        """What an accuracy is before the first batch."""
        return 0.0


def get_metric(identifier: Any) -> Any:
    """A metric object from a name, function or object.

    `Accuracy()` means what "accuracy" means: comparing probabilities with labels for equality is never meant.
    """
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        return UnresolvedAccuracy(name=identifier)
    if type(identifier) is metrics.Accuracy:
        return UnresolvedAccuracy(name=identifier.name, dtype=identifier.dtype)
    found = metrics.get(identifier)
    if found is None or isinstance(found, metrics.Metric):
        if isinstance(identifier, str) and found is not None:
            found.name = identifier
        return found
    return metrics.MeanMetricWrapper(fn=found, name=name_of(identifier))


class CompileMetrics:
    """The metrics of a model, by output.

    Args:
        given: metrics as the user gave them: a list for one output; for several, lists in a list, dict or structure.
        weighted: the same, for metrics that the sample weights enter.
        output_names: the names of the model's outputs, where they are known.
        losses: the model's losses, which tell what labels belong to which output where there are fewer labels.
    """

    def __init__(
        self, given: Any, weighted: Any, output_names: list[str] | None = None, losses: CompileLoss | None = None
    ):
        for argument, value in (("metrics", given), ("weighted_metrics", weighted)):
            if value and not isinstance(value, (list, tuple, dict)):
                raise ValueError(
                    f"Expected `{argument}` argument to be a list, tuple, or dict. Received instead: "
                    f"{argument}={value} of type {type(value)}"
                )
        # Objects at once, so that `model.metrics` can name them before the first batch.
        self._given = tree.map_structure(get_metric, given) if given else None
        self._weighted = tree.map_structure(get_metric, weighted) if weighted else None
        self._output_names, self._losses = output_names, losses
        self._outputs: Outputs | None = None

    @property
    def metrics(self) -> list[Any]:
        """All metric objects, unweighted first."""
        if self._outputs is not None:
            return [m for ms in (*self._per_output, *self._weighted_per_output) for m in ms]
        return [m for m in tree.flatten([self._given or [], self._weighted or []]) if m is not None]

    def _build(self, y_true: Any, y_pred: Any) -> Outputs:
        outputs = Outputs.of(y_pred, self._output_names)
        plain = self._assigned(outputs, self._given, "metrics")
        weighted = self._assigned(outputs, self._weighted, "weighted_metrics")
        with_loss = self._losses.used if self._losses is not None else []
        self._used = [bool(a or b or c) for a, b, c in zip_longest(plain, weighted, with_loss)]
        labels, predictions = match_labels(outputs, y_true, self._used), tree.flatten(y_pred)
        for per_output in (plain, weighted):
            for i, ms in enumerate(per_output):
                # The first batch's shapes say which accuracy is meant.
                per_output[i] = [
                    m.resolved(labels[i], predictions[i]) if isinstance(m, UnresolvedAccuracy) else m for m in ms
                ]
        self._per_output, self._weighted_per_output, self._outputs = plain, weighted, outputs
        return outputs

    @staticmethod
    def _assigned(outputs: Outputs, given: Any, what: str) -> list[list]:
        if given is None:
            return [[] for _ in range(len(outputs))]
        if len(outputs) == 1:
            return [[m for m in tree.flatten(given) if m is not None]]
        return [[m for m in tree.flatten(ms) if m is not None] for ms in outputs.match(given, what, default=())]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes one batch into account."""
        outputs = self._outputs or self._build(y_true, y_pred)
        if len(outputs) == 1 and type(y_true) is torch.Tensor and isinstance(y_pred, torch.Tensor):
            labels, predictions = (y_true,), (y_pred,)
        else:
            labels, predictions = match_labels(outputs, y_true, self._used), tree.flatten(y_pred)
        for ms, label, prediction in zip(self._per_output, labels, predictions, strict=True):
            for metric in ms:
                metric.update_state(label, prediction)
        if self._weighted is not None:
            weights = match_sample_weight(outputs, sample_weight)
            for ms, *batch in zip(self._weighted_per_output, labels, predictions, weights, strict=True):
                for metric in ms:
                    metric.update_state(*batch[:2], sample_weight=batch[2])

    def result(self) -> dict[str, Any]:
        """The value of each metric under the name that logs show: with the output's name in front where there are
        several."""
        if self._outputs is None:
            return {}
        several = len(self._outputs) > 1
        results: dict[str, Any] = {}
        for weighted, per_output in ((False, self._per_output), (True, self._weighted_per_output)):
            for output, ms in zip(self._outputs.names, per_output, strict=True):
                prefix = f"{output}_" if several and output else ""
                for metric in ms:
                    value = metric.result()
                    for name, part in value.items() if isinstance(value, dict) else ((metric.name, value),):
                        results[_free_name(results, prefix, name, weighted)] = part
        return results


def _free_name(taken: dict, prefix: str, name: str, weighted: bool) -> str:
    full = f"{prefix}{name}"
    if full in taken and weighted:
        full = f"{prefix}weighted_{name}"
    base, count = full, 0
    while full in taken:
        count += 1
        full = f"{base}_{count}"
    return full
