"""A stand-in for a GPU: torch's `meta` device, which has no values, so that reading one raises.

Tensors there are not on the CPU, so the code takes the ways that it takes on a GPU, but for the kernels. Noted are
copies between the two and values that the host makes a tensor of: each would stop a stream, and end a capture.
"""

import collections

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastk as keras
from fastk import tree
from fastk.capture.recorder import has_size_of_values
from fastk.layers.state import changes
from fastk.scopes import internal

DEVICE = "meta"
_FROM_HOST = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.Tensor.to)


def on_stand_in(model):
    """Has the variables of a compiled and built model lie on the stand-in."""
    model._begin("fit")
    model._start("train")
    model._find_trained()
    generators = [x.seed_generator for x in model._flatten_layers() if getattr(x, "seed_generator", None) is not None]
    inner = getattr(model.optimizer, "inner_optimizer", None)
    variables = [
        *model.variables,
        *model.optimizer.variables,
        *([] if inner is None else inner.variables),
        *model.metrics_variables,
        *(generator.state for generator in generators),
    ]
    for variable in {id(v): v for v in variables}.values():
        value = variable._value
        moved = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
        variable._value = torch.nn.Parameter(moved, requires_grad=value.requires_grad)
    for metric in tree.flatten([metric.metrics if hasattr(metric, "metrics") else metric for metric in model.metrics]):
        if hasattr(metric, "_thresholds"):
            metric._thresholds.tensor = metric._thresholds.tensor.to(DEVICE)
    model._release()
    changes.count += 1


class Crossings(TorchDispatchMode):
    """Counts what passes between the host and the device."""

    def __init__(self):
        super().__init__()
        self.seen = collections.Counter()
        self.calls = 0
        self._functions = _Functions(self)

    def __enter__(self):
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._functions.__exit__(*exception)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        outputs = [x for x in tree.flatten(result) if x is not None]
        tensors = [x for x in tree.flatten((args, kwargs, outputs)) if isinstance(x, torch.Tensor)]
        if not tensors:
            return result
        if any(x.device.type != DEVICE for x in tensors):
            shapes = [(x.device.type, tuple(x.shape)) for x in tensors]
            self.seen[f"{func} of {shapes}"] += 1
        elif any(isinstance(x, (bool, int, float, complex)) for x in outputs):
            self.seen[f"{func} returns a value"] += 1
        elif has_size_of_values(func, args):
            self.seen[f"{func} makes a size of values"] += 1
        return result


class _Functions(TorchFunctionMode):
    def __init__(self, crossings):
        super().__init__()
        self.crossings = crossings

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _FROM_HOST and not (isinstance(args[0], torch.Tensor) and args[0].device.type == DEVICE):
            self.crossings.seen[f"{func.__name__} of {args[0]!r}"] += 1
        return func(*args, **(kwargs or {}))


def crossings_in_steps(model, x, y, sample_weight=None, count=20):
    """What crosses in `count` training steps after the first.

    Args:
        model: compiled and built, on the CPU.
        x, y, sample_weight: one batch, on the CPU.
    """
    batch = tree.map_structure(lambda a: None if a is None else torch.as_tensor(a).to(DEVICE), (x, y, sample_weight))
    on_stand_in(model)
    with keras.device(DEVICE), internal():
        step = model._start("train").step
        step(*batch)
        with Crossings() as crossings:
            for _ in range(count):
                step(*batch)
    assert crossings.calls > count
    return dict(crossings.seen)
