"""`keras.ops.math`: segments, the largest elements, error functions, Fourier transforms."""

from fastk.ops.math import functions, segments, spectral
from fastk.ops.math.functions import *  # noqa: F403
from fastk.ops.math.segments import *  # noqa: F403
from fastk.ops.math.spectral import *  # noqa: F403

__all__: list[str] = []
__all__ += functions.__all__
__all__ += segments.__all__
__all__ += spectral.__all__
