"""Spectrograms against Fourier transforms of NumPy."""

import numpy as np
import pytest

from fastk import layers
from tests.layers.checks import run_layer


def frames(signal, length, step):
    return np.stack([signal[i : i + length] for i in range(0, len(signal) - length + 1, step)])


@pytest.mark.parametrize("mode", ["real", "imag", "magnitude", "log", "psd", "angle", "stft"])
def test_stft(mode, rng):
    x = rng.normal(size=(2, 100, 2)).astype("float32")
    layer = layers.STFTSpectrogram(mode, frame_length=16, frame_step=5, fft_length=32)
    window = np.hanning(16)
    spectra = np.stack(
        [[np.fft.rfft(frames(x[b, :, c].astype("float64"), 16, 5) * window, 32) for c in range(2)] for b in range(2)]
    ) / np.sqrt((window**2).sum())  # [batch, channels, frames, frequencies]
    power = np.abs(spectra) ** 2
    expected = {
        "real": spectra.real,
        "imag": spectra.imag,
        "magnitude": np.sqrt(np.maximum(power, 1e-7)),
        "log": np.log(np.sqrt(np.maximum(power, 1e-7))),
        "psd": power * np.concatenate(([1], np.full(15, 2), [1])),
        "angle": np.angle(spectra),
        "stft": np.concatenate((spectra.real, spectra.imag), axis=-1),
    }[mode]
    outputs = layer(x).detach().numpy()
    difference = outputs - expected.transpose(0, 2, 1, 3).reshape(2, expected.shape[2], -1)
    if mode == "angle":  # of a number beside the negative axis, the sign is rounding
        difference = np.angle(np.exp(1j * difference)) * (
            np.abs(spectra).transpose(0, 2, 1, 3).reshape(2, -1, 34) > 0.1
        )
    assert np.abs(difference).max() < 2e-3
    assert layer.compute_output_shape(x.shape) == outputs.shape


@pytest.mark.parametrize("expand_dims", [False, True])
def test_stft_layouts(expand_dims, rng):
    x = rng.normal(size=(2, 64, 3)).astype("float32")
    options = {"frame_length": 16, "window": None, "scaling": None, "expand_dims": expand_dims, "padding": "same"}
    last = layers.STFTSpectrogram("magnitude", data_format="channels_last", **options)
    first = layers.STFTSpectrogram("magnitude", data_format="channels_first", **options)
    a, b = last(x), first(np.ascontiguousarray(x.transpose(0, 2, 1)))
    moved = b.permute(0, 2, 3, 1) if expand_dims else b.permute(0, 2, 1)
    np.testing.assert_allclose(a.detach(), moved.detach(), atol=1e-5)
    assert last.compute_output_shape(x.shape) == tuple(a.shape)
    assert first.compute_output_shape((2, 3, 64)) == tuple(b.shape)


def test_stft_as_a_layer(rng):
    run_layer(
        layers.STFTSpectrogram,
        {"frame_length": 16, "frame_step": 8, "window": "hamming"},
        inputs=rng.normal(size=(2, 64, 1)).astype("float32"),
        weights=("real_kernel", "imag_kernel"),
        unknown="batch",
        mixed=False,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_step": 0}, "`frame_step`"),
        ({"fft_length": 3}, "`fft_length`"),
        ({"mode": "loud"}, "Output mode is invalid"),
        ({"padding": "causal"}, "Padding is invalid"),
        ({"scaling": "l2"}, "Scaling is invalid"),
        ({"window": "curtain"}, "window"),
    ],
)
def test_stft_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        layers.STFTSpectrogram(**options)


def mel(hertz):
    return 1127 * np.log(1 + hertz / 700)


def test_mel_spectrogram(rng):
    x = rng.normal(size=(2, 900)).astype("float32")
    options = {"fft_length": 128, "sequence_stride": 64, "num_mel_bins": 6, "sampling_rate": 8000, "min_freq": 100.0}
    layer = layers.MelSpectrogram(**options, power_to_db=False)
    padded = np.pad(x.astype("float64"), ((0, 0), (64, 64)), mode="reflect")
    window = np.hanning(129)[:-1]
    power = np.abs(np.stack([np.fft.rfft(frames(row, 128, 64) * window) for row in padded])) ** 2
    corners = np.linspace(mel(100.0), mel(4000.0), 8)
    places = mel(np.linspace(0, 4000, 65))
    triangles = np.stack([np.interp(places, corners[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(6)], axis=1)
    expected = (power @ triangles).transpose(0, 2, 1)
    np.testing.assert_allclose(layer(x), expected, rtol=2e-3, atol=1e-2)
    decibels = layers.MelSpectrogram(**options, top_db=20.0)(x).numpy()
    in_db = 10 * np.log10(expected)
    np.testing.assert_allclose(decibels, np.maximum(in_db, in_db.max() - 20), atol=1e-2)
    assert layer(x[0]).shape == layer(x)[0].shape == layer.compute_output_shape((900,))


def test_mel_spectrogram_as_a_layer(rng):
    run_layer(
        layers.MelSpectrogram,
        {"fft_length": 128, "num_mel_bins": 6, "sequence_stride": 100},
        inputs=rng.normal(size=(2, 900)).astype("float32"),
        unknown="all",
    )
    with pytest.raises(ValueError, match="`fft_length` must be greater"):
        layers.MelSpectrogram(fft_length=8, sequence_length=9)
