"""The state of a model into files of weights, and back."""

from __future__ import annotations

import os
from typing import Any

from fastk.atomic import check_overwrite, replacing
from fastk.distribution.files import written_by_first
from fastk.errors import FileFormatError, FileMissing, near_names
from fastk.layers.lora import LowRankAdaptation
from fastk.layers.state import LayerState
from fastk.saving import legacy_h5, safe_tensors
from fastk.saving.archive import WEIGHTS, Archive, NewAssets
from fastk.saving.h5 import H5Reader, H5Writer, VariableReader
from fastk.saving.legacy_h5 import LEGACY
from fastk.saving.shards import ShardedReader, ShardedWriter, shard_map_path
from fastk.saving.walk import Walk
from fastk.user_warning import warn_user

GIGABYTE = 1 << 30


@written_by_first
def save_weights(
    model: Any,
    filepath: Any,
    overwrite: bool = True,
    max_shard_size: float | None = None,
    objects_to_skip: Any = None,
) -> None:
    """Saves the variables of a model and of its optimizer, not the architecture.

    Args:
        model: a built model or layer.
        filepath: a path that ends in `.weights.h5`, or in `.weights.json` where `max_shard_size` is given; or in
            `.safetensors`, for the weights alone, by their paths, as other libraries read them.
        overwrite: whether an existing file is replaced; if not, its existence is an error.
        max_shard_size: the most gigabytes in one file; more goes into further ones.
        objects_to_skip: layers whose variables are left out.

    Raises:
        ValueError: an unbuilt model, or another ending.
        ImportError: for `.safetensors`, without the package of that name.
        FileExistsError: an existing file that may not be replaced.

    >>> import os, tempfile, fastk
    >>> model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.weights.h5")
    ...     fastk.saving.save_weights(model, path)
    ...     fastk.saving.load_weights(model, path)
    """
    path = os.fsdecode(filepath)
    _check_built(model, "saving")
    if path.endswith(safe_tensors.ENDING):
        if max_shard_size is not None or objects_to_skip is not None:
            raise ValueError(
                "`max_shard_size` and `objects_to_skip` are for `.weights.h5` and `.weights.json` files. Received: "
                f"filepath={path}, max_shard_size={max_shard_size}, objects_to_skip={objects_to_skip}"
            )
        check_overwrite(path, overwrite)
        safe_tensors.save(model, path)
        return
    if not path.endswith(".weights.h5") and (max_shard_size is None or not path.endswith(".weights.json")):
        ending = "`.weights.h5`" if max_shard_size is None else "`.weights.json` where `max_shard_size` is given"
        raise ValueError(
            f"The filename must end in {ending}. Received: filepath={path}. Pass such a path, or one that ends in "
            "`.safetensors`, or call `model.save` for the whole model as a `.keras` file."
        )
    if max_shard_size is None:
        check_overwrite(path, overwrite)
        with replacing(path) as file, H5Writer(file) as writer:
            save_state(model, writer, skip=objects_to_skip or ())
        return
    if not max_shard_size > 0:
        raise ValueError(f"`max_shard_size` must be a positive number of gigabytes. Received: {max_shard_size!r}.")
    path = shard_map_path(path)
    check_overwrite(path, overwrite)
    with ShardedWriter(path, max_shard_size * GIGABYTE) as sharded:
        save_state(model, sharded, skip=objects_to_skip or ())


