"""`KerasFileEditor`: files of weights looked into, compared with a model, changed, and saved again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastk import budget
from fastk.atomic import replacing
from fastk.errors import FileFormatError
from fastk.messages import tell
from fastk.saving.archive import CONFIG, FREE_MEMORY, MEMORY_PER_BYTE, METADATA, WEIGHTS, Archive, parsed
from fastk.saving.h5 import H5Reader, H5Writer
from fastk.saving.weights import check_exists, save_state


class KerasFileEditor:
    """What a `.keras` or `.weights.h5` file holds, to be looked at, changed and saved.

    Its attributes: `weights_dict`, the arrays in nested dicts by the objects' paths; `object_metadata`, the objects'
    names by path; and of a `.keras` file `config` and `metadata`.

    Args:
        filepath: the file.

    Raises:
        ValueError: a path of another ending.
        FileFormatError: a damaged file, or one with links out of it.

    >>> import os, tempfile, fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1, name="head")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.weights.h5")
    ...     model.save_weights(path)
    ...     editor = KerasFileEditor(path)  # doctest: +ELLIPSIS
    Keras model file '...model.weights.h5'
    >>> editor.summary()
    Weights structure
      layers
        dense ('head')
          0: shape=(3, 1), dtype=float32
          1: shape=(1,), dtype=float32
    """

    def __init__(self, filepath: Any):
        self.filepath = path = os.fsdecode(filepath)
        self.config: dict[str, Any] | None = None
        self.metadata: dict[str, Any] | None = None
        self.model = None
        if not path.endswith((".keras", ".weights.h5")):
            raise ValueError(f"Invalid filename: expected a `.keras` or `.weights.h5` extension. Received: {path}")
        check_exists(path)
        self.object_metadata: dict[str, dict[str, str]] = {}
        with contextlib.ExitStack() as files:
            source: Any = path
            if path.endswith(".keras"):
                archive = Archive(files.enter_context(open(path, "rb")), path)
                self.config = parsed(archive.read(CONFIG), f"{path}: `{CONFIG}`")
                self.metadata = parsed(archive.read(METADATA), f"{path}: `{METADATA}`")
                source = files.enter_context(archive.open(WEIGHTS))
            reader = files.enter_context(H5Reader(source, path))
            size = os.path.getsize(path)
            limit = FREE_MEMORY + MEMORY_PER_BYTE * size
            files.enter_context(budget.limited_to(limit, f"{path} stores {size} bytes, so that it is no such file."))
            try:
                self.weights_dict = self._read(reader, reader._h5, "", set())
            except RecursionError as error:
                raise FileFormatError(f"{path} holds groups within groups without end. It is not read.") from error
        tell(f"Keras model file '{path}'")
        if isinstance(self.metadata, dict):
            version, date = self.metadata.get("keras_version"), self.metadata.get("date_saved")
            tell(f"Saved with Keras {version} - date: {date}")

    def _read(self, reader: H5Reader, group: Any, path: str, seen: set[int]) -> dict[str, Any]:
        """The arrays of a group; those under `vars` are the object's own."""
        import h5py

        found: dict[str, Any] = {}
        with reader._damage_reported(f"find '{path}'"):
            address = h5py.h5o.get_info(group.id).addr  # type: ignore[attr-defined]
        if address in seen:
            raise FileFormatError(f"{reader.source}: the group at '{path}' has several places. It is not read.")
        seen.add(address)
        with reader._damage_reported(f"list '{path}'"):
            keys = list(group)
        for key in keys:
            with reader._damage_reported(f"find '{key}' of '{path}'"):
                link: Any = group.get(key, getclass=True, getlink=True)
                if link is not h5py.HardLink:
                    raise FileFormatError(
                        f"{reader.source}: '{key}' of '{path}' is a {link.__name__}, which could lead anywhere. It is "
                        "not read."
                    )
                item = group[key]
            inner = f"{path}/{key}" if path else key
            if not isinstance(item, h5py.Group):
                dataset = reader.dataset(group, key, 0)
                budget.take(dataset.shape, dataset.dtype.itemsize, f"'{inner}'")
                found[key] = reader.values(dataset)
            elif key == "vars":
                with reader._damage_reported(f"read the name of '{path}'"):
                    name = item.attrs.get("name")
                if isinstance(name, str):
                    self.object_metadata[path] = {"name": name}
                found |= self._read(reader, item, path, seen)
            else:
                contents = self._read(reader, item, inner, seen)
                if contents:
                    found[key] = contents
        return found

    def summary(self) -> None:
        """Prints what the file holds."""
        tell("Weights structure")
        self._print(self.weights_dict, "", "  ")

    def _print(self, weights: dict[str, Any], path: str, indent: str) -> None:
        for key, value in weights.items():
            inner = f"{path}/{key}" if path else key
            if isinstance(value, dict):
                name = self.object_metadata.get(inner, {}).get("name")
                tell(f"{indent}{key}" + (f" ('{name}')" if name else ""))
                self._print(value, inner, indent + "  ")
            else:
                tell(f"{indent}{key}: shape={np.shape(value)}, dtype={np.asarray(value).dtype}")

    # ------------------------------------------------------------ comparing

    def compare(self, reference_model: Any) -> dict[str, Any]:
        """Compares the file with a model, and prints each difference.

        Args:
            reference_model: a built model.

        Returns:
            `status` ("success" or "error"), `error_count` and `match_count`.
        """
        tell("Running comparison")
        model = _weights_of(reference_model)
        differences, matches = list(_differences(self.weights_dict, model)), _matches(self.weights_dict, model)
        for difference in differences:
            tell(f"...{difference}")
        if differences:
            tell(f"Found {len(differences)} error(s): saved file is not compatible with the reference model")
        else:
            tell(f"Comparison successful: saved file is compatible with the reference model ({matches} weights)")
        status = "error" if differences else "success"
        return {"status": status, "error_count": len(differences), "match_count": matches}

    # ------------------------------------------------------------ changing

    def _edit(self, name: str, edit: Callable[[dict[str, Any], str], None]) -> None:
        """Calls `edit(owner, key)` for the object of a name that occurs once, or of a path."""
        if "/" in name:
            *parents, key = name.split("/")
            owner = self._at(parents, name)
            if key not in owner:
                raise ValueError(f"Path '{name}' not found in model. At its parent are: {list(owner)}.")
            edit(owner, key)
            return
        owners = list(_owners(self.weights_dict, name))
        if len(owners) > 1:
            raise ValueError(f"Name '{name}' occurs more than once in the model; try passing a complete path")
        if not owners:
            raise ValueError(
                f"Source name '{name}' does not appear in the model. Use `editor.summary()` to list all objects."
            )
        edit(owners[0], name)

    def _at(self, elements: list[str], path: str) -> dict[str, Any]:
        weights = self.weights_dict
        for element in elements:
            found = weights.get(element)
            if not isinstance(found, dict):
                raise ValueError(f"Path '{path}' not found in model. It ends before '{element}', at: {list(weights)}.")
            weights = found
        return weights

    def rename_object(self, object_name: str, new_name: str) -> None:
        """Gives an object, such as a layer, another name.

        Args:
            object_name: its name, such as `"dense_2"`, or path, such as `"layers/dense_2"`.
            new_name: the new name, no path.
        """
        if "/" in new_name:
            raise ValueError(
                f"Argument `new_name` should be a leaf name, not a full path name. Received: new_name='{new_name}'"
            )

        def rename(owner: dict[str, Any], key: str) -> None:
            owner[new_name] = owner.pop(key)

        self._edit(object_name, rename)

    def delete_object(self, object_name: str) -> None:
        """Removes an object, such as a layer, by its name or path."""
        self._edit(object_name, lambda owner, key: owner.pop(key))

    def add_object(self, object_path: str, weights: dict[str, Any]) -> None:
        """Adds an object, such as a layer.

        Args:
            object_path: its whole path, such as `"layers/dense_2"`.
            weights: arrays by their names, such as `{"0": kernel, "1": bias}`.
        """
        _check_weights(weights)
        *parents, key = object_path.split("/")
        self._at(parents, object_path)[key] = dict(weights)

    def delete_weight(self, object_name: str, weight_name: str) -> None:
        """Removes a weight, such as `"0"`, of an object given by its name or path."""

        def delete(owner: dict[str, Any], key: str) -> None:
            if weight_name not in owner[key]:
                raise ValueError(
                    f"Weight {weight_name} not found in object {object_name}. Weights found: {list(owner[key])}"
                )
            del owner[key][weight_name]

        self._edit(object_name, delete)

    def add_weights(self, object_name: str, weights: dict[str, Any]) -> None:
        """Adds weights, as arrays by their names, to an object given by its name or path."""
        _check_weights(weights)
        self._edit(object_name, lambda owner, key: owner[key].update(weights))

    def save(self, filepath: Any) -> None:
        """Saves the weights as they are now.

        Args:
            filepath: a path that ends in `.weights.h5`.
        """
        path = os.fsdecode(filepath)
        if not path.endswith(".weights.h5"):
            raise ValueError(
                f"Invalid `filepath` argument: expected a `.weights.h5` extension. Received: filepath={path}"
            )
        with replacing(path) as file, H5Writer(file) as writer:
            self._write(writer, self.weights_dict, "")

    def resave_weights(self, filepath: Any) -> None:
        """`save` under its older name."""
        self.save(filepath)

    def _write(self, writer: H5Writer, weights: dict[str, Any], path: str) -> None:
        own = {key: value for key, value in weights.items() if not isinstance(value, dict)}
        if own:
            store = writer.group(path, self.object_metadata.get(path, {}).get("name"))
            for key, value in own.items():
                store[key] = value
        for key, value in weights.items():
            if isinstance(value, dict):
                self._write(writer, value, f"{path}/{key}" if path else key)


