"""`FeatureSpace`: the preprocessing of a table, a feature a column, as one layer."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from fastk import ops, tree
from fastk.graph import KerasTensor
from fastk.layers.core.input_layer import Input
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.category_encoding import CategoryEncoding
from fastk.layers.preprocessing.discretization import Discretization
from fastk.layers.preprocessing.hashed_crossing import HashedCrossing
from fastk.layers.preprocessing.hashing import Hashing
from fastk.layers.preprocessing.index_lookup import IndexLookup
from fastk.layers.preprocessing.integer_lookup import IntegerLookup
from fastk.layers.preprocessing.normalization import Normalization
from fastk.layers.preprocessing.rescaling import Rescaling
from fastk.layers.preprocessing.string_lookup import StringLookup
from fastk.layers.preprocessing.strings import is_text, text_array
from fastk.layers.preprocessing.text_vectorization import TextVectorization
from fastk.naming import auto_name
from fastk.serialization import deserialize_keras_object, serialize_keras_object
from fastk.tensor import convert_to_numpy, convert_to_tensor, to_boundary

_MODULE = "keras.src.layers.preprocessing.feature_space"
# What `adapt` gives to a preprocessor at a time, as Keras does: learned quantiles depend on it.
_BATCH = 32


class TFDIdentity(Layer):
    """Its input; under Keras's name in files."""

    _keras_location = (_MODULE, "TFDIdentity", "TFDIdentity")

    def call(self, x: Any) -> Any:
        """`x`."""
        return x

    def compute_output_shape(self, x_shape: Any) -> Any:
        """`x_shape`."""
        return x_shape


class TFDConcat(Layer):
    """Its inputs, in one; under Keras's name in files."""

    _keras_location = (_MODULE, "TFDConcat", "TFDConcat")

    def __init__(self, axis: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, xs: Any) -> Any:
        """`xs`, along the axis."""
        return ops.concatenate(xs, axis=self.axis)