def load_weights(
    model: Any,
    filepath: Any,
    skip_mismatch: bool = False,
    objects_to_skip: Any = None,
    by_name: bool | None = None,
    **kwargs: Any,
) -> None:
    """Loads variables that `save_weights` or `save_model` saved, into a model of the same architecture.

    A `.safetensors` file is loaded whole or, where it does not fit, not at all; it may be of `save_weights`, or of
    torch with the names of `model.state_dict()`.

    Args:
        model: a built model or layer.
        filepath: a `.weights.h5`, `.weights.json`, `.safetensors` or `.keras` file, or an `.h5` file of Keras's old
            format.
        skip_mismatch: warn about objects whose variables do not fit, and leave them as they are, instead of raising.
        objects_to_skip: layers that keep their values.
        by_name: for `.h5` files of Keras's old format: whether layers are found by their names, not by their order.

    Raises:
        ValueError: an unbuilt model, a path of another ending, or variables that do not fit; names each object.
        FileFormatError: a damaged file.
        FileMissing: no such file.
    """
    path = os.fsdecode(filepath)
    known = path.endswith((".keras", ".weights.h5", ".weights.json", safe_tensors.ENDING))
    if kwargs:
        raise ValueError(
            f"Invalid keyword arguments: {kwargs}. `load_weights` takes `skip_mismatch` and `objects_to_skip`."
        )
    if objects_to_skip is not None and not path.endswith((".weights.h5", ".weights.json")):
        raise ValueError(f"`objects_to_skip` only supports loading '.weights.h5' files. Received: {path}")
    if by_name is not None and known:
        raise ValueError(
            f"`by_name` only supports loading legacy '.h5' or '.hdf5' files. Received: {path}. Here variables are "
            "found by the place of their layer in the model; `skip_mismatch=True` leaves out those that do not fit."
        )
    if not known and not path.endswith(LEGACY):
        raise ValueError(
            f"File format not supported: filepath={path}. Expected a `.weights.h5`, `.weights.json`, `.safetensors` "
            "or `.keras` file, or an `.h5` file of Keras's old format."
        )
    _check_built(model, "loading")
    check_exists(path)
    if path.endswith(safe_tensors.ENDING):
        safe_tensors.load(model, path, skip_mismatch)
        return
    if not known:
        with H5Reader(path, path) as reader:
            legacy_h5.load_weights(model, reader, by_name=bool(by_name), skip_mismatch=skip_mismatch)
        return
    if path.endswith(".keras"):
        with open(path, "rb") as file:
            member = Archive(file, path).open(WEIGHTS)
            with member, H5Reader(member, f"{path}, {WEIGHTS}") as reader:
                load_state(model, reader, skip_mismatch)
        return
    with ShardedReader(path) if path.endswith(".json") else H5Reader(path, path) as reader:
        load_state(model, reader, skip_mismatch, skip=objects_to_skip or ())


def check_exists(path: str) -> None:
    """Raises `FileMissing` where `path` is no file; names near ones."""
    if os.path.isfile(path):
        return
    folder, name = os.path.split(path)
    there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    near = near_names(name, there)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    what = "It is a folder." if os.path.isdir(path) else f"The folder is {os.path.abspath(folder)}."
    raise FileMissing(f"File not found: filepath={path}. {what}{hint}")


def _check_built(model: Any, doing: str) -> None:
    if not model.built:
        raise ValueError(
            f"You are {'saving' if doing == 'saving' else 'loading weights into'} a model that has not yet been built. "
            "Build it first: call it on some data, or `model.build(input_shape)`."
        )


# ---------------------------------------------------------------- the state of all objects


def save_state(model: Any, writer: H5Writer | ShardedWriter, assets: NewAssets | None = None, skip: Any = ()) -> None:
    """Writes the variables of `model` and of all that it owns.

    Args:
        model: the object to start at.
        writer: where variables go.
        assets: what gives `save_assets` its folders; None saves no assets.
        skip: objects that are left out.
    """

    def save(obj: Any, path: str) -> bool:
        if hasattr(obj, "save_own_variables"):
            name = getattr(obj, "name", None)
            obj.save_own_variables(writer.group(path, name if isinstance(name, str) else None))
        if assets is not None and hasattr(obj, "save_assets"):
            obj.save_assets(assets.folder(path))
        return True

    Walk(save, skip).visit(model)


