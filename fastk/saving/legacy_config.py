"""Configurations of Keras's older formats, and what they are today.

An old object is `{"class_name", "config"}`, without the module that says of which kind it is: the key that it stands
under tells, or else its name. Files of Keras 2 hold arguments that no class takes any more; those that are off are
dropped, others with a warning.
"""

from __future__ import annotations

import inspect
from typing import Any

from fastk import losses
from fastk.serialization import get_registered_object, public_class
from fastk.user_warning import warn_user

# Where an object's class is looked for first, by the end of the key that it stands under.
_MODULES = {
    "initializer": "keras.initializers",
    "regularizer": "keras.regularizers",
    "constraint": "keras.constraints",
    "optimizer": "keras.optimizers",
    "learning_rate": "keras.optimizers.schedules",
    "loss": "keras.losses",
    "metrics": "keras.metrics",
    "dtype": "keras.dtype_policies",
}
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "GRUV2": "GRU",
    "GroupedQueryAttention": "GroupQueryAttention",
    "LSTMV2": "LSTM",
    "Policy": "DTypePolicy",
}
_WITHOUT_EFFECT = {"implementation", "is_legacy_optimizer", "jit_compile", "lr", "_use_input_spec_as_call_signature"}
_LAMBDA_ARGUMENTS = ("module", "function_type", "output_shape_type", "output_shape_module")


# ---------------------------------------------------------------- from old to current


