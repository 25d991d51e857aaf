"""The losses given to `compile`, applied to the outputs they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fastk import losses, metrics, tree
from fastk.metrics.resolve import kind_of_labels
from fastk.naming import to_snake_case
from fastk.training.outputs import Outputs


class AutomaticCrossentropy:
    """The loss named "crossentropy": binary, sparse or categorical, by the shapes of the first batch."""

    def __init__(self, name: str):
        self.name = name
        self._chosen: losses.Loss | None = None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The batch's loss."""
        if self._chosen is None:
            function = getattr(losses, f"{kind_of_labels(y_true.shape, y_pred.shape)}_crossentropy")
            self._chosen = losses.LossFunctionWrapper(function, name=self.name)
        return self._chosen(y_true, y_pred, sample_weight)


def get_loss(identifier: Any) -> Any:
    """A loss object from a name, function or object."""
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        return AutomaticCrossentropy(identifier)
    found = losses.get(identifier)
    if found is None or isinstance(found, losses.Loss):
        return found
    return losses.LossFunctionWrapper(found, name=name_of(identifier))


def name_of(identifier: Any) -> str:
    """What the results of a loss or metric are called: its own name, its function's, or its class's.

    >>> name_of("mse"), name_of(len)
    ('mse', 'len')
    """
    if isinstance(identifier, str):
        return identifier
    name = getattr(identifier, "name", None)
    return name or to_snake_case(getattr(identifier, "__name__", type(identifier).__name__))


@dataclass(frozen=True, slots=True)
class _Assigned:
    """One loss and the outputs that it is computed from: those numbered `start` to `stop`, in `structure`."""

    loss: Any
    weight: float | None
    name: str
    start: int
    stop: int
    structure: Any

    def part(self, flat: list) -> Any:
        """What belongs to this loss among labels, predictions or weights."""
        if self.structure is None:
            return flat[self.start]
        return tree.pack_sequence_as(self.structure, flat[self.start : self.stop])


