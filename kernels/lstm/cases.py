"""The LSTM's kernels to compile: each form and configuration, and the flags that change its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from fastk import config
from fastk.kernels.lstm.configurations import COOPERATIVE, SEQUENCE, STEP, Configuration
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
            for flags in _flags(dtype, configuration):
                quick = not flags and configuration in (
                    SEQUENCE[128],
                    COOPERATIVE[_size(dtype)][0],
                    STEP[_size(dtype)][1],
                )
                for direction, launch in (("forward", _forward), ("backward", _backward)):
                    yield Case(
                        f"lstm_{form}_{direction}_kernel",
                        f"units={units} {tiles} {' '.join(flags)}".strip(),
                        name,
                        _launcher(launch, dtype, configuration, units, flags),
                        # An M tile of 64 rows, for HGMMA, is what only large batches fill; a waiting program's tile
                        # of 16 units leaves its threads less than 128 bits to store.
                        wide=form != "cooperative" and units > 64,
                        quick=quick,
                    )


def _size(dtype: str) -> int:
    return 2 if dtype in _TYPES else 4


def _configurations(dtype: str) -> Iterator[tuple[str, Configuration, int]]:
    narrow = dtype in _TYPES
    for limit, configuration in SEQUENCE.items():
        yield "sequence", configuration, limit - 8 if narrow or limit < 64 else 56
    for configuration in COOPERATIVE[_size(dtype)] if dtype != "ieee" else ():
        largest = {16: 504, 32: 1000, 64: 1000}[configuration.block_b] if narrow else 504
        units = 248 if dtype == "tf32x3" else largest
        yield "cooperative", configuration, units
    for configuration in STEP[_size(dtype)]:
        yield "step", configuration, 1000


def _flags(dtype: str, configuration: Configuration) -> Iterator[tuple[str, ...]]:
    yield ()
    if dtype in ("bf16", "tf32x3"):
        yield ("mask", "state", "reverse")
        yield ("dropout",)
    if dtype == "bf16" and configuration in (SEQUENCE[128], STEP[2][1]):
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


def _arguments(dtype: torch.dtype, units: int, flags: tuple[str, ...]) -> dict[str, torch.Tensor | None]:
    def empty(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    return {
        "x": empty(_BATCH, _STEPS, _INPUTS),
        "kernel": empty(_INPUTS, 4 * units),
        "recurrent_kernel": empty(units, 4 * units),
        "state": empty(_BATCH, units) if "state" in flags else None,
        "mask": empty(_BATCH, _STEPS, dtype=torch.bool) if "mask" in flags else None,
        "factors": empty(4, _BATCH, units) if "dropout" in flags else None,
    }


def _names(flags: tuple[str, ...]) -> tuple[str, str]:
    return ("gelu", "hard_sigmoid") if "gelu" in flags else ("tanh", "sigmoid")


def _forward(dtype: torch.dtype, configuration: Configuration, units: int, flags: tuple[str, ...]) -> None:
    x, kernel, recurrent_kernel, state, mask, factors = _arguments(dtype, units, flags).values()
    lstm_forward(
        *(x, kernel, recurrent_kernel, None, state, state, mask, *_names(flags), None, factors),
        *("reverse" in flags, True, False, True, configuration),
    )


def _backward(dtype: torch.dtype, configuration: Configuration, units: int, flags: tuple[str, ...]) -> None:
    x, kernel, recurrent_kernel, state, mask, factors = _arguments(dtype, units, flags).values()
    sequence = x.new_empty(_BATCH, _STEPS, units)
    gates = x.new_empty(_BATCH, _STEPS, 4 * units)
    needed = [True] * 4 + [state is not None] * 2
    lstm_backward(
        *(sequence, None, None, x, kernel, recurrent_kernel, state, mask, gates, sequence, sequence, *_names(flags)),
        *(None, factors, "reverse" in flags, False, needed, configuration),
    )