class Cross:
    """Features whose combination is hashed: see `FeatureSpace.cross`."""

    _keras_location = (_MODULE, "Cross", "Cross")

    def __init__(self, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot"):
        _check_mode(output_mode, ("int", "one_hot"))
        self.feature_names = tuple(feature_names)
        self.crossing_dim = crossing_dim
        self.output_mode = output_mode

    @property
    def name(self) -> str:
        """The features' names."""
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "feature_names": self.feature_names,
            "crossing_dim": self.crossing_dim,
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Cross:
        """A cross from `get_config`'s result."""
        return cls(**config)


class Feature:
    """A column: its dtype, the layer that it goes through, and how the result is encoded."""

    _keras_location = (_MODULE, "Feature", "Feature")

    def __init__(self, dtype: str, preprocessor: Any, output_mode: str):
        _check_mode(output_mode, ("int", "one_hot", "float"))
        self.dtype = dtype
        self.preprocessor = deserialize_keras_object(preprocessor) if isinstance(preprocessor, dict) else preprocessor
        self.output_mode = output_mode

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "dtype": self.dtype,
            "preprocessor": serialize_keras_object(self.preprocessor),
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Feature:
        """A feature from `get_config`'s result."""
        return cls(**config)


def _check_mode(mode: str, allowed: tuple[str, ...]) -> None:
    if mode not in allowed:
        raise ValueError(
            f"Invalid value for argument `output_mode`. Expected one of {set(allowed)}. Received: output_mode={mode}"
        )


class FeatureSpace(Layer):
    """Columns of a table to vectors: each column through a layer of its kind, and combinations of columns by hash.

    Args:
        features: the columns' names, and of each its kind: a string such as `"float_normalized"`, or what a method of
            this name returns: `FeatureSpace.float_normalized()`.
        output_mode: `"concat"`: one vector a row; `"dict"`: the features by name.
        crosses: tuples of names whose combinations are features too, or what `FeatureSpace.cross` returns.
        crossing_dim: into how many bins a combination is hashed, by default.
        hashing_dim: likewise, of `"string_hashed"` and `"integer_hashed"` columns.
        num_discretization_bins: the bins of `"float_discretized"` columns, by default.
        name: the layer's name.

    >>> import fastk
    >>> data = {"size": [1.0, 2.0, 3.0], "color": ["red", "blue", "red"]}
    >>> space = fastk.utils.FeatureSpace({"size": "float_rescaled", "color": "string_categorical"})
    >>> space.adapt(data)
    >>> print(space({"size": 2.0, "color": "blue"}))
    [0. 0. 1. 2.]
    """

    _keras_location = ("keras.utils", "FeatureSpace", None)

    def __init__(
        self,
        features: dict[str, Any],
        output_mode: str = "concat",
        crosses: Any = None,
        crossing_dim: int = 32,
        hashing_dim: int = 32,
        num_discretization_bins: int = 32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        self.crossing_dim = crossing_dim
        self.hashing_dim = hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.features = {name: self._standardize_feature(name, value) for name, value in features.items()}
        self.crosses = [self._standardize_cross(cross) for cross in crosses or ()]
        self.crosses_by_name = {cross.name: cross for cross in self.crosses}
        _check_mode(output_mode, ("dict", "concat"))
        self.output_mode = output_mode
        self.inputs = {
            name: Input(shape=(1,), dtype=feature.dtype, name=name) for name, feature in self.features.items()
        }
        self.preprocessors = {name: feature.preprocessor for name, feature in self.features.items()}
        self.crossers = {cross.name: HashedCrossing(cross.crossing_dim, name=cross.name) for cross in self.crosses}
        self.encoded_features: Any = None
        self.one_hot_encoders: dict[str, Any] = {}
        self.concat: Any = None
        self._is_adapted = False
        self._sublayers_built = False

    # ------------------------------------------------------------ kinds of features

    @classmethod
    def cross(cls, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """A combination of features, hashed into `crossing_dim` bins."""
        return Cross(feature_names, crossing_dim, output_mode=output_mode)

    @classmethod
    def feature(cls, dtype: str, preprocessor: Any, output_mode: str) -> Feature:
        """A column that goes through a layer of your own."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name: str | None = None) -> Feature:
        """Numbers as they are."""
        name = name or auto_name("float")
        return Feature("float32", TFDIdentity(dtype="float32", name=f"{name}_preprocessor"), "float")

    @classmethod
    def float_rescaled(
        cls, scale: builtins.float = 1.0, offset: builtins.float = 0.0, name: str | None = None
    ) -> Feature:
        """Numbers times `scale` plus `offset`."""
        name = name or auto_name("float_rescaled")
        return Feature("float32", Rescaling(scale=scale, offset=offset, name=f"{name}_preprocessor"), "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """Numbers of mean 0 and variance 1."""
        name = name or auto_name("float_normalized")
        return Feature("float32", Normalization(axis=-1, name=f"{name}_preprocessor"), "float")

    @classmethod
    def float_discretized(
        cls, num_bins: int, bin_boundaries: Any = None, output_mode: str = "one_hot", name: str | None = None
    ) -> Feature:
        """The bins that numbers fall into."""
        name = name or auto_name("float_discretized")
        layer = Discretization(num_bins=num_bins, bin_boundaries=bin_boundaries, name=f"{name}_preprocessor")
        return Feature("float32", layer, output_mode)

    @classmethod
    def integer_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Integers by a vocabulary."""
        name = name or auto_name("integer_categorical")
        layer = IntegerLookup(name=f"{name}_preprocessor", max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("int32", layer, output_mode)

    @classmethod
    def string_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Strings by a vocabulary."""
        name = name or auto_name("string_categorical")
        layer = StringLookup(name=f"{name}_preprocessor", max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("string", layer, output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Strings by hash."""
        name = name or auto_name("string_hashed")
        return Feature("string", Hashing(name=f"{name}_preprocessor", num_bins=num_bins), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Integers by hash."""
        name = name or auto_name("integer_hashed")
        return Feature("int32", Hashing(name=f"{name}_preprocessor", num_bins=num_bins), output_mode)

    def _standardize_feature(self, name: str, feature: Any) -> Feature:
        if isinstance(feature, Feature):
            return feature
        if isinstance(feature, dict):
            return deserialize_keras_object(feature)
        sizes = {
            "float_discretized": {"num_bins": self.num_discretization_bins},
            "integer_hashed": {"num_bins": self.hashing_dim},
            "string_hashed": {"num_bins": self.hashing_dim},
        }
        known = ("float", "float_normalized", "float_rescaled", "integer_categorical", "string_categorical", *sizes)
        if feature not in known:
            raise ValueError(f"Invalid feature type: {feature}. Expected one of {known}, or a `FeatureSpace.feature`.")
        return getattr(self, feature)(name=name, **sizes.get(feature, {}))

    def _standardize_cross(self, cross: Any) -> Cross:
        if isinstance(cross, dict):
            cross = deserialize_keras_object(cross)
        if isinstance(cross, Cross):
            return cross
        if not self.crossing_dim:
            raise ValueError(
                "When specifying `crosses`, the argument `crossing_dim` (dimensionality of the crossing space) should "
                "be specified as well."
            )
        if any(name not in self.features for name in cross):
            raise ValueError(
                "All features referenced in the `crosses` argument should be present in the `features` dict. Received "
                f"unknown features: {cross}"
            )
        return Cross(cross, crossing_dim=self.crossing_dim)

    # ------------------------------------------------------------ learning

    def _adaptable(self) -> list[str]:
        """The names of features whose preprocessors learn from data, and have not been given what they would learn."""
        names = []
        for name, layer in self.preprocessors.items():
            given = (isinstance(layer, Normalization) and layer.input_mean is not None) or (
                isinstance(layer, TextVectorization) and layer._lookup_layer._has_input_vocabulary
            )
            if hasattr(layer, "adapt") and not given:
                names.append(name)
        return names

    def adapt(self, dataset: Any) -> None:
        """Has each preprocessor learn from its column.

        Args:
            dataset: a dict of columns, or what yields dicts: of rows, or of batches.
        """
        if not isinstance(dataset, dict) and (isinstance(dataset, (str, bytes)) or not isinstance(dataset, Iterable)):
            raise ValueError(
                "`adapt()` can only be called on a dict of arrays/lists, or on what yields such dicts (a `DataLoader`, "
                f"a `tf.data.Dataset`, a generator). Received instead: {dataset} (of type {type(dataset)})"
            )
        parts = [dataset] if isinstance(dataset, dict) else list(dataset)
        for name in self._adaptable():
            self.preprocessors[name].adapt(_columns(part[name] for part in parts))
        self._is_adapted = True
        self.get_encoded_features()
        self.built = True
        self._sublayers_built = True

    def _check_if_adapted(self) -> None:
        if not self._is_adapted and self._adaptable():
            raise ValueError("You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it.")
        self._is_adapted = True

    def _check_if_built(self) -> None:
        if not self._sublayers_built:
            self._check_if_adapted()
            self.get_encoded_features()
            self._sublayers_built = True

    # ------------------------------------------------------------ calls

    def get_inputs(self) -> dict[str, KerasTensor]:
        """The symbolic inputs, by name."""
        self._check_if_built()
        return self.inputs

    def get_encoded_features(self) -> Any:
        """What becomes of the symbolic inputs: one KerasTensor, or a dict of them."""
        self._check_if_adapted()
        if self.encoded_features is None:
            self.encoded_features = self._encoded(self.inputs)
        return self.encoded_features

    def _encoded(self, data: dict[str, Any]) -> Any:
        features = {name: self.preprocessors[name](data[name]) for name in data}
        crossed = {
            cross.name: self.crossers[cross.name]([features[name] for name in cross.feature_names])
            for cross in self.crosses
        }
        outputs = {}
        for name, feature in [*sorted(features.items()), *sorted(crossed.items())]:
            spec = self.features[name] if name in features else self.crosses_by_name[name]
            encoder = self._encoder(name, spec, feature)
            outputs[name] = feature if encoder is None else encoder(feature)
        if self.output_mode == "dict":
            return outputs
        for name, feature in outputs.items():
            dtype = str(feature.dtype).removeprefix("torch.")
            if not self._sublayers_built and (dtype.startswith("int") or dtype == "string"):
                raise ValueError(
                    f"Cannot concatenate features because feature '{name}' has not been encoded (it has dtype "
                    f"{dtype}). Consider using `output_mode='dict'`."
                )
        if self.concat is None:
            self.concat = TFDConcat(axis=-1)
        return self.concat(list(outputs.values()))

    def _encoder(self, name: str, spec: Feature | Cross, feature: Any) -> Any:
        """What makes vectors of a feature; None where it is left as it is."""
        if name in self.one_hot_encoders or spec.output_mode != "one_hot":
            return self.one_hot_encoders.get(name)
        layer = self.preprocessors.get(name) or self.crossers[name]
        dtype = str(feature.dtype).removeprefix("torch.")
        if not dtype.startswith("int"):
            raise ValueError(
                f"Feature '{name}' has `output_mode='one_hot'`. Thus its preprocessor should return an integer dtype. "
                f"Instead it returns a {dtype} dtype."
            )
        if isinstance(layer, IndexLookup):
            size = layer.vocabulary_size()
        elif isinstance(layer, CategoryEncoding):
            size = layer.num_tokens
        elif isinstance(layer, (Discretization, HashedCrossing, Hashing)):
            size = layer.num_bins
        else:
            raise ValueError(
                f"Feature '{name}' has `output_mode='one_hot'`. However it isn't a standard feature and the "
                "dimensionality of its output space is not known, thus it cannot be one-hot encoded. Try using "
                "`output_mode='int'`."
            )
        encoder = CategoryEncoding(num_tokens=size, output_mode="multi_hot")
        self.one_hot_encoders = {**self.one_hot_encoders, name: encoder}
        return encoder

    def __call__(self, data: Any) -> Any:
        """The features of a row, or of a batch of rows: a dict of columns."""
        self._check_if_built()
        if not isinstance(data, dict):
            raise ValueError(
                f"A FeatureSpace can only be called with a dict. Received: data={data} (of type {type(data)})"
            )
        columns = {name: value if isinstance(value, KerasTensor) else _as_column(value) for name, value in data.items()}
        one_row = any(len(column.shape) == 0 for column in columns.values())
        columns = {name: _with_feature_axis(column) for name, column in columns.items()}
        outputs = self._encoded(columns)
        if one_row:
            outputs = tree.map_structure(lambda x: x.squeeze(0) if x.ndim > 1 and x.shape[0] == 1 else x, outputs)
        return to_boundary(outputs)

    # ------------------------------------------------------------ configuration and files

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "features": serialize_keras_object(dict(self.features)),
            "output_mode": self.output_mode,
            "crosses": serialize_keras_object(list(self.crosses)),
            "crossing_dim": self.crossing_dim,
            "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatureSpace:
        """A feature space from `get_config`'s result."""
        return cls(**config)

    def get_build_config(self) -> dict[str, Any]:
        """What each preprocessor was built for."""
        return {name: feature.preprocessor.get_build_config() for name, feature in self.features.items()}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds each preprocessor as it was."""
        for name, own in config.items():
            layer = self.features[name].preprocessor
            if not layer.built:
                layer.build_from_config(own)
        self._is_adapted = True

    def save(self, filepath: Any) -> None:
        """Saves the feature space as a `.keras` file, which `keras.models.load_model` reads."""
        from fastk.saving import save_model

        save_model(self, filepath)

    def save_own_variables(self, store: Any) -> None:
        """Puts nothing into `store`: the preprocessors have the state."""

    def load_own_variables(self, store: Any) -> None:
        """Reads nothing."""


def _as_column(value: Any) -> Any:
    """A column, or one value of it, as a tensor, or as an array of strings."""
    if is_text(value):
        return text_array(value)
    return value if isinstance(value, torch.Tensor) else convert_to_tensor(value)


def _with_feature_axis(column: Any) -> Any:
    if len(column.shape) == 0:
        return column.reshape(1, 1)
    return column[:, None] if len(column.shape) == 1 else column


def _columns(parts: Iterable[Any]) -> Iterator[np.ndarray]:
    """A column in batches (rows, features), of values, rows or batches of it."""
    single: list[np.ndarray] = []
    for part in parts:
        array = text_array(part) if is_text(part) else np.asarray(convert_to_numpy(part))
        if array.ndim == 0:
            single.append(array)
        elif array.ndim == 1:
            yield from (array[i : i + _BATCH, None] for i in range(0, len(array), _BATCH))
        else:
            yield from (row[:, None] if row.ndim == 1 else row for row in array)
    for i in range(0, len(single), _BATCH):
        yield np.stack(single[i : i + _BATCH])[:, None]
