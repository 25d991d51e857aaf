"""Objects to configuration dictionaries and back, in the format of Keras v3 files.

Each object is `{"module", "class_name", "config", "registered_name"}`. Classes of fastk are written under
Keras's public names, so that Keras reads them; Keras's names, public or private, are resolved to fastk's classes.
Only public objects of fastk and objects that the user registered or passed are ever looked up:
nothing in a configuration makes a module be imported.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from fastk import config, dtypes, lambdas
from fastk.errors import DeserializationError, near_names
from fastk.naming import to_snake_case
from fastk.tensor import convert_to_numpy, convert_to_tensor
from fastk.user_warning import warn_user

PLAIN_TYPES = (str, int, float, bool)
# Where a class of a fastk package is found in Keras's public API; the longest prefix counts.
PUBLIC_MODULES = {
    "fastk.models": "keras",
    "fastk.dtype_policies": "keras",
    "fastk.variable": "keras",
    **{
        f"fastk.{name}": f"keras.{name}"
        for name in [
            "activations",
            "callbacks",
            "constraints",
            "initializers",
            "layers",
            "losses",
            "metrics",
            "optimizers",
            "optimizers.schedules",
            "random",
            "regularizers",
            "utils",
        ]
    },
}
# The packages whose public functions a name alone may mean, in this order.
FUNCTION_PACKAGES = ["activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops"]
# The packages whose public classes a private Keras module may mean.
CLASS_PACKAGES = [
    "layers",
    "models",
    "optimizers",
    "optimizers.schedules",
    "losses",
    "metrics",
    "initializers",
    "regularizers",
    "constraints",
    "dtype_policies",
    "callbacks",
    "random",
    "utils",
    "ops",
    "applications.convnext",
    "applications.inception_resnet_v2",
]

# Keras's private modules whose classes are in files, and where fastk has these.
PRIVATE_MODULES = {"keras.src.layers.preprocessing.feature_space": "fastk.models.feature_space"}

CUSTOM_OBJECTS: dict[str, Any] = {}
_custom_names: dict[Any, str] = {}


class _State(threading.local):
    scope: dict[str, Any] = {}  # noqa: RUF012 - never changed in place
    safe_mode: bool | None = None
    shared: dict[int, tuple[int, Any]] | None = None
    shared_objects: dict[int, Any] | None = None


_state = _State()


@contextlib.contextmanager
def _set(attribute: str, value: Any) -> Iterator[None]:
    before = getattr(_state, attribute)
    setattr(_state, attribute, value)
    try:
        yield
    finally:
        setattr(_state, attribute, before)


@contextlib.contextmanager
def custom_object_scope(custom_objects: dict[str, Any]) -> Iterator[None]:
    """Inside, names in `custom_objects` mean the given classes and functions.

    >>> import fastk
    >>> with fastk.saving.custom_object_scope({"double": lambda x: 2 * x}):
    ...     fastk.activations.get("double")(3)
    6
    """
    with _set("scope", {**_state.scope, **(custom_objects or {})}):
        yield


@contextlib.contextmanager
def object_sharing_scope() -> Iterator[None]:
    """Inside, what `serialize_shared` wrote as one object is made once."""
    with _set("shared_objects", {}):
        yield


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable:
    """A decorator that makes a class or function known to files under `package>name`.

    >>> import fastk
    >>> @fastk.saving.register_keras_serializable("zoo")
    ... def double(x):
    ...     return 2 * x
    >>> fastk.saving.get_registered_name(double)
    'zoo>double'
    """

    def decorate(target: Any) -> Any:
        if inspect.isclass(target) and not hasattr(target, "get_config"):
            raise ValueError(f"Cannot register a class that does not have a get_config() method: {target.__name__}.")
        key = f"{package}>{name or target.__name__}"
        CUSTOM_OBJECTS[key] = target
        _custom_names[target] = key
        return target

    return decorate


def get_custom_objects() -> dict[str, Any]:
    """The live dictionary of registered names."""
    return CUSTOM_OBJECTS


def get_registered_name(obj: Any) -> str:
    """The name that `obj` was registered under, else its Python name."""
    try:
        return _custom_names.get(obj) or obj.__name__
    except TypeError:  # unhashable
        return obj.__name__


def get_registered_object(name: str, custom_objects: dict | None = None, module_objects: dict | None = None) -> Any:
    """What was registered, or is in scope, under `name`; None where nothing is."""
    for objects in (_state.scope, CUSTOM_OBJECTS, custom_objects or {}, module_objects or {}):
        if name in objects:
            return objects[name]
    return None


@config.public
def enable_unsafe_deserialization() -> None:
    """Lets configurations hold Python code (lambdas) from now on: only for files that you trust."""
    _state.safe_mode = False


def in_safe_mode() -> bool | None:
    """Whether code in a configuration is refused; None where nothing was said, which means that it is."""
    return _state.safe_mode


@contextlib.contextmanager
def safe_mode_scope(safe_mode: bool | None) -> Iterator[None]:
    """Inside, `safe_mode` decides whether code in a configuration may be run."""
    with _set("safe_mode", safe_mode):
        yield


# ---------------------------------------------------------------- writing


def serialize_keras_object(obj: Any) -> Any:
    """The JSON-ready description of an object, or of a structure of objects.

    >>> import fastk
    >>> fastk.saving.serialize_keras_object(fastk.regularizers.L2(0.1))["class_name"]
    'L2'
    """
    if obj is None or type(obj) in PLAIN_TYPES:
        return obj
    if isinstance(obj, PLAIN_TYPES):  # a subclass, such as an optimizer's hyperparameter
        return next(kind(obj) for kind in (bool, int, float, str) if isinstance(obj, kind))
    if isinstance(obj, (list, tuple)):
        return type(obj)(serialize_keras_object(item) for item in obj) if type(obj) in (list, tuple) else [
            serialize_keras_object(item) for item in obj
        ]  # fmt: skip
    if isinstance(obj, dict):
        return serialize_dict(obj)
    special = _serialize_value(obj)
    if special is not None:
        return special
    if isinstance(obj, np.generic) or (isinstance(obj, np.ndarray) and obj.ndim == 0):
        return obj.item()
    config = _serialize_object(obj)
    if _state.shared is not None and config["class_name"] != "function":
        # With the object itself, so that its id is not given to another meanwhile.
        config["shared_object_id"], _ = _state.shared.setdefault(id(obj), (len(_state.shared) + 1, obj))
    return config


def serialize_shared(obj: Any) -> Any:
    """`serialize_keras_object`, with a `shared_object_id` where an object is met more than once."""
    with _set("shared", {}):
        config = serialize_keras_object(obj)
    counts: collections.Counter = collections.Counter()

    def visit(value: Any, act: Callable[[dict], None]) -> None:
        if isinstance(value, dict):
            act(value)
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
            visit(child, act)

    def drop_lone(value: dict) -> None:
        if counts[value.get("shared_object_id")] == 1:
            del value["shared_object_id"]

    visit(config, lambda value: counts.update([value["shared_object_id"]] if "shared_object_id" in value else ()))
    visit(config, drop_lone)
    return config


def serialize_dict(obj: dict) -> dict:
    """The values of `obj`, serialized."""
    return {key: serialize_keras_object(value) for key, value in obj.items()}


def _serialize_value(obj: Any) -> dict | None:
    """Values that JSON has no word for."""
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode("utf-8")}}
    if isinstance(obj, slice):
        parts = {part: serialize_keras_object(getattr(obj, part)) for part in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": parts}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if type(obj).__name__ == "KerasTensor":
        history = getattr(obj, "_keras_history", None)
        where = None if history is None else [history.operation.name, history.node_index, history.tensor_index]
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": obj.shape, "dtype": obj.dtype, "keras_history": where},
        }
    if isinstance(obj, torch.Tensor):
        values = {"value": convert_to_numpy(obj).tolist(), "dtype": dtypes.standardize_dtype(obj.dtype)}
        return {"class_name": "__tensor__", "config": values}
    if isinstance(obj, np.ndarray) and obj.ndim > 0:
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, torch.dtype):
        return None
    if isinstance(obj, types.FunctionType) and obj.__name__ == "<lambda>":
        warn_user(
            "The object being serialized includes a `lambda`, which is stored as Python code: to load it, "
            "`safe_mode=False` has to be passed. Prefer a named function registered with "
            "`register_keras_serializable`."
        )
        return {"class_name": "__lambda__", "config": {"value": lambdas.dump(obj)}}
    return None


def _serialize_object(obj: Any) -> dict:
    if isinstance(obj, (types.FunctionType, types.BuiltinFunctionType)):
        name = get_registered_name(obj)
        return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
    if not hasattr(obj, "get_config"):
        if isinstance(obj, type) or not hasattr(obj, "__name__"):
            raise TypeError(
                f"Cannot serialize object {obj} of type {type(obj)}. To be serializable, a class must implement the "
                "`get_config()` method."
            )
        return {"module": obj.__module__, "class_name": type(obj).__name__, "config": get_registered_name(obj),
                "registered_name": None}  # fmt: skip
    config = obj.get_config()
    if not isinstance(config, dict):
        raise TypeError(f"The `get_config()` method of {obj} should return a dict. It returned: {config}")
    module, name, registered_name = location(type(obj))
    result = {
        "module": module,
        "class_name": name,
        "config": serialize_dict(config),
        "registered_name": registered_name,
    }
    for part in ("build", "compile"):
        method = getattr(obj, f"get_{part}_config", None)
        extra = method() if method is not None else None
        if extra is not None:
            result[f"{part}_config"] = serialize_dict(extra)
    return result


def location(cls: type) -> tuple[str | None, str, str | None]:
    """`(module, class_name, registered_name)` that a class is written under."""
    fixed = cls.__dict__.get("_keras_location")
    if fixed is not None:
        return fixed
    if cls not in _custom_names:
        module = cls.__module__
        while module:
            public = PUBLIC_MODULES.get(module)
            if public is not None:
                if getattr(importlib.import_module(module), cls.__name__, None) is cls:
                    return public, cls.__name__, None
                break
            module = module.rpartition(".")[0]
    module = None if cls.__module__ == "__main__" else cls.__module__
    return module, cls.__name__, get_registered_name(cls)


# ---------------------------------------------------------------- reading


def deserialize_keras_object(
    config: Any,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
    module_objects: dict | None = None,
) -> Any:
    """The object that `serialize_keras_object` described.

    Args:
        config: what `serialize_keras_object` returned.
        custom_objects: names that the configuration may use, and what they mean.
        safe_mode: refuse to run code kept in the configuration (lambdas).
        module_objects: names of a package, where `config` is one of them or names a class among them.

    Raises:
        ValueError: a lambda in safe mode.
        TypeError: a class or function that cannot be found.
    """
    if _state.safe_mode is not None:
        safe_mode = _state.safe_mode
    if config is None:
        return None
    with custom_object_scope(custom_objects or {}), safe_mode_scope(safe_mode):
        if module_objects is not None:
            return _from_module_objects(config, module_objects)
        return _deserialize(config)


def _from_module_objects(config: Any, objects: dict[str, Any]) -> Any:
    if isinstance(config, str):
        found = _custom(config) or objects.get(config, config)
        return found() if isinstance(found, type) else found
    name = config.get("class_name")
    if name is None:
        raise ValueError(f"Unknown `config` as a `dict`, config={config}")
    if "config" not in config:
        raise DeserializationError(f"The description of '{name}' has no `config`: {_shortened(config)}")
    if name == "function":
        name = config["config"]
    custom = _custom(name)
    if custom is not None or config.get("registered_name") in {**CUSTOM_OBJECTS, **_state.scope}:
        return _deserialize(config)
    found = objects.get(name)
    if found is None:
        return _deserialize(config)
    return _instantiate(found, config) if isinstance(found, type) else found


def _deserialize(config: Any) -> Any:
    if config is None or isinstance(config, PLAIN_TYPES):
        custom = _state.scope.get(config) if isinstance(config, str) else None
        return config if custom is None else custom
    if isinstance(config, (list, tuple)):
        return [_deserialize(item) for item in config]
    if not isinstance(config, dict):
        raise TypeError(f"Could not parse config: {config!r} (of type {type(config)})")
    if "class_name" not in config or "config" not in config:
        return {key: _deserialize(value) for key, value in config.items()}
    name = config["class_name"]
    if name in _SPECIAL:
        return _SPECIAL[name](config["config"] or {})
    if name == "function":
        if not isinstance(config["config"], str):
            raise TypeError(f"Expected 'config' to be a non-null str, the name of a function. Received: {config}")
        return _find(config["config"], config, is_function=True)
    if not isinstance(config["config"] or {}, dict):
        raise TypeError(f"Expected 'config' to be a dict for {name}. Received: {config}")
    shared = _state.shared_objects
    key = config.get("shared_object_id")
    if shared is not None and key in shared:
        return shared[key]
    target = _find(name, config, is_function=False)
    if isinstance(target, types.FunctionType):
        return target
    instance = _instantiate(target, config)
    if shared is not None and key is not None:
        shared[key] = instance
    return instance


def _instantiate(cls: Any, config: dict) -> Any:
    if not hasattr(cls, "from_config"):
        raise TypeError(
            f"Unable to reconstruct an instance of '{config['class_name']}': {cls} has no `from_config()` method."
        )
    try:
        instance = cls.from_config(dict(config["config"] or {}))
    except DeserializationError:  # of an object within this one, which it explains
        raise
    except TypeError as error:
        raise DeserializationError(
            f"{cls} could not be deserialized properly. Ensure that objects (layers, models, etc.) in the result of "
            f"`get_config()` are explicitly deserialized in `from_config()`.\n\nconfig={_shortened(config)}.\n\n"
            f"Exception encountered: {error}"
        ) from error
    build_config = config.get("build_config")
    if build_config and not instance.built:
        instance.build_from_config(build_config)
        instance.built = True
    if config.get("compile_config"):
        instance.compile_from_config(config["compile_config"])
    return instance


def _custom(name: Any) -> Any:
    return get_registered_object(name) if isinstance(name, str) else None


def _find(name: str, config: dict, is_function: bool) -> Any:
    registered_name = name if is_function else config.get("registered_name") or name
    found = _custom(registered_name)
    if found is None and not is_function:
        found = _state.scope.get(name)
    module = config.get("module") or ""
    packages = ("keras", "fastk", "tf_keras", *(("builtins",) if is_function else ()))
    if found is None and module.split(".")[0] in packages:
        found = _public_function(name) if is_function else public_class(module, name)
        if found is not None:
            _check_registered_name(name, config)
    if found is None and not is_function:
        found = _loaded_class(module, name)
    if found is None:
        kind = "function" if is_function else "class"
        raise DeserializationError(
            f"Could not locate {kind} '{registered_name}'. Make sure custom classes and functions are decorated with "
            "`@keras.saving.register_keras_serializable()` and imported before loading, or pass them in "
            f"`custom_objects`. Full object config: {_shortened(config)}"
        )
    return found


def _loaded_class(module: str, name: str) -> Any:
    """A class of Keras's own libraries, as far as they are imported: no file makes a module be imported."""
    if module.split(".")[0] not in ("keras", "keras_hub", "keras_cv", "keras_nlp"):
        return None
    found = vars(sys.modules.get(module, types)).get(name)
    # Of fastk's kind: what Keras itself makes, where it is imported too, asks another safe mode.
    is_ours = isinstance(found, type) and any(base.__module__.split(".")[0] == "fastk" for base in found.__mro__)
    return found if is_ours and hasattr(found, "get_config") and hasattr(found, "from_config") else None


