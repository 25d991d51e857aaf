"""`keras.ops.numpy`: NumPy's functions on torch tensors, with Keras's dtypes."""

from fastk.ops.numpy import creation, elementwise, indexing, products, reductions, shaping
from fastk.ops.numpy.creation import *  # noqa: F403
from fastk.ops.numpy.elementwise import *  # noqa: F403
from fastk.ops.numpy.indexing import *  # noqa: F403
from fastk.ops.numpy.products import *  # noqa: F403
from fastk.ops.numpy.reductions import *  # noqa: F403
from fastk.ops.numpy.shaping import *  # noqa: F403

__all__ = [
    *creation.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *products.__all__,
    *reductions.__all__,
    *shaping.__all__,
]