class CompileLoss:
    """The total loss of a model: the weighted sum over its outputs.

    What the user gave is matched to the outputs at the first batch. A list means one loss for each output; at a place
    where the outputs have no list, several losses of the same output.

    Args:
        loss: what the user gave: a name, function or object, or a list, dict or structure of those.
        loss_weights: numbers in the same forms.
        output_names: the names of the model's outputs, where they are known.

    Attributes:
        metrics: a mean of each output's own loss, unweighted, where several outputs have one.
        used: for each output whether it has a loss, once the outputs are known.
    """

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: list[str] | None = None):
        if loss_weights is not None and not isinstance(loss_weights, (list, tuple, dict, float, int)):
            raise ValueError(
                "Expected `loss_weights` argument to be a float (single output case) or a list, tuple, or dict "
                f"(multiple output case). Received instead: loss_weights={loss_weights} of type {type(loss_weights)}"
            )
        # Objects at once: an unknown name fails at `compile`, and one loss for several outputs is one object.
        self._given = tree.map_structure(lambda one: None if one is None else get_loss(one), loss)
        self._given_weights, self._output_names = loss_weights, output_names
        self.metrics: list[Any] = []
        self.used: list[bool] = []
        self._outputs: Outputs | None = None
        self._single: _Assigned | None = None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The total loss, a scalar; None where no output has a loss.

        Args:
            y_true: labels in the structure of the outputs, by their names, or flat.
            y_pred: the outputs.
            sample_weight: weights of the samples, one for all outputs or in the structure of the outputs.
        """
        single = self._single
        if single is not None and type(y_true) is torch.Tensor and isinstance(y_pred, torch.Tensor):
            if sample_weight is not None and not isinstance(sample_weight, torch.Tensor):
                sample_weight = tree.flatten(sample_weight)[0]
            value = single.loss(y_true, y_pred, sample_weight)
            return value if single.weight is None else value * single.weight
        outputs = self._outputs or self._build(y_pred)
        labels = match_labels(outputs, y_true, self.used)
        return self._total(labels, tree.flatten(y_pred), match_sample_weight(outputs, sample_weight))

    def _total(self, labels: list, predictions: list, weights: list) -> Any:
        total = None
        shown: dict[str, Any] = {}
        for one in self._assigned:
            weight = weights[one.start]
            if one.structure is not None and any(other is not weight for other in weights):
                weight = one.part(weights)
            value = one.loss(one.part(labels), one.part(predictions), weight)
            shown[one.name] = shown[one.name] + value if one.name in shown else value
            if one.weight is not None:
                value = value * one.weight
            total = value if total is None else total + value
        if self.metrics:
            rows = predictions[0].shape[0]
            for metric, value in zip(self.metrics, shown.values(), strict=True):
                metric.update_state(value.detach(), sample_weight=rows)
        return total

    # ------------------------------------------------------------ matching

    def _build(self, y_pred: Any) -> Outputs:
        outputs = self._outputs = Outputs.of(y_pred, self._output_names)
        self._assigned: list[_Assigned] = []
        given, weights = self._given, self._given_weights
        if isinstance(weights, (float, int)) and len(outputs) > 1:
            raise ValueError(
                f"`loss_weights` must match the number of losses: the model has {len(outputs)} outputs "
                f"{outputs.shown()}. Give one weight for each, in a list or dict. Received: loss_weights={weights}"
            )
        flat = self._one_each(given)
        if flat is None:
            self._assign(given, weights, outputs.structure, ())
        else:
            for path, loss, weight in zip(outputs.paths, flat, outputs.match(weights, "loss_weights"), strict=True):
                self._assign(loss, weight, None, path)
        self.used = [any(one.start <= i < one.stop for one in self._assigned) for i in range(len(outputs))]
        names = list(dict.fromkeys(one.name for one in self._assigned))
        self.metrics = [metrics.Mean(name=f"{name}_loss") for name in names] if len(names) > 1 else []
        if len(outputs) == len(self._assigned) == 1:
            self._single = self._assigned[0]
        return outputs

    def _one_each(self, given: Any) -> list | None:
        """The outputs' losses where `given` names at most one for each, None where it is a structure."""
        assert self._outputs is not None
        outputs = self._outputs
        if not tree.is_nested(given):
            return [given] * len(outputs)
        if isinstance(given, dict) and not isinstance(outputs.structure, dict):
            return outputs.match(given, "loss")
        values = list(given.values() if isinstance(given, dict) else given)
        if any(tree.is_nested(value) for value in values):
            return None
        if isinstance(given, dict):
            return outputs.match(given, "loss") if given.keys() <= set(outputs.names) else None
        return values if len(values) == len(outputs) > 1 else None

    def _assign(self, given: Any, weights: Any, node: Any, path: tuple) -> None:
        """Notes the losses `given` for the outputs `node`, which stand at `path`."""
        assert self._outputs is not None
        if given is None:
            return
        paths = self._outputs.paths
        places = [i for i, leaf in enumerate(paths) if leaf[: len(path)] == path]
        if not tree.is_nested(given):
            if isinstance(weights, (list, tuple, dict)):
                raise self._mismatch(weights, "one loss")
            weight = None if weights is None else float(weights)
            name = self._outputs.label(path, given.name)
            if isinstance(given, AutomaticCrossentropy):
                given = AutomaticCrossentropy(given.name)  # each output's shapes choose for themselves
            self._assigned.append(_Assigned(given, weight, name, places[0], places[-1] + 1, node))
        elif isinstance(given, dict) or isinstance(node, type(given)):
            items = given.items() if isinstance(given, dict) else enumerate(given)
            for (key, one), weight in zip(items, self._paired(weights, given), strict=True):
                if one is None:
                    continue
                if not (key in node if isinstance(node, dict) else isinstance(key, int) and key < len(node or ())):
                    raise KeyError(
                        f"The path: {(*path, key)} in the `loss` argument, can't be found in either the model's output "
                        f"(`y_pred`) or in the labels (`y_true`). The model's outputs: {self._outputs.shown()}"
                    )
                self._assign(one, weight, node[key], (*path, key))
        elif tree.is_nested(node) and len(given) == len(places) and not any(map(tree.is_nested, given)):
            for i, one, weight in zip(places, given, self._paired(weights, given), strict=True):
                self._assign(one, weight, None, paths[i])
        else:
            for one, weight in zip(given, self._paired(weights, given), strict=True):
                self._assign(one, weight, node, path)

    def _paired(self, weights: Any, given: Any) -> list:
        """The weights of the entries of `given`; a number counts for each of them."""
        if isinstance(weights, dict) and isinstance(given, dict) and weights.keys() <= given.keys():
            return [weights.get(key) for key in given]
        if isinstance(weights, (list, tuple)) and len(weights) == len(given):
            return list(weights)
        if isinstance(weights, (list, tuple, dict)):
            raise self._mismatch(weights, f"{len(given)} losses")
        return [weights] * len(given)

    @staticmethod
    def _mismatch(weights: Any, losses_there: str) -> ValueError:
        return ValueError(
            f"`loss_weights` must match the number of losses, got {losses_there} and {len(weights)} weights: "
            f"{weights}. Give weights in the structure of `loss`."
        )