def _check_registered_name(name: str, config: dict) -> None:
    """What is fastk's own was registered by nobody: another name means that another class was meant."""
    given = config.get("registered_name")
    if given and given not in (name, config["class_name"]):
        raise ValueError(
            f"The configuration has `registered_name={given!r}`, and '{name}' resolved to a Keras built-in, which has "
            "none. Import the module that registers the class, pass it in `custom_objects`, or remove the "
            f"`registered_name`. Full object config: {_shortened(config)}"
        )


def _shortened(config: dict, length: int = 1000) -> str:
    text = str(config)
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def _public_function(name: str) -> Any:
    for package in FUNCTION_PACKAGES:
        found = getattr(importlib.import_module(f"fastk.{package}"), name, None)
        if isinstance(found, (types.FunctionType, types.BuiltinFunctionType)):
            return found
    suffix = f">{name}"  # Keras up to 3.6 wrote registered functions without their package
    return next((value for key, value in {**CUSTOM_OBJECTS, **_state.scope}.items() if key.endswith(suffix)), None)


def public_class(module: str, name: str) -> Any:
    """A class by Keras's name for it: first where `module` says, then (private modules) wherever it is public."""
    if module in PRIVATE_MODULES:
        return getattr(importlib.import_module(PRIVATE_MODULES[module]), name, None)
    path = module.split(".")[1:]
    private = path[:1] == ["src"]
    if private and path[1:2] == ["ops"]:
        return importlib.import_module(f"fastk.{path[1]}").operation_class(name)
    packages = CLASS_PACKAGES if private or not path else [".".join(path), *CLASS_PACKAGES]
    for package in packages:
        if package not in CLASS_PACKAGES:
            continue
        found = getattr(importlib.import_module(f"fastk.{package}"), name, None)
        if isinstance(found, type) and hasattr(found, "from_config"):
            return found
    return None


