"""`keras.legacy.saving`: one object as `{"class_name", "config"}`, as before Keras v3's files, and back."""

from __future__ import annotations

import inspect
from typing import Any

from fastk.serialization import custom_object_scope, get_registered_name, get_registered_object

__all__ = ["deserialize_keras_object", "serialize_keras_object"]


def serialize_keras_object(instance: Any) -> Any:
    """An object as `{"class_name", "config"}`, and a function or class as its name.

    Raises:
        ValueError: an object without `get_config`.

    >>> import fastk
    >>> serialize_keras_object(fastk.regularizers.L1(0.5))
    {'class_name': 'L1', 'config': {'l1': 0.5}}
    """
    if instance is None:
        return None
    instance = inspect.unwrap(instance) if callable(instance) else instance
    if hasattr(instance, "get_config"):
        config = {key: _item(value) for key, value in instance.get_config().items()}
        return {"class_name": get_registered_name(type(instance)), "config": config}
    if hasattr(instance, "__name__"):
        return get_registered_name(instance)
    raise ValueError(f"Cannot serialize {instance} because it doesn't implement `get_config()`.")


def _item(value: Any) -> Any:
    if isinstance(value, str) or not (hasattr(value, "get_config") or hasattr(value, "__name__")):
        return value
    described = serialize_keras_object(value)
    return {**described, "__passive_serialization__": True} if isinstance(described, dict) else described


def deserialize_keras_object(
    identifier: Any,
    module_objects: dict[str, Any] | None = None,
    custom_objects: dict[str, Any] | None = None,
    printable_module_name: str = "object",
) -> Any:
    """The object that `serialize_keras_object` described.

    Args:
        identifier: a description, a name, or a function, which is returned as it is.
        module_objects: the built-in objects by name.
        custom_objects: the user's objects by name; they come first.
        printable_module_name: what such an object is called, for error messages.

    Raises:
        ValueError: a name that is not known, or what is no description.

    >>> import fastk
    >>> deserialize_keras_object({"class_name": "L1", "config": {"l1": 0.5}}, vars(fastk.regularizers)).get_config()
    {'l1': 0.5}
    """
    if identifier is None or inspect.isfunction(identifier):
        return identifier
    if isinstance(identifier, str):
        found = _find(identifier, module_objects, custom_objects, printable_module_name)
        return found() if inspect.isclass(found) else found
    if not isinstance(identifier, dict) or not {"class_name", "config"} <= identifier.keys():
        raise ValueError(
            f"Improper config format for {identifier}. Expecting python dict contains `class_name` and `config` as keys"
        )
    cls = _find(identifier["class_name"], module_objects, custom_objects, printable_module_name)
    config = identifier["config"]
    if isinstance(config, dict):
        config = {
            key: deserialize_keras_object(value, module_objects, custom_objects, "config_item")
            if isinstance(value, dict) and "__passive_serialization__" in value
            else value
            for key, value in config.items()
        }
    with custom_object_scope(custom_objects or {}):
        if not hasattr(cls, "from_config"):
            return cls(**config)
        if "custom_objects" in inspect.signature(cls.from_config).parameters:
            return cls.from_config(config, custom_objects=custom_objects or {})
        return cls.from_config(config)


def _find(name: str, module_objects: dict | None, custom_objects: dict | None, kind: str) -> Any:
    found = get_registered_object(name, custom_objects, module_objects)
    if found is None:
        raise ValueError(
            f"Unknown {kind}: '{name}'. Please ensure you are using a `keras.utils.custom_object_scope` and that this "
            "object is included in the scope."
        )
    return found
