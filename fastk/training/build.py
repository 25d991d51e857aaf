"""Building a model for the data that it is first trained on, evaluated on, or applied to."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, tree
from fastk.graph import KerasTensor, compute_output_spec
from fastk.scopes import internal
from fastk.tensor import is_text_array


def build_for(model: Any, x: Any) -> None:
    """Makes the variables of a model that has not seen data, without computing anything (but for strings)."""
    unbuilt = [layer for layer in model._flatten_layers() if not layer.built]
    if not unbuilt:
        return
    from fastk.models.model import Model

    if type(model).call is Model.call:  # its own steps call the parts, which say themselves how to build them
        if unbuilt == [model]:
            return
        raise RuntimeError(
            f"Model '{model.name}' has no `call()`, so its layers cannot be built for the data: "
            f"{[layer.name for layer in unbuilt if layer is not model]} must be built before. Give them an `Input`, "
            "or call them on a batch."
        )

    if any(is_text_array(leaf) for leaf in tree.flatten(x)):
        # Strings are looked up on the host, where shapes alone say nothing: one sample goes through the model.
        with torch.no_grad():
            model(tree.map_structure(lambda leaf: None if leaf is None else leaf[:1], x), training=False)
        return

    def symbolic(value: Any) -> Any:
        if value is None:
            return None
        shape = (None, *value.shape[1:]) if value.ndim else ()
        return KerasTensor(shape, dtype=dtypes.standardize_dtype(value.dtype))

    inputs = tree.map_structure(symbolic, x)
    try:
        with internal():
            compute_output_spec(model, inputs)
    except (NotImplementedError, TypeError, RuntimeError, AttributeError) as error:
        raise RuntimeError(
            "Unable to automatically build the model. Please build it yourself before calling "
            f"fit/evaluate/predict, for example by calling it on a batch of data. Exception encountered:\n'{error}'"
        ) from error
