"""`FeatureSpace`: columns of a table, each preprocessed in its own way, as one vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from fastk import serialization
from fastk.layers.core.identity import Identity
from fastk.layers.core.input_layer import Input
from fastk.layers.layer import Layer
from fastk.layers.merging.concatenate import Concatenate
from fastk.layers.preprocessing.normalization import Normalization
from fastk.layers.preprocessing.rescaling import Rescaling
from fastk.naming import auto_name
from fastk.tensor import convert_to_tensor
from fastk.utils.data.dataset import Dataset
from fastk.utils.data.elements import to_columns, to_leaf

_KEYS = ("feature_names", "crossing_dim", "output_mode")


def _layers() -> Any:
    """The package of the layers, which this file is a part of."""
    from fastk import layers

    return layers


def _check_mode(mode: str, allowed: tuple[str, ...]) -> str:
    if mode not in allowed:
        raise ValueError(
            f"Invalid value for argument `output_mode`. Expected one of {allowed}. Received: output_mode={mode}"
        )
    return mode


class Cross:
    """Several features whose values together are hashed into one of `crossing_dim` bins."""

    _keras_location = ("keras.src.layers.preprocessing.feature_space", "Cross", "Cross")

    def __init__(self, feature_names: Sequence[str], crossing_dim: int, output_mode: str = "one_hot"):
        self.feature_names = tuple(feature_names)
        self.crossing_dim = crossing_dim
        self.output_mode = _check_mode(output_mode, ("int", "one_hot"))

    @property
    def name(self) -> str:
        """The features' names, joined."""
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: getattr(self, key) for key in _KEYS}


class Feature:
    """How one feature is preprocessed: its dtype, the layer, and what comes of it (`int`, `one_hot` or `float`)."""

    _keras_location = ("keras.src.layers.preprocessing.feature_space", "Feature", "Feature")

    def __init__(self, dtype: str, preprocessor: Any, output_mode: str):
        self.dtype = dtype
        described = isinstance(preprocessor, dict)
        self.preprocessor: Any = serialization.deserialize_keras_object(preprocessor) if described else preprocessor
        self.output_mode = _check_mode(output_mode, ("int", "one_hot", "float"))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        preprocessor = serialization.serialize_keras_object(self.preprocessor)
        return {"dtype": self.dtype, "preprocessor": preprocessor, "output_mode": self.output_mode}


