"""`import keras` served by fastk, for programs that are not to be changed.

`install_as_keras()` puts a finder before all others on `sys.meta_path`. What it finds under `keras` are hollow modules:
each name is looked up, when it is asked for, in the public module of fastk that has the same path. `fastk run` does
it for a whole program (`fastk/run.py`).
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from fastk import config
from fastk.errors import missing_name
from fastk.saving.keras_file import KERAS_VERSION
from fastk.user_warning import warn_user

# The public packages of Keras. Others, such as `fastk.layers.core`, are fastk's inside, and not served.
PACKAGES = frozenset(
    {
        *("activations", "applications", "backend", "callbacks", "config", "constraints", "datasets", "distillation"),
        *("distribution", "dtype_policies", "export", "initializers", "layers", "legacy", "losses", "metrics"),
        *("mixed_precision", "models", "ops", "optimizers", "preprocessing", "quantizers", "random", "regularizers"),
        *("saving", "tree", "utils", "visualization", "wrappers", "legacy.saving", "ops.image", "ops.linalg", "ops.nn"),
        *("ops.numpy", "optimizers.legacy", "optimizers.schedules", "preprocessing.image", "preprocessing.sequence"),
        *("utils.bounding_boxes", "utils.legacy", "datasets.boston_housing", "datasets.california_housing"),
        *("datasets.cifar10", "datasets.cifar100", "datasets.fashion_mnist", "datasets.imdb", "datasets.mnist"),
        *("datasets.reuters", "applications.convnext", "applications.densenet", "applications.efficientnet"),
        *("applications.efficientnet_v2", "applications.imagenet_utils", "applications.inception_resnet_v2"),
        *("applications.inception_v3", "applications.mobilenet", "applications.mobilenet_v2"),
        *("applications.mobilenet_v3", "applications.nasnet", "applications.resnet", "applications.resnet50"),
        *("applications.resnet_v2", "applications.vgg16", "applications.vgg19", "applications.xception"),
    }
)


def install_as_keras() -> None:
    """Makes `import keras`, and every import under it, give fastk in this process. Calling it again changes nothing.

    `keras.__version__` is then that of the Keras whose interface is served, and a name that fastk lacks raises an
    AttributeError, or an ImportError, which says so and names near ones. `keras.src`, the inside of Keras, is not
    served.

    Raises:
        RuntimeError: where the real Keras has been imported already.

    `fastk run script.py` does the same for a program, without a change of the program.

    >>> import sys, fastk
    >>> from fastk import as_keras
    >>> as_keras.install_as_keras()
    >>> from keras.layers import Dense
    >>> Dense is fastk.layers.Dense
    True
    >>> as_keras.uninstall_as_keras()
    """
    if any(isinstance(finder, KerasFinder) for finder in sys.meta_path):
        return
    real = sys.modules.get("keras")
    if real is not None and not _is_shim(real):
        raise RuntimeError(
            f"keras has been imported already, from {getattr(real, '__file__', 'an unknown place')}: what holds it "
            "would go on with it beside fastk. Call fastk.install_as_keras() before the first import of keras, or run "
            "the program with `fastk run script.py`."
        )
    asked = config.read_environment("KERAS_BACKEND")
    if asked not in ("", "torch"):
        warn_user(
            f"The environment variable KERAS_BACKEND asks for {asked!r}; fastk computes on torch tensors, and "
            "keras.backend.backend() says 'torch'. Unset it, or set it to 'torch'."
        )
    sys.meta_path.insert(0, KerasFinder())
    sys.modules["keras"] = importlib.util.module_from_spec(KerasFinder.spec("keras"))


def uninstall_as_keras() -> None:
    """Undoes `install_as_keras`: the next `import keras` looks for the real one. What was imported stays as it is."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, KerasFinder)]
    for name in [name for name, module in sys.modules.items() if isinstance(module, KerasModule)]:
        del sys.modules[name]


class KerasModule(types.ModuleType):
    """A package of Keras: its names are looked up in the package of fastk that has the same path."""

    def __getattr__(self, name: str) -> Any:
        path = self.__name__.partition(".")[2]
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if (f"{path}.{name}" if path else name) in PACKAGES:
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ImportError as error:
                if error.name != f"{self.__name__}.{name}":
                    raise  # something that the package needs is missing
                raise AttributeError(str(error)) from None
        value = getattr(served_by(self.__name__), name, self)
        if value is self or isinstance(value, types.ModuleType) or name.startswith("_"):
            raise missing_name(self.__name__, name, dir(self))
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        path = self.__name__.partition(".")[2]
        own = served_by(self.__name__)
        inside = f"{path}." if path else ""
        packages = {p[len(inside) :] for p in PACKAGES if p.startswith(inside)}
        names = getattr(own, "__all__", None) or [name for name in dir(own) if not name.startswith("_")]
        values = {name for name in names if not isinstance(getattr(own, name), types.ModuleType)}
        return sorted(values | {name for name in packages if "." not in name})

    @property
    def __all__(self) -> list[str]:
        return dir(self)


def served_by(name: str) -> types.ModuleType:
    """The module of fastk that serves the package of Keras called `name`."""
    return importlib.import_module("fastk" + name.removeprefix("keras"))


class KerasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `keras` and what is under it; everything else is left to the finders behind."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None):
        """The spec of a public package of Keras; an ImportError for another name under `keras`."""
        package, _, inner = fullname.partition(".")
        if package != "keras":
            return None
        if not inner or inner in PACKAGES:
            return self.spec(fullname)
        if inner.partition(".")[0] in ("src", "_tf_keras"):
            raise ImportError(
                f"{fullname} is the inside of Keras, which fastk does not have. Take the public name instead, such as "
                "keras.layers.Layer for keras.src.layers.layer.Layer.",
                name=fullname,
            )
        # `from keras.layers import Absent` asks for a module last, and raises what is raised here.
        parent, _, name = fullname.rpartition(".")
        raise ImportError(str(missing_name(parent, name, dir(sys.modules[parent]))), name=fullname)

    @staticmethod
    def spec(fullname: str) -> importlib.machinery.ModuleSpec:
        """The spec of a package of Keras."""
        return importlib.machinery.ModuleSpec(fullname, KerasFinder(), is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """A hollow module, once there is something to serve it."""
        try:
            source = served_by(spec.name)
        except ModuleNotFoundError as error:
            if error.name is None or not ("fastk" + spec.name.removeprefix("keras")).startswith(error.name):
                raise
            parent, _, name = spec.name.rpartition(".")
            raise ImportError(str(missing_name(parent, name, dir(sys.modules[parent]))), name=spec.name) from None
        module = KerasModule(spec.name, source.__doc__)
        if spec.name == "keras":
            module.__dict__.update(__version__=KERAS_VERSION, version=version)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run: names are looked up when they are asked for."""


def version() -> str:
    """The version of the Keras whose interface is served."""
    return KERAS_VERSION


def _is_shim(module: types.ModuleType) -> bool:
    return isinstance(module, KerasModule) or getattr(module, "SERVED_BY_FASTK", False)
