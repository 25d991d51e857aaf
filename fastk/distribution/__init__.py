"""Training on many devices (`keras.distribution`).

ranks.py        the processes: how they find each other, sums, broadcasts, what is said when one of them ends
mesh.py         meshes of devices and layouts of tensors
strategies.py   `DataParallel` and the others; `set_distribution`
share.py        what a step over a part of a batch needs to know of the whole batch
gradients.py    gradients of the parts made those of the whole
sharding.py     models of which each process holds a part
files.py        what the first process writes for all

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
    FullySharded,
    ModelParallel,
    distribution,
    initialize,
    set_distribution,
)

__all__ = [
    "DataParallel",
    "DeviceMesh",
    "FullySharded",
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
