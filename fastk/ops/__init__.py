"""`keras.ops`: Keras's functions on tensors, on torch; symbolic where a KerasTensor is given.

>>> from fastk import KerasTensor, ops
>>> ops.matmul([[1.0, 2.0]], [[3.0], [4.0]])
tensor([[11.]])
>>> ops.matmul(KerasTensor((None, 2)), ops.ones((2, 5))).shape
(None, 5)
"""

from __future__ import annotations

from typing import Any

from fastk.errors import missing_name
from fastk.ops import core, einops, image, linalg, math, nn, numpy
from fastk.ops.core import *  # noqa: F403
from fastk.ops.einops import *  # noqa: F403
from fastk.ops.linalg import *  # noqa: F403
from fastk.ops.math import *  # noqa: F403
from fastk.ops.nn import *  # noqa: F403
from fastk.ops.numpy import *  # noqa: F403
from fastk.ops.registration import operation_class
from fastk.variable import set_operation_lookup

__all__ = ["image", "linalg", "nn", "numpy", "operation_class"]
__all__ += core.__all__
__all__ += einops.__all__
__all__ += linalg.__all__
__all__ += math.__all__
__all__ += nn.__all__
__all__ += numpy.__all__

set_operation_lookup(globals().__getitem__)


def __getattr__(name: str) -> Any:
    raise missing_name("keras.ops", name, __all__)