def add_special(name: str, read: Callable[[dict], Any]) -> None:
    """Says how a value of class name `name` (such as `__keras_tensor__`) is read from its configuration."""
    _SPECIAL[name] = read


def _read_lambda(config: dict) -> Any:
    if _state.safe_mode:
        raise ValueError(
            "The configuration holds a Python lambda: loading it allows arbitrary code execution, which is refused by "
            "default. If you trust where it comes from, pass `safe_mode=False` to the loading function, or call "
            "`keras.config.enable_unsafe_deserialization()`."
        )
    return lambdas.load(config["value"])


def _refuse_typespec(config: Any) -> Any:
    if not isinstance(config, (list, tuple)):
        raise TypeError(f"Expected 'config' to be a list or a tuple for __typespec__. Received: {config!r}")
    raise DeserializationError(
        f"The configuration holds a TypeSpec, {config!r}, which only TensorFlow has. Load the model with Keras on "
        "TensorFlow, and save it there without: as an `Input` of a shape and dtype."
    )


_SPECIAL: dict[str, Callable[[dict], Any]] = {
    "__typespec__": _refuse_typespec,
    "__tensor__": lambda config: convert_to_tensor(config["value"], dtype=config["dtype"]),
    "__numpy__": lambda config: np.array(config["value"], dtype=dtypes.numpy_dtype(config["dtype"])),
    "__bytes__": lambda config: config["value"].encode("utf-8"),
    "__ellipsis__": lambda config: Ellipsis,
    "__slice__": lambda config: slice(*(_deserialize(config[part]) for part in ("start", "stop", "step"))),
    "__lambda__": _read_lambda,
}


