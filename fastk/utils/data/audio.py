"""`audio_dataset_from_directory`."""

from __future__ import annotations

import math
import wave
from typing import Any

import numpy as np
import torch

from fastk.errors import FileFormatError
from fastk.utils.data.dataset import Dataset
from fastk.utils.data.directory import DirectoryOptions, datasets_of_files

FORMATS = (".wav",)


def audio_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: list[str] | None = None,
    batch_size: int | None = 32,
    sampling_rate: int | None = None,
    output_sequence_length: int | None = None,
    ragged: bool = False,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> Any:
    """A dataset of the `.wav` files in a folder, read as they are used. Its attribute `class_names` has the classes.

    Args:
        directory: the folder; with inferred labels, one subfolder a class.
        labels: `"inferred"`, None for no labels, or a list of integers, one for each file in the order of sorted paths.
        label_mode: `"int"` for int32 `(batch,)`; `"categorical"` for float32 `(batch, classes)`; `"binary"` for float32
            `(batch, 1)`; None for no labels.
        class_names: the subfolders to use, in the order of the classes; None for all, sorted.
        batch_size: recordings in a batch; None for single recordings.
        sampling_rate: samples a second that recordings are brought to, by scipy; None for their own.
        output_sequence_length: samples that recordings are cut or filled up with zeros to; None: to the longest of a
            batch.
        ragged: not supported: torch has no such tensors that Keras's operations take.
        shuffle: whether each pass has an order of its own; else files come sorted.
        seed: makes the orders reproducible.
        validation_split: the share of files held out for validation.
        subset: `"training"`, `"validation"`, or `"both"` for a list of two datasets; goes with `validation_split`.
        follow_links: whether links to folders are followed.
        verbose: whether to say how many files were found.

    Returns:
        A dataset of float32 `(batch, samples, channels)` from -1 to 1, or of pairs `(audio, labels)`.

    >>> import os, tempfile, wave
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("hum", "hiss"):
    ...         os.mkdir(os.path.join(folder, name))
    ...         with wave.open(os.path.join(folder, name, "1.wav"), "wb") as file:
    ...             file.setparams((1, 2, 8000, 0, "NONE", ""))
    ...             file.writeframes(bytes(2 * len(name)))
    ...     data = audio_dataset_from_directory(folder, shuffle=False, verbose=False)
    ...     [(tuple(audio.shape), labels.tolist()) for audio, labels in data]
    [((2, 4, 1), [0, 1])]
    """
    options = DirectoryOptions(
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split, subset, follow_links,
        verbose,
    )  # fmt: skip
    if ragged and output_sequence_length is not None:
        raise ValueError("Cannot set both `ragged` and `output_sequence_length`")
    if ragged:
        raise ValueError(
            "`ragged=True` is not supported, as torch has no such tensors. Without it, zeros fill recordings up."
        )
    if sampling_rate is not None and not isinstance(sampling_rate, int):
        raise ValueError(f"`sampling_rate` should have an integer value. Received: sampling_rate={sampling_rate}")
    if sampling_rate is not None and sampling_rate <= 0:
        raise ValueError(f"`sampling_rate` should be higher than 0. Received: sampling_rate={sampling_rate}")

    def load(path: str) -> torch.Tensor:
        audio, rate = read_wav(path)
        if sampling_rate is not None and sampling_rate != rate:
            audio = _resampled(audio, rate, sampling_rate)
        if output_sequence_length is not None:
            audio = audio[:output_sequence_length]
            audio = np.pad(audio, ((0, output_sequence_length - len(audio)), (0, 0)))
        return torch.from_numpy(np.ascontiguousarray(audio, dtype="float32"))

    batch = Dataset.padded_batch if output_sequence_length is None else Dataset.batch
    return datasets_of_files(options, FORMATS, "audio files", load, batch)


def read_wav(path: str) -> tuple[np.ndarray, int]:
    """`(audio, rate)` of a PCM file: float32 of shape `(samples, channels)` from -1 to 1, and samples a second."""
    try:
        with wave.open(path, "rb") as file:
            frames, width = file.readframes(file.getnframes()), file.getsampwidth()
            channels, rate = file.getnchannels(), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise FileFormatError(f"{path} is no WAV file of PCM samples ({error}). Convert it first.") from error
    samples = np.frombuffer(frames, dtype=np.uint8).reshape(-1, width)
    if width == 1:  # the one width without a sign
        values = (samples[:, 0].astype(np.float32) - 128) / 128
    else:
        whole = np.zeros((len(samples), 4), dtype=np.uint8)
        whole[:, 4 - width :] = samples
        values = whole.view("<i4")[:, 0] / np.float32(2**31)
    return values.reshape(-1, channels).astype(np.float32), rate


def _resampled(audio: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ImportError("`sampling_rate` needs scipy, which is not installed: `pip install scipy`.") from error
    common = math.gcd(rate, wanted)
    return resample_poly(audio, wanted // common, rate // common, axis=0)
