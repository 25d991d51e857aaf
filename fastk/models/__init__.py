"""Models (`keras.models`)."""

from fastk.models.cloning import clone_model
from fastk.models.functional import Functional
from fastk.models.model import Model, model_from_json
from fastk.models.sequential import Sequential
from fastk.saving.keras_file import load_model, save_model  # after the models, which it is made of

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
