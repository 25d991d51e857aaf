"""fastk: Keras's interface, trained by kernels of its own.

`import fastk as keras` and change nothing else.

>>> import fastk as keras
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
>>> model.output_shape
(None, 2)
"""

import gc

# A garbage collection amid the imports below would walk all that torch has made: 0.1 s of 1.39 s, measured.
_collects = gc.isenabled()
gc.disable()

from fastk import (
    activations,
    applications,
    autograd,
    backend,
    callbacks,
    config,
    constraints,
    datasets,
    distribution,
    dtype_policies,
    export,
    initializers,
    layers,
    legacy,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    preprocessing,
    quantizers,
    random,
    regularizers,
    saving,
    tree,
    utils,
    wrappers,
)
from fastk.as_keras import install_as_keras
from fastk.device import device_scope as device
from fastk.dtype_policies import DTypePolicy, FloatDTypePolicy
from fastk.graph import Function, KerasTensor, Operation
from fastk.initializers import Initializer
from fastk.layers import Input, InputSpec, Layer
from fastk.layers.rematerialization import RematScope, remat
from fastk.losses import Loss
from fastk.metrics import Metric
from fastk.models import Model, Sequential
from fastk.naming import name_scope
from fastk.optimizers import Optimizer
from fastk.quantizers import Quantizer
from fastk.regularizers import Regularizer
from fastk.scopes import StatelessScope, SymbolicScope
from fastk.tensor import Tensor
from fastk.variable import Variable

if _collects:
    gc.enable()

__version__ = "0.1.0"


def version() -> str:
    """The version of fastk."""
    return __version__


__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "Function",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Operation",
    "Optimizer",
    "Quantizer",
    "Regularizer",
    "RematScope",
    "Sequential",
    "StatelessScope",
    "SymbolicScope",
    "Tensor",
    "Variable",
    "activations",
    "applications",
    "autograd",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "device",
    "distribution",
    "dtype_policies",
    "export",
    "initializers",
    "install_as_keras",
    "layers",
    "legacy",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "name_scope",
    "ops",
    "optimizers",
    "preprocessing",
    "quantizers",
    "random",
    "regularizers",
    "remat",
    "saving",
    "tree",
    "utils",
    "version",
    "wrappers",
]
