"""The step over one batch, made ready and replayed where it can be, and what is reported after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastk import tree
from fastk.distribution.ranks import Group
from fastk.scopes import internal
from fastk.training import fingerprint, parallel
from fastk.training.logs import as_numbers, to_numbers
from fastk.training.step import DEMANDED, CapturedStep, Steps
from fastk.user_warning import warn_user
from fastk.utils.packing import pack_x_y_sample_weight


class Stepping:
    """What the loops and the one-batch forms ask of a model."""

    history: Any = None
    stop_training = stop_evaluating = stop_predicting = False
    _initial_epoch: int | None = None
    _same_in: Group | None = None  # the processes that are known to have the same weights

    # What `Trainer` and the layer bring.
    compiled: bool
    optimizer: Any
    steps_per_execution: int
    training: bool
    train: Callable[[bool], Any]
    eval: Callable[[], Any]
    get_metrics_result: Callable[[], dict[str, Any]]
    reset_metrics: Callable[[], None]
    trainable_variables: list[Any]
    trainable_weights: list[Any]
    _loss_tracker: Any
    _begin: Callable[[str], None]
    _find_trained: Callable[[], Any]
    _prepare: Callable[..., None]
    _release: Callable[[], None]
    _names_in_order: Callable[[dict[str, Any]], list[str]]
    _train_on: Callable[[Any, Any, Any], Any]
    _test_on: Callable[[Any, Any, Any], Any]
    _steps: Steps
    _told_eager: set[str]
    _compile_arguments: dict[str, Any] | None
    jit_compile: bool
    _flatten_layers: Callable[..., list[Any]]
    metrics: list[Any]
    loss: Any
    run_eagerly: bool
    train_step: Any
    test_step: Any
    predict_step: Any

    def _start(self, mode: str, on_batch: bool = False, anew: bool = False) -> Callable[[Any, Any, Any], Any]:
        """The step over one batch, made ready and replayed where it can be.

        Args:
            mode: "train", "test" or "predict"; a `train_step` of the user's comes in the place of fastk's, and is not
                replayed.
            on_batch: whether the step resets the metrics before, and returns the results.
            anew: whether a step that was recorded before is compared with the model in any case.
        """
        own = self._is_own(f"{mode}_step")
        if mode == "predict":
            if self.training:
                self.eval()
        else:
            self._prepare(training=mode == "train", own_step=own)
        given = getattr(self, f"{mode}_step")
        step = getattr(self, f"_{mode}_on") if own else lambda *batch: given(pack_x_y_sample_weight(*batch))
        if on_batch:
            step = partial(self._on_batch, step)
        if self.run_eagerly or not own:
            if self.jit_compile and mode not in self._told_eager:
                self._told_eager.add(mode)
                why = "the model runs eagerly" if own else f"`{mode}_step()` is the user's own"
                warn_user(f"{DEMANDED} {why}.")
            return step
        key = f"{mode} on batch" if on_batch else mode
        known = self._steps.get(key)
        if known is None:
            objects = [*self._flatten_layers(), *self.metrics, *tree.flatten(self.loss)]
            known = self._steps[key] = CapturedStep(step, objects, partial(fingerprint.of_step, self))
        known.is_demanded = self.jit_compile
        if anew or not known.is_current:
            known.check_again()
        if not known.is_current:
            known.tell(known.hooked[0])
            return step
        return known

    def _known(self, key: str) -> CapturedStep | None:
        """The step that was made ready before, where nothing has changed since."""
        known = self._steps.get(key)
        if known is None or self.run_eagerly or not known.is_current:
            return None
        training = key.startswith("train")
        if self.training is not training:
            self.train(training)
        return known

    def _is_own(self, step: str) -> bool:
        from fastk.training.trainer import Trainer

        return getattr(type(self), step) is getattr(Trainer, step) and step not in self.__dict__

    def _on_batch(self, step: Callable, *batch: Any) -> dict[str, Any]:
        self.reset_metrics()
        logs = step(*batch)
        return self.get_metrics_result() if logs is None else logs

    def _results(self) -> dict[str, Any]:
        with internal():
            return to_numbers(self.get_metrics_result())

    def _results_of_all(self, group: Group, keeps: bool = False) -> dict[str, Any]:
        """The results of all processes' data.

        Args:
            keeps: whether the metrics' states are to stay those of all data, at the end of a pass.
        """
        before = parallel.add_up_metrics(self, group)
        results = self._results()
        for state, value in () if keeps else before:
            state.copy_(value)
        return results

    def _logs_of(self, logs: Any, group: Group | None, share: float | None) -> Callable[[], dict[str, Any]]:
        """The logs of a user's step, to be read when they are looked at."""
        own = partial(as_numbers, logs)
        return own if group is None else parallel.Results(lambda: self._combined(own(), group, share)[0], own)

    def _combined(
        self, logs: dict[str, Any], group: Group, share: float | None, keeps: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The logs of a user's step, and the metrics' results, of all processes' data."""
        own, of_all = self._results(), self._results_of_all(group, keeps)
        return parallel.combined_logs(logs, own, of_all, group, share), of_all

    def _final_logs(self, logs: Any, group: Group | None = None, share: float | None = None) -> dict[str, Any]:
        """The metrics' results, or the last step's logs where a step of the user's reports something else."""
        if logs is None:
            return self._results() if group is None else self._results_of_all(group, keeps=True)
        logs = as_numbers(logs)
        if group is None:
            results = self._results()
        else:
            logs, results = self._combined(logs, group, share, keeps=True)
        # A step that reports a loss and leaves the mean of the loss alone reports its own.
        own_loss = "loss" in logs and not bool(self._loss_tracker.count.value)
        return logs if own_loss or logs.keys() != results.keys() else {name: results[name] for name in logs}

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Results as a list, or as one number."""
        return one_or_all([logs[name] for name in self._names_in_order(logs)])


def one_or_all(values: list) -> Any:
    """The values, or the one that there is."""
    return values[0] if len(values) == 1 else values
