"""Fourier transforms. Complex numbers are pairs (real, imaginary) of tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import floating
from fastk.ops.registration import operation
from fastk.tensor import convert_to_tensor

__all__ = [
    "fft",
    "fft2",
    "ifft2",
    "irfft",
    "istft",
    "rfft",
    "stft",
]

Pair = tuple[torch.Tensor, torch.Tensor]


def _check_pair(x: Any) -> None:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}")


def _check_shapes(x: Any, rank: int, known: bool = False) -> tuple[Any, Any]:
    _check_pair(x)
    real, imaginary = x
    if tuple(real.shape) != tuple(imaginary.shape):
        raise ValueError(
            "Input `x` should be a tuple of two tensors - real and imaginary. Both the real and imaginary parts "
            f"should have the same shape. Received: x[0].shape = {tuple(real.shape)}, x[1].shape = "
            f"{tuple(imaginary.shape)}"
        )
    if len(real.shape) < rank:
        raise ValueError(f"Input should have rank >= {rank}. Received: input.shape = {tuple(real.shape)}")
    if known and None in real.shape[-rank:]:
        which = "its last dimension" if rank == 1 else f"its last {rank} axes"
        raise ValueError(f"Input should have {which} fully-defined. Received: input.shape = {tuple(real.shape)}")
    return real, imaginary


def _complex(x: Any) -> torch.Tensor:
    _check_pair(x)
    real, imaginary = (convert_to_tensor(part) for part in x)
    if not (real.is_floating_point() and imaginary.is_floating_point()):
        raise ValueError(f"At least one tensor in input `x` is not of type float. Received: x={x}.")
    _check_shapes((real, imaginary), 0)
    return torch.complex(real, imaginary)


def _parts(z: torch.Tensor) -> Pair:
    return z.real, z.imag


def _same_pair(rank: int) -> Any:
    def spec(x: Any) -> tuple[KerasTensor, KerasTensor]:
        parts = _check_shapes(x, rank, known=True)
        return tuple(KerasTensor(part.shape, dtype=part.dtype) for part in parts)  # type: ignore[return-value]

    return spec


@operation("x", spec=_same_pair(1), name="FFT")
def fft(x: Any) -> Pair:
    """The discrete Fourier transform along the last axis."""
    return _parts(torch.fft.fft(_complex(x)))


@operation("x", spec=_same_pair(2), name="FFT2")
def fft2(x: Any) -> Pair:
    """The discrete Fourier transform along the last two axes."""
    return _parts(torch.fft.fft2(_complex(x)))


@operation("x", spec=_same_pair(2), name="IFFT2")
def ifft2(x: Any) -> Pair:
    """The inverse of `fft2`."""
    return _parts(torch.fft.ifft2(_complex(x)))


def _bins(x: Any, count: int | None) -> tuple[KerasTensor, KerasTensor]:
    if len(x.shape) < 1:
        raise ValueError(f"Input should have rank >= 1. Received: input.shape = {x.shape}")
    size = x.shape[-1] if count is None else count
    shape = (*x.shape[:-1], None if size is None else size // 2 + 1)
    return KerasTensor(shape, dtype=x.dtype), KerasTensor(shape, dtype=x.dtype)


@operation("x", spec=lambda x, fft_length=None: _bins(x, fft_length), name="RFFT")
def rfft(x: Any, fft_length: int | None = None) -> Pair:
    """The half of `fft` of real numbers that determines the other: `fft_length // 2 + 1` elements.

    Args:
        x: real; padded with zeros, or cut, to `fft_length`.
        fft_length: the size of the last axis, by default its own.
    """
    return _parts(torch.fft.rfft(floating(x), n=fft_length))


def _irfft_spec(x: Any, fft_length: int | None = None) -> KerasTensor:
    real, _ = _check_shapes(x, 1)
    size = real.shape[-1]
    count = fft_length if fft_length is not None else None if size is None else 2 * (size - 1)
    return KerasTensor((*real.shape[:-1], count), dtype=real.dtype)


@operation("x", spec=_irfft_spec, name="IRFFT")
def irfft(x: Any, fft_length: int | None = None) -> torch.Tensor:
    """The inverse of `rfft`."""
    return torch.fft.irfft(_complex(x), n=fft_length)


# ---------------------------------------------------------------- short-time transforms


def _window(window: Any, length: int, fft_length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The window of `length`, with zeros around it up to `fft_length`."""
    if window is None:
        values = torch.ones(length, dtype=dtype, device=device)
    elif isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                f'If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. Received: window={window}'
            )
        make = torch.hann_window if window == "hann" else torch.hamming_window
        values = make(length, periodic=True, dtype=dtype, device=device)
    else:
        values = convert_to_tensor(window, dtype=dtype)
        if tuple(values.shape) != (length,):
            raise ValueError(
                "The shape of `window` must be equal to [sequence_length]. Received: window "
                f"shape={tuple(values.shape)}"
            )
    before = (fft_length - length) // 2
    return F.pad(values, (before, fft_length - length - before))


