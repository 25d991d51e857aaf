"""Weights in Keras's old HDF5 format: lists of arrays by the name of their layer.

The root (in a file of a whole model: the group `model_weights`) has the attribute `layer_names`, and a group a layer
whose attribute `weight_names` lists its datasets in order, trainable ones first. Attributes too long for HDF5 are split
into `layer_names0`, `layer_names1`, ... Weights of the model itself are in the group `top_level_model_weights`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastk.errors import FileFormatError
from fastk.saving.h5 import H5Reader
from fastk.user_warning import warn_user

WHOLE_MODEL = "model_weights"
TOP_LEVEL = "top_level_model_weights"


@dataclass(frozen=True)
class LegacyWeights:
    """What a file holds.

    Attributes:
        layers: the arrays of each layer, in the order of the file; of layers without weights empty lists.
        top_level: the arrays of the model itself; None where the file says nothing of them.
    """

    layers: dict[str, list[np.ndarray]]
    top_level: list[np.ndarray] | None = None


def load_legacy_weights(model: Any, path: str, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Loads the weights of a file that Keras wrote in its old format, of weights or of a whole model.

    Args:
        model: a built model.
        path: of the `.h5` or `.hdf5` file.
        by_name: whether layers get the weights of the file's layer of their name, the others keeping theirs; by
            default the file's layers are the model's, in order.
        skip_mismatch: warn about weights that do not fit, and leave them as they are, instead of raising.

    Raises:
        ValueError: weights that do not fit the model, which then keeps all it had.
        FileFormatError: a damaged file, or one of another format.
    """
    largest = max((int(np.prod(v.shape)) for v in model.weights), default=1)
    with H5Reader(path, path) as reader:
        assign(model, read(reader, largest), by_name=by_name, skip_mismatch=skip_mismatch)


def read(reader: H5Reader, largest: int) -> LegacyWeights:
    """All weights of a file.

    Args:
        reader: of the file.
        largest: elements of the model's largest variable.
    """
    root = next((path for path in ("", WHOLE_MODEL) if _has(reader, path, "layer_names")), None)
    if root is None:
        raise FileFormatError(
            f"{reader.source} holds no weights in Keras's old format: no attribute `layer_names`. If "
            "`model.save_weights` wrote it, its name must end in `.weights.h5`."
        )
    prefix = f"{root}/" if root else ""

    def arrays(group: str) -> list[np.ndarray]:
        if not reader.has(group):
            raise FileFormatError(f"{reader.source}: the group '{group}', which `layer_names` lists, is missing.")
        return [reader.array(f"{group}/{name}", largest) for name in _names(reader, group, "weight_names")]

    layers = {name: arrays(f"{prefix}{name}") for name in _names(reader, root, "layer_names")}
    top_level = arrays(f"{prefix}{TOP_LEVEL}") if reader.has(f"{prefix}{TOP_LEVEL}") else None
    return LegacyWeights(layers, top_level)


def _has(reader: H5Reader, path: str, attribute: str) -> bool:
    return any(reader.attribute(path, name) is not None for name in (attribute, f"{attribute}0"))


def _names(reader: H5Reader, path: str, attribute: str) -> list[str]:
    """The names in an attribute, which may be split."""
    whole = reader.attribute(path, attribute)
    parts: Iterator[Any] = (reader.attribute(path, f"{attribute}{i}") for i in itertools.count())
    found = [whole] if whole is not None else itertools.takewhile(lambda part: part is not None, parts)
    return [name.decode() if isinstance(name, bytes) else str(name) for part in found for name in np.atleast_1d(part)]


# ---------------------------------------------------------------- into a model


def assign(model: Any, weights: LegacyWeights, by_name: bool = False, skip_mismatch: bool = False) -> None:
    """Writes weights into a model, after all were compared with it; arguments as in `load_legacy_weights`."""
    pairs = list(_by_name(model, weights) if by_name else _by_topology(model, weights))
    if weights.top_level is not None:
        own = [*model._trainable_variables, *model._non_trainable_variables]
        pairs.append(("the model itself", model, own, weights.top_level))
    complain: Callable[[str], None] = _warn if skip_mismatch else _refuse
    fitting: list[tuple[Any, list[tuple[Any, np.ndarray]]]] = []
    for name, owner, variables, arrays in pairs:
        if len(variables) != len(arrays):
            # As in Keras, layers that correspond by their order alone must have as many weights as the file's.
            (complain if by_name else _refuse)(
                f"Weight count mismatch for {name}: it expects {len(variables)} weight(s), and {len(arrays)} are saved"
            )
            continue
        fitting.append((owner, list(_of_equal_shape(name, variables, arrays, complain))))
    for owner, values in fitting:
        for variable, array in values:
            variable.assign(array)
        if values and hasattr(owner, "finalize_state"):
            owner.finalize_state()


def _of_equal_shape(
    name: str, variables: list[Any], arrays: list[np.ndarray], complain: Callable[[str], None]
) -> Iterator[tuple[Any, np.ndarray]]:
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) == array.shape:
            yield variable, array
        else:
            complain(
                f"Shape mismatch in {name}, weight {variable.path}: it has shape {tuple(variable.shape)}, and the "
                f"saved weight {array.shape}"
            )


def _warn(problem: str) -> None:
    warn_user(f"{problem}. It keeps the value it had.")


def _refuse(problem: str) -> None:
    raise ValueError(
        f"{problem}. The model must be built as the saved one was; `load_weights(path, by_name=True, "
        "skip_mismatch=True)` loads what fits."
    )


def _by_topology(model: Any, weights: LegacyWeights) -> Iterator[tuple[str, Any, list[Any], list[np.ndarray]]]:
    layers = [(layer, variables) for layer in model.layers if (variables := _in_legacy_order(layer))]
    saved = [(name, arrays) for name, arrays in weights.layers.items() if arrays]
    if len(layers) != len(saved):
        raise ValueError(
            f"Layer count mismatch when loading weights from file. Model expected {len(layers)} layers, found "
            f"{len(saved)} saved layers. To load the layers whose names agree, pass `by_name=True`."
        )
    for i, ((layer, variables), (name, arrays)) in enumerate(zip(layers, saved, strict=True)):
        saved_as = "" if name == layer.name else f", '{name}' in the file"
        yield f"layer #{i} ('{layer.name}'{saved_as})", layer, variables, arrays


def _by_name(model: Any, weights: LegacyWeights) -> Iterator[tuple[str, Any, list[Any], list[np.ndarray]]]:
    for i, (name, arrays) in enumerate(weights.layers.items()):
        for layer in model.layers:
            if layer.name == name:
                yield f"layer #{i} ('{name}')", layer, _in_legacy_order(layer), arrays


def _in_legacy_order(layer: Any) -> list[Any]:
    """The variables of a layer in the order of old files: in a nested model, the trainable ones of all layers first."""
    return layer.trainable_weights + layer.non_trainable_weights
