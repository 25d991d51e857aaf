"""Models as estimators of scikit-learn (`keras.wrappers`), which is imported when one is asked for."""

from typing import Any

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import sklearn  # noqa: F401 - is it there?
    except ImportError as error:
        raise ImportError(
            f"`{name}` needs scikit-learn, which is not installed: `pip install scikit-learn`."
        ) from error
    from fastk.wrappers import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return __all__
