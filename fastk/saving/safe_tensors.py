"""Weights as `.safetensors` files, which torch, JAX, Rust and others read without Keras.

A tensor is named by its variable's path, such as `tower/dense/kernel`, and the metadata are `format: pt`, which torch's
world asks for. A file that torch wrote from `model.state_dict()`, with names such as `tower.dense.kernel`, is read too.
The numbers in names such as `dense_3` depend on what was made before: where they differ they are matched in order.

The optimizer's state and vocabularies are not in such a file.

Source: https://huggingface.co/docs/safetensors, the format.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from fastk.atomic import replacing
from fastk.errors import FileFormatError, near_names
from fastk.user_warning import warn_user
from fastk.variable import Variable

ENDING = ".safetensors"
_NUMBER = re.compile(r"_(\d+)(?=[/.]|$)")


def save(model: Any, path: str) -> None:
    """Writes the weights of `model`; the file takes its place when it is whole.

    Raises:
        ImportError: without the package `safetensors`.
    """
    library = _library()
    named = _named(model)
    tensors = {name: variable.value.detach().cpu().contiguous() for name, variable in named.items()}
    with replacing(path) as file:
        mode = os.fstat(file.fileno()).st_mode
        library.torch.save_file(tensors, file.name, {"format": "pt"})  # which may make a new file of that name
        os.chmod(file.name, mode)
        with open(file.name, "rb") as written:
            os.fsync(written.fileno())


def load(model: Any, path: str, skip_mismatch: bool) -> None:
    """Reads weights into `model`: all of them, or with `skip_mismatch` those that fit.

    Raises:
        ImportError: without the package `safetensors`.
        FileFormatError: a damaged file.
        ValueError: tensors that are missing, unexpected or of another shape; names each.
    """
    library = _library()
    with _damage_reported(path, library), library.safe_open(path, framework="pt", device="cpu") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
        variables = _matched(model, shapes)
        fitting = {name: variable for name, variable in variables.items() if shapes.get(name) == variable.shape}
        problems = _problems(variables, shapes)
        if problems:
            message = f"{path} does not fit the model '{model.name}': {'; '.join(problems)}."
            if not skip_mismatch:
                raise ValueError(
                    f"{message} Build the model as the saved one was; `skip_mismatch=True` loads what fits."
                )
            warn_user(f"{message} What does not fit keeps its values.")
        for name, variable in fitting.items():
            variable.assign(file.get_tensor(name))
    loaded = {id(variable) for variable in fitting.values()}
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state") and any(id(variable) in loaded for variable in layer.weights):
            layer.finalize_state()


def _library() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Files of the format safetensors need the package `safetensors`: install it with `pip install safetensors` "
            "(or `pip install fastk[safetensors]`)."
        ) from error
    return safetensors


@contextlib.contextmanager
def _damage_reported(path: str, library: Any) -> Iterator[None]:
    try:
        yield
    except library.SafetensorError as error:
        raise FileFormatError(
            f"{path} is not a readable safetensors file ({error}). If it was copied or downloaded, get it again."
        ) from error


# ---------------------------------------------------------------- names


def _named(model: Any) -> dict[str, Variable]:
    """The weights by path; a path that several have is numbered, in the order of the weights."""
    named: dict[str, Variable] = {}
    for variable in model.weights:
        name, count = variable.path, 0
        while name in named:
            count += 1
            name = f"{variable.path}_{count}"
        named[name] = variable
    return named


def _in_state_dict(model: Any) -> dict[str, Variable]:
    """The weights by their names in `model.state_dict()`."""
    of_tensor = {id(variable.value): variable for variable in model.weights}
    named = model.state_dict(keep_vars=True)
    return {name: of_tensor[id(tensor)] for name, tensor in named.items() if id(tensor) in of_tensor}


def _matched(model: Any, stored: Iterable[str]) -> dict[str, Variable]:
    """The weights of `model` by the names that the file has, or would have, for them."""
    of_file = _by_form(stored)
    named, torch_named = _named(model), _in_state_dict(model)
    if len(_by_form(torch_named).keys() & of_file) > len(_by_form(named).keys() & of_file):
        named = torch_named
    if named.keys() <= set(stored):
        return named
    renamed = {}
    for form, names in _by_form(named).items():
        others = of_file.get(form, [])
        renamed |= zip(names, others if len(others) == len(names) else names, strict=True)
    return {renamed[name]: variable for name, variable in named.items()}


def _by_form(names: Iterable[str]) -> dict[str, list[str]]:
    """Names that differ in numbers alone, in the order of these: `dense_2/kernel` before `dense_10/kernel`."""
    found = collections.defaultdict(list)
    for name in sorted(names, key=lambda name: [int(number[:9]) for number in _NUMBER.findall(name)]):
        found[_NUMBER.sub("", name)].append(name)
    return found


def _problems(variables: dict[str, Variable], shapes: dict[str, tuple[int, ...]]) -> list[str]:
    missing = [name for name in variables if name not in shapes]
    unexpected = [name for name in shapes if name not in variables]
    wrong = [
        f"'{name}' has shape {variable.shape}, and the file's has {shapes[name]}"
        for name, variable in variables.items()
        if name in shapes and shapes[name] != variable.shape
    ]
    problems = [*_listed("it lacks", missing, unexpected), *_listed("the model has no", unexpected, missing)]
    return problems + wrong[:10] + ([f"and {len(wrong) - 10} more shapes differ"] if len(wrong) > 10 else [])


def _listed(says: str, names: list[str], others: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    near = near_names(names[0], others, most=1)
    hint = f" (near {names[0]!r} is {near[0]!r})" if near else ""
    return [f"{says} {', '.join(map(repr, names[:10]))}{more}{hint}"]
