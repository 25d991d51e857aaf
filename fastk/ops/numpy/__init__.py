"""`keras.ops.numpy`: NumPy's functions on torch tensors, with Keras's dtypes."""

from fastk.ops.linalg import slogdet
from fastk.ops.numpy import (
    creation,
    elementwise,
    indexing,
    nan_reductions,
    products,
    reductions,
    shaping,
    sorting,
    statistics,
    vectorization,
)
from fastk.ops.numpy.creation import *  # noqa: F403
from fastk.ops.numpy.elementwise import *  # noqa: F403
from fastk.ops.numpy.indexing import *  # noqa: F403
from fastk.ops.numpy.nan_reductions import *  # noqa: F403
from fastk.ops.numpy.products import *  # noqa: F403
from fastk.ops.numpy.reductions import *  # noqa: F403
from fastk.ops.numpy.shaping import *  # noqa: F403
from fastk.ops.numpy.sorting import *  # noqa: F403
from fastk.ops.numpy.statistics import *  # noqa: F403
from fastk.ops.numpy.vectorization import *  # noqa: F403

__all__ = ["slogdet"]
__all__ += creation.__all__
__all__ += elementwise.__all__
__all__ += indexing.__all__
__all__ += nan_reductions.__all__
__all__ += products.__all__
__all__ += reductions.__all__
__all__ += shaping.__all__
__all__ += sorting.__all__
__all__ += statistics.__all__
__all__ += vectorization.__all__