def _check_weights(weights: Any) -> None:
    if not isinstance(weights, dict):
        raise ValueError(
            "Argument `weights` should be a dict where keys are weight names (usually '0', '1', etc.) and values are "
            f"NumPy arrays. Received: type(weights)={type(weights)}"
        )


class _Noted:
    """Takes what `save_state` writes, by path."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, Any]] = {}

    def group(self, path: str, name: str | None) -> dict[str, Any]:
        """What the object at `path` puts its variables into."""
        return self.stores.setdefault(path, {})


def _weights_of(model: Any) -> dict[str, Any]:
    """The weights of a model as an editor holds those of a file."""
    noted = _Noted()
    save_state(model, noted)  # type: ignore[arg-type]
    weights: dict[str, Any] = {}
    for path, store in noted.stores.items():
        if store:
            place = weights
            for element in path.split("/") if path else ():
                place = place.setdefault(element, {})
            place.update(store)
    return weights


def _owners(weights: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    if name in weights:
        yield weights
    for value in weights.values():
        if isinstance(value, dict):
            yield from _owners(value, name)


def _differences(file: dict[str, Any], model: dict[str, Any], path: str = "") -> Iterator[str]:
    for key in dict.fromkeys([*model, *file]):
        inner = f"{path}/{key}"
        here, there = file.get(key), model.get(key)
        kind = "Object" if isinstance(there if here is None else here, dict) else "Weight"
        if here is None:
            yield f"{kind} {inner} present in reference model, missing from saved file"
        elif there is None:
            yield f"{kind} {inner} present in saved file, missing from reference model"
        elif isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, inner)
        elif isinstance(here, dict) or isinstance(there, dict):
            yield f"{inner} is an object in one and a weight in the other"
        elif tuple(np.shape(here)) != tuple(there.shape):
            yield (
                f"Weight shape mismatch for {inner}: shape={tuple(there.shape)} in reference model, "
                f"shape={np.shape(here)} in saved file"
            )


def _matches(file: dict[str, Any], model: dict[str, Any]) -> int:
    count = 0
    for key in file.keys() & model.keys():
        here, there = file[key], model[key]
        if isinstance(here, dict) and isinstance(there, dict):
            count += _matches(here, there)
        elif not isinstance(here, dict) and not isinstance(there, dict):
            count += tuple(np.shape(here)) == tuple(there.shape)
    return count
