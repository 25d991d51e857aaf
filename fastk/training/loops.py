"""The loops of `fit`, `evaluate` and `predict`.

A loop rebuilds nothing per batch and reads nothing from the device per batch: logs are handed to the callbacks as a
function that computes them, and only what shows them calls it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import islice, starmap
from typing import Any

import numpy as np
import torch

from fastk import callbacks as callbacks_module
from fastk import config, tree
from fastk import device as devices
from fastk.random.seed_generator import draw_seed, host_generator
from fastk.scopes import internal
from fastk.tensor import convert_to_numpy, is_text_array
from fastk.training import denormals, fingerprint
from fastk.training.build import build_for
from fastk.training.data import make_source, train_validation_split
from fastk.training.data.arrays import DEFAULT_BATCH_SIZE, ArraySource
from fastk.training.data.convert import to_tensor
from fastk.training.executions import executions, grouped, rows_of
from fastk.training.logs import as_numbers, results_of, to_numbers
from fastk.training.step import DEMANDED, CapturedStep, Steps
from fastk.user_warning import warn_user
from fastk.utils.packing import pack_x_y_sample_weight, unpack_x_y_sample_weight

Flush = Callable[[bool], Any]  # of `denormals.as_zeros`


class Loops:
    """`fit`, `evaluate`, `predict`, and their one-batch forms."""

    history: Any = None
    stop_training = stop_evaluating = stop_predicting = False
    _initial_epoch: int | None = None

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

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Trains the model for a number of epochs.

        Args:
            x: inputs: an array or tensor, a list or dict of them, a generator, a torch `DataLoader`, a `PyDataset`, or
                a `tf.data.Dataset`; the last four yield `(x, y)` or `(x, y, sample_weight)`.
            y: labels, where `x` does not yield them.
            batch_size: samples a step (32 unless given), where `x` does not come in batches.
            epochs: the number of the last epoch.
            verbose: 0 silent, 1 a progress bar, 2 one line an epoch; "auto" is 1.
            callbacks: callbacks, in a list.
            validation_split: the fraction, at the end of the arrays, to validate on.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or anything that `x` may be.
            shuffle: whether samples are drawn in a new order each epoch; "batch" keeps batches together.
            class_weight: a factor of the loss for each class.
            sample_weight: a factor of the loss for each sample.
            initial_epoch: the epoch to go on from.
            steps_per_epoch: batches an epoch; needed where the data does not end.
            validation_steps, validation_batch_size: the same for validation.
            validation_freq: validate every so many epochs, or at the epochs in a list (counted from 1).

        Returns:
            A `History`: `history.history` holds the logs of each epoch.
        """
        self._begin("fit")
        epochs, initial_epoch = _count(epochs, "epochs"), _count(initial_epoch, "initial_epoch")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = train_validation_split((x, y, sample_weight), validation_split)
        limit = config.max_epochs()
        if limit is not None and limit < epochs:
            warn_user(f"Limiting epochs to {limit}, the number set by `keras.config.set_max_epochs`.")
            epochs = limit
        device = devices.get_device()
        source = make_source(
            x, y, sample_weight,
            batch_size=batch_size, steps=steps_per_epoch, shuffle=shuffle, class_weight=class_weight,
            device=device, generator=host_generator(draw_seed(None)) if shuffle else None,
        )  # fmt: skip
        validation = None
        if validation_data is not None:
            val_x, val_y, val_weight = unpack_x_y_sample_weight(validation_data)
            validation = make_source(
                val_x, val_y, val_weight,
                batch_size=validation_batch_size or batch_size, steps=validation_steps, device=device,
            )  # fmt: skip
        build_for(self, source.peek()[0])
        callbacks = self._callback_list(
            callbacks, verbose, source, epochs=epochs, add_history=True, validates=validation is not None
        )
        self.stop_training = False
        logs: dict[str, Any] = {}
        try:
            self._find_trained()  # callbacks find the optimizer built
            callbacks.on_train_begin()
            if self._initial_epoch is not None:  # training that was interrupted goes on
                source.skip_orders(self._initial_epoch - initial_epoch)
                initial_epoch = self._initial_epoch
            with denormals.as_zeros(device) as flush:
                for epoch in range(initial_epoch, epochs):
                    self.reset_metrics()
                    callbacks.on_epoch_begin(epoch)
                    # Anew for each epoch: a callback may have changed what is trained.
                    step = self._start("train", anew=epoch == initial_epoch)
                    logs = self._run_epoch(source, callbacks, "train", step, flush)
                    if validation is not None and _is_due(epoch, validation_freq):
                        found = self._evaluate(validation, callbacks, flush)
                        logs |= {f"val_{name}": value for name, value in found.items()}
                    callbacks.on_epoch_end(epoch, logs)
                    if self.stop_training or source.exhausted:
                        break
            if self.optimizer is not None and epochs > 0:
                self.optimizer.finalize_variable_values(self.trainable_weights)
            callbacks.on_train_end(logs)
        finally:
            self._initial_epoch = None
            self._release()
            source.close()
            if validation is not None:
                validation.close()
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on data that the model is not trained on.

        Args:
            x, y, sample_weight, batch_size, verbose, callbacks: as for `fit`.
            steps: batches to evaluate on; needed where the data does not end.
            return_dict: whether to return a dict by name, instead of a list (or one number where there is one).
        """
        self._begin("evaluate")
        source = make_source(x, y, sample_weight, batch_size=batch_size, steps=steps, device=devices.get_device())
        try:
            build_for(self, source.peek()[0])
            callbacks = self._callback_list(callbacks, verbose, source)
            logs = self._evaluate(source, callbacks)
        finally:
            self._release()
            source.close()
        return logs if return_dict else self._in_order(logs)

    def _evaluate(self, source: Any, callbacks: Any, flush: Flush = denormals.nothing) -> dict[str, Any]:
        self.stop_evaluating = False
        callbacks.on_test_begin()
        self.reset_metrics()
        with torch.no_grad():
            logs = self._run_epoch(source, callbacks, "test", self._start("test", anew=True), flush)
        callbacks.on_test_end(logs)
        return logs

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs for `x`, as NumPy arrays in the structure of the outputs.

        Args:
            x, batch_size, verbose, callbacks: as for `fit`.
            steps: batches to predict; needed where the data does not end.
        """
        if verbose == 0 and callbacks is None and steps is None and _is_one_batch(x, batch_size):
            return self.predict_on_batch(x)
        source = make_source(x, batch_size=batch_size, steps=steps, device=devices.get_device())
        if verbose == 0 and callbacks is None and self._is_own("predict_step"):
            return self._predict_quietly(source)
        try:
            build_for(self, source.peek()[0])
            callbacks = self._callback_list(callbacks, verbose, source)
            self.stop_predicting = False
            callbacks.on_predict_begin()
            step = self._start("predict", anew=True)
            collected: list[list] = []
            outputs: Any = None
            with torch.no_grad(), internal():
                for first, last, batches in grouped(source.epoch(), self.steps_per_execution):
                    callbacks.on_predict_batch_begin(first)
                    for batch in batches:
                        outputs = step(*batch)
                        # Detached, they do not keep alive what a loss would be computed from.
                        collected.append(
                            [x.detach() if isinstance(x, torch.Tensor) else x for x in tree.flatten(outputs)]
                        )
                    callbacks.on_predict_batch_end(last, {"outputs": _joined(outputs, collected[first:])})
                    if self.stop_predicting:
                        break
            callbacks.on_predict_end()
        finally:
            source.close()
        columns = [concatenated(column) for column in zip(*collected, strict=True)]
        return tree.pack_sequence_as(outputs, columns)

    def _predict_quietly(self, source: Any) -> Any:
        """`predict` where nobody looks on: without the bookkeeping of a batch."""
        try:
            build_for(self, source.peek()[0])
            step = self._start("predict", anew=True)
            still = nullcontext()
            if isinstance(step, CapturedStep) and isinstance(source, ArraySource):
                still = step.with_fixed_weights()  # no code of the user's runs between two batches
            with torch.no_grad(), internal(), still:
                outputs = list(starmap(step, islice(source.epoch(), config.max_steps_per_epoch())))
        finally:
            source.close()
        if all(isinstance(one, torch.Tensor) for one in outputs):
            return concatenated(tuple(one.detach() if one.requires_grad else one for one in outputs))
        columns = zip(*map(tree.flatten, outputs), strict=True)
        return tree.pack_sequence_as(outputs[-1], [concatenated(column) for column in columns])

    # ------------------------------------------------------------ one batch

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step; returns the loss and the metrics of this batch."""
        if class_weight is not None and sample_weight is not None:
            raise ValueError(
                "Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                f"Received: sample_weight={sample_weight}, class_weight={class_weight}"
            )
        return self._run_single("train", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and the metrics of one batch."""
        with torch.no_grad():
            return self._run_single("test", x, y, sample_weight, None, return_dict)

    def _run_single(self, mode: str, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool) -> Any:
        known = step = self._known(f"{mode} on batch")
        if step is None:
            self._begin(f"{mode}_on_batch")
        batch = self._single_batch(x, y, sample_weight, class_weight)
        try:
            if step is None:
                build_for(self, batch[0])
                step = self._start(mode, on_batch=True)
            with internal():
                logs = as_numbers(step(*batch))
        finally:
            if known is None:
                self._release()
        if return_dict:
            return logs
        if known is None:
            return self._in_order(logs)
        if known.log_names is None or known.log_names.keys() != logs.keys():
            known.log_names = dict.fromkeys(self._names_in_order(logs))
        return _one_or_all([logs[name] for name in known.log_names])

    def _in_order(self, logs: dict[str, Any]) -> Any:
        """Results as a list, or as one number."""
        return _one_or_all([logs[name] for name in self._names_in_order(logs)])

    def predict_on_batch(self, x: Any) -> Any:
        """The model's outputs for one batch, as NumPy arrays."""
        batch = self._single_batch(x)
        step = self._known("predict")
        if step is None:
            build_for(self, batch[0])
            step = self._start("predict")
        with torch.no_grad(), internal():
            outputs = step(*batch)
        if isinstance(outputs, torch.Tensor):
            return convert_to_numpy(outputs)
        return tree.map_structure(convert_to_numpy, outputs)

    def _callback_list(self, callbacks: Any, verbose: Any, source: Any, epochs: int = 1, **options: Any) -> Any:
        """What the user passed as callbacks, and a progress bar, called as one."""
        if isinstance(callbacks, callbacks_module.CallbackList):
            return callbacks
        return callbacks_module.CallbackList(
            callbacks,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=source.steps_per_epoch,
            model=self,
            **options,
        )

    @staticmethod
    def _single_batch(x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None) -> tuple:
        device = devices.get_device()
        if class_weight is None and sample_weight is None and _is_array(x) and (y is None or _is_array(y)):
            if y is None:
                return to_tensor(x).to(device), None, None
            if x.shape[:1] == y.shape[:1]:
                return to_tensor(x).to(device), to_tensor(y).to(device), None
        if y is None and sample_weight is None and type(x) in (list, tuple) and _rows(x) is not None:
            return type(x)([to_tensor(one).to(device) for one in x]), None, None
        source = make_source(
            x, y, sample_weight, batch_size=max(rows_of(x), 1), class_weight=class_weight, device=device
        )
        return source.peek()

    # ------------------------------------------------------------ inside

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

    def _on_batch(self, step: Callable, *batch: Any) -> dict[str, Any]:
        self.reset_metrics()
        logs = step(*batch)
        return self.get_metrics_result() if logs is None else logs

    def _is_own(self, step: str) -> bool:
        from fastk.training.trainer import Trainer

        return getattr(type(self), step) is getattr(Trainer, step) and step not in self.__dict__

    def _run_epoch(
        self, source: Any, callbacks: Any, mode: str, step: Callable, flush: Flush = denormals.nothing
    ) -> dict[str, Any]:
        """One pass over the data; returns the logs after it, as numbers."""
        begin, end = getattr(callbacks, f"on_{mode}_batch_begin"), getattr(callbacks, f"on_{mode}_batch_end")
        stop = "stop_training" if mode == "train" else "stop_evaluating"
        logs: Any = None
        results = results_of(self._results, self.get_metrics_result, devices.get_device())
        with internal():
            for first, last, calls in executions(self, source, callbacks, mode, step):
                begin(first)
                flush(True)
                for call, batch in calls:
                    logs = call(*batch)
                flush(False)
                end(last, results if logs is None else partial(as_numbers, logs))
                if getattr(self, stop):
                    break
        return self._final_logs(logs)

    def _results(self) -> dict[str, Any]:
        with internal():
            return to_numbers(self.get_metrics_result())

    def _final_logs(self, logs: Any) -> dict[str, Any]:
        """The metrics' results, or the last step's logs where a step of the user's reports something else."""
        results = self._results()
        if logs is None:
            return results
        logs = as_numbers(logs)
        # A step that reports a loss and leaves the mean of the loss alone reports its own.
        own_loss = "loss" in logs and not bool(self._loss_tracker.count.value)
        return logs if own_loss or logs.keys() != results.keys() else {name: results[name] for name in logs}


