"""The steps of a model of Keras's, made ready: Keras's own course of a step, with fastk's parts in it, replayed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastk import scopes
from fastk.integrations.keras.optimizer import AsInKeras, OptimizerTwin
from fastk.integrations.keras.patches import Calls, patched
from fastk.integrations.keras.sharing import Unlike
from fastk.integrations.keras.state import State, users_own
from fastk.integrations.keras.twin import Twin
from fastk.training.step import CapturedStep
from fastk.user_warning import warn_user

MODES = ("train", "test", "predict")


class Session:
    """A model as it is: its twin, its optimizer's twin, and the steps that were recorded with them.

    Args:
        keras: the module.
        model: a built model.
        replay_custom_steps: whether a `train_step` of the user's is replayed, too.

    Attributes:
        whole: why the model's call is Keras's own; None where fastk's plan runs.
        keeps_optimizer: why the optimizer is Keras's own; None where fastk's moves the weights.
        hooked: why no step is replayed; None where they are.
        steps: the steps by their names.
        calls: which of Keras's functions were replaced while a step ran as it is.
    """

    def __init__(self, keras: Any, model: Any, replay_custom_steps: bool):
        self.keras, self.model = keras, model
        self.replay_custom_steps = replay_custom_steps
        self.state = State(keras, model)
        self.steps: dict[str, Callable[..., Any]] = {}
        self.calls = Calls()
        self.whole: str | None = None
        self.twin: Twin | None = None
        self.keeps_optimizer: str | None = None
        self.optimizer: Any = None
        try:
            self.twin = Twin(keras, model)
        except Unlike as reason:
            self.whole = str(reason)
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and optimizer.built:
            self._take_optimizer(optimizer)
        self.own = users_own(model)
        hooked = [v.path for v in model.weights if v._value._backward_hooks]
        self.hooked = f"a torch hook is registered on {hooked[0]}" if hooked else None

    def _take_optimizer(self, theirs: Any) -> None:
        try:
            self.optimizer = OptimizerTwin(self.keras, theirs)
        except Unlike as reason:
            self.keeps_optimizer = str(reason)
            self.optimizer = AsInKeras(theirs)

    # ------------------------------------------------------------ steps

    def step(self, mode: str) -> Callable[..., Any]:
        """The step over `(x, y, sample_weight)`; returns the outputs, or the logs of a step of the user's, or None."""
        if mode not in self.steps:
            self.steps[mode] = self._made(mode)
        return self.steps[mode]

    def _made(self, mode: str) -> Callable[..., Any]:
        step = getattr(self, f"_{mode}") if self.is_default(mode) else self._custom(mode)

        def substituted(x: Any, y: Any, sample_weight: Any) -> Any:
            with self._substituted():
                return step(x, y, sample_weight)

        is_replayed = self.is_default(mode) or self.replay_custom_steps
        return CapturedStep(substituted, self.own) if is_replayed and self.hooked is None else substituted

    def is_default(self, mode: str) -> bool:
        """Whether a step is Keras's own course of it."""
        name, trainer = f"{mode}_step", _trainer()
        return getattr(type(self.model), name) is getattr(trainer, name) and name not in vars(self.model)

    def _custom(self, mode: str) -> Callable[..., Any]:
        given = getattr(self.model, f"{mode}_step")
        pack = self.keras.utils.pack_x_y_sample_weight
        return lambda x, y, sample_weight: given(pack(x, y, sample_weight))

    def check_again(self) -> None:
        """Has the steps recorded and compared once more where code of the user's is in them."""
        if self.own or self.whole:
            for step in self.steps.values():
                if isinstance(step, CapturedStep):
                    step.check_again()

    @contextlib.contextmanager
    def _substituted(self) -> Iterator[None]:
        """Inside, the model's call is fastk's plan, and the optimizer's step fastk's."""
        places: list[tuple[Any, str, Any]] = []
        if self.twin is not None:
            places.append((self.model, "call", self._planned_call))
        if self.optimizer is not None:
            places.append((self.model.optimizer, "apply", self.optimizer.apply))
        for owner, name, value in places:
            vars(owner)[name] = value
        try:
            with patched() as calls, scopes.internal():
                yield
        finally:
            for owner, name, _ in places:
                del vars(owner)[name]
        self.calls = calls

    def _planned_call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        leaves = self.keras.tree.flatten(inputs)
        plain = all(x is None or (isinstance(x, torch.Tensor) and not x.is_meta) for x in leaves)
        if self.twin is None or kwargs or not plain or any(m is not None for m in self.keras.tree.flatten(mask)):
            return type(self.model).call(self.model, inputs, training=training, mask=mask, **kwargs)
        return self.twin(inputs, bool(training))

    # ------------------------------------------------------------ Keras's course of a step

    def _outputs(self, x: Any, training: bool) -> Any:
        return self.model(x, training=training) if self.model._call_has_training_arg else self.model(x)

    def _train(self, x: Any, y: Any, sample_weight: Any) -> Any:
        model: Any = self.model
        y_pred = self._outputs(x, training=True)
        loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        trained = model.trainable_weights[:]
        with torch.no_grad():
            model._loss_tracker.update_state(loss, sample_weight=_rows(x))
        if not trained:
            warn_user("The model does not have any trainable weights.")
        elif model.optimizer is None:
            raise ValueError("The model was compiled with `optimizer=None`: it can be evaluated, but not trained.")
        else:
            loss = model.optimizer.scale_loss(loss)
            gradients = torch.autograd.grad(loss, [v.value for v in trained], allow_unused=True)
            with torch.no_grad():
                model.optimizer.apply(list(gradients), trained)
        return self._measure(x, y, y_pred, sample_weight)

    def _test(self, x: Any, y: Any, sample_weight: Any) -> Any:
        model = self.model
        y_pred = self._outputs(x, training=False)
        loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        model._loss_tracker.update_state(loss, sample_weight=_rows(x))
        return self._measure(x, y, y_pred, sample_weight)

    def _predict(self, x: Any, y: Any, sample_weight: Any) -> Any:
        return self._outputs(x, training=False)

    def _measure(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        """Updates the metrics; returns logs only where `compute_metrics` is the user's."""
        model = self.model
        with torch.no_grad():
            if type(model).compute_metrics is not _trainer().compute_metrics or "compute_metrics" in vars(model):
                return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            if model._compile_metrics is not None:
                model._compile_metrics.update_state(y, y_pred, sample_weight)
        return None


def _trainer() -> Any:
    from keras.src.backend.torch.trainer import TorchTrainer

    return TorchTrainer


def _rows(x: Any) -> int:
    if isinstance(x, torch.Tensor):
        return x.shape[0]
    from keras import tree

    return next(part for part in tree.flatten(x) if part is not None).shape[0]
