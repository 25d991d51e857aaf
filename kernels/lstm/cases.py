"""The LSTM's kernels to compile: each form and configuration, and the flags that change its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from fastk import config
from fastk.kernels.lstm.configurations import (
    COOPERATIVE,
    SEQUENCE,
    SEQUENCE_IEEE,
    STEP,
    Configuration,
    CooperativeConfiguration,
    Problem,
    SequenceConfiguration,
)
from fastk.kernels.lstm.triton_kernels import lstm_backward, lstm_forward
from fastk.kernels.verify.case import Case

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRECISIONS = ("tf32x3", "tf32", "ieee")


def cases() -> Iterator[Case]:
    """Every configuration that is shipped, in every dtype it is shipped for."""
    for dtype in (*_TYPES, *_PRECISIONS):
        name = "fp32" if dtype == "ieee" else dtype
        for form, configuration, units in _configurations(dtype):
            tiles = " ".join(f"{key}={value}" for key, value in vars(configuration).items())
            for flags in _flags(dtype, configuration, units):
                usual = SEQUENCE[128], COOPERATIVE[_size(dtype)][0], STEP[_size(dtype)][-1]
                quick = dtype in ("bf16", "tf32x3") and not flags and configuration in usual
                for direction, launch in (("forward", _forward), ("backward", _backward)):
                    yield Case(
                        f"lstm_{form}_{direction}_kernel",
                        f"units={units} {tiles} {' '.join(flags)}".strip(),
                        name,
                        _launcher(launch, dtype, configuration, units, flags),
                        # HGMMA takes tiles of 64 rows, which only large batches fill.
                        tensor_cores=form == "step" and configuration.block_b == 64 and not flags,
                        wide=_wide(configuration, units),
                        architectures=(90, 100)
                        if form == "cooperative" and configuration.block_b == 64
                        else (80, 90, 100),
                        quick=quick,
                    )


def _wide(configuration: Configuration, units: int) -> bool:
    """Whether a thread has 128 bits of each tile: not so where the tiles are small and the warps many."""
    if isinstance(configuration, CooperativeConfiguration):
        return False
    return units > 64 if isinstance(configuration, SequenceConfiguration) else configuration.block_b >= 32


def _size(dtype: str) -> int:
    return 2 if dtype in _TYPES else 4


def _configurations(dtype: str) -> Iterator[tuple[str, Configuration, int]]:
    narrow = dtype in _TYPES
    for limit, configuration in (SEQUENCE_IEEE if dtype == "ieee" else SEQUENCE).items():
        yield "sequence", configuration, limit - 8 if narrow or limit < 64 else 56
    for configuration in COOPERATIVE[_size(dtype)]:
        for units in (1000, 504, 248):  # the most that fit
            if _fits(configuration, units, dtype, ()):
                yield "cooperative", configuration, units
                break
    for configuration in STEP[_size(dtype)]:
        yield "step", configuration, 1000


def _fits(configuration: CooperativeConfiguration, units: int, dtype: str, flags: tuple[str, ...]) -> bool:
    factors, precision = (4 if "dropout" in flags else 0), (None if dtype in _TYPES else dtype)
    kind = _TYPES.get(dtype, torch.float32)
    return configuration.why_invalid(Problem(_BATCH, _STEPS, units, 4, kind, precision, factors, 90, 132)) is None


def _flags(dtype: str, configuration: Configuration, units: int) -> Iterator[tuple[str, ...]]:
    yield ()
    if dtype in ("bf16", "tf32x3"):
        yield ("mask", "state", "reverse")
        cooperative = isinstance(configuration, CooperativeConfiguration)
        if (
            _fits(configuration, units, dtype, ("dropout",))
            if cooperative
            else configuration not in (STEP[2][-1], STEP[4][-1])
        ):
            yield ("dropout",)
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

        self.x, self.kernel, self.recurrent_kernel = (
            empty(_BATCH, _STEPS, _INPUTS),
            empty(_INPUTS, 4 * units),
            empty(units, 4 * units),
        )
        self.state = empty(_BATCH, units) if "state" in flags else None
        self.mask = empty(_BATCH, _STEPS).bool() if "mask" in flags else None
        self.factors = empty(4, _BATCH, units) if "dropout" in flags else None
        self.sequence, self.gates = empty(_BATCH, _STEPS, units), empty(_BATCH, _STEPS, 4 * units)
        self.activation, self.recurrent_activation = (
            ("gelu", "hard_sigmoid") if "gelu" in flags else ("tanh", "sigmoid")
        )
        self.reverse = "reverse" in flags


def _forward(dtype: torch.dtype, configuration: Configuration, units: int, flags: tuple[str, ...]) -> None:
    a = _Sizes(dtype, units, flags)
    lstm_forward(
        a.x,
        a.kernel,
        a.recurrent_kernel,
        None,
        a.state,
        a.state,
        a.mask,
        a.activation,
        a.recurrent_activation,
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
    lstm_backward(
        a.sequence,
        None,
        None,
        a.x,
        a.kernel,
        a.recurrent_kernel,
        a.state,
        a.mask,
        a.gates,
        a.sequence,
        a.sequence,
        a.activation,
        a.recurrent_activation,
        None,
        a.factors,
        a.reverse,
        False,
        [True] * 4 + [a.state is not None] * 2,
        configuration,
    )