def match_labels(outputs: Outputs, y_true: Any, used: list[bool]) -> list:
    """The labels of each output; where they are fewer than the outputs, those of the outputs that use some.

    Args:
        outputs: the outputs.
        y_true: labels in any of the forms that `Outputs.match` takes.
        used: for each output whether anything uses its labels.

    Raises:
        ValueError: where labels are missing, or there are other numbers of them than of outputs.
    """
    needed = [i for i, use in enumerate(used) if use]
    if y_true is None and needed:
        raise ValueError(
            "The compiled loss and metrics need labels, but `y` is None. Pass `y`, or batches `(x, y)`; for a loss "
            "that needs none, call `self.add_loss()` in a layer or override `compute_loss()`."
        )
    if not tree.is_nested(y_true):
        if len(needed) > 1:
            raise ValueError(
                f"The model has {len(outputs)} outputs {outputs.shown()}, but `y` is a single array. Pass `y` as a "
                "list or dict with one entry for each output."
            )
        return [y_true] * len(outputs)
    flat, labels = tree.flatten(y_true), None
    if len(flat) == len(outputs):
        labels = flat if len(flat) == 1 else outputs.by_place(y_true)
        if labels is None or any(map(tree.is_nested, labels)):
            labels = outputs.match(y_true, "y") if isinstance(y_true, dict) else flat
    elif isinstance(y_true, dict):
        labels = outputs.match(y_true, "y")
    elif len(flat) == len(needed):
        labels = [None] * len(outputs)
        for i, one in zip(needed, flat, strict=True):
            labels[i] = one
    if labels is None or any(labels[i] is None for i in needed):
        raise ValueError(
            "y_true and y_pred have different structures: `y` must have labels for each output that has a loss or "
            f"metrics, {[outputs.names[i] or i for i in needed]}.\ny_true: "
            f"{tree.map_structure(lambda _: '*', y_true)}\ny_pred: "
            f"{tree.map_structure(lambda _: '*', outputs.structure)}"
        )
    return labels


def match_sample_weight(outputs: Outputs, sample_weight: Any) -> list:
    """The sample weights of each output; one array serves all."""
    if sample_weight is None:
        return [None] * len(outputs)
    if tree.is_nested(sample_weight) and len(tree.flatten(sample_weight)) == 1:
        return tree.flatten(sample_weight) * len(outputs)
    return outputs.match(sample_weight, "sample_weight")
