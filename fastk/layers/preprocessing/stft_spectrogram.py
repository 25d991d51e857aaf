"""`STFTSpectrogram`: signals to spectrograms, by a convolution whose kernels may be trained."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import config as settings
from fastk import dtypes, initializers, ops
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.windows import window_length

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class STFTSpectrogram(Layer):
    """The short-time Fourier transform of signals, by windows that are convolution kernels: weights of the layer.

    Args:
        mode: `"log"` (of the magnitude), `"magnitude"`, `"psd"` (the one-sided power spectral density), `"real"`,
            `"imag"`, `"angle"`, or `"stft"` (real and imaginary parts, one after the other).
        frame_length: samples in a frame.
        frame_step: the distance of frames; by default half their length.
        fft_length: the transform's length; by default the next power of two.
        window: a name of `scipy.signal.get_window`, an array of `frame_length` numbers, or None.
        periodic: whether a window given by name is periodic.
        scaling: `"density"`, `"spectrum"` or None.
        padding: `"valid"` or `"same"`.
        expand_dims: whether the frequencies have an axis of their own, or share that of the channels.
        data_format: `"channels_last"`: (batch, samples, channels), or `"channels_first"`.

    >>> import fastk
    >>> layer = fastk.layers.STFTSpectrogram(frame_length=16, window=None)
    >>> layer(fastk.ops.ones((2, 64, 1))).shape
    torch.Size([2, 7, 9])
    """

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        if frame_step is not None and not 1 <= frame_step <= frame_length:
            raise ValueError(
                "`frame_step` should be a positive integer not greater than `frame_length`. Received "
                f"frame_step={frame_step}, frame_length={frame_length}"
            )
        if fft_length is not None and fft_length < frame_length:
            raise ValueError(
                f"`fft_length` should be not less than `frame_length`. Received fft_length={fft_length}, "
                f"frame_length={frame_length}"
            )
        if fft_length is not None and fft_length & -fft_length != fft_length:
            warnings.warn(
                f"`fft_length` is recommended to be a power of two. Received fft_length={fft_length}", stacklevel=2
            )
        if mode not in _MODES:
            raise ValueError(f"Output mode is invalid, it must be one of {', '.join(_MODES)}. Received: mode={mode}")
        if padding not in ("valid", "same"):
            raise ValueError(f"Padding is invalid, it should be 'valid', 'same'. Received: padding={padding}")
        # They check the window and its scaling.
        kernels = {side: initializers.STFT(side, window, scaling, periodic) for side in ("real", "imag")}
        super().__init__(**kwargs)
        self._initializers = kernels
        self.mode = mode
        self.frame_length = frame_length
        self.frame_step = frame_step
        self._frame_step = frame_step or frame_length // 2
        self.fft_length = fft_length
        self._fft_length = fft_length or 1 << (frame_length - 1).bit_length()
        self.window = window
        self.periodic = periodic
        self.scaling = scaling
        self.padding = padding
        self.expand_dims = expand_dims
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=3)

    def build(self, input_shape: Any) -> None:
        """Makes the windows."""
        shape = (self.frame_length, 1, self._fft_length // 2 + 1)
        if self.mode != "imag":
            self.real_kernel = self.add_weight(name="real_kernel", shape=shape, initializer=self._initializers["real"])
        if self.mode != "real":
            self.imag_kernel = self.add_weight(name="imag_kernel", shape=shape, initializer=self._initializers["imag"])
        self.built = True

    def call(self, inputs: Any) -> torch.Tensor:
        """The spectrograms of signals."""
        if dtypes.standardize_dtype(inputs.dtype) not in ("float16", "float32", "float64"):
            raise TypeError(
                "Invalid input type. Expected `float16`, `float32` or `float64`. Received: input "
                f"type={dtypes.standardize_dtype(inputs.dtype)}"
            )
        signals = inputs.movedim(1, 2) if self.data_format == "channels_last" else inputs
        real = self._part(signals, self.real_kernel) if self.mode != "imag" else None
        imag = self._part(signals, self.imag_kernel) if self.mode != "real" else None
        return self._arranged(self._combined(real, imag))

    def _part(self, signals: torch.Tensor, kernel: Any) -> torch.Tensor:
        """[batch, channels, frames, frequencies] of signals (batch, channels, samples)."""
        flat = signals.flatten(0, 1).unsqueeze(-1)
        weights = ops.cast(kernel, dtypes.standardize_dtype(flat.dtype))
        outputs = ops.conv(flat, weights, padding=self.padding, strides=self._frame_step, data_format="channels_last")
        return outputs.unflatten(0, signals.shape[:2])

    def _combined(self, real: Any, imag: Any) -> torch.Tensor:
        if self.mode in ("real", "imag"):
            return real if self.mode == "real" else imag
        if self.mode == "angle":
            return torch.atan2(imag, real)
        if self.mode == "stft":
            return torch.cat((real, imag), dim=-1)
        power = real.square() + imag.square()
        if self.mode == "psd":  # the negative frequencies, of which all but the outermost are left out, count too
            return power + F.pad(power[..., 1:-1], (1, 1))
        magnitude = power.clamp(min=settings.epsilon()).sqrt()
        return magnitude if self.mode == "magnitude" else magnitude.clamp(min=settings.epsilon()).log()

    def _arranged(self, x: torch.Tensor) -> torch.Tensor:
        last = self.data_format == "channels_last"
        if self.expand_dims:
            return x.permute(0, 2, 3, 1) if last else x
        return x.permute(0, 2, 1, 3).flatten(2) if last else x.permute(0, 1, 3, 2).flatten(1, 2)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """(batch, frames, channels * frequencies), or with an axis for each and in the order of `data_format`."""
        last = self.data_format == "channels_last"
        batch = input_shape[0]
        samples, channels = (input_shape[1], input_shape[2]) if last else (input_shape[2], input_shape[1])
        frames = window_length(samples, self.frame_length, self._frame_step, self.padding)
        frequencies = (self._fft_length // 2 + 1) * (2 if self.mode == "stft" else 1)
        if self.expand_dims:
            return (batch, frames, frequencies, channels) if last else (batch, channels, frames, frequencies)
        together = None if channels is None else channels * frequencies
        return (batch, frames, together) if last else (batch, together, frames)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "frame_length": self.frame_length,
            "frame_step": self.frame_step,
            "fft_length": self.fft_length,
            "window": self.window,
            "periodic": self.periodic,
            "scaling": self.scaling,
            "padding": self.padding,
            "data_format": self.data_format,
            "expand_dims": self.expand_dims,
        }
