"""Datasets of the files of a folder."""

import os
import wave
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fastk
from fastk.errors import FileFormatError
from fastk.utils import (
    audio_dataset_from_directory,
    image_dataset_from_directory,
    text_dataset_from_directory,
)


@pytest.fixture
def images(tmp_path):
    """Two classes of five images; each is of one colour: its number."""
    for number in range(10):
        folder = tmp_path / f"class_{number % 2}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (12, 8), (number, number, number)).save(folder / f"{number}.png")
    (tmp_path / "class_0" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def colours(dataset):
    """The numbers of the images, and their labels."""
    pairs = [(x[:, 0, 0, 0], y) for x, y in dataset]
    return tuple(torch.cat(parts).tolist() for parts in zip(*pairs, strict=True))


def test_images_and_labels(images, capsys):
    data = image_dataset_from_directory(images, batch_size=4, image_size=(4, 6), shuffle=False)
    assert capsys.readouterr().out == "Found 10 files belonging to 2 classes.\n"
    assert data.class_names == ["class_0", "class_1"]
    assert [os.path.basename(path) for path in data.file_paths[:3]] == ["0.png", "2.png", "4.png"]
    assert len(data) == 3
    x, y = next(iter(data))
    assert x.shape == (4, 4, 6, 3) and x.dtype is torch.float32 and y.dtype is torch.int32
    assert colours(data) == ([0, 2, 4, 6, 8, 1, 3, 5, 7, 9], [0] * 5 + [1] * 5)


def test_each_pass_has_an_order_of_its_own(images):
    data = image_dataset_from_directory(images, image_size=4, seed=1, verbose=False)
    first, second = colours(data), colours(data)
    assert first[0] != second[0] and sorted(first[0]) == sorted(second[0]) == list(range(10))
    for numbers, labels in (first, second):
        assert labels == [number % 2 for number in numbers]
    again = image_dataset_from_directory(images, image_size=4, seed=1, verbose=False)
    assert colours(again) == first


@pytest.mark.parametrize(
    "mode, shape, dtype, first",
    (("binary", (10, 1), torch.float32, [0]), ("categorical", (10, 2), torch.float32, [1, 0])),
)
def test_label_modes(images, mode, shape, dtype, first):
    ((_, y),) = image_dataset_from_directory(images, label_mode=mode, image_size=4, shuffle=False, verbose=False)
    assert y.shape == shape and y.dtype is dtype and y[0].tolist() == first


def test_without_labels_and_with_given_ones(images):
    data = image_dataset_from_directory(images, labels=None, image_size=4, shuffle=False, verbose=False)
    (x,) = data
    assert x.shape == (10, 4, 4, 3) and data.class_names is None
    labels = [5, 6] * 5
    data = image_dataset_from_directory(images, labels=labels, image_size=4, shuffle=False, verbose=False)
    assert next(iter(data))[1].tolist() == labels and data.class_names == ["5", "6"]


def test_classes_in_a_given_order(images):
    data = image_dataset_from_directory(images, class_names=["class_1"], image_size=4, shuffle=False, verbose=False)
    assert colours(data) == ([1, 3, 5, 7, 9], [0] * 5)


@pytest.mark.parametrize("mode, channels", (("grayscale", 1), ("rgba", 4)))
def test_colour_modes_and_formats(images, mode, channels):
    data = image_dataset_from_directory(
        images, color_mode=mode, image_size=(2, 3), batch_size=None, data_format="channels_first", verbose=False
    )
    x, y = next(iter(data))
    assert x.shape == (channels, 2, 3) and y.shape == ()


def test_splits_have_no_file_in_common(images, capsys):
    options = {"validation_split": 0.2, "seed": 3, "image_size": 4}
    train, held_out = image_dataset_from_directory(images, subset="both", **options)
    assert "Using 8 files for training.\nUsing 2 files for validation.\n" in capsys.readouterr().out
    assert len(train.file_paths) == 8 and not set(train.file_paths) & set(held_out.file_paths)
    assert colours(held_out) == colours(held_out)
    for subset, whole in (("training", train), ("validation", held_out)):
        assert image_dataset_from_directory(images, subset=subset, **options).file_paths == whole.file_paths


def test_aspect_ratios(tmp_path):
    wide = np.zeros((4, 12, 3), "uint8")
    wide[:, 4:8] = 255  # what a square cut from the middle is
    Image.fromarray(wide).save(tmp_path / "wide.png")
    options = {"labels": None, "image_size": (4, 4), "verbose": False}
    (whole,) = image_dataset_from_directory(tmp_path, **options)
    (cut,) = image_dataset_from_directory(tmp_path, crop_to_aspect_ratio=True, **options)
    (padded,) = image_dataset_from_directory(tmp_path, pad_to_aspect_ratio=True, interpolation="nearest", **options)
    assert (cut == 255).all() and not (whole == 255).all()
    assert not padded[0, 0].any() and padded[0, 1].any()


def test_what_is_asked_for_wrongly_is_explained(images, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for arguments, message in (
        ({"labels": "guessed"}, "`labels` argument should be a list/tuple"),
        ({"labels": [0] * 10, "class_names": ["a"]}, "only pass `class_names`"),
        ({"labels": [0, 1]}, r"len\(labels\) is 2 while we found 10"),
        ({"labels": None, "class_names": ["a"]}, "`class_names` cannot be specified"),
        ({"label_mode": "other"}, "`label_mode` argument must be one of"),
        ({"label_mode": "binary", "class_names": ["class_0"]}, "exactly 2"),
        ({"class_names": ["class_7"]}, "did not match"),
        ({"color_mode": "cmyk"}, "`color_mode` must be one of"),
        ({"image_size": (1, 2, 3)}, "Invalid `image_size`"),
        ({"interpolation": "mitchellcubic"}, "`interpolation` should be one of"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "Only one of"),
        ({"format": "torch"}, "`format` should be"),
        ({"validation_split": 2, "subset": "training"}, "between 0 and 1"),
        ({"validation_split": 0.2}, "`subset` is set"),
        ({"validation_split": 0.2, "subset": "test"}, "`subset` must be either"),
        ({"validation_split": 0.2, "subset": "both"}, "provide a `seed`"),
        ({"directory": empty}, "No images found in directory"),
    ):
        with pytest.raises(ValueError, match=message):
            image_dataset_from_directory(**{"directory": images, "verbose": False, **arguments})


def test_texts(tmp_path):
    for name, text in (("neg/a.txt", "bad"), ("neg/deep/b.txt", "worse"), ("pos/c.txt", "gré"), ("pos/d.md", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = text_dataset_from_directory(tmp_path, shuffle=False, verbose=False)
    ((texts, labels),) = data
    assert texts.numpy().tolist() == ["bad", "worse", "gré"] and labels.tolist() == [0, 0, 1]
    (cut,) = text_dataset_from_directory(tmp_path, max_length=2, label_mode=None, shuffle=False, verbose=False)
    assert cut.tolist() == ["ba", "wo", "gr"]
    assert next(iter(data.unbatch()))[0] == "bad"
    train, _ = text_dataset_from_directory(
        tmp_path, validation_split=0.4, subset="both", shuffle=False, verbose=False, format="grain"
    )
    assert train.class_names == ["neg", "pos"]


def write_wav(path, samples, width=2, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], width, rate, 0, "NONE", ""))
        values = samples if width > 1 else samples + 128
        file.writeframes(b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in values.ravel()))


def test_sounds(tmp_path):
    for name, length in (("a", 3), ("b", 5)):
        (tmp_path / name).mkdir()
        write_wav(tmp_path / name / "1.wav", np.full((length, 2), 16384))
    data = audio_dataset_from_directory(tmp_path, shuffle=False, verbose=False)
    ((audio, labels),) = data
    assert audio.shape == (2, 5, 2) and audio.dtype is torch.float32 and labels.tolist() == [0, 1]
    assert audio[0, :, 0].tolist() == [0.5, 0.5, 0.5, 0, 0]
    ((fixed, _),) = audio_dataset_from_directory(tmp_path, output_sequence_length=4, shuffle=False, verbose=False)
    assert fixed.shape == (2, 4, 2) and fixed[1].min() == 0.5
    resampled = audio_dataset_from_directory(tmp_path, sampling_rate=4000, batch_size=None, verbose=False)
    assert sorted(len(audio) for audio, _ in resampled) == [2, 3]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ragged": True}, "not supported"),
        ({"ragged": True, "output_sequence_length": 3}, "Cannot set both"),
        ({"sampling_rate": 1.5}, "integer value"),
        ({"sampling_rate": 0}, "higher than 0"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            audio_dataset_from_directory(tmp_path, **arguments)


@pytest.mark.parametrize("width", (1, 2, 3, 4))
def test_samples_of_any_width(tmp_path, width):
    write_wav(tmp_path / "1.wav", np.array([[0], [2 ** (8 * width - 2)], [-(2 ** (8 * width - 1))]]), width)
    (audio,) = audio_dataset_from_directory(tmp_path, labels=None, verbose=False)
    assert audio.ravel().tolist() == [0, 0.5, -1]


def test_what_is_no_sound_is_explained(tmp_path):
    (tmp_path / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(FileFormatError, match=r"1\.wav is no WAV file"):
        list(audio_dataset_from_directory(tmp_path, labels=None, verbose=False))


def test_a_model_trains_on_a_folder(images):
    train, held_out = image_dataset_from_directory(
        images, image_size=4, validation_split=0.2, subset="both", seed=1, label_mode="binary", verbose=False
    )
    model = fastk.Sequential([fastk.Input((4, 4, 3)), fastk.layers.Flatten(), fastk.layers.Dense(1)])
    model.compile("sgd", fastk.losses.BinaryCrossentropy(from_logits=True))
    history = model.fit(train, validation_data=held_out, epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2


def test_a_model_that_looks_words_up_takes_the_texts_themselves(tmp_path):
    for number in range(4):
        folder = tmp_path / ("good", "bad")[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"a {folder.name} film")
    texts = text_dataset_from_directory(tmp_path, batch_size=2, verbose=False)
    words = fastk.layers.TextVectorization(max_tokens=10, output_sequence_length=3)
    words.adapt(texts.map(lambda x, y: x))
    assert set(words.get_vocabulary()[2:]) == {"a", "film", "good", "bad"}
    inner = fastk.Sequential([fastk.layers.Embedding(10, 2), fastk.layers.Flatten(), fastk.layers.Dense(1)])
    numbers = texts.map(lambda x, y: (words(x), y), num_parallel_calls=2).cache().prefetch(-1)
    inner.compile("sgd", "mse")
    inner.fit(numbers, epochs=2, verbose=0)
    whole = fastk.Sequential([words, inner])  # without an input: it is built by the first batch
    whole.compile("sgd", "mse")
    np.testing.assert_allclose(whole.evaluate(texts, verbose=0), inner.evaluate(numbers, verbose=0), rtol=1e-5)
    assert whole.predict(texts.map(lambda x, y: x), verbose=0).shape == (4, 1)
