"""`keras.mixed_precision`: layers that compute in half precision and keep their weights in float32.

>>> import fastk
>>> fastk.mixed_precision.set_global_policy("mixed_bfloat16")
>>> fastk.layers.Dense(1).dtype_policy
<DTypePolicy "mixed_bfloat16">
>>> fastk.mixed_precision.set_global_policy("float32")
"""

from fastk.dtype_policies import DTypePolicy, dtype_policy, set_dtype_policy
from fastk.optimizers import LossScaleOptimizer

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
