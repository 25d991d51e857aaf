"""Which Keras this works inside of: its versions that are tested, on the backend whose tensors are torch's."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from fastk import config
from fastk.device import device_scope

TESTED = "3.15"
"""The minor version of Keras that the tests run against. No interface promises the parts that are replaced."""


def check_version(version: str) -> None:
    """Raises where Keras's version is not one that is tested.

    >>> check_version("3.15.2")
    >>> check_version("3.16.0")
    Traceback (most recent call last):
    ...
    RuntimeError: fastk works inside Keras 3.15 and this is Keras 3.16.0. ...
    """
    if version.split(".")[:2] != TESTED.split("."):
        raise RuntimeError(
            f"fastk works inside Keras {TESTED} and this is Keras {version}. It replaces parts of Keras that change "
            f"between versions, so that no other is tried. Install it with `pip install 'keras=={TESTED}.*'`, use a "
            "fastk whose `docs/in_keras.md` names your version, or let `import fastk as keras` run the program."
        )


def keras_on_torch() -> Any:
    """The module `keras`, if it is one that this works inside of.

    Raises:
        ImportError: Keras is not installed.
        RuntimeError: it has another version, or another backend.
    """
    if importlib.util.find_spec("keras") is None:
        raise ImportError(
            f"fastk.integrations.keras works inside Keras, which is not installed: pip install 'keras=={TESTED}.*'. "
            "Without it, `import fastk as keras` has the same interface."
        )
    import keras

    if keras.Model.__module__.startswith("fastk."):
        raise RuntimeError(
            "`import keras` gives fastk here, as in programs that `fastk run` starts: there is nothing to accelerate."
        )
    check_version(keras.__version__)
    if keras.backend.backend() != "torch":
        raise RuntimeError(
            f"fastk works inside Keras on the backend 'torch', whose tensors are its own, and Keras runs on "
            f"{keras.backend.backend()!r}. Set the environment variable KERAS_BACKEND=torch before Keras is imported."
        )
    return keras


@contextlib.contextmanager
def settings_of(keras: Any) -> Iterator[None]:
    """Inside, fastk has Keras's device, `floatx`, `epsilon` and `image_data_format`."""
    from keras.src.backend.torch.core import get_device

    before = config.floatx(), config.epsilon(), config.image_data_format()
    settings = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
    device = str(get_device())
    _set(settings)
    try:
        with contextlib.nullcontext() if device == "meta" else device_scope(device):  # "meta": shapes are inferred
            yield
    finally:
        _set(before)


def _set(settings: tuple[str, float, str]) -> None:
    config.set_floatx(settings[0])
    config.set_epsilon(settings[1])
    config.set_image_data_format(settings[2])