def _is_array(x: Any) -> bool:
    return type(x) in (np.ndarray, torch.Tensor) and not is_text_array(x)


def _is_one_batch(x: Any, batch_size: Any) -> bool:
    if type(x) in (list, tuple):
        return bool(x) and _rows(x) is not None and _is_one_batch(x[0], batch_size)
    return _is_array(x) and x.ndim > 0 and 0 < len(x) <= (batch_size or DEFAULT_BATCH_SIZE)


def _rows(arrays: Any) -> int | None:
    """How many rows all of several arrays have; None where they are no arrays, or differ."""
    counts = {x.shape[0] if _is_array(x) and x.ndim else None for x in arrays}
    return counts.pop() if len(counts) == 1 else None


def _one_or_all(values: list) -> Any:
    return values[0] if len(values) == 1 else values


def _count(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"`{name}` must be an integer. Received: {value!r} (of type {type(value)})") from None


def _is_due(epoch: int, frequency: Any) -> bool:
    """Whether to validate after `epoch` (counted from 0)."""
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    if isinstance(frequency, (list, tuple)):
        return epoch + 1 in frequency
    raise ValueError(
        f"Expected `validation_freq` to be a list or int. Received: validation_freq={frequency} of type "
        f"{type(frequency)}."
    )


def concatenated(parts: tuple) -> np.ndarray:
    """One output of several batches as one array."""
    if all(isinstance(part, torch.Tensor) for part in parts):
        return convert_to_numpy(parts[0] if len(parts) == 1 else torch.cat(parts))
    return np.concatenate([convert_to_numpy(part) for part in parts])


def _joined(outputs: Any, parts: list[list]) -> Any:
    """The outputs of several batches, in the structure of `outputs`, as one batch."""
    if len(parts) == 1:
        return outputs
    return tree.pack_sequence_as(outputs, [torch.cat(column) for column in zip(*parts, strict=True)])
