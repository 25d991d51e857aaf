"""`MelSpectrogram`: signals to spectrograms on the mel scale."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from fastk import dtypes, ops
from fastk.layers.layer import Layer
from fastk.tensor import convert_to_tensor, get_device

# Source: Young et al., "The HTK book".
_BREAK_HERTZ, _SCALE = 700.0, 1127.0


def _mel(hertz: float) -> float:
    """A frequency on the mel scale."""
    return _SCALE * math.log(1.0 + hertz / _BREAK_HERTZ)


class MelSpectrogram(Layer):
    """The power of signals in bands that are even on the mel scale, by default in decibels.

    Args:
        fft_length: the transform's length.
        sequence_stride: the distance of frames, in samples.
        sequence_length: samples in a frame; by default `fft_length`.
        window: `"hann"` or `"hamming"`, or an array of `sequence_length` numbers.
        sampling_rate: samples a second.
        num_mel_bins: the number of bands.
        min_freq, max_freq: the range of the bands, in hertz; by default up to half the sampling rate.
        power_to_db: whether the result is in decibels.
        top_db: how far below the greatest value others may be, in decibels.
        mag_exp: the power of the magnitude: 2 for energy, 1 for the magnitude.
        min_power: what smaller values count as.
        ref_power: the power that is 0 decibels.

    Input shape: (samples,) or (batch, samples).

    Output shape: (bands, frames) or (batch, bands, frames).

    >>> import fastk
    >>> fastk.layers.MelSpectrogram(num_mel_bins=8, fft_length=256)(fastk.ops.ones((2, 1600))).shape
    torch.Size([2, 8, 4])
    """

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.fft_length = fft_length
        self.sequence_stride = sequence_stride
        self.sequence_length = sequence_length or fft_length
        if self.fft_length < self.sequence_length:
            raise ValueError(
                "`fft_length` must be greater than or equal to `sequence_length`. Received: "
                f"`sequence_length`={self.sequence_length}, `fft_length`={self.fft_length}."
            )
        self.window = window
        self.sampling_rate = sampling_rate
        self.num_mel_bins = num_mel_bins
        self.min_freq = min_freq
        self.max_freq = max_freq or int(sampling_rate / 2)
        self.power_to_db = power_to_db
        self.top_db = top_db
        self.mag_exp = mag_exp
        self.min_power = min_power
        self.ref_power = ref_power
        self._allow_non_tensor_positional_args = True

    def call(self, inputs: Any) -> torch.Tensor:
        """The spectrograms of signals."""
        dtype = self.compute_dtype if self.compute_dtype in ("float32", "float64") else "float32"
        inputs = convert_to_tensor(inputs, dtype=dtype)
        if inputs.is_meta:  # while shapes are inferred, signals may be shorter than a frame
            shape = self.compute_output_shape(inputs.shape)
            return torch.empty(shape, dtype=dtypes.to_torch_dtype(self.compute_dtype), device="meta")
        real, imag = ops.stft(
            inputs,
            sequence_length=self.sequence_length,
            sequence_stride=self.sequence_stride,
            fft_length=self.fft_length,
            window=self.window,
            center=True,
        )
        power = (real.square() + imag.square()).sqrt() ** self.mag_exp  # [..., frames, frequencies]
        bands = power @ self.linear_to_mel_weight_matrix(
            self.num_mel_bins, power.shape[-1], self.sampling_rate, self.min_freq, self.max_freq
        ).to(power)
        if self.power_to_db:
            bands = self._decibels(bands)
        return bands.transpose(-1, -2).to(dtypes.to_torch_dtype(self.compute_dtype))

    def _decibels(self, power: torch.Tensor) -> torch.Tensor:
        reference = 10.0 * math.log10(max(abs(self.ref_power), self.min_power))
        decibels = 10.0 * torch.log10(power.clamp(min=self.min_power)) - reference
        return torch.maximum(decibels, decibels.amax() - self.top_db)

    def linear_to_mel_weight_matrix(
        self,
        num_mel_bins: int = 20,
        num_spectrogram_bins: int = 129,
        sampling_rate: int = 8000,
        lower_edge_hertz: float = 125.0,
        upper_edge_hertz: float = 3800.0,
        dtype: str = "float32",
    ) -> torch.Tensor:
        """How much of each frequency is in each band: triangles on the mel scale.

        Args:
            num_mel_bins: the number of bands.
            num_spectrogram_bins: the number of frequencies, from 0 to half the sampling rate.
            sampling_rate: samples a second.
            lower_edge_hertz, upper_edge_hertz: the range of the bands.
            dtype: of the result.

        Returns:
            (frequencies, bands).
        """
        options: dict[str, Any] = {"dtype": dtypes.to_torch_dtype(dtype), "device": get_device()}
        frequencies = torch.linspace(0.0, sampling_rate / 2.0, num_spectrogram_bins, **options)[1:]
        places = _SCALE * torch.log(1.0 + frequencies / _BREAK_HERTZ)[:, None]
        corners = torch.linspace(_mel(lower_edge_hertz), _mel(upper_edge_hertz), num_mel_bins + 2, **options)
        lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
        rising, falling = (places - lower) / (centre - lower), (upper - places) / (upper - centre)
        weights = torch.minimum(rising, falling).clamp(min=0.0)
        return F.pad(weights, (0, 0, 1, 0))  # the mean is in no band

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """(bands, frames), after the batch where there is one."""
        samples = input_shape[-1]
        frames = None if samples is None else (samples + self.sequence_stride + 1) // self.sequence_stride
        return (*tuple(input_shape)[:-1], self.num_mel_bins, frames)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "fft_length": self.fft_length,
            "sequence_stride": self.sequence_stride,
            "sequence_length": self.sequence_length,
            "window": self.window,
            "sampling_rate": self.sampling_rate,
            "num_mel_bins": self.num_mel_bins,
            "min_freq": self.min_freq,
            "max_freq": self.max_freq,
            "power_to_db": self.power_to_db,
            "top_db": self.top_db,
            "mag_exp": self.mag_exp,
            "min_power": self.min_power,
            "ref_power": self.ref_power,
        }