def load_state(
    model: Any, reader: H5Reader | ShardedReader, skip_mismatch: bool = False, assets: str | None = None, skip: Any = ()
) -> None:
    """Reads the variables of `model` and of all that it owns.

    Args:
        model: the object to start at.
        reader: where variables come from.
        skip_mismatch: warn about what does not fit, instead of raising.
        assets: the folder with the files of `save_assets`; None where there are none.
        skip: objects that are passed over.

    Raises:
        ValueError: for objects whose variables do not fit, all of them at once.
    """
    walk = _Loading(reader, assets, skip)
    walk.visit(model)
    if not walk.failures:
        return
    listed = [f"  {path or 'the model itself'} ({type(obj).__name__} '{getattr(obj, 'name', '')}'): {error}"
              for obj, path, error in list(walk.failures.values())[:10]]  # fmt: skip
    if len(walk.failures) > len(listed):
        listed.append(f"  and {len(walk.failures) - len(listed)} more")
    message = f"A total of {len(walk.failures)} objects could not be loaded:\n" + "\n".join(listed)
    if skip_mismatch:
        warn_user(f"{message}\nThey keep the values they had.")
        return
    first = next(iter(walk.failures.values()))[2]
    raise ValueError(
        f"{message}\nThe model must be built as the saved one was; `model.load_weights(path, skip_mismatch=True)` "
        "loads what fits."
    ) from first


class _Loading(Walk):
    def __init__(self, reader: H5Reader | ShardedReader, assets: str | None, skip: Any):
        super().__init__(self._load, skip)
        self._reader, self._assets = reader, assets
        self.failures: dict[int, tuple[Any, str, Exception]] = {}

    def _load(self, obj: Any, path: str) -> bool:
        try:
            if hasattr(obj, "load_own_variables"):
                store = self._reader.group(path, _largest(obj))
                _check_shapes(obj, store)
                obj.load_own_variables(store)
            if self._assets is not None and hasattr(obj, "load_assets"):
                folder = os.path.join(self._assets, *path.split("/")) if path else self._assets
                if os.path.isdir(folder):
                    obj.load_assets(folder)
        except (FileFormatError, FileMissing):
            raise
        except Exception as error:  # whatever a layer raises is reported, with its path, once all are tried
            self.failures[id(obj)] = (obj, path, error)
            return False
        self.failures.pop(id(obj), None)
        return True

    def _visit_nested(self, container: Any, path: str, seen: set[int]) -> bool:
        if self._reader.has(path):
            return super()._visit_nested(container, path, seen)
        # Older versions of Keras did not save what is in containers within containers: its files load, with a warning.
        before, self.failures = self.failures, {}
        super()._visit_nested(container, path, seen)
        if self.failures:
            warn_user(
                f"The file has nothing at '{path}': it was saved by a version of Keras that left out layers in "
                "containers within containers. They keep the values they had: "
                f"{[obj.name for obj, _, _ in self.failures.values()]}.",
            )
        self.failures = before
        return True


def _largest(obj: Any) -> int:
    """The elements of the object's largest variable."""
    sizes = [1]
    for variable in getattr(obj, "variables", ()):
        size = 1
        for length in variable.shape:
            size *= length
        sizes.append(size)
    return max(sizes)


def _check_shapes(obj: Any, store: VariableReader) -> None:
    """Compares shapes before anything is read, so that a layer is loaded as a whole or not at all."""
    load = getattr(type(obj), "load_own_variables", None)
    adaptable = load is LowRankAdaptation.load_own_variables and not obj.lora_enabled
    if load is not LayerState.load_own_variables and not adaptable:
        return  # a layer that stores its variables in its own way
    own = obj._own_variables()
    if set(store) != {str(i) for i in range(len(own))}:
        return  # the wrong number of variables, which `load_own_variables` reports
    wrong = [
        f"'{variable.name}' has shape {variable.shape}, and the file's has {store.shape(str(i))}"
        for i, variable in enumerate(own)
        if tuple(store.shape(str(i))) != tuple(variable.shape)
    ]
    if wrong:
        raise ValueError(f"Shapes of the target variable and of the stored value must match: {'; '.join(wrong)}.")
