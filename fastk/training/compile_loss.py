"""The losses given to `compile`, applied to the outputs they belong to."""

from __future__ import annotations

from typing import Any

from fastk import losses, metrics, tree
from fastk.metrics.resolve import kind_of_labels
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
    name = identifier if isinstance(identifier, str) else getattr(found, "__name__", type(found).__name__)
    return losses.LossFunctionWrapper(found, name=name)


class CompileLoss:
    """The total loss of a model: the weighted sum over its outputs.

    Args:
        loss: what the user gave: a name, function or object, or a list, dict or structure of those.
        loss_weights: numbers in the same forms.
        output_names: the names of the model's outputs, where they are known.
    """

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: list[str] | None = None):
        if loss_weights is not None and not isinstance(loss_weights, (list, tuple, dict, float, int)):
            raise ValueError(
                "Expected `loss_weights` argument to be a float (single output case) or a list, tuple, or dict (multiple "
                f"output case). Received instead: loss_weights={loss_weights} of type {type(loss_weights)}"
            )
        self._given, self._given_weights, self._output_names = loss, loss_weights, output_names
        tree.map_structure(lambda one: None if one is None else get_loss(one), loss)  # unknown names fail at compile
        self.metrics: list[Any] = []
        self._outputs: Outputs | None = None
        self._single: Any = None

    def _build(self, y_pred: Any) -> Outputs:
        self._outputs = outputs = Outputs.of(y_pred, self._output_names)
        given = outputs.match(self._given, "loss")
        self._losses = [None if one is None else self._combined(one) for one in given]
        weights = outputs.match(self._given_weights, "loss_weights")
        self._weights = [None if weight is None else float(weight) for weight in weights]
        if len(outputs) == 1 and self._losses[0] is not None and self._weights[0] is None:
            self._single = self._losses[0]
        # Each output's own loss is shown where there are several.
        shown = [i for i, loss in enumerate(self._losses) if loss is not None]
        self._trackers: dict[int, Any] = {}
        if len(shown) > 1:
            for i in shown:
                name = outputs.names[i] or "/".join(map(str, outputs.paths[i]))
                self._trackers[i] = metrics.Mean(name=f"{name}_loss")
        self.metrics = list(self._trackers.values())
        return outputs

    @staticmethod
    def _combined(given: Any) -> Any:
        """One loss from what was given for one output: a list means their sum."""
        if not isinstance(given, (list, tuple)):
            return get_loss(given)
        parts = [get_loss(one) for one in given]
        return lambda y_true, y_pred, weight=None: sum(part(y_true, y_pred, weight) for part in parts)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The total loss, a scalar; None where no output has a loss.

        Args:
            y_true: labels in the structure of the outputs, by their names, or flat.
            y_pred: the outputs.
            sample_weight: weights of the samples, one for all outputs or in the structure of the outputs.
        """
        outputs = self._outputs or self._build(y_pred)
        if self._single is not None and not tree.is_nested(y_true):
            y_pred = tree.flatten(y_pred)[0] if tree.is_nested(y_pred) else y_pred
            return self._single(y_true, y_pred, tree.flatten(sample_weight)[0])
        total = None
        labels = match_labels(outputs, y_true, self._losses)
        weights = match_sample_weight(outputs, sample_weight)
        predictions = tree.flatten(y_pred)
        for i, loss in enumerate(self._losses):
            if loss is None:
                continue
            value = loss(labels[i], predictions[i], weights[i])
            if i in self._trackers:
                self._trackers[i].update_state(value.detach(), sample_weight=predictions[i].shape[0])
            if self._weights[i] is not None:
                value = value * self._weights[i]
            total = value if total is None else total + value
        return total


def match_labels(outputs: Outputs, y_true: Any, used: list) -> list:
    """The labels of each output; where they are fewer than the outputs, those of the outputs that use some.

    Args:
        outputs: the outputs.
        y_true: labels in any of the forms that `Outputs.match` takes.
        used: for each output what uses its labels, or None.
    """
    if len(outputs) == 1:
        return tree.flatten(y_true)[:1]
    if isinstance(y_true, (list, tuple)) and len(y_true) != len(outputs):
        needed = [i for i, use in enumerate(used) if use is not None]
        if len(y_true) == len(needed):
            found: list[Any] = [None] * len(outputs)
            for i, labels in zip(needed, y_true, strict=True):
                found[i] = labels
            return found
    if not tree.is_nested(y_true) and sum(use is not None for use in used) > 1:
        raise ValueError(
            f"The model has {len(outputs)} outputs {outputs.names}, but `y` is a single array. "
            "Pass `y` as a list or dict with one entry for each output."
        )
    return outputs.match(y_true, "y")


def match_sample_weight(outputs: Outputs, sample_weight: Any) -> list:
    """The sample weights of each output; one array serves all."""
    return outputs.match(sample_weight, "sample_weight") if sample_weight is not None else [None] * len(outputs)
