"""Models as estimators of scikit-learn."""

import pickle
from typing import Any

import numpy as np
import pytest

import fastk

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils.estimator_checks import check_dict_unchanged, check_estimators_pickle  # noqa: E402

from fastk.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer  # noqa: E402


def build(X, y, units=4, loss="mse"):  # noqa: N803
    model = fastk.Sequential(
        [fastk.Input((X.shape[1],)), fastk.layers.Dense(units), fastk.layers.Dense(y.shape[1] if y.ndim > 1 else 1)]
    )
    model.compile("sgd", loss)
    return model


def separable(n=40):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 2)).astype("float32")
    return x, np.where(x[:, 0] > 0, "right", "left")


def test_a_classifier_learns_labels_that_are_strings():
    fastk.utils.set_random_seed(0)
    x, y = separable()
    classifier = SKLearnClassifier(build, fit_kwargs={"epochs": 40, "verbose": 0})
    classifier.fit(x, y)
    assert set(classifier.predict(x)) <= {"left", "right"}
    assert classifier.score(x, y) > 0.9
    assert classifier.decision_function(x).shape == (40, 2)
    assert classifier.classes_.tolist() == ["left", "right"]


def test_a_model_is_cloned_and_left_as_it_was():
    x = np.eye(3, dtype="float32")
    model = build(x, np.zeros(3))
    before = [w.copy() for w in model.get_weights()]
    regressor = SKLearnRegressor(model, fit_kwargs={"verbose": 0}).fit(x, np.arange(3.0), epochs=2)
    assert regressor.epoch_ == 2
    assert regressor.predict(x).shape == (3,)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert any((old != new).any() for old, new in zip(before, regressor.model_.get_weights(), strict=True))


def test_warm_start_goes_on_with_the_same_model():
    x = np.eye(3, dtype="float32")
    regressor = SKLearnRegressor(build, warm_start=True, fit_kwargs={"verbose": 0})
    first = regressor.fit(x, np.arange(3.0)).model_
    steps = int(first.optimizer.iterations)
    assert regressor.fit(x, np.arange(3.0)).model_ is first
    assert int(first.optimizer.iterations) == 2 * steps


def test_clone_keeps_all_arguments():
    estimator = SKLearnRegressor(build, model_kwargs={"units": 2}, fit_kwargs={"epochs": 3})
    copy: Any = clone(estimator)
    assert copy.get_params() == estimator.get_params()


def test_arguments_given_to_fit_come_first_and_change_nothing():
    estimator = SKLearnRegressor(build, fit_kwargs={"epochs": 3, "verbose": 0})
    estimator.fit(np.eye(2), np.zeros(2), epochs=1)
    assert estimator.epoch_ == 1
    assert estimator.fit_kwargs == {"epochs": 3, "verbose": 0}


def test_a_fitted_estimator_can_be_pickled():
    x = np.eye(3, dtype="float32")
    fitted = SKLearnRegressor(build, fit_kwargs={"epochs": 5, "verbose": 0}).fit(x, np.arange(3.0))
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.predict(x), fitted.predict(x), rtol=1e-6)


def test_in_a_pipeline_and_a_search():
    x, _ = separable()
    pipe = make_pipeline(SKLearnTransformer(build, fit_kwargs={"verbose": 0}), SKLearnRegressor(build))
    pipe.fit(x, x[:, 0], sklearnregressor__verbose=0)
    assert pipe.predict(x).shape == (40,)
    search = GridSearchCV(SKLearnRegressor(build, fit_kwargs={"verbose": 0}), {"model_kwargs": [{"units": 1}]}, cv=2)
    assert search.fit(x, x[:, 0]).best_params_ == {"model_kwargs": {"units": 1}}


def test_what_cannot_be_fitted_is_refused():
    uncompiled = fastk.Sequential([fastk.Input((2,)), fastk.layers.Dense(1)])
    with pytest.raises(RuntimeError, match="needs to be compiled"):
        SKLearnRegressor(uncompiled).fit(np.eye(2), np.zeros(2))
    with pytest.raises(ValueError, match="Only binary and multiclass"):
        SKLearnClassifier(build).fit(np.eye(2), np.array([0.5, 0.25]))
    with pytest.raises(ValueError, match="only one class"):
        SKLearnClassifier(build).fit(np.eye(2), np.array([1, 1]))
    with pytest.raises(RuntimeError, match="metadata routing"):
        SKLearnRegressor(build).set_fit_request(sample_weight=True)


@pytest.mark.parametrize("check", [check_dict_unchanged, check_estimators_pickle])
def test_checks_of_scikit_learn(check):
    check("SKLearnRegressor", SKLearnRegressor(build, fit_kwargs={"verbose": 0}))


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        _ = fastk.wrappers.SKLearnClassifier
