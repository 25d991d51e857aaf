"""Models as HDF5 files, Keras's format before `.keras`: `model.save("model.h5")`.

attributes        keras_version, backend, model_config (JSON), training_config (JSON)
model_weights     one group a layer, with the names of its weights in order
optimizer_weights the optimizer's variables in order
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastk.atomic import replacing
from fastk.errors import FileFormatError
from fastk.saving.archive import UNUSABLE, memory_limit, parsed
from fastk.saving.h5 import H5Reader
from fastk.saving.legacy_config import current, old_loss, old_model, old_object
from fastk.serialization import custom_object_scope, deserialize_keras_object, safe_mode_scope, serialize_keras_object
from fastk.tensor import convert_to_numpy
from fastk.user_warning import warn_user
from fastk.variable import Variable

logger = logging.getLogger("fastk")

LEGACY = (".h5", ".hdf5")
"""How the files' names end; `.weights.h5` is another format."""
MAX_ATTRIBUTE = 64512
"""The most bytes that HDF5 keeps in one attribute; longer lists of names are cut into several."""
_TOP = "top_level_model_weights"


# ---------------------------------------------------------------- writing


def save_model(model: Any, path: str, include_optimizer: bool, keras_version: str) -> None:
    """Writes a model; the file takes its place when it is whole."""
    import h5py

    logger.warning(
        "The model is saved as an HDF5 file, an old format of Keras. Prefer the `.keras` format: "
        "model.save('my_model.keras')."
    )
    attributes = _describe(model, include_optimizer)
    with replacing(path) as file, h5py.File(file, "w") as h5:
        h5.attrs["keras_version"], h5.attrs["backend"] = keras_version, "torch"
        for name, value in attributes.items():
            h5.attrs[name] = value.encode()
        weights = h5.create_group("model_weights")
        weights.attrs["keras_version"], weights.attrs["backend"] = keras_version.encode(), b"torch"
        _write_names(weights, "layer_names", [layer.name for layer in model.layers])
        for layer in sorted(model.layers, key=lambda layer: layer.name):
            _write_variables(weights.create_group(layer.name), _weights(layer))
        _write_variables(weights.create_group(_TOP), _own_weights(model))
        if include_optimizer and getattr(model, "optimizer", None) is not None and model.optimizer.variables:
            _write_variables(h5.create_group("optimizer_weights"), model.optimizer.variables)


def _describe(model: Any, include_optimizer: bool) -> dict[str, str]:
    described = serialize_keras_object(model)
    texts = {"model_config": json.dumps(old_model(described), default=_plain)}
    compiled = described.get("compile_config")
    if compiled and include_optimizer and compiled.get("optimizer") is not None:
        training = {key: old_object(value) for key, value in compiled.items() if key != "optimizer"}
        training["loss"] = old_loss(compiled.get("loss"))
        training["optimizer_config"] = old_object(compiled["optimizer"])
        texts["training_config"] = json.dumps(training, default=_plain)
    return texts


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(
        f"The configuration of the model cannot be written as JSON: it holds {value!r} of type {type(value).__name__}. "
        "Return numbers, strings, lists, dicts, or objects with a `get_config` of their own from `get_config`."
    )


def _weights(layer: Any) -> list[Variable]:
    return layer.trainable_weights + layer.non_trainable_weights


def _own_weights(model: Any) -> list[Variable]:
    """The weights that are the model's and no layer's."""
    known = {id(variable) for variable in model.weights}
    return [v for v in model._trainable_variables + model._non_trainable_variables if id(v) in known]


def _write_variables(group: Any, variables: Sequence[Variable]) -> None:
    names: list[str] = []
    for variable in variables:
        name, count = str(variable.path), 0
        while name in names:
            count += 1
            name = f"{variable.path}_{count}"
        names.append(name)
        array = convert_to_numpy(variable.value)
        group.create_dataset(name, data=array.astype("float32") if array.dtype.name == "bfloat16" else array)
    _write_names(group, "weight_names", names)


