"""One side of `test_keras_applications.py`, in a process of its own: `python applications_side.py SIDE FILE NAME...`

The side `keras` builds the models of `keras.applications`. The side `fastk` runs the source that Keras has for them
with `fastk.install_as_keras()`: a program that other people wrote. What it imports from `keras.src` it gets under the
public names. Both give their models the same weights, and write outputs and numbers of parameters into FILE.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types

import numpy as np

SIZES = {"Xception": 71, "InceptionV3": 75}
MODULES = {
    "ResNet50": "resnet",
    "MobileNetV2": "mobilenet_v2",
    "EfficientNetB0": "efficientnet",
    "DenseNet121": "densenet",
    "Xception": "xception",
    "ConvNeXtTiny": "convnext",
    "InceptionV3": "inception_v3",
}


class Public(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `keras.src` and what is under it: applications in Keras's own files, all else as public names."""

    def __init__(self, keras, folder):
        self.keras, self.folder = keras, folder

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras.src" and not fullname.startswith("keras.src."):
            return None
        if fullname.startswith("keras.src.applications."):
            file = os.path.join(self.folder, *fullname.split(".")[1:]) + ".py"
            return importlib.util.spec_from_file_location(fullname, file)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return Hollow(spec.name, self.keras)

    def exec_module(self, module):
        pass


class Hollow(types.ModuleType):
    def __init__(self, name, keras):
        super().__init__(name)
        self.__dict__["_keras"] = keras

    def __getattr__(self, name):
        if name.startswith("__") or self.__name__ == "keras.src.applications":  # which are files
            raise AttributeError(name)
        keras = self._keras
        special = {
            "keras_export": lambda *names: lambda decorated: decorated,
            "Functional": keras.Model,
            "standardize_data_format": lambda given: given or keras.backend.image_data_format(),
        }
        if name in special:
            return special[name]
        package = self.__name__.split(".")[2] if self.__name__.count(".") > 1 else None
        for place in (getattr(keras, package, None) if package else keras, keras, keras.utils):
            if place is not None and hasattr(place, name):
                return getattr(place, name)
        if name.endswith("_utils"):  # a module, whose names are looked up when they are used
            return Hollow(f"keras.src.utils.{name}", keras)
        raise AttributeError(f"{self.__name__} has no public name {name}")


def builders(side):
    """What gives the function that makes a model, by its name."""
    if side == "keras":
        os.environ["KERAS_BACKEND"] = "torch"
        sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds
        import keras

        del sys.modules["tensorflow"], sys.modules["jax"]  # their presence would make Keras use them
        return keras, lambda name: getattr(keras.applications, name)
    spec = importlib.util.find_spec("keras")
    assert spec is not None and spec.origin is not None
    folder = os.path.dirname(spec.origin)
    import fastk

    fastk.install_as_keras()
    import keras

    sys.meta_path.insert(0, Public(keras, folder))
    return keras, lambda name: getattr(importlib.import_module(f"keras.src.applications.{MODULES[name]}"), name)


def weight(rng, variable):
    values = rng.normal(0, 1, tuple(variable.shape)) / np.sqrt(max(np.prod(variable.shape[:-1]), 1))
    return (np.abs(values) + 0.5 if "variance" in variable.name else values).astype("float32")


def main(side, file, *names):
    keras, builder = builders(side)
    found = {}
    for name in names:
        keras.utils.clear_session()
        size = SIZES.get(name, 32)
        model = builder(name)(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
        rng = np.random.default_rng(0)
        model.set_weights([weight(rng, v) for v in model.weights])
        x = rng.uniform(0, 255, (2, size, size, 3)).astype("float32")
        found[name] = np.asarray(model.predict(x, verbose=0))
        found[f"{name}_counts"] = np.array([model.count_params(), len(model.weights), len(model.layers)])
    assert (type(model).__module__.split(".")[0] == "fastk") == (side == "fastk")
    np.savez(file, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
