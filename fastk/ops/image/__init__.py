"""`keras.ops.image`: images resized, cropped, recoloured."""

from fastk.ops.image import color, sizes
from fastk.ops.image.color import *  # noqa: F403
from fastk.ops.image.sizes import *  # noqa: F403

__all__: list[str] = []
__all__ += color.__all__
__all__ += sizes.__all__
