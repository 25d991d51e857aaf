"""`keras.ops.nn`: activations, cross-entropies, convolutions, pooling, normalisation, attention."""

from fastk.ops.nn import activations, attention, classification, normalization, patches, sequences, windows
from fastk.ops.nn.activations import *  # noqa: F403
from fastk.ops.nn.attention import *  # noqa: F403
from fastk.ops.nn.classification import *  # noqa: F403
from fastk.ops.nn.normalization import *  # noqa: F403
from fastk.ops.nn.patches import *  # noqa: F403
from fastk.ops.nn.sequences import *  # noqa: F403
from fastk.ops.nn.windows import *  # noqa: F403

__all__: list[str] = []
__all__ += activations.__all__
__all__ += attention.__all__
__all__ += classification.__all__
__all__ += normalization.__all__
__all__ += patches.__all__
__all__ += sequences.__all__
__all__ += windows.__all__
