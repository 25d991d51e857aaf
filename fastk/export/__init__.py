"""`keras.export`: models for programs that do not define them, in torch's format.

>>> import fastk
>>> model = fastk.Sequential([fastk.Input((4,)), fastk.layers.Dense(2)])
>>> try:
...     model.export("model", format="onnx")
... except NotImplementedError as error:
...     print(str(error)[:40])
fastk exports models as 'torch' programs
"""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, tree
from fastk.atomic import replacing
from fastk.tensor import get_device

_INSTEAD = (
    'For another format save the model with model.save("model.keras"), load it with Keras, and export it from there; '
    "for ONNX alone, torch.onnx takes the model too, which is a torch.nn.Module."
)


class ExportArchive:
    """Not supported: raises `NotImplementedError`."""

    def __init__(self) -> None:
        raise NotImplementedError(f"fastk writes no export archives, which are TensorFlow's. {_INSTEAD}")


def export_model(
    model: Any, filepath: Any, format: str, verbose: Any = None, input_signature: Any = None, **kwargs: Any
) -> None:
    """What `model.export` does.

    Args:
        model: a model that is built.
        filepath: a path that ends in `.pt2`, which `torch.export.load` reads.
        format: `"torch"`.
        verbose: whether to say that it is written; by default it is said.
        input_signature: KerasTensors, or what else has a shape and a dtype, like the inputs; by default those of a
            functional model. A size that is None may be any in the program.
        kwargs: further arguments of `torch.export.export`.

    Raises:
        NotImplementedError: another format.
        ValueError: a path of another kind, or inputs that are not known.
    """
    if format != "torch":
        raise NotImplementedError(
            f'fastk exports models as \'torch\' programs: model.export("model.pt2", format="torch"). {_INSTEAD} '
            f"Received: format={format!r}"
        )
    path = str(filepath)
    if not path.endswith(".pt2"):
        raise ValueError(f"The file of a torch program must end with '.pt2'. Received: filepath={path!r}")
    signature = _signature(model) if input_signature is None else input_signature
    is_flat = isinstance(signature, (list, tuple)) and len(signature) == 1
    signature = signature[0] if is_flat else signature
    # Sizes of 0 and 1 would be taken as constants.
    sample = tree.map_structure(_sample, signature)
    kwargs.setdefault("dynamic_shapes", {"args": (tree.map_structure(_any_sizes, signature),)})
    program = torch.export.export(model, (sample,), **kwargs)
    with replacing(path) as file:
        torch.export.save(program, file)
    if verbose is not False:
        print(f"Saved a torch program to {path}. Load it with torch.export.load({path!r}).module().")


def _signature(model: Any) -> Any:
    inputs = getattr(model, "_inputs_struct", None) or getattr(model, "inputs", None)
    if inputs is None:
        raise ValueError(
            f"The inputs of model '{model.name}' are not known: make a functional model, or pass "
            "input_signature=[keras.KerasTensor(shape, dtype)]."
        )
    return inputs


def _sample(x: Any) -> torch.Tensor:
    sizes = [2 if size is None else size for size in x.shape]
    return torch.zeros(sizes, dtype=dtypes.to_torch_dtype(x.dtype), device=get_device())


def _any_sizes(x: Any) -> dict[int, Any]:
    return {i: torch.export.Dim.AUTO for i, size in enumerate(x.shape) if size is None}


__all__ = ["ExportArchive"]
