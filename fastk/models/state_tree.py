"""The variables of a model as nested dicts, by their paths, and back."""

from __future__ import annotations

from typing import Any

_FORMATS = ("backend_tensor", "numpy_array")


def state_tree(model: Any, value_format: str) -> dict[str, dict]:
    """For each kind of variable, their values in dicts nested by the parts of their paths.

    Args:
        model: a model.
        value_format: `"backend_tensor"` for the tensors that the variables hold, `"numpy_array"` for copies.
    """
    if value_format not in _FORMATS:
        raise ValueError(
            f"Invalid `value_format` argument. Expected one of {_FORMATS}. Received: value_format={value_format}"
        )
    return {kind: _nested(variables, value_format) for kind, variables in _variables(model).items()}


def set_state_tree(model: Any, tree: dict[str, dict]) -> None:
    """Assigns the values of a tree like that of `state_tree`; variables that it does not name stay as they are."""
    known = _variables(model)
    for kind, nested in tree.items():
        if kind not in known:
            raise ValueError(f"Unknown variable name: {kind}. Expected: {list(known)}")
        by_path = {variable.path: variable for variable in known[kind]}
        for path, value in _flat(nested).items():
            if path not in by_path:
                raise ValueError(f"The model has no variable '{path}' among its {kind}: {sorted(by_path)}")
            by_path[path].assign(value)


def _variables(model: Any) -> dict[str, list]:
    return {
        "trainable_variables": model.trainable_variables,
        "non_trainable_variables": model.non_trainable_variables,
        "optimizer_variables": model.optimizer.variables if model.optimizer is not None else [],
        "metrics_variables": model.metrics_variables,
    }


def _nested(variables: list, value_format: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for variable in variables:
        *scopes, name = variable.path.split("/")
        place = result
        for scope in scopes:
            place = place.setdefault(scope, {})
        if name in place:
            raise ValueError(
                f"The following variable path is found twice in the model: '{variable.path}'. `get_state_tree()` can "
                "only be called when all variable paths are unique. Make sure to give unique names to your layers (and "
                "other objects)."
            )
        place[name] = variable.value if value_format == "backend_tensor" else variable.numpy()
    return result


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