def _check_lengths(sequence_length: int, sequence_stride: int, fft_length: int) -> None:
    for name, value in (("sequence_length", sequence_length), ("sequence_stride", sequence_stride)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}")
    if fft_length < sequence_length:
        raise ValueError(
            f"`fft_length` must equal or larger than `sequence_length`. Received: sequence_length={sequence_length}, "
            f"fft_length={fft_length}"
        )


def _stft_spec(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> tuple[KerasTensor, KerasTensor]:
    _check_lengths(sequence_length, sequence_stride, fft_length)
    size = x.shape[-1]
    padded = fft_length // 2 * 2 if center else 0
    count = None if size is None else 1 + (size + padded - fft_length) // sequence_stride
    shape = (*x.shape[:-1], count, fft_length // 2 + 1)
    return KerasTensor(shape, dtype=x.dtype), KerasTensor(shape, dtype=x.dtype)


@operation("x", spec=_stft_spec, name="STFT")
def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> Pair:
    """The Fourier transforms of overlapping pieces of a signal.

    Args:
        x: (..., samples), float32 or float64.
        sequence_length: samples in a piece.
        sequence_stride: the distance of pieces.
        fft_length: pieces are padded with zeros to it.
        window: `"hann"`, `"hamming"`, a vector of `sequence_length` elements, or None.
        center: whether piece t is centred at sample `t * sequence_stride`, the signal being mirrored at its ends.

    Returns:
        Real and imaginary parts, (..., pieces, fft_length // 2 + 1).
    """
    x = convert_to_tensor(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            "Invalid input type. Expected `float32` or `float64`. Received: input "
            f"type={dtypes.standardize_dtype(x.dtype)}"
        )
    _check_lengths(sequence_length, sequence_stride, fft_length)
    values = _window(window, sequence_length, fft_length, x.dtype, x.device)
    flat = x.reshape(-1, x.shape[-1])
    if center:
        flat = F.pad(flat, (fft_length // 2, fft_length // 2), mode="reflect")
    spectrum = torch.fft.rfft(flat.unfold(-1, fft_length, sequence_stride) * values)
    return _parts(spectrum.reshape(*x.shape[:-1], *spectrum.shape[-2:]))


def _istft_spec(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> KerasTensor:
    real, _ = _check_shapes(x, 2)
    count = real.shape[-2]
    size = length
    if length is None and count is not None:
        size = (count - 1) * sequence_stride + fft_length - (fft_length // 2 * 2 if center else 0)
    return KerasTensor((*real.shape[:-2], size), dtype=real.dtype)


@operation("x", spec=_istft_spec, name="ISTFT")
def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> torch.Tensor:
    """The inverse of `stft`: overlapping pieces added, and divided by the sum of the squared windows.

    Source: Griffin and Lim, 1984.

    Args:
        x: real and imaginary parts, (..., pieces, fft_length // 2 + 1).
        sequence_length, sequence_stride, fft_length, window, center: as in `stft`.
        length: samples of the result, by default all.
    """
    _check_lengths(sequence_length, sequence_stride, fft_length)
    spectrum = _complex(x)
    pieces = torch.fft.irfft(spectrum, n=fft_length).reshape(-1, spectrum.shape[-2], fft_length)
    signal = pieces
    if window is not None:
        values = _window(window, sequence_length, fft_length, pieces.dtype, pieces.device)
        signal = pieces * values
        if sequence_length == fft_length and center:
            squares = _overlapped((values * values).expand(1, *pieces.shape[1:]), sequence_stride)
            signal = _overlapped(signal, sequence_stride) / torch.where(squares > 1e-11, squares, 1.0)
        else:
            signal = _overlapped(signal / _periodic_sum(values * values, sequence_stride), sequence_stride)
    else:
        signal = _overlapped(signal, sequence_stride)
    start = fft_length // 2 if center else 0
    end = start + length if length is not None else signal.shape[-1] - start
    return signal[:, start:end].reshape(*spectrum.shape[:-2], -1)


def _overlapped(pieces: torch.Tensor, stride: int) -> torch.Tensor:
    """[B, N, L] added at distances of `stride`: [B, (N - 1) stride + L]."""
    _, count, length = pieces.shape
    size = (count - 1) * stride + length
    return F.fold(pieces.mT, (1, size), (1, length), stride=(1, stride)).flatten(1)


def _periodic_sum(squares: torch.Tensor, stride: int) -> torch.Tensor:
    """For each element the sum of those that it overlaps with where pieces follow each other without end."""
    length = squares.shape[0]
    rows = -(-length // stride)
    total = F.pad(squares, (0, rows * stride - length)).reshape(rows, stride).sum(0)
    return total.repeat(rows)[:length]
