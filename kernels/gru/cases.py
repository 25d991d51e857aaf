"""The GRU's kernels to compile: each form and configuration, and the flags that change its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from fastk import config
from fastk.kernels.gru.configurations import (
    COOPERATIVE,
    SEQUENCE,
    STEP,
    STEP_EACH_GATE,
    Configuration,
    CooperativeConfiguration,
    Problem,
    SequenceConfiguration,
    StepConfiguration,
)
from fastk.kernels.gru.triton_kernels import gru_backward, gru_forward
from fastk.kernels.verify.case import Case

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRECISIONS = ("tf32x3", "tf32", "ieee")


def cases() -> Iterator[Case]:
    """Every configuration that is shipped, in every dtype it is shipped for, with the reset gate in both places."""
    quick = {"bf16": ((), ("before",)), "tf32x3": ((),)}
    for dtype in (*_TYPES, *_PRECISIONS):
        name = "fp32" if dtype == "ieee" else dtype
        for form, configuration, units, architectures in _configurations(dtype):
            tiles = " ".join(f"{key}={value}" for key, value in vars(configuration).items())
            for flags in _flags(dtype, configuration):
                if (
                    "factor" in flags
                    and isinstance(configuration, CooperativeConfiguration)
                    and not _fits(configuration, units, dtype, 90, factors=1)
                ):
                    continue
                usual = configuration in (SEQUENCE[128], COOPERATIVE[_size(dtype)][0], STEP[_size(dtype)][-1])
                halves = ("", "_reset") if form == "step" and "before" in flags else ("",)
                for half, (direction, launch) in ((h, d) for h in halves for d in _DIRECTIONS.items()):
                    yield Case(
                        f"gru_{form}{half}_{direction}_kernel",
                        f"units={units} {tiles} {' '.join(flags)}".strip(),
                        name,
                        _launcher(launch, dtype, configuration, units, flags),
                        # HGMMA takes tiles of 64 rows, which only large batches fill.
                        tensor_cores=form == "step" and configuration.block_b == 64 and len(flags) < 2,
                        wide=_wide(configuration, units),
                        architectures=architectures,
                        quick=usual and flags in quick.get(dtype, ()),
                    )


def _wide(configuration: Configuration, units: int) -> bool:
    """Whether a thread has 128 bits of each tile: not so where the tiles are small and the warps many."""
    if isinstance(configuration, CooperativeConfiguration):
        return False
    return units > 64 if isinstance(configuration, SequenceConfiguration) else configuration.block_b >= 32


def _size(dtype: str) -> int:
    return 2 if dtype in _TYPES else 4


def _configurations(dtype: str) -> Iterator[tuple[str, Configuration, int, tuple[int, ...]]]:
    everywhere = (80, 90, 100)
    narrow = dtype in _TYPES
    for limit, configuration in SEQUENCE.items():
        yield "sequence", configuration, limit - 8 if narrow or limit < 64 else 56, everywhere
    for configuration in COOPERATIVE[_size(dtype)]:
        left = everywhere
        for units in (1000, 504, 248):  # the most that fit, and of the usual configuration also half of that
            fitting = tuple(a for a in left if _fits(configuration, units, dtype, a))
            if units < (504 if dtype == "tf32x3" else 1000) or configuration != COOPERATIVE[_size(dtype)][0]:
                left = tuple(a for a in left if a not in fitting)
            if fitting:
                yield "cooperative", configuration, units, fitting
    for configuration in dict.fromkeys((*STEP[_size(dtype)], *STEP_EACH_GATE[_size(dtype)])):
        yield "step", configuration, 1000, everywhere


def _fits(configuration: CooperativeConfiguration, units: int, dtype: str, architecture: int, factors: int = 0) -> bool:
    kind, precision = _TYPES.get(dtype, torch.float32), None if dtype in _TYPES else dtype
    problem = Problem(configuration.block_b, _STEPS, units, 3, kind, precision, factors, architecture, 108)
    return configuration.why_invalid(problem) is None


def _flags(dtype: str, configuration: Configuration) -> Iterator[tuple[str, ...]]:
    is_step = isinstance(configuration, StepConfiguration)
    for place in ((), ("before",)):
        if not is_step or configuration in STEP[_size(dtype)]:
            yield place
        if dtype in ("bf16", "tf32x3") and (not is_step or configuration in STEP_EACH_GATE[_size(dtype)]):
            yield (*place, "mask", "state", "reverse", "dropout", "biases")
            if isinstance(configuration, CooperativeConfiguration):
                yield (*place, "mask", "state", "reverse", "factor", "biases")
    if dtype == "bf16" and configuration in (SEQUENCE[128], STEP[2][-1]):
        yield ("gelu",)


def _launcher(launch: Callable, dtype: str, configuration: Configuration, units: int, flags: tuple[str, ...]):
    def run() -> None:
        before = config.float32_precision()
        try:
            if dtype in _PRECISIONS:
                config.set_float32_precision(dtype)
            launch(_TYPES.get(dtype, torch.float32), configuration, units, flags)
        finally:
            config.set_float32_precision(before)

    return run


_BATCH, _STEPS, _INPUTS = 64, 3, 32


class _Sizes:
    """Meta tensors of one call."""

    def __init__(self, dtype: torch.dtype, units: int, flags: tuple[str, ...]):
        def empty(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device="meta")

        self.x, self.kernel = empty(_BATCH, _STEPS, _INPUTS), empty(_INPUTS, 3 * units)
        self.recurrent_kernel = empty(units, 3 * units)
        self.reset_after = "before" not in flags
        bias = empty(2, 3 * units) if self.reset_after else empty(3 * units)
        self.bias = bias if "biases" in flags else None
        self.state = empty(_BATCH, units) if "state" in flags else None
        self.mask = empty(_BATCH, _STEPS).bool() if "mask" in flags else None
        each = empty(3, _BATCH, units) if "dropout" in flags else None
        self.factors = empty(_BATCH, units) if "factor" in flags else each
        self.sequence, self.gates = empty(_BATCH, _STEPS, units), empty(_BATCH, _STEPS, 3 * units)
        self.activations = ("gelu", "hard_sigmoid") if "gelu" in flags else ("tanh", "sigmoid")
        self.reverse = "reverse" in flags


def _forward(dtype: torch.dtype, configuration: Configuration, units: int, flags: tuple[str, ...]) -> None:
    a = _Sizes(dtype, units, flags)
    gru_forward(
        a.x,
        a.kernel,
        a.recurrent_kernel,
        a.bias,
        a.state,
        a.mask,
        *a.activations,
        a.reset_after,
        None,
        a.factors,
        a.reverse,
        True,
        False,
        True,
        configuration,
    )


def _backward(dtype: torch.dtype, configuration: Configuration, units: int, flags: tuple[str, ...]) -> None:
    a = _Sizes(dtype, units, flags)
    gru_backward(
        a.sequence,
        None,
        a.x,
        a.kernel,
        a.recurrent_kernel,
        a.mask,
        a.gates,
        a.sequence,
        a.sequence,
        *a.activations,
        a.reset_after,
        None,
        a.factors,
        a.reverse,
        False,
        a.state is not None,
        [True, True, True, a.bias is not None, a.state is not None],
        configuration,
    )


_DIRECTIONS = {"forward": _forward, "backward": _backward}