def _write_names(group: Any, key: str, names: list[str]) -> None:
    encoded = [name.encode() for name in names]
    longest = max(map(len, encoded), default=0)
    if longest > MAX_ATTRIBUTE:
        raise ValueError(f"A name of {longest} bytes cannot be saved in an HDF5 file: {names!r:.200}.")
    in_one = max(1, MAX_ATTRIBUTE // max(longest, 1))
    if len(encoded) <= in_one:
        group.attrs[key] = encoded
        return
    for number, start in enumerate(range(0, len(encoded), in_one)):
        group.attrs[f"{key}{number}"] = encoded[start : start + in_one]


# ---------------------------------------------------------------- reading


def load_model(path: str, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool) -> Any:
    """The model of a file that `save_model` wrote, Keras 3, or Keras 2."""
    with H5Reader(path, path) as reader, custom_object_scope(custom_objects or {}):
        described = _read_json(reader, "model_config")
        if described is None:
            raise FileFormatError(
                f"No model config found in the file at {path}: it holds weights alone, or is no model of Keras. Build "
                "the model, and call `model.load_weights(path)`."
            )
        with memory_limit(os.path.getsize(path), path, safe_mode), safe_mode_scope(safe_mode):
            model = _rebuild(described, path)
            load_weights(model, reader, "model_weights")
            if not compile:
                return model
            training = _read_json(reader, "training_config")
            if training is None:
                logger.warning(
                    "No training configuration found in the save file, so the model was *not* compiled. Compile it "
                    "manually."
                )
                return model
            _compile(model, training)
        if reader.has("optimizer_weights") and model.optimizer is not None and model.built:
            _load_optimizer(model.optimizer, _Group(reader, "optimizer_weights"))
    return model


def _read_json(reader: H5Reader, key: str) -> Any:
    with reader._damage_reported(f"read the attribute '{key}'"):
        text = reader._h5.attrs.get(key)
    if text is None:
        return None
    found = parsed(text if isinstance(text, bytes) else str(text), f"{reader.source}: the attribute `{key}`")
    if not isinstance(found, dict):
        raise FileFormatError(f"{reader.source}: the attribute `{key}` should be an object, and is {found!r:.100}.")
    return found


def _rebuild(described: dict, path: str) -> Any:
    try:
        model = deserialize_keras_object(current(described))
    except UNUSABLE as error:
        raise FileFormatError(
            f"{path}: the model could not be rebuilt from `model_config` ({type(error).__name__}: {error}). The file "
            "is damaged, or the `from_config` of a class in it fails."
        ) from error
    if not hasattr(model, "layers"):
        raise FileFormatError(f"{path}: `model_config` describes a {type(model).__name__}, not a model.")
    return model


def _compile(model: Any, training: dict[str, Any]) -> None:
    optimizer = training.get("optimizer_config")
    loss, metrics = current(training.get("loss"), "loss"), current(training.get("metrics"), "metrics")
    if isinstance(metrics, list) and len(metrics) == 1 and isinstance(metrics[0], list):
        metrics = metrics[0]  # Keras 2 has one list for each output
    arguments = {
        "optimizer": current(optimizer, "optimizer"),
        "loss": loss,
        "metrics": metrics,
        "weighted_metrics": current(training.get("weighted_metrics"), "metrics"),
        "loss_weights": training.get("loss_weights"),
    }
    for name in ("run_eagerly", "steps_per_execution"):
        if training.get(name) is not None:
            arguments[name] = training[name]
    model.compile_from_config(arguments)


def _load_optimizer(optimizer: Any, group: _Group) -> None:
    variables, names = optimizer.variables, group.names("weight_names")
    stored = [group.array(name, variable) for name, variable in zip(names, variables, strict=False)]
    fits = len(names) == len(variables) and all(
        array.shape == tuple(variable.shape) for array, variable in zip(stored, variables, strict=True)
    )
    if not fits:
        warn_user(
            "The saved state of the optimizer does not fit, as of one from another version of Keras: the model starts "
            "with a freshly initialized optimizer."
        )
        return
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(array)


class _Group:
    """A group of named arrays, read without trusting it."""

    def __init__(self, reader: H5Reader, path: str):
        self._reader, self._path = reader, path
        found = reader.find(path)
        if found is None:
            raise FileFormatError(f"{reader.source} has no group '{path}', which holds weights.")
        self._group = found

    @property
    def lists_layers(self) -> bool:
        """Whether the group is one of a model's weights."""
        with self._reader._damage_reported(f"find 'layer_names' of '{self._path}'"):
            return any(key in self._group.attrs for key in ("layer_names", "layer_names0"))

    def names(self, key: str) -> list[str]:
        """A list of names; one that was too long is in several attributes."""
        with self._reader._damage_reported(f"read '{key}' of '{self._path}'"):
            attributes = self._group.attrs
            if key in attributes:
                parts = [attributes[key]]
            else:
                parts = []
                while f"{key}{len(parts)}" in attributes:
                    parts.append(attributes[f"{key}{len(parts)}"])
            return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]

    def array(self, name: str, variable: Variable) -> np.ndarray:
        """The values that are to go into `variable`."""
        folder, _, key = name.rpartition("/")
        path = self._within(folder) if folder else self._path
        group = self._reader.find(path)
        if group is None:
            raise FileFormatError(f"{self._reader.source} has no group '{path}', which holds the weight '{name}'.")
        largest = int(np.prod(variable.shape, dtype=np.int64))
        return self._reader.values(self._reader.dataset(group, key, largest))

    def group(self, name: str) -> _Group:
        """A group within this one."""
        return _Group(self._reader, self._within(name))

    def __contains__(self, name: str) -> bool:
        return self._reader.has(self._within(name))

    def _within(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name


def load_weights(
    model: Any, reader: H5Reader, path: str | None = None, by_name: bool = False, skip_mismatch: bool = False
) -> None:
    """Reads weights into a model.

    Args:
        model: a built model.
        reader: the file.
        path: the group of the weights; None to find it.
        by_name: whether layers are found by their names, and not by their order.
        skip_mismatch: warn about layers that do not fit, and leave them as they are, instead of raising.

    Raises:
        ValueError: layers or weights that do not fit.
    """
    if path is None:
        groups = (group for group in ("", "model_weights") if reader.has(group))
        path = next((group for group in groups if _Group(reader, group).lists_layers), None)
    if path is None:
        raise FileFormatError(
            f"{reader.source} holds no weights in Keras's old format: it has no attribute `layer_names`. If "
            "`model.save_weights` wrote it, its name must end in `.weights.h5`."
        )
    group = _Group(reader, path)
    pairs = _by_name(model, group) if by_name else _in_order(model, group)
    if _TOP in group:
        own = "the model's top-level weights", model, _own_weights(model), group.group(_TOP)
        pairs = itertools.chain(pairs, [own])
    # All is compared before anything is written: a model is loaded as it should be, or left as it was.
    fitting = [(owner, _fitting(where, saved, variables, skip_mismatch)) for where, owner, variables, saved in pairs]
    for owner, values in fitting:
        for variable, array in values:
            variable.assign(array)
        if values and hasattr(owner, "finalize_state"):
            owner.finalize_state()


def _in_order(model: Any, group: _Group) -> Iterator[tuple[str, Any, list[Variable], _Group]]:
    layers = [layer for layer in model.layers if _weights(layer)]
    names = [name for name in group.names("layer_names") if group.group(name).names("weight_names")]
    if len(layers) != len(names):
        raise ValueError(
            f"Layer count mismatch when loading weights from file. Model expected {len(layers)} layers, found "
            f"{len(names)} saved layers: {names[:10]}. Build the model as the saved one was, or pass `by_name=True`."
        )
    for number, (layer, name) in enumerate(zip(layers, names, strict=True)):
        where = f"layer #{number} (named {layer.name} in the current model, {name} in the save file)"
        yield where, layer, _weights(layer), group.group(name)


def _by_name(model: Any, group: _Group) -> Iterator[tuple[str, Any, list[Variable], _Group]]:
    for number, name in enumerate(group.names("layer_names")):
        for layer in model.layers:
            if layer.name == name:
                yield f"layer #{number} (named {name})", layer, _weights(layer), group.group(name)


def _fitting(
    where: str, saved: _Group, variables: list[Variable], skip_mismatch: bool
) -> list[tuple[Variable, np.ndarray]]:
    """The variables that the file has values for, with these; raises or warns where there are others."""
    names = saved.names("weight_names")
    if len(names) != len(variables):
        _complain(
            f"Weight count mismatch for {where}. Layer expects {len(variables)} weight(s). Received {len(names)} saved "
            "weight(s)",
            skip_mismatch,
        )
        return []
    found = [(variable, saved.array(name, variable)) for name, variable in zip(names, variables, strict=True)]
    for variable, array in found:
        if tuple(variable.shape) != array.shape:
            _complain(
                f"Shape mismatch in {where} for weight {variable.path}. Weight expects shape {variable.shape}. "
                f"Received saved weight with shape {array.shape}",
                skip_mismatch,
            )
    return [(variable, array) for variable, array in found if tuple(variable.shape) == array.shape]


def _complain(problem: str, skip_mismatch: bool) -> None:
    if not skip_mismatch:
        raise ValueError(f"{problem}. `skip_mismatch=True` loads what fits.")
    warn_user(f"Skipping loading of weights: {problem}.")
