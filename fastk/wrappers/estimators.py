"""The estimators, classes of scikit-learn's; `fastk.wrappers` imports them when they are asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from fastk.models import Model
from fastk.models.cloning import clone_model

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


class _TargetReshaper(TransformerMixin, BaseEstimator):
    """Targets of one axis as a column, and back."""

    def fit(self, y: Any) -> _TargetReshaper:
        """Notes whether the targets have one axis."""
        self.ndim_ = y.ndim
        return self

    def transform(self, y: Any) -> Any:
        """The targets with two axes."""
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def inverse_transform(self, y: Any) -> Any:
        """The targets with as many axes as they had."""
        check_is_fitted(self)
        return np.squeeze(y, axis=1) if self.ndim_ == 1 and y.ndim == 2 else y


class _Estimator(BaseEstimator):
    """What the three have in common; `SKLearnClassifier` explains the arguments."""

    def __init__(
        self,
        model: Model | Callable[..., Model],
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ):
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags

    def __sklearn_clone__(self) -> _Estimator:
        # A model that is cloned before it is fitted may be shared; one that goes on from its weights may not.
        own = self.warm_start and isinstance(self.model, Model)
        return type(self)(
            model=copy.deepcopy(self.model) if own else self.model,
            warm_start=self.warm_start,
            model_kwargs=self.model_kwargs,
            fit_kwargs=self.fit_kwargs,
        )

    @property
    def epoch_(self) -> int:
        """The epochs that the last `fit` trained for."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def set_fit_request(self, **kwargs: Any) -> _Estimator:
        """Says which metadata `fit` takes, where scikit-learn's metadata routing is enabled.

        Args:
            kwargs: names of arguments of `fit`, each with True, False, None or an alias.
        """
        if not sklearn.get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable it using "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._metadata_request = MetadataRequest(owner=self)
        for name, alias in kwargs.items():
            self._metadata_request.fit.add_request(param=name, alias=alias)
        return self

    def _model_to_fit(self, X: Any, y: Any) -> Model:  # noqa: N803 - scikit-learn's name
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if not isinstance(self.model, Model):
            return self.model(X=X, y=y, **(self.model_kwargs or {}))
        return self.model if self.warm_start else clone_model(self.model)

    def fit(self, X: Any, y: Any, **kwargs: Any) -> _Estimator:  # noqa: N803
        """Trains a new model, or with `warm_start` the one that was trained before.

        Args:
            X: samples of shape `(samples, features)`.
            y: targets of shape `(samples,)` or `(samples, outputs)`.
            kwargs: arguments of the model's `fit`, before those of `fit_kwargs`.
        """
        X, y = validate_data(self, X, y)  # noqa: N806
        y = self._process_target(y, reset=True)
        model = self._model_to_fit(X, y)
        if not model.compiled or not model.loss or not model.optimizer:
            raise RuntimeError(
                "Given model needs to be compiled, and have a loss and an optimizer: call `model.compile("
                "optimizer='adam', loss='mse')` before it is given to the estimator."
            )
        self.history_ = model.fit(X, y, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        """The model's predictions, in the form of the targets."""
        return self._reverse_process_target(self._outputs(X))

    def _outputs(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return self.model_.predict(validate_data(self, X, reset=False))

    def _process_target(self, y: Any, reset: bool = False) -> Any:
        _check_target(y)
        if reset:
            self._target_encoder = _TargetReshaper().fit(y)
        return self._target_encoder.transform(y)

    def _reverse_process_target(self, y: Any) -> Any:
        return self._target_encoder.inverse_transform(y)


def _check_target(y: Any) -> str:
    kind = type_of_target(y, input_name="data")
    if kind == "unknown":
        raise ValueError(f"Unknown label type for data: {y!r}")
    return kind


class SKLearnClassifier(ClassifierMixin, _Estimator):
    """A model as a classifier of scikit-learn.

    Args:
        model: a compiled model, which is cloned before each `fit`; or a function of `X`, `y` and `model_kwargs` that
            returns one.
        warm_start: whether `fit` goes on with the weights of the last one, and with a model itself, not a clone.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of the model's `fit`; those given to the estimator's `fit` come before them.

    After `fit`, `model_` is the trained model, `history_` what its `fit` returned, and `classes_` the classes. Targets
    are given to the model as one-hot rows.

    >>> import numpy as np, fastk
    >>> model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(2, activation="softmax")])
    >>> model.compile(loss="categorical_crossentropy")
    >>> classifier = SKLearnClassifier(model, fit_kwargs={"verbose": 0})
    >>> _ = classifier.fit(np.eye(2), ["a", "b"])
    >>> classifier.model_.stop_training, classifier.classes_.tolist()
    (False, ['a', 'b'])
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """The model's outputs as they are."""
        return self._outputs(X)

    def _process_target(self, y: Any, reset: bool = False) -> Any:
        kind = _check_target(y)
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Only binary and multiclass target types are supported. Target type: {kind}")
        if reset:
            self._target_encoder = make_pipeline(_TargetReshaper(), OneHotEncoder(sparse_output=False)).fit(y)
            self.classes_ = np.unique(y)
            if len(self.classes_) == 1:
                raise ValueError("Classifier can't train when only one class is present.")
        return self._target_encoder.transform(y)


class SKLearnRegressor(RegressorMixin, _Estimator):
    """A model as a regressor of scikit-learn.

    Args:
        model: a compiled model, which is cloned before each `fit`; or a function of `X`, `y` and `model_kwargs` that
            returns one.
        warm_start: whether `fit` goes on with the weights of the last one, and with a model itself, not a clone.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of the model's `fit`; those given to the estimator's `fit` come before them.

    After `fit`, `model_` is the trained model and `history_` what its `fit` returned.

    >>> import numpy as np, fastk
    >>> model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> regressor = SKLearnRegressor(model, fit_kwargs={"verbose": 0}).fit(np.eye(2), np.array([0.0, 1.0]))
    >>> regressor.epoch_, regressor.model_ is model
    (1, False)
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(TransformerMixin, _Estimator):
    """A model as a transformer of scikit-learn, whose output is made of the samples: their embeddings, say.

    Args:
        model: a compiled model, which is cloned before each `fit`; or a function of `X`, `y` and `model_kwargs` that
            returns one.
        warm_start: whether `fit` goes on with the weights of the last one, and with a model itself, not a clone.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of the model's `fit`; those given to the estimator's `fit` come before them.

    After `fit`, `model_` is the trained model and `history_` what its `fit` returned.

    >>> import numpy as np, fastk
    >>> model = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> transformer = SKLearnTransformer(model, fit_kwargs={"verbose": 0}).fit(np.eye(2), np.zeros(2))
    >>> transformer.transform(np.eye(2)).shape
    1/1 ━━━━━━━━━━━━━━━━━━━━ 0s ...s/step
    (2, 1)
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def transform(self, X: Any) -> Any:  # noqa: N803
        """The model's outputs for the samples."""
        return self._outputs(X)