# ---------------------------------------------------------------- names of one kind of object


class Registry:
    """The built-in objects of one kind (losses, initializers, ...), found by name, class, configuration or callable.

    Args:
        kind: the word that error messages use, such as "loss".
        classes: classes; each is known by its own name and in snake case.
        functions: functions; each is known by its own name.
        aliases: further names.
    """

    def __init__(self, kind: str, classes: Any = (), functions: Any = (), aliases: dict[str, Any] | None = None):
        self.kind = kind
        self.objects: dict[str, Any] = {cls.__name__: cls for cls in classes}
        self.objects |= {to_snake_case(cls.__name__): cls for cls in classes}
        self.objects |= {function.__name__: function for function in functions}
        self.objects |= aliases or {}

    def get(self, identifier: Any) -> Any:
        """The object that `identifier` means; a class is instantiated with its defaults. None stays None."""
        if identifier is None:
            return None
        if isinstance(identifier, dict):
            found = self.deserialize(identifier)
        elif isinstance(identifier, str):
            found = _custom(identifier)
            found = self.objects.get(identifier) if found is None else found
            if found is None:
                raise ValueError(f"Unknown {self.kind}: {identifier!r}. {self._near(identifier)}")
        else:
            found = identifier
        if callable(found):
            return found() if inspect.isclass(found) else found
        raise ValueError(
            f"Could not interpret {self.kind} identifier: {identifier!r} (of type {type(identifier)}). "
            f"Expected a name such as '{next(iter(self.objects))}', a callable, an instance, or a configuration."
        )

    def deserialize(self, config: Any, custom_objects: dict | None = None) -> Any:
        """The object that `serialize` described."""
        found = deserialize_keras_object(config, custom_objects=custom_objects, module_objects=self.objects)
        if isinstance(found, str):
            raise ValueError(f"Unknown {self.kind}: {found!r}. {self._near(found)}")
        return found

    @staticmethod
    def serialize(obj: Any) -> Any:
        """The configuration of `obj`."""
        return serialize_keras_object(obj)

    def _near(self, name: str) -> str:
        near = near_names(name, (key for key in self.objects if isinstance(key, str)))
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        return f"{hint}Register your own with `@keras.saving.register_keras_serializable()` or `custom_object_scope`."
