"""What can be tuned: problems, configurations, one predicate, and how both are written down.

A problem is a `NamedTuple` of sizes, flags and dtypes, with the fields `architecture` and `sm_count` of the device; a
configuration is a frozen dataclass. Neither names tensors, so that a problem can be tuned, compiled and ranked away
from the call that it came from.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from fastk import config

TUNABLES: dict[str, Tunable] = {}

P = TypeVar("P", bound=tuple)
C = TypeVar("C")


@dataclass(frozen=True)
class Resources:
    """What a compiled candidate takes: registers and spilt bytes of a thread, shared memory of a program."""

    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Accuracy:
    """How far two correct results may lie apart: sums of `length` terms in an arithmetic of precision `eps`."""

    length: int = 1
    eps: float = torch.finfo(torch.float32).eps


@dataclass(frozen=True, eq=False)
class Tunable(Generic[P, C]):
    """A choice that a launcher has, and all that the tuner knows of it.

    Args:
        name: `"dense.gemm"`: the op's folder, and which of its kernels.
        problem: the class of its problems.
        sizes: the fields of a problem that the database rounds up (`bucket`); others must be equal.
        kinds: the classes of its configurations.
        default: the configuration of a problem without any measurement.
        candidates: the space; what is invalid in it is left out by the tuner.
        why_invalid: of a configuration and a problem: None, or a sentence saying why it cannot be launched.
        work: what a configuration asks of the device (`autotune.Work`), for the model.
        launcher: `"module:function"`, which takes `*arguments, configuration=`.
        example: (problem, device) → arguments of the launcher for such a problem; without data on `"meta"`.
        accuracy: how far results of two configurations may lie apart.
        in_place: the launcher writes to its arguments, so that trials get copies.
        compiler: `"module:function"` of (tunable, problem, arguments, configuration) → `Resources`, without a GPU.
    """

    name: str
    problem: type[P]
    sizes: tuple[str, ...]
    kinds: tuple[type, ...]
    default: Callable[[P], C]
    candidates: Callable[[P], Iterable[C]]
    why_invalid: Callable[[C, P], str | None]
    work: Callable[[C, P], Any]
    launcher: str
    example: Callable[[P, str], tuple]
    accuracy: Callable[[P], Accuracy] = field(default=lambda problem: Accuracy())
    in_place: bool = False
    compiler: str = ""
    # By mode, then by problem: what was decided. Read by every launch.
    decided: Mapping[str, dict[P, Any]] = field(
        init=False, default_factory=lambda: {mode: {} for mode in config.AUTOTUNE_MODES}
    )

    def __post_init__(self):
        if self.name in TUNABLES:
            raise ValueError(f"Two tunables are called {self.name!r}: a name is a key of the database.")
        TUNABLES[self.name] = self

    @property
    def module(self) -> str:
        """The module of the launcher."""
        return self.launcher.partition(":")[0]

    def run(self, arguments: tuple, configuration: C) -> Any:
        """Launches a configuration on arguments of the launcher."""
        return resolve(self.launcher)(*arguments, configuration=configuration)

    def runner(self, arguments: tuple) -> Callable[[C], Any]:
        """Launches of configurations on the same arguments, one after the other."""
        return functools.partial(self.run, arguments)

    def valid(self, problem: P) -> list[C]:
        """The valid candidates of a problem, each once, the default first."""
        found = dict.fromkeys((self.default(problem), *self.candidates(problem)))
        return [c for c in found if self.why_invalid(c, problem) is None]

    def bucket(self, problem: P) -> P:
        """The problem that stands for all of its size."""
        return problem._replace(**{name: rounded_up(getattr(problem, name)) for name in self.sizes})  # type: ignore[attr-defined]

    def configuration_from(self, data: dict[str, Any]) -> C | None:
        """The configuration that `to_data` made `data` of; None where no class of configurations fits it."""
        kinds = {kind.__name__: kind for kind in self.kinds}
        kind = kinds.get(data.get("kind", ""))
        try:
            return None if kind is None else kind(**{k: v for k, v in data.items() if k != "kind"})
        except TypeError:  # fields that it had in another version
            return None


def to_data(configuration: Any) -> dict[str, Any]:
    """A configuration as JSON has it."""
    return {"kind": type(configuration).__name__, **asdict(configuration)}


def problem_to_data(problem: Any) -> dict[str, Any]:
    """A problem as JSON has it: dtypes as `"torch.bfloat16"`, tuples as lists."""
    return {name: _to_json(value) for name, value in problem._asdict().items()}


def problem_from_data(tunable: Tunable, data: dict[str, Any]) -> Any:
    """The problem of `problem_to_data`.

    Raises:
        ValueError: fields are missing or unknown.
    """
    try:
        return tunable.problem(**{name: _from_json(value) for name, value in data.items()})
    except TypeError as error:
        fields = ", ".join(tunable.problem._fields)  # type: ignore[attr-defined]
        raise ValueError(f"A problem of {tunable.name} has the fields {fields}. Received: {data} ({error}).") from None


def _to_json(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return str(value)
    return list(map(_to_json, value)) if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("torch."):
        return getattr(torch, value.removeprefix("torch."))
    return tuple(map(_from_json, value)) if isinstance(value, list) else value


def rounded_up(size: int) -> int:
    """The bucket of a size: itself up to 16, then the next of 16, 24, 32, 48, 64, …

    >>> [rounded_up(n) for n in (0, 10, 17, 25, 100, 784, 1000)]
    [0, 10, 24, 32, 128, 1024, 1024]
    """
    if size <= 16:
        return size
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if size <= power * 3 // 4 else power


@functools.cache
def resolve(name: str) -> Callable[..., Any]:
    """The function `"module:function"`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


@functools.cache
def fingerprint(module: str) -> str:
    """A hash of the sources of what a launcher launches: its module, and the Triton modules that it imports.

    Configurations are not among them: a candidate more or less makes no measurement untrue.
    """
    digest = hashlib.sha256()
    for name in sorted(_kernel_modules(module)):
        digest.update(name.encode() + b"\0" + _source(name))
    return digest.hexdigest()[:12]


def _kernel_modules(module: str) -> set[str]:
    """A module and, of those beside its folder that it imports, directly or not, the ones named after Triton."""
    package = module.split(".")[:-2] or [module]  # which holds the folders of the ops
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(_source(name))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[: len(package)] == package:
                named = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
                waiting += [other for other in named if "triton" in other.rpartition(".")[2] and _origin(other)]
    return found


def _origin(module: str) -> str | None:
    """The file of a module, None where there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a module, and it is one of that one's names
        return None
    return spec.origin if spec else None


def _source(module: str) -> bytes:
    origin = _origin(module)
    if origin is None:
        raise ModuleNotFoundError(f"The launcher of a tunable is in no module {module!r}.")
    return Path(origin).read_bytes()


def example_tensor(shape: Iterable[int], dtype: torch.dtype, device: str, seed: int = 0) -> torch.Tensor:
    """A tensor of normal numbers, the same for the same seed; without data on `"meta"`."""
    shape = tuple(shape)
    if device == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, dtype=torch.float32, device=device, generator=generator).to(dtype)
