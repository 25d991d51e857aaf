"""`keras.optimizers.legacy`: optimizers of Keras 2, which Keras 3 has as names that raise; so here."""

from __future__ import annotations

from typing import Any


class _Legacy:
    def __init__(self, *args: Any, **kwargs: Any):
        name = type(self).__name__
        raise ImportError(
            f"`keras.optimizers.legacy.{name}` is of Keras 2 and not supported in Keras 3. Take "
            f"`keras.optimizers.{name}`, which has the same update; `lr` is called `learning_rate` there, and `decay` "
            "is a schedule."
        )


class Adagrad(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.Adagrad`."""


class Adam(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.Adam`."""


class Ftrl(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.Ftrl`."""


class Optimizer(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.Optimizer`."""


class RMSprop(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.RMSprop`."""


class SGD(_Legacy):
    """Raises `ImportError`: take `keras.optimizers.SGD`."""


__all__ = ["SGD", "Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop"]