class FeatureSpace(Layer):
    """Preprocesses a dict of features, each in its own way, and joins them.

    Args:
        features: names and what each is: one of the names `"float"`, `"float_rescaled"`, `"float_normalized"`,
            `"float_discretized"`, `"integer_categorical"`, `"string_categorical"`, `"integer_hashed"`,
            `"string_hashed"`, or what the method of that name returns.
        output_mode: `"concat"` for one vector, `"dict"` for a dict.
        crosses: groups of names whose values together are one more feature, or what `cross` returns.
        crossing_dim, hashing_dim, num_discretization_bins: numbers of bins where nothing else is said.
        name: the layer's name.

    >>> import fastk
    >>> space = fastk.utils.FeatureSpace({"size": "float_normalized", "colour": "string_categorical"})
    >>> data = {"size": [1.0, 3.0], "colour": ["red", "blue"]}
    >>> space.adapt(data)
    >>> space(data).shape
    torch.Size([2, 4])
    """

    _keras_location = ("keras.utils", "FeatureSpace", None)

    def __init__(
        self,
        features: dict[str, Any],
        output_mode: str = "concat",
        crosses: Sequence[Any] | None = None,
        crossing_dim: int = 32,
        hashing_dim: int = 32,
        num_discretization_bins: int = 32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        self.crossing_dim, self.hashing_dim = crossing_dim, hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.features = {key: self._standardized(key, value) for key, value in features.items()}
        self.crosses = [self._standardized_cross(cross) for cross in crosses or ()]
        self.output_mode = _check_mode(output_mode, ("dict", "concat"))
        self.inputs = {key: Input(shape=(1,), dtype=feature.dtype, name=key) for key, feature in self.features.items()}
        self.preprocessors = {key: feature.preprocessor for key, feature in self.features.items()}
        self.crossers = {
            cross.name: _layers().HashedCrossing(cross.crossing_dim, name=cross.name) for cross in self.crosses
        }
        self.concat = Concatenate(axis=-1)
        self.encoded_features: Any = None
        self._encoders: dict[str, Any] = {}
        self._is_adapted = False

    # ------------------------------------------------------------ what a feature may be

    @classmethod
    def cross(cls, feature_names: Sequence[str], crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """Several features whose values together are hashed."""
        return Cross(feature_names, crossing_dim, output_mode)

    @classmethod
    def feature(cls, dtype: str, preprocessor: Any, output_mode: str) -> Feature:
        """A feature that is preprocessed by a layer of one's own."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name: str | None = None) -> Feature:
        """A number as it is."""
        return Feature("float32", Identity(dtype="float32", name=_named(name, "float")), "float")

    @classmethod
    def float_rescaled(cls, scale: Any = 1.0, offset: Any = 0.0, name: str | None = None) -> Feature:
        """A number times `scale`, plus `offset`."""
        return Feature("float32", Rescaling(scale, offset, name=_named(name, "float_rescaled")), "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """A number scaled to mean 0 and variance 1, which `adapt` finds."""
        return Feature("float32", Normalization(axis=-1, name=_named(name, "float_normalized")), "float")

    @classmethod
    def float_discretized(
        cls, num_bins: int, bin_boundaries: Any = None, output_mode: str = "one_hot", name: str | None = None
    ) -> Feature:
        """The bin that a number is in: between `bin_boundaries`, or one of `num_bins` that `adapt` finds."""
        name = _named(name, "float_discretized")
        bins = {"num_bins": num_bins} if bin_boundaries is None else {"bin_boundaries": bin_boundaries}
        layer = _layers().Discretization(**bins, name=name)
        return Feature("float32", layer, output_mode)

    @classmethod
    def integer_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """An integer of a vocabulary, which `adapt` finds."""
        name = _named(name, "integer_categorical")
        layer = _layers().IntegerLookup(name=name, max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("int32", layer, output_mode)

    @classmethod
    def string_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """A string of a vocabulary, which `adapt` finds."""
        name = _named(name, "string_categorical")
        layer = _layers().StringLookup(name=name, max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("string", layer, output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """A string, hashed."""
        return Feature("string", _layers().Hashing(num_bins, name=_named(name, "string_hashed")), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """An integer, hashed."""
        return Feature("int32", _layers().Hashing(num_bins, name=_named(name, "integer_hashed")), output_mode)

    def _standardized(self, name: str, feature: Any) -> Feature:
        if isinstance(feature, Feature):
            return feature
        if isinstance(feature, dict):
            return Feature(**feature["config"])
        bins = {"float_discretized": self.num_discretization_bins}
        bins |= dict.fromkeys(("integer_hashed", "string_hashed"), self.hashing_dim)
        plain = ("float", "float_rescaled", "float_normalized", "integer_categorical", "string_categorical")
        if feature not in (*bins, *plain):
            raise ValueError(f"Invalid feature type: {feature}. Expected one of {(*plain, *bins)}, or a feature.")
        make = getattr(self, feature)
        return make(bins[feature], name=name) if feature in bins else make(name=name)

    def _standardized_cross(self, cross: Any) -> Cross:
        if isinstance(cross, dict):
            cross = Cross(**cross["config"])
        elif not isinstance(cross, Cross):
            cross = Cross(cross, self.crossing_dim)
        unknown = [key for key in cross.feature_names if key not in self.features]
        if unknown:
            raise ValueError(
                "All features referenced in the `crosses` argument should be present in the `features` dict. Received "
                f"unknown features: {unknown}"
            )
        return cross

    # ------------------------------------------------------------ learning

    def _adaptable(self) -> list[str]:
        def learns(layer: Any) -> bool:
            if isinstance(layer, _layers().Discretization):
                return layer.num_bins is not None  # else its boundaries were given
            given = getattr(layer, "input_mean", None) is not None or getattr(layer, "_has_input_vocabulary", False)
            return hasattr(layer, "adapt") and not given

        return [key for key, layer in self.preprocessors.items() if learns(layer)]

    def adapt(self, dataset: Any) -> None:
        """Learns the features' statistics and vocabularies.

        Args:
            dataset: a dict of arrays or lists, or a dataset (or another iterable) of dicts: of samples or batches.
        """
        if isinstance(dataset, dict):
            data = Dataset.from_tensor_slices(to_columns(dataset))
        elif isinstance(dataset, Dataset):
            data = dataset
        elif isinstance(dataset, Iterable) and not isinstance(dataset, (str, bytes, torch.Tensor, np.ndarray)):
            data = Dataset.from_generator(lambda: iter(dataset))
        else:
            raise ValueError(
                "`adapt()` can only be called on a dict of arrays/lists, or a dataset of dicts. Received instead: "
                f"{dataset} (of type {type(dataset)})"
            )
        for key in self._adaptable():
            column = data.map(lambda element, key=key: element[key])
            rank = len(getattr(next(iter(column)), "shape", ()))
            if rank == 0:
                column = column.batch(32)
            self.preprocessors[key].adapt(column.map(lambda x: x[..., None]) if rank < 2 else column)
        self._is_adapted = True
        self.encoded_features = None
        self.get_encoded_features()

    def _check_adapted(self) -> None:
        if not self._is_adapted and self._adaptable():
            raise ValueError("You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it.")
        self._is_adapted = True

    def get_inputs(self) -> dict[str, Any]:
        """The symbolic inputs, one a feature, for a model that preprocesses."""
        self.get_encoded_features()
        return self.inputs

    def get_encoded_features(self) -> Any:
        """The symbolic outputs for `get_inputs()`, for a model that is given preprocessed features."""
        self._check_adapted()
        if self.encoded_features is None:
            self.encoded_features = self._encoded(self.inputs)
            self.built = True
        return self.encoded_features

    # ------------------------------------------------------------ computing

    def _encoded(self, data: dict[str, Any]) -> Any:
        found = {key: self.preprocessors[key](data[key]) for key in self.features}
        crossed = {x.name: self.crossers[x.name]([found[key] for key in x.feature_names]) for x in self.crosses}
        specs: dict[str, Any] = {**self.features, **{cross.name: cross for cross in self.crosses}}
        outputs = {}
        for key in [*sorted(found), *sorted(crossed)]:
            value = found[key] if key in found else crossed[key]
            outputs[key] = self._one_hot(key, value) if specs[key].output_mode == "one_hot" else value
        if self.output_mode == "dict":
            return outputs
        for key, value in outputs.items():
            if "float" not in str(value.dtype):
                raise ValueError(
                    f"Cannot concatenate features because feature '{key}' has not been encoded (it has dtype "
                    f"{value.dtype}). Consider using `output_mode='dict'`."
                )
        values = list(outputs.values())
        return values[0] if len(values) == 1 else self.concat(values)

    def _one_hot(self, key: str, value: Any) -> Any:
        if key not in self._encoders:
            layer = self.preprocessors.get(key) or self.crossers[key]
            size = layer.vocabulary_size() if hasattr(layer, "vocabulary_size") else None
            size = size or getattr(layer, "num_bins", None) or getattr(layer, "num_tokens", None)
            if size is None and getattr(layer, "bin_boundaries", None) is not None:
                size = len(layer.bin_boundaries) + 1
            if size is None:
                raise ValueError(
                    f"Feature '{key}' has `output_mode='one_hot'`. However it isn't a standard feature and the "
                    "dimensionality of its output space is not known, thus it cannot be one-hot encoded. Try using "
                    "`output_mode='int'`."
                )
            if "int" not in str(value.dtype):
                raise ValueError(
                    f"Feature '{key}' has `output_mode='one_hot'`. Thus its preprocessor should return an integer "
                    f"dtype. Instead it returns a {value.dtype} dtype."
                )
            self._encoders[key] = _layers().CategoryEncoding(num_tokens=size, output_mode="multi_hot")
        return self._encoders[key](value)

    def __call__(self, data: Any) -> Any:  # type: ignore[override]
        """The features of a sample, or of a batch, encoded.

        Args:
            data: a dict of numbers and strings, or of arrays `(batch,)` or `(batch, 1)`.
        """
        self.get_encoded_features()
        if not isinstance(data, dict):
            raise ValueError(f"A FeatureSpace can only be called with a dict. Received: data={data} of {type(data)}")
        missing = [key for key in self.features if key not in data]
        if missing:
            raise ValueError(f"The data lacks the features {missing}. It has: {list(data)}")
        columns = {key: self._column(data[key], feature.dtype) for key, feature in self.features.items()}
        single = any(np.ndim(data[key]) == 0 for key in self.features)
        outputs = self._encoded(columns)
        if not single:
            return outputs
        return {key: value[0] for key, value in outputs.items()} if isinstance(outputs, dict) else outputs[0]

    @staticmethod
    def _column(value: Any, dtype: str) -> Any:
        """A feature as `(batch, 1)`."""
        if dtype == "string":
            array = np.asarray(value, dtype=object)
        else:
            array = convert_to_tensor(to_leaf(np.asarray(value) if isinstance(value, (list, tuple)) else value), dtype)
        if array.ndim == 0:
            return array.reshape(1, 1)
        return array[..., None] if array.ndim == 1 else array

    # ------------------------------------------------------------ files

    def save(self, filepath: Any) -> None:
        """Saves the features and what `adapt` learnt, as a `.keras` file that `keras.models.load_model` reads."""
        from fastk.saving import save_model

        save_model(self, filepath)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "features": {key: serialization.serialize_keras_object(value) for key, value in self.features.items()},
            "output_mode": self.output_mode,
            "crosses": [serialization.serialize_keras_object(cross) for cross in self.crosses],
            "crossing_dim": self.crossing_dim,
            "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins,
        }

    def get_build_config(self) -> dict[str, Any]:
        """What the preprocessors were built for."""
        return {key: layer.get_build_config() for key, layer in self.preprocessors.items()}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the preprocessors."""
        for key, build in config.items():
            if build and not self.preprocessors[key].built:
                self.preprocessors[key].build_from_config(build)
        self._is_adapted = True


def _named(name: str | None, kind: str) -> str:
    return f"{name or auto_name(kind)}_preprocessor"
