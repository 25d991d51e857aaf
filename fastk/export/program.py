"""Models as programs of torch: graphs of ATen's operations, which run without fastk."""

from __future__ import annotations

from typing import Any

import torch

from fastk import dtypes, tree
from fastk.atomic import replacing
from fastk.tensor import get_device


def program_of(model: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The program of a model's call.

    Args:
        model: a built model.
        arguments: of the call: structures of what has a shape and a dtype.
        options: further arguments of `torch.export.export`.
    """
    batch = torch.export.Dim("batch")
    sample = tree.map_structure(_sample, arguments)
    dynamic = {"args": tree.map_structure(lambda x: _any_sizes(x, batch), arguments)}
    return torch.export.export(model, sample, **{"dynamic_shapes": dynamic, **options})


def save_program(model: Any, path: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Writes the program of a model; returns how it is loaded."""
    program = program_of(model, arguments, options)
    with replacing(path) as file:
        torch.export.save(program, file)
    return f"Load it with torch.export.load({path!r}).module()."


def _sample(x: Any) -> torch.Tensor:
    # Sizes of 0 and 1 would be taken as constants.
    sizes = [2 if size is None else size for size in x.shape]
    return torch.zeros(sizes, dtype=dtypes.to_torch_dtype(x.dtype), device=get_device())


def _any_sizes(x: Any, batch: Any) -> dict[int, Any]:
    """The axes whose size is open; the first is the batch's, of the same size in all inputs."""
    return {i: torch.export.Dim.DYNAMIC if i else batch for i, size in enumerate(x.shape) if size is None}
