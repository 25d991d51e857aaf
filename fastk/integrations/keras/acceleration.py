"""`accelerate(model)`: fastk's steps in Keras's loops, on one model, until they are taken back."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from fastk.integrations.keras.callbacks import callback_list_class
from fastk.integrations.keras.data import feed, is_arrays
from fastk.integrations.keras.report import Report, report
from fastk.integrations.keras.session import MODES, Session
from fastk.training import denormals
from fastk.training.data.arrays import DEFAULT_BATCH_SIZE
from fastk.training.data.convert import to_tensor
from fastk.training.loops import concatenated
from fastk.training.step import CapturedStep

PLACE = "_accelerated_by_fastk"
_METHODS = ("make_train_function", "make_test_function", "make_predict_function", "fit", "evaluate", "predict")


class Acceleration:
    """What `accelerate` returns; a context manager, at whose end `undo` is called.

    Args:
        keras: the module.
        model: the `keras.Model`.
        replay_custom_steps: see `accelerate`.
    """

    def __init__(self, keras: Any, model: Any, replay_custom_steps: bool = False):
        self.keras, self.model = keras, model
        self.replay_custom_steps = replay_custom_steps
        self.session: Session | None = None
        self._may_have_changed = True
        self._quiet = False  # whether the results of a batch are asked for where they are needed
        self._unread: dict[str, Any] = {}
        self._flush: Callable[[bool], Any] = denormals.nothing
        self._results_step: CapturedStep | None = None

    # ------------------------------------------------------------ in place and back

    def install(self) -> None:
        """Puts fastk's functions on the instance; its class stays as it is."""
        attributes = vars(self.model)
        attributes[PLACE] = self
        for mode in MODES:
            attributes[f"make_{mode}_function"] = functools.partial(self._make_function, mode)
        for name in ("fit", "evaluate", "predict"):
            if getattr(type(self.model), name) is getattr(self.keras.Model, name):
                own = functools.partial(getattr(self, f"_{name}"))
                attributes[name] = functools.update_wrapper(own, getattr(type(self.model), name))
        self._forget_functions()

    def undo(self) -> None:
        """Takes everything back: the model is Keras's again, with the weights and states that it has now."""
        attributes = vars(self.model)
        if attributes.get(PLACE) is not self:
            return
        for name in (PLACE, *_METHODS):
            attributes.pop(name, None)
        self._forget_functions()
        self.session = self._results_step = None

    def _forget_functions(self) -> None:
        for mode in MODES:
            vars(self.model)[f"{mode}_function"] = None

    def explain(self, batch_size: int = 32, training: bool = True) -> Report:
        """What of the model fastk computes; see `fastk.integrations.keras.explain`."""
        return report(self, batch_size, training)

    def __enter__(self) -> Acceleration:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()

    # ------------------------------------------------------------ the session

    def look_again(self) -> None:
        """Has the model compared with what its steps were recorded from before the next one."""
        self._may_have_changed = True

    def prepared(self) -> Session:
        """The session of the model as it is."""
        session = self.session
        if session is None or self._may_have_changed:
            self._may_have_changed = False
            if session is None or not session.state.holds():
                optimizer = getattr(self.model, "optimizer", None)
                if optimizer is not None and not optimizer.built and self.model.built:
                    optimizer.build(self.model.trainable_variables)
                session = self.session = Session(self.keras, self.model, self.replay_custom_steps)
                self._results_step = CapturedStep(lambda x, y, w: self.model.get_metrics_result(), session.own)
            elif not session.state.own_holds():
                session.check_again()
        return session

    def results(self, logs: Any = None) -> Any:
        """The loss and the metrics so far; `logs` themselves where a step of the user's gave them."""
        if logs and logs is not self._unread:
            return logs
        step = self._results_step
        if step is None or self.session is None or self.session.own or self._device().type != "cpu":
            return self.model.get_metrics_result()
        with torch.no_grad():
            return step(None, None, None)

    def _device(self) -> torch.device:
        from keras.src.backend.torch.core import get_device

        return torch.device(get_device())

    # ------------------------------------------------------------ what Keras's loops call

    def _make_function(self, mode: str, force: bool = False) -> Any:
        model = self.model
        if model.run_eagerly:
            return getattr(type(model), f"make_{mode}_function")(model, force)
        vars(self).pop("_device_type", None)  # asked for once in each `fit`
        self.look_again()
        self.prepared().check_again()
        if mode != "predict" and self._quiet:
            self._unread = dict.fromkeys(model.get_metrics_result())
        function = functools.partial(self._run, mode)
        vars(model)[f"{mode}_function"] = function
        return function

    def _run(self, mode: str, data: list[Any]) -> Any:
        """`train_function` and the others: as many steps as there are batches."""
        step = self.prepared().step(mode)
        self._may_have_changed = not self._quiet  # code of the user's runs between two calls
        flush = self._flush if mode == "train" else denormals.nothing
        outputs: Any = None
        if mode == "train":
            flush(True)
            for batch in data:
                outputs = step(*self._batch(batch))
            flush(False)
        else:
            with torch.no_grad():
                for batch in data:
                    outputs = step(*self._batch(batch))
        if mode == "predict":
            return outputs
        if outputs is not None:
            return outputs
        return self._unread if self._quiet else self.results()

    def _batch(self, data: Any) -> tuple[Any, Any, Any]:
        """`(x, y, sample_weight)` as tensors on Keras's device."""
        if type(data) is not tuple or len(data) > 3:
            data = self.keras.utils.unpack_x_y_sample_weight(data)
        if not _are_tensors(data, self._device_type):
            data = tuple(self.keras.tree.map_structure(self._tensor, part, none_is_leaf=False) for part in data)
        x, y, sample_weight = (*data, None, None)[:3]
        return x, y, sample_weight

    @functools.cached_property
    def _device_type(self) -> str:
        return self._device().type

    def _tensor(self, x: Any) -> Any:
        if isinstance(x, np.ndarray) and x.dtype.kind not in "fiubc":
            return x  # strings, which layers look up
        return self.keras.ops.convert_to_tensor(x)

    # ------------------------------------------------------------ Keras's methods, with fastk's data and callbacks

    def _fit(self, *args: Any, **kwargs: Any) -> Any:
        given = self._given("fit", args, kwargs)
        split, validation = given["validation_split"], given["validation_data"]
        arrays: Any = given["x"], given["y"], given["sample_weight"]
        if split and validation is None:
            from keras.src.trainers.data_adapters.array_slicing import train_validation_split

            arrays, validation = train_validation_split(arrays, validation_split=split)
            given |= dict(zip(("x", "y", "sample_weight"), arrays, strict=True), validation_split=0.0)
        steps = given["steps_per_epoch"]
        self._feed(given, arrays, steps, shuffle=given["shuffle"], class_weight=given["class_weight"])
        if validation is not None:
            parts = self.keras.utils.unpack_x_y_sample_weight(validation)
            size = given["validation_batch_size"] or given["batch_size"]
            made = feed(self.keras, *parts, batch_size=size, steps=given["validation_steps"])
            given["validation_data"] = validation if made is None else (made,)
        epochs = min(given["epochs"], self.keras.config.max_epochs() or given["epochs"])
        quietly = self._quietly(given, epochs=epochs, add_history=True)
        with quietly, denormals.as_zeros(self._device()) as flush:
            self._flush = flush
            try:
                return type(self.model).fit(self.model, **given)
            finally:
                self._flush = denormals.nothing

    def _evaluate(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("_use_cached_eval_dataset"):
            return type(self.model).evaluate(self.model, *args, **kwargs)
        given = self._given("evaluate", args, kwargs)
        self._feed(given, (given["x"], given["y"], given["sample_weight"]), given["steps"])
        with self._quietly(given):
            return type(self.model).evaluate(self.model, **given)

    def _predict(self, *args: Any, **kwargs: Any) -> Any:
        given = self._given("predict", args, kwargs)
        x = given["x"]
        is_seen = given["verbose"] != 0 or given["callbacks"] is not None or self.model.run_eagerly
        if not is_seen and given["steps"] is None and _is_one_batch(x, given["batch_size"]):
            return self._predict_quietly([(self.keras.tree.map_structure(to_tensor, x),)])
        self._feed(given, (x, None, None), given["steps"])
        if not is_seen and given["x"] is not x:
            batches = given["x"].get_torch_dataloader()
            limit = given["steps"] or self.keras.config.max_steps_per_epoch()
            return self._predict_quietly(itertools.islice(batches, limit))
        with self._quietly(given):
            return type(self.model).predict(self.model, **given)

    def _predict_quietly(self, batches: Iterable[Any]) -> Any:
        """`predict` where nobody looks on: without the bookkeeping of a batch."""
        model = self.model
        if model.training:
            model.eval()
        if model.predict_function is None or self._may_have_changed:
            model.make_predict_function()
        step = self.prepared().step("predict")
        self._may_have_changed = True
        fixed = step.with_fixed_weights() if isinstance(step, CapturedStep) else contextlib.nullcontext()
        with torch.no_grad(), fixed:
            outputs = [step(*self._batch(batch)) for batch in batches]
        if all(isinstance(one, torch.Tensor) for one in outputs):
            return concatenated(tuple(outputs))
        columns = zip(*map(self.keras.tree.flatten, outputs), strict=True)
        return self.keras.tree.pack_sequence_as(outputs[0], [concatenated(column) for column in columns])

    def _given(self, name: str, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a method by name, with their defaults."""
        bound = _signature(getattr(type(self.model), name)).bind(self.model, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        return arguments | arguments.pop("kwargs", {})

    def _feed(self, given: dict[str, Any], arrays: tuple, steps: int | None, **options: Any) -> None:
        """Puts fastk's source of batches in the place of arrays."""
        made = feed(self.keras, *arrays, batch_size=given["batch_size"], steps=steps, **options)
        if made is not None:
            given["x"] = made
            given |= dict.fromkeys(given.keys() & {"y", "sample_weight", "class_weight"})

    @contextlib.contextmanager
    def _quietly(self, given: dict[str, Any], epochs: int = 1, **options: Any) -> Iterator[None]:
        """Inside, a step's results are computed where they are looked at; not with a `CallbackList` of the user's."""
        is_list = isinstance(given["callbacks"], self.keras.callbacks.CallbackList)
        if is_list or self.model.run_eagerly:
            yield
            return
        verbose, x = given["verbose"], given["x"]
        steps = given.get("steps_per_epoch") or given.get("steps") or self._batches_of(x)
        given["callbacks"] = callback_list_class()(
            self, given["callbacks"], add_progbar=verbose != 0, verbose=verbose, epochs=epochs, steps=steps,
            model=self.model, **options,
        )  # fmt: skip
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _batches_of(self, x: Any) -> int | None:
        from keras.src.trainers.data_adapters import get_data_adapter
        from keras.src.trainers.data_adapters.data_adapter import DataAdapter

        if isinstance(x, DataAdapter):
            return x.num_batches
        return None if inspect.isgenerator(x) else get_data_adapter(x).num_batches


_signature = functools.cache(inspect.signature)


def _are_tensors(data: Any, device_type: str) -> bool:
    """Whether all that there is in a structure are tensors on a device."""
    kind = type(data)
    if kind is torch.Tensor:
        return data.device.type == device_type
    if kind is dict:
        data = data.values()
    return data is None or (kind in (tuple, list, dict) and all(_are_tensors(x, device_type) for x in data))


def _is_one_batch(x: Any, batch_size: int | None) -> bool:
    """Whether `x` are arrays of at most a batch, of dtypes that are the same to Keras and to fastk."""
    if isinstance(x, (tuple, list, dict)):
        parts = list(x.values()) if isinstance(x, dict) else x
        return bool(parts) and all(_is_one_batch(p, batch_size) and len(p) == len(parts[0]) for p in parts)
    if not is_arrays(x):
        return False
    name = str(x.dtype).removeprefix("torch.")
    return 0 < x.shape[0] <= (batch_size or DEFAULT_BATCH_SIZE) and name in ("float32", "float64", "int32", "int64")
