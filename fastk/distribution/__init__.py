"""Training on many devices (`keras.distribution`).

ranks.py        the processes: how they find each other, sums, broadcasts, what is said when one of them ends
mesh.py         meshes of devices and layouts of tensors
strategies.py   `DataParallel` and the others; `set_distribution`
share.py        what a step over a part of a batch needs to know of the whole batch
gradients.py    gradients of the parts made those of the whole

`fastk/training/parallel.py` is what `fit`, `evaluate` and `predict` make of it.
"""

from fastk.distribution.mesh import (
    DeviceMesh,
    LayoutMap,
    TensorLayout,
    distribute_tensor,
    get_device_count,
    list_devices,
)
from fastk.distribution.strategies import (
    DataParallel,
    ModelParallel,
    distribution,
    initialize,
    set_distribution,
)

__all__ = [
    "DataParallel",
    "DeviceMesh",
    "LayoutMap",
    "ModelParallel",
    "TensorLayout",
    "distribute_tensor",
    "distribution",
    "get_device_count",
    "initialize",
    "list_devices",
    "set_distribution",
]
