"""`Trainer`: what makes a layer trainable by `compile` and `fit`: losses, metrics, and the steps over one batch.

The loops that call the steps are in `fastk.training.loops`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fastk import config, dtypes, metrics, optimizers, serialization, tree
from fastk.capture import host_call
from fastk.distribution import sharding, strategies
from fastk.scopes import StatelessScope
from fastk.tensor import get_keras_mask, set_keras_mask
from fastk.training.compile_loss import CompileLoss
from fastk.training.compile_metrics import CompileMetrics
from fastk.training.loops import Loops
from fastk.training.step import Steps
from fastk.user_warning import warn_user
from fastk.utils.packing import unpack_x_y_sample_weight


class Trainer(Loops):
    """The training half of `Model`."""

    # What a layer brings.
    name: str
    call: Callable[..., Any]
    losses: list[Any]
    non_trainable_variables: list[Any]
    _dtype_policy: Any
    _call_has_training: bool
    _flatten_layers: Callable[..., list[Any]]
    _losses_context: Any
    _run_planned: Callable[..., Any]
    if TYPE_CHECKING:
        __call__: Callable[..., Any]

    # What `compile` sets, on the model and outside the layer's own state.
    optimizer: Any = None
    loss: Any = None
    compiled = False
    run_eagerly = False
    steps_per_execution = 1
    _jit_compile = False
    _compile_loss: CompileLoss | None = None
    _compile_metrics: CompileMetrics | None = None
    _compile_arguments: dict[str, Any] | None = None
    _trainable_when_compiled: dict[int, tuple[str, bool]]
    _loss_tracker: Any = None
    # Whether it has been trained or evaluated since, and so has a loss to show.
    _begun = False

    _compute_loss_takes_training: bool

    # What `_prepare` finds for many steps: what they train, and whether there are losses whatever they call.
    _trained: tuple[Any, ...] | None = None
    _has_fixed_losses: bool | None = None

    def __init__(self) -> None:
        takes_training = "training" in inspect.signature(self.compute_loss).parameters
        self._set_plain(_compute_loss_takes_training=takes_training, _steps=Steps(), _told_eager=set())

    # ------------------------------------------------------------ compile

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int | str = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Sets how the model is trained.

        Args:
            optimizer: a name or optimizer.
            loss: a name, function or loss object; for several outputs a list, a dict by output names, or a structure
                like the outputs.
            loss_weights: factors of the outputs' losses, in the same forms.
            metrics: names, functions or metric objects, in a list; for several outputs in the same forms.
            weighted_metrics: the same, for metrics that sample weights enter.
            run_eagerly: whether each step runs op by op, so that a debugger can follow it.
            steps_per_execution: batches between two calls of the callbacks; "auto" runs several where no callback asks
                for batches and a launch costs more than it (`docs/captured_step.md`), else one.
            jit_compile: "auto" and False let steps be replayed where they can be (`docs/captured_step.md`); True also
                warns, with the reason, of a step that cannot be. No results depend on it.
            auto_scale_loss: whether the loss is scaled dynamically where the model computes in float16.

        >>> import fastk
        >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
        >>> model.compile(optimizer="adam", loss="mse", metrics=["mae"])
        """
        if not isinstance(jit_compile, bool) and jit_compile != "auto":
            raise ValueError(f"`jit_compile` must be True, False or 'auto'. Received: {jit_compile!r}")
        if jit_compile is True and run_eagerly:
            warn_user(
                "If `run_eagerly` is True, then `jit_compile` cannot also be True. Disabling `jit_compile`: steps run "
                "op by op."
            )
            jit_compile = False
        if steps_per_execution != "auto" and (not isinstance(steps_per_execution, int) or steps_per_execution < 1):
            raise ValueError(
                f"`steps_per_execution` must be a positive integer or 'auto'. Received: {steps_per_execution!r}"
            )
        optimizer = given = optimizers.get(optimizer)
        scales = auto_scale_loss and self._dtype_policy.name == "mixed_float16"
        if scales and optimizer is not None and not isinstance(optimizer, optimizers.LossScaleOptimizer):
            optimizer = optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        names = getattr(self, "output_names", None)
        compiled_loss = None if loss is None else CompileLoss(loss, loss_weights, names)
        compiled_metrics = None
        if metrics or weighted_metrics:
            compiled_metrics = CompileMetrics(metrics, weighted_metrics, names, compiled_loss)
        arguments = {
            "optimizer": given, "loss": loss, "loss_weights": loss_weights, "metrics": metrics,
            "weighted_metrics": weighted_metrics, "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution, "jit_compile": jit_compile is True,
        }  # fmt: skip
        self._set_plain(
            optimizer=optimizer,
            loss=loss,
            run_eagerly=bool(run_eagerly),
            jit_compile=jit_compile is True,
            steps_per_execution=1 if steps_per_execution == "auto" else steps_per_execution,
            stop_training=False,
            compiled=True,
            _compile_loss=compiled_loss,
            _compile_metrics=compiled_metrics,
            _compile_arguments=arguments,
            _loss_tracker=_mean("loss"),
            _steps=Steps(),
            _told_eager=set(),
            _begun=False,
            _trainable_when_compiled=self._trainable_state(),
        )

    @property
    def jit_compile(self) -> bool:
        """Whether a step that cannot be captured is warned of; steps are captured either way."""
        return self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value: bool) -> None:
        unsupported = [layer.name for layer in self._flatten_layers() if not layer.supports_jit] if value else []
        if unsupported:
            warn_user(
                "Model doesn't support `jit_compile=True`. Proceeding with `jit_compile=False`: these layers say "
                f"`supports_jit = False`: {unsupported}."
            )
        self._set_plain(_jit_compile=bool(value) and not unsupported)

    def _set_plain(self, **values: Any) -> None:
        """Sets attributes that are not state of the layer: nothing in them is tracked or saved with its weights."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _trainable_state(self) -> dict[int, tuple[str, bool]]:
        return {id(layer): (layer.name, layer.trainable) for layer in self._flatten_layers()}

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, serialized; empty before it."""
        if not self.compiled or self._compile_arguments is None:
            return {}
        return serialization.serialize_dict(self._compile_arguments)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model as `get_compile_config` recorded it, and builds the optimizer."""
        if type(self).compile is not Trainer.compile and type(self).get_compile_config is Trainer.get_compile_config:
            warn_user(
                "`compile()` was not called as part of model loading because the model's `compile()` method is custom. "
                "To have it called, override `get_compile_config()` and `compile_from_config(config)`, or call it "
                "after loading."
            )
            return
        config = {name: value for name, value in config.items() if name != "auto_scale_loss"}
        arguments = serialization.deserialize_keras_object(config)
        self.compile(**arguments)
        if self.optimizer is not None and getattr(self, "built", False):
            self.optimizer.build(self.trainable_variables)

    def _begin(self, method: str) -> None:
        """What each method that runs steps asks for first: that the model is compiled, and as it is now."""
        if not self.compiled:
            raise ValueError(f"You must call `compile()` before calling `{method}()`: model.compile(optimizer, loss).")
        state, before = self._trainable_state(), self._trainable_when_compiled
        self._set_plain(_begun=True, _trainable_when_compiled=state)
        if state != before:
            changed = [now[0] for key, now in state.items() if before.get(key, now)[1] != now[1]]
            if changed:
                warn_user(
                    "A layer's `trainable` state has changed since the model was compiled. Call `compile()` again, so "
                    f"that the optimizer follows. Changed layers: {changed}"
                )

    # ------------------------------------------------------------ losses and metrics

    @property
    def metrics(self) -> list[Any]:
        """The metrics given to `compile`, then those that the model and its layers keep.

        Once the model has begun to be trained or evaluated, the mean of the loss comes first, as in the results.
        """
        compiled = self._compile_metrics.metrics if self._compile_metrics is not None else []
        own = self._own_metrics()
        if not self._begun:
            return [*compiled, *own]
        return [self._loss_tracker, *compiled, *self._output_losses(), *own]

    def _output_losses(self) -> list[Any]:
        return self._compile_loss.metrics if self._compile_loss is not None else []

    def _own_metrics(self) -> list[Any]:
        """The metrics that are attributes of the model and its layers; those of a model inside are its own affair."""
        own: dict[int, Any] = {}
        for layer in self._flatten_layers():
            if layer is self or not isinstance(layer, Trainer):
                own |= {id(metric): metric for metric in layer._metrics}
        return list(own.values())

    @property
    def metrics_variables(self) -> list[Any]:
        """The variables of all metrics, with those of the means of the loss and of each output's loss."""
        trackers = [] if self._loss_tracker is None else [self._loss_tracker]
        every = {id(m): m for m in (*trackers, *self.metrics, *self._output_losses())}
        return [variable for metric in every.values() for variable in metric.variables]

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics."""
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Starts all metrics anew."""
        trackers = [] if self._loss_tracker is None else [self._loss_tracker]
        for metric in {id(m): m for m in (*trackers, *self._output_losses(), *self.metrics)}.values():
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The loss and the metrics by name, as tensors on the device."""
        results: dict[str, Any] = {}
        if type(self).metrics is not Trainer.metrics:  # the user lists what counts
            shown = self.metrics
        else:
            if self._begun:
                results["loss"] = self._loss_tracker.result()
            results |= {metric.name: metric.result() for metric in self._output_losses()}
            if self._compile_metrics is not None:
                results |= self._compile_metrics.result()
            shown = self._own_metrics()
        for metric in shown:
            value = metric.result()
            results |= value if isinstance(value, dict) else {metric.name: value}
        return results

    def _names_in_order(self, logs: dict[str, Any]) -> list[str]:
        """The names of results: the loss, each output's loss, metrics as compiled, then the rest by name."""
        compiled = self._compile_metrics.metrics if self._compile_metrics is not None else []
        ordered = [self._loss_tracker, *self._output_losses(), *compiled, *self._own_metrics()]
        names = dict.fromkeys(metric.name for metric in ordered if metric is not None and metric.name in logs)
        return [*names, *sorted(logs.keys() - names.keys())]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The scalar to minimise: the compiled loss, the losses that layers added, and the penalties of weights.

        Args:
            x, y, y_pred, sample_weight: one batch, and the model's outputs for it.
            training: whether this is a training step.
        """
        total = self._compile_loss(y, y_pred, sample_weight) if self._compile_loss is not None else None
        for value in self._added_losses():
            value = torch.as_tensor(value, dtype=None if total is None else total.dtype)
            if not value.is_floating_point():
                value = value.to(dtypes.to_torch_dtype(config.floatx()))
            total = value.sum() if total is None else total + value.sum()
        if total is None:
            raise ValueError(
                "No loss to compute. Provide a `loss` argument in `compile()`, or call `self.add_loss()` in a layer."
            )
        return total

    def stateless_compute_loss(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        metrics_variables: Any,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tuple:
        """`compute_loss` with given values of the variables, which are left as they are.

        Returns:
            `(loss, (trainable_variables, non_trainable_variables, metrics_variables))`, with the values afterwards.
        """
        groups = [
            (list(self.trainable_variables), trainable_variables),
            (list(self.non_trainable_variables), non_trainable_variables),
            (list(self.metrics_variables), metrics_variables),
        ]
        mapping = [pair for own, given in groups for pair in zip(own, given, strict=True)]
        with StatelessScope(state_mapping=mapping) as scope:
            loss = self._loss_of(x, y, y_pred, sample_weight, training)
        fixed, metrics = ([scope.get_current_value(v) for v in own] for own, _ in groups[1:])
        return loss, (trainable_variables, fixed, metrics)

    def _added_losses(self) -> list[Any]:
        """`losses`, without a walk through the layers where the loop knows that they have none."""
        if self._has_fixed_losses is False:
            context = self._losses_context
            if context is None or not context.loss_owners:
                return []
        return self.losses

    def _loss_of(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
        if self._compute_loss_takes_training:
            return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Updates the compiled metrics with one batch, and returns all results so far."""
        with torch.no_grad():
            self._update_metrics(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _update_metrics(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        compiled = self._compile_metrics
        if compiled is not None:
            is_one = isinstance(y_pred, torch.Tensor)
            detached = _detached(y_pred) if is_one else tree.map_structure(_detached, y_pred)
            compiled.update_state(y, detached, sample_weight)

    # ------------------------------------------------------------ steps

    def train_step(self, data: Any) -> dict[str, Any]:
        """One training step on one batch; override it to train in another way.

        Args:
            data: `x`, `(x, y)` or `(x, y, sample_weight)` of torch tensors.

        Returns:
            The logs: results by name.
        """
        self._set_plain(_begun=True)
        return self._train_on(*unpack_x_y_sample_weight(data)) or self.get_metrics_result()

    def _train_on(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any] | None:
        """Trains on one batch; returns logs only where `compute_metrics` is the user's."""
        y_pred = self._run_planned(x, training=True)
        trained = self._find_trained() if self._trained is None else self._trained
        loss = self._loss_of(x, y, y_pred, sample_weight, training=True)
        gradients = self._gradients(loss, trained)
        with torch.no_grad():
            self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
            if gradients is not None:
                self._update(gradients, trained)
            if type(self).compute_metrics is Trainer.compute_metrics:
                self._update_metrics(y, y_pred, sample_weight)
                return None
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _update(self, gradients: Any, trained: tuple[Any, ...]) -> None:
        """One step of the optimizer; a call of the host's where the host decides what it does."""
        on_host = any(g is not None and g.is_cpu for g in gradients) or strategies.active() is not None
        if on_host or decides_on_host(self.optimizer):
            host_call(self.optimizer.apply, gradients, trained)
        else:
            self.optimizer.apply(gradients, trained)

    def _gradients(self, loss: torch.Tensor, trained: tuple[Any, ...]) -> Any:
        if not trained:
            warn_user("The model does not have any trainable weights.")
            return None
        if not loss.requires_grad:
            raise ValueError(
                "The loss does not depend on the weights, so it has no gradient. A loss must be computed from `y_pred` "
                "by differentiable operations: rounding, comparing, `argmax`, `detach()` and NumPy have no gradient."
            )
        if loss.ndim:
            raise ValueError(
                f"The loss to minimize must be a scalar. Received: a tensor of shape {tuple(loss.shape)}. A compiled "
                "loss must reduce: leave out `reduction='none'`; `compute_loss()` must return a mean or a sum."
            )
        if sharding.is_sharded(self):
            return sharding.gradients(self.optimizer.scale_loss(loss), trained, sharding.group_in(self))
        return torch.autograd.grad(self.optimizer.scale_loss(loss), [v.value for v in trained], allow_unused=True)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of `evaluate` on one batch; override it to evaluate in another way."""
        self._set_plain(_begun=True)
        return self._test_on(*unpack_x_y_sample_weight(data)) or self.get_metrics_result()

    def _test_on(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any] | None:
        """Evaluates one batch; returns logs only where `compute_metrics` is the user's."""
        y_pred = self._run_planned(x, training=False)
        loss = self._loss_of(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        if type(self).compute_metrics is not Trainer.compute_metrics:
            return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        self._update_metrics(y, y_pred, sample_weight)
        return None

    def predict_step(self, data: Any) -> Any:
        """The outputs for one batch; override it to predict in another way."""
        return self._predict_on(*unpack_x_y_sample_weight(data))

    def _predict_on(self, x: Any, y: Any, sample_weight: Any) -> Any:
        return self._run_planned(x, training=False)

    def _find_trained(self) -> tuple[Any, ...]:
        """The variables to train, for which the optimizer is built."""
        trained = tuple(self.trainable_variables)
        if trained and self.optimizer is None:
            raise ValueError(
                "The model was compiled with `optimizer=None`, so it can be evaluated but not trained. Compile it with "
                "an optimizer, such as model.compile('adam', loss)."
            )
        if trained and not self.optimizer.built:
            self.optimizer.build(trained)
        return trained

    def _prepare(self, training: bool, own_step: bool) -> None:
        """Finds once, for many steps, what each of them asks for.

        Args:
            training: whether they train.
            own_step: whether they are fastk's steps, which call the model as a whole.
        """
        if self.training is not training:
            self.train(training)
        trained = self._find_trained() if training else None
        fixed = None
        if own_step:  # a step of the user's may call layers one by one, and their losses are then found by a walk alone
            regularized = any(v.regularizer is not None for v in trained or self.trainable_variables)
            fixed = regularized or any(layer._losses for layer in self._flatten_layers())
        self._set_plain(_trained=trained, _has_fixed_losses=fixed)

    def _release(self) -> None:
        """Forgets what `_prepare` found: it may change before the next steps."""
        self._set_plain(_trained=None, _has_fixed_losses=None)


def decides_on_host(optimizer: Any) -> bool:
    """Whether Python counts the steps of an optimizer or computes its rate: neither can be part of a CUDA graph."""
    if not isinstance(optimizer, optimizers.Optimizer) or isinstance(optimizer, optimizers.MultiOptimizer):
        return True
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner._learning_rate
    is_callable = callable(rate) and not isinstance(rate, optimizers.schedules.LearningRateSchedule)
    plan = inner._whole
    accumulates = inner.gradient_accumulation_steps and (plan is None or not inner._accumulates_on_device(plan))
    return bool(accumulates or inner.ema_overwrite_frequency or inner._per_variable or is_callable)


def _mean(name: str) -> Any:
    return metrics.Mean(name=name)


def _detached(x: Any) -> Any:
    if not isinstance(x, torch.Tensor):
        return x
    detached, mask = x.detach(), get_keras_mask(x)
    if mask is not None:
        set_keras_mask(detached, mask)
    return detached


def _batch_size(x: Any) -> int:
    if isinstance(x, torch.Tensor):
        return x.shape[0]
    return next(part.shape[0] for part in tree.flatten(x) if part is not None)
