"""The loops of `fit`, `evaluate` and `predict`.

A loop rebuilds nothing per batch and reads nothing from the device per batch: logs are handed to the callbacks as a
function that computes them, and only what shows them calls it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice, starmap
from typing import Any

import numpy as np
import torch

from fastk import callbacks as callbacks_module
from fastk import config, tree
from fastk import device as devices
from fastk.distribution import strategies
from fastk.distribution.ranks import Group
from fastk.random.seed_generator import draw_seed, host_generator
from fastk.scopes import internal
from fastk.tensor import convert_to_numpy
from fastk.training import denormals, parallel
from fastk.training.build import build_for
from fastk.training.data import make_source, train_validation_split
from fastk.training.data.arrays import DEFAULT_BATCH_SIZE, ArraySource
from fastk.training.data.parts import Part, PartSource, rows_of
from fastk.training.executions import executions, grouped
from fastk.training.logs import results_of
from fastk.training.one_batch import OneBatch, is_array, rows_in_common
from fastk.training.step import CapturedStep
from fastk.user_warning import warn_user
from fastk.utils.packing import unpack_x_y_sample_weight

Flush = Callable[[bool], Any]  # of `denormals.as_zeros`


class Loops(OneBatch):
    """`fit`, `evaluate`, `predict`, and their one-batch forms."""

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
        group, device = strategies.active(), devices.get_device()
        source = make_source(
            x, y, sample_weight,
            batch_size=batch_size, steps=steps_per_epoch, shuffle=shuffle, class_weight=class_weight,
            device=device, generator=host_generator(_same_seed(group)) if shuffle else None,
        )  # fmt: skip
        validation = None
        if validation_data is not None:
            val_x, val_y, val_weight = unpack_x_y_sample_weight(validation_data)
            validation = make_source(
                val_x, val_y, val_weight,
                batch_size=validation_batch_size or batch_size, steps=validation_steps, device=device,
            )  # fmt: skip
        if group is not None:
            source, validation = _parts_of(source, group), validation and _parts_of(validation, group)
            parallel.agree(group, {"epochs": epochs, "initial_epoch": initial_epoch, "validation": bool(validation)})
        build_for(self, source.peek()[0])
        callbacks = self._callback_list(
            callbacks, verbose, source, epochs=epochs, add_history=True, validates=validation is not None
        )
        self.stop_training = False
        logs: dict[str, Any] = {}
        try:
            if group is not None:
                parallel.share_out(self, group)
            self._find_trained()  # callbacks find the optimizer built
            callbacks.on_train_begin()
            if group is not None:  # after a callback may have loaded weights
                parallel.synchronise(self, group)
                self._initial_epoch = group.gather_objects(self._initial_epoch)[0]
            if self._initial_epoch is not None:  # training that was interrupted goes on
                source.skip_orders(self._initial_epoch - initial_epoch)
                initial_epoch = self._initial_epoch
            seeds = nullcontext() if group is None else parallel.own_seeds(self, group)
            with seeds, denormals.as_zeros(device) as flush:
                for epoch in range(initial_epoch, epochs):
                    self.reset_metrics()
                    callbacks.on_epoch_begin(epoch)
                    # Anew for each epoch: a callback may have changed what is trained.
                    step = self._start("train", anew=epoch == initial_epoch)
                    logs = self._run_epoch(source, callbacks, "train", step, flush)
                    if group is not None:
                        parallel.average_statistics(self, group)
                    if validation is not None and _is_due(epoch, validation_freq):
                        found = self._evaluate(validation, callbacks, flush)
                        logs |= {f"val_{name}": value for name, value in found.items()}
                    callbacks.on_epoch_end(epoch, logs)
                    if _for_any(self.stop_training or source.exhausted, group):
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
        group = strategies.active()
        if group is not None:
            source = _parts_of(source, group)
        try:
            build_for(self, source.peek()[0])
            if group is not None:
                parallel.synchronise_once(self, group)
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
        group = strategies.active()
        if group is not None and (parts := _parts_of(source, group)).cuts:
            source = parts
        elif verbose == 0 and callbacks is None and self._is_own("predict_step"):
            return self._predict_quietly(source)
        try:
            build_for(self, source.peek()[0])
            group = source.group if isinstance(source, PartSource) else None
            if group is not None:
                parallel.synchronise_once(self, group)
            callbacks = self._callback_list(callbacks, verbose, source)
            self.stop_predicting = False
            callbacks.on_predict_begin()
            step = self._start("predict", anew=True)
            collected: list[list] = []
            outputs: Any = None
            rows: list[tuple[int, bool]] = []  # of each step, and whether they are a part of the batch
            with torch.no_grad(), internal():
                for first, last, batches in grouped(source.epoch(), self.steps_per_execution):
                    callbacks.on_predict_batch_begin(first)
                    for batch in batches:
                        if isinstance(batch, Part):
                            rows.append((rows_of(batch.batch), batch.share is not None))
                            batch = batch.batch
                        outputs = step(*batch)
                        # Detached, they do not keep alive what a loss would be computed from.
                        collected.append(
                            [x.detach() if isinstance(x, torch.Tensor) else x for x in tree.flatten(outputs)]
                        )
                    callbacks.on_predict_batch_end(last, {"outputs": _joined(outputs, collected[first:])})
                    if _for_any(self.stop_predicting, group if callbacks.follows_batches("predict") else None):
                        break
            callbacks.on_predict_end()
        finally:
            source.close()
        columns = [concatenated(column) for column in zip(*collected, strict=True)]
        if group is not None:
            columns = parallel.gathered(columns, rows, group)
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

    def _run_epoch(
        self, source: Any, callbacks: Any, mode: str, step: Callable, flush: Flush = denormals.nothing
    ) -> dict[str, Any]:
        """One pass over the data; returns the logs after it, as numbers."""
        begin, end = getattr(callbacks, f"on_{mode}_batch_begin"), getattr(callbacks, f"on_{mode}_batch_end")
        stop = "stop_training" if mode == "train" else "stop_evaluating"
        logs: Any = None
        group = source.group if isinstance(source, PartSource) else None
        follow = group if callbacks.follows_batches(mode) else None  # then one of them may stop what others go on with
        share: float | None = None
        if group is None:
            results = results_of(self._results, self.get_metrics_result, devices.get_device())
        else:
            results = parallel.Results(lambda: self._results_of_all(group), self._results)
        with internal():
            for first, last, calls in executions(self, source, callbacks, mode, step):
                begin(first)
                flush(True)
                for call, batch in calls:
                    logs = call(*batch)
                flush(False)
                if group is not None:
                    share = calls[-1][1][0].share
                end(last, results if logs is None else self._logs_of(logs, group, share))
                if _for_any(getattr(self, stop), follow):
                    break
        return self._final_logs(logs, group, share)


def _same_seed(group: Group | None) -> torch.Tensor:
    seed = draw_seed(None)
    return seed if group is None else group.broadcast_(seed.clone(), "the seed of the order of samples")


def _parts_of(source: Any, group: Group) -> PartSource:
    return PartSource(source, group, strategies.cuts_data())


def _for_any(value: Any, group: Group | None) -> bool:
    """Whether it holds here or, where there is a group, on any of its processes."""
    return bool(value) if group is None else group.any(bool(value))


def _is_one_batch(x: Any, batch_size: Any) -> bool:
    if type(x) in (list, tuple):
        return bool(x) and rows_in_common(x) is not None and _is_one_batch(x[0], batch_size)
    return is_array(x) and x.ndim > 0 and 0 < len(x) <= (batch_size or DEFAULT_BATCH_SIZE)


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
