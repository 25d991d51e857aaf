"""`keras.ops.image`: images resized, cropped, recoloured, warped."""

from fastk.ops.image import color, filters, scaling, sizes, warp
from fastk.ops.image.color import *  # noqa: F403
from fastk.ops.image.filters import *  # noqa: F403
from fastk.ops.image.scaling import *  # noqa: F403
from fastk.ops.image.sizes import *  # noqa: F403
from fastk.ops.image.warp import *  # noqa: F403

__all__: list[str] = []
__all__ += color.__all__
__all__ += filters.__all__
__all__ += scaling.__all__
__all__ += sizes.__all__
__all__ += warp.__all__