def current(value: Any, key: str = "") -> Any:
    """A structure with every old description in it made a current one.

    Args:
        value: what a file's JSON holds.
        key: the key that it stands under.

    >>> current({"class_name": "Zeros", "config": {}}, "bias_initializer")
    {'class_name': 'Zeros', 'config': {}, 'module': 'keras.initializers', 'registered_name': None}
    """
    if isinstance(value, (list, tuple)):
        return [current(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("class_name")
    if name == "__tuple__":
        return [current(item) for item in value.get("items", ())]
    if name == "__ellipsis__":
        return {"class_name": name, "config": {}}
    if name == "__bytes__" and "config" not in value:
        return {"class_name": name, "config": {"value": value.get("value", "")}}
    if isinstance(name, str) and "config" in value and "module" not in value and not name.startswith("__"):
        return _current_object(value, key)
    return {inner: current(item, inner) for inner, item in value.items()}


def _current_object(value: dict, key: str) -> dict:
    name = str(_RENAMED.get(value["class_name"], value["class_name"]))
    module = next((found for end, found in _MODULES.items() if key.endswith(end)), "keras.layers")
    config = value["config"]
    if isinstance(config, list):  # a Sequential model of Keras 1
        config = {"name": "sequential", "layers": config}
    config = dict(config or {})
    cls = None if get_registered_object(name) is not None else public_class(module, name)
    if cls is not None:
        config = _current_arguments(cls, config)
    config = {inner: current(item, inner) for inner, item in config.items()}
    result = {inner: current(item, inner) for inner, item in value.items() if inner != "config"}
    return {**result, "class_name": name, "config": config, "module": module, "registered_name": None}


def _current_arguments(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a built-in class as it takes them today."""
    shape = config.pop("batch_input_shape", None)
    if cls.__name__ == "InputLayer":
        config.setdefault("batch_shape", shape)
        return config
    if cls.__name__ == "Sequential":
        return {**config, "name": config.get("name", "sequential"), "layers": _with_input(config["layers"])}
    if "layers" in config:  # a functional model
        return config
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = int(config["axis"][0])
    if cls.__name__ == "Lambda":
        return _current_lambda(config)
    if cls.__name__ == "MeanMetricWrapper" and isinstance(config.get("fn"), str):
        config["fn"] = {"module": "builtins", "class_name": "function", "config": config["fn"], "registered_name": None}
        return config
    if config.get("reduction") in ("auto", "none"):
        config["reduction"] = "sum_over_batch_size" if config["reduction"] == "auto" else None
    if "lr" in config and "learning_rate" not in config:
        config["learning_rate"] = config["lr"]
    return _known_arguments(cls, config)


def _known_arguments(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    names = _accepted(cls)
    unknown = {name: value for name, value in config.items() if name not in names}
    unknown.pop("fn", None)  # of a loss or metric that has a class of its own
    lost = {name: value for name, value in unknown.items() if value and name not in _WITHOUT_EFFECT}
    if lost:
        warn_user(
            f"The file is of an old version of Keras, in which {cls.__name__} took arguments that it takes no more: "
            f"{lost}. They are left out; check that the model does what it did."
        )
    return {name: value for name, value in config.items() if name in names}


def _accepted(cls: type) -> set[str]:
    """The arguments of a class's constructor, and of those that its further keywords are handed on to."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in base.__dict__ and base is not object:
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {p.name for p in parameters}
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return names


def _with_input(layers: list) -> list:
    """The layers of a Sequential model; an input that the first one describes becomes a layer."""
    first: Any = layers[0] if layers else {}
    shape = (first.get("config") or {}).get("batch_input_shape")
    if shape is None or first["class_name"] == "InputLayer":
        return layers
    config = {"batch_shape": shape, "name": f"{first['config'].get('name', 'layer')}_input"}
    dtype = first["config"].get("dtype")
    if first["class_name"] == "Embedding":
        dtype = "int32"
    if isinstance(dtype, str):
        config["dtype"] = dtype
    return [{"class_name": "InputLayer", "config": config}, *layers]


def _current_lambda(config: dict[str, Any]) -> dict[str, Any]:
    config = {name: value for name, value in config.items() if name not in _LAMBDA_ARGUMENTS}
    function = config.get("function")
    if isinstance(function, list):
        parts = dict(zip(("code", "defaults", "closure"), function, strict=True))
        config["function"] = {"class_name": "__lambda__", "config": parts}
    return config


# ---------------------------------------------------------------- from current to old


def old_model(description: dict[str, Any]) -> dict[str, Any]:
    """A model's `{"class_name", "config"}` as Keras writes it into its HDF5 files.

    Layers are described without their modules, as older versions of Keras read them; what a layer holds is described
    as today, as Keras 3 does it.
    """
    config = dict(description["config"])
    if isinstance(config.get("layers"), list):
        config["layers"] = [_old_layer(layer) for layer in config["layers"]]
    return {"class_name": _name(description), "config": config}


def _old_layer(entry: dict[str, Any]) -> dict[str, Any]:
    if str(entry.get("module")).startswith("keras.src.ops"):  # an operation may have the name of a layer
        return entry
    rest = {key: entry[key] for key in ("name", "inbound_nodes") if key in entry}
    return {**old_model(entry), **rest}


def old_object(description: Any) -> Any:
    """A loss, a metric or an optimizer without its module, and a function as its name."""
    if isinstance(description, (list, tuple)):
        return [old_object(item) for item in description]
    if not isinstance(description, dict):
        return description
    if description.get("class_name") == "function":
        return description["config"]
    if "class_name" in description and "config" in description:
        config = {name: _old_value(value) for name, value in description["config"].items()}
        return {"class_name": _name(description), "config": config}
    return {key: old_object(value) for key, value in description.items()}


def old_loss(description: Any) -> Any:
    """`old_object` of a loss; names such as "mse" in full, for Keras 3.15 does not load the short ones."""
    if isinstance(description, str):
        try:
            return getattr(losses.get(description), "__name__", description)
        except ValueError:  # of a function that is not known here, but may be where the file is loaded
            return description
    if isinstance(description, (list, tuple)):
        return [old_loss(item) for item in description]
    if isinstance(description, dict) and "class_name" not in description:
        return {key: old_loss(value) for key, value in description.items()}
    return old_object(description)


def _old_value(value: Any) -> Any:
    """A policy as its name; what else an object holds as it is."""
    if isinstance(value, dict) and value.get("class_name") == "DTypePolicy":
        return value["config"]["name"]
    return value


def _name(description: dict[str, Any]) -> str:
    name = description.get("registered_name") or description["class_name"]
    return "GroupedQueryAttention" if name == "GroupQueryAttention" else name  # as Keras calls it in these files
