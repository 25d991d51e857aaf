"""What is compiled: one case a kernel, configuration and dtype, from the `cases.py` of every op.

>>> from fastk.kernels.verify.case import Case
>>> case = Case("scale", "1024 w4", "bf16", launch=lambda: None, wide=False)
>>> case.architectures
(80, 90, 100)
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastk import kernels
from fastk.kernels.verify.machine_code import DEVICES

DTYPES = ("bf16", "fp16", "fp32", "tf32", "tf32x3")


@dataclass(frozen=True)
class Case:
    """One launch whose compiled kernel has to pass the gates.

    Args:
        kernel: name of the `@triton.jit` function under test.
        variant: configuration and flags in words: `"128x256x64 w8 s3 gelu dropout"`.
        dtype: `"bf16"`, `"fp16"`, `"fp32"`, `"tf32"` or `"tf32x3"`: the last three all take float32 tensors.
        launch: calls the launcher on meta tensors. Launches of other kernels in it are ignored.
        tensor_cores: the products must run on tensor cores; with HGMMA on sm_90, and one wait a k-step and product.
        wide: bulk loads and stores must be 128 bits wide. The launch then has a size that 8 divides and 16 does not,
            such as 1000, because that is where Triton gives up on its own.
        architectures: compute capabilities it is shipped for, as 10 major + minor.
        quick: compiled by the test command too; one a kernel and dtype, the most used dtype first.
    """

    kernel: str
    variant: str
    dtype: str
    launch: Callable[[], object]
    tensor_cores: bool = False
    wide: bool = True
    architectures: tuple[int, ...] = tuple(DEVICES)
    quick: bool = False

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise ValueError(f"The dtype of a case is one of {', '.join(DTYPES)}. Received: {self.dtype!r} ({self}).")
        if unknown := set(self.architectures) - set(DEVICES):
            raise ValueError(
                f"Kernels are compiled for {', '.join(map(str, DEVICES))}. Received: {sorted(unknown)} ({self})."
            )

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells a case from the others of its op."""
        return self.kernel, self.variant, self.dtype


def ops_with_cases() -> list[str]:
    """The folders of `kernels/` that have a `cases.py`."""
    folders = (module.name for module in pkgutil.iter_modules(kernels.__path__) if module.ispkg)
    return [name for name in folders if importlib.util.find_spec(f"fastk.kernels.{name}.cases")]


def cases_of(op: str) -> list[Case]:
    """The cases of an op, in the order in which its `cases.py` yields them.

    Raises:
        ValueError: two cases have the same kernel, variant and dtype.
    """
    return collect(op, importlib.import_module(f"fastk.kernels.{op}.cases").cases)


def collect(op: str, cases: Callable[[], Iterator[Case]]) -> list[Case]:
    """The cases that `cases()` yields, each once."""
    found: dict[tuple[str, str, str], Case] = {}
    for case in cases():
        if case.key in found:
            raise ValueError(f"Two cases of {op} are {' / '.join(case.key)}: say in `variant` what sets them apart.")
        found[case.key] = case
    return list(found.values())
