"""Models (`keras.models`)."""

from fastk.models.cloning import clone_model
from fastk.models.functional import Functional
from fastk.models.model import Model, model_from_json
from fastk.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def __getattr__(name: str):
    if name in ("load_model", "save_model"):
        import fastk.saving

        return getattr(fastk.saving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
