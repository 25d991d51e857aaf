"""Images as files, PIL's objects and arrays."""

import io
import pathlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import fastk
from fastk.preprocessing.image import smart_resize
from fastk.utils import array_to_img, img_to_array, load_img, save_img


def picture(height=4, width=6, channels=3):
    return np.random.default_rng(0).integers(0, 256, size=(height, width, channels)).astype("uint8")


@pytest.mark.parametrize("channels, mode", ((1, "L"), (3, "RGB"), (4, "RGBA")))
@pytest.mark.parametrize("data_format", ("channels_last", "channels_first"))
def test_there_and_back(channels, mode, data_format):
    array = picture(channels=channels)
    if data_format == "channels_first":
        array = array.transpose(2, 0, 1)
    img = array_to_img(array, data_format, scale=False)
    assert img.mode == mode and img.size == (6, 4)
    back = img_to_array(img, data_format)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(
        img_to_array(array_to_img(torch.tensor(array), data_format, scale=False)),
        back if (data_format == "channels_last") else back.transpose(1, 2, 0),
    )


def test_values_are_stretched():
    array = np.array([[[0.5], [1.0]], [[1.5], [2.5]]])
    assert np.asarray(array_to_img(array)).tolist() == [[0, 63], [127, 255]]
    assert array[0, 0, 0] == 0.5
    assert not np.asarray(array_to_img(np.full((2, 2, 3), 7.0))).any()


def test_wide_grey_values():
    img = array_to_img(np.array([[[0], [70000]]]), scale=False)
    assert img.mode == "I" and img_to_array(img, dtype="int32").ravel().tolist() == [0, 70000]


def test_saved_and_loaded(tmp_path):
    array = picture()
    for path in (str(tmp_path / "a.png"), tmp_path / "b.png"):
        save_img(path, array, scale=False)
        np.testing.assert_array_equal(img_to_array(load_img(path)), array)
    file = io.BytesIO()
    save_img(file, array, file_format="png", scale=False)
    np.testing.assert_array_equal(img_to_array(load_img(file)), array)
    with pytest.warns(UserWarning, match="does not support RGBA"):
        save_img(tmp_path / "c.jpg", picture(channels=4))
    assert load_img(tmp_path / "c.jpg", "grayscale").mode == "L"
    assert load_img(str(tmp_path / "c.jpg").encode(), "rgba").mode == "RGBA"


def test_loaded_in_another_size(tmp_path):
    array = np.zeros((4, 12, 3), "uint8")
    array[:, 4:8] = 255
    save_img(tmp_path / "wide.png", array)
    assert load_img(tmp_path / "wide.png", target_size=(2, 3)).size == (3, 2)
    cut = load_img(tmp_path / "wide.png", target_size=(4, 4), keep_aspect_ratio=True, interpolation="bilinear")
    assert (np.asarray(cut) == 255).all()
    tall = load_img(tmp_path / "wide.png", target_size=(6, 2), keep_aspect_ratio=True)
    assert tall.size == (2, 6) and (np.asarray(tall) == 255).all()


def test_what_is_no_image_is_explained(tmp_path):
    save_img(tmp_path / "a.png", picture())
    for call, error, message in (
        (lambda: array_to_img(np.zeros((2, 2))), ValueError, "rank 3"),
        (lambda: array_to_img(np.zeros((2, 2, 2))), ValueError, "Unsupported channel number: 2"),
        (lambda: img_to_array(np.zeros(3)), ValueError, "Unsupported image shape"),
        (lambda: load_img(3), TypeError, "path-like"),
        (lambda: load_img(tmp_path / "a.png", "hsv"), ValueError, "color_mode must be"),
        (lambda: load_img(tmp_path / "a.png", target_size=(2, 2), interpolation="x"), ValueError, "Supported methods"),
        (lambda: load_img(tmp_path / "no.png"), FileNotFoundError, "no.png"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"`array_to_img` needs Pillow.*pip install pillow"):
        array_to_img(np.zeros((2, 2, 3)))


@pytest.mark.parametrize("data_format", ("channels_last", "channels_first"))
def test_smart_resize_cuts_the_middle(data_format):
    array = np.zeros((2, 4, 12, 3), "float32")
    array[:, :, 4:8] = 5
    if data_format == "channels_first":
        array = array.transpose(0, 3, 1, 2)
    result = smart_resize(array, (8, 8), data_format=data_format)
    assert isinstance(result, np.ndarray) and result.size == 2 * 8 * 8 * 3 and (result == 5).all()
    assert isinstance(smart_resize(torch.tensor(array)[0], (2, 2), data_format=data_format), torch.Tensor)
    with pytest.raises(ValueError, match="2 integers"):
        smart_resize(array, (1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="incorrect rank"):
        smart_resize(np.zeros((2, 2)), (2, 2))


def test_older_names_are_the_same_functions():
    assert fastk.preprocessing.image.load_img is load_img
    assert fastk.preprocessing.sequence.pad_sequences is fastk.utils.pad_sequences
    assert fastk.preprocessing.image_dataset_from_directory is fastk.utils.image_dataset_from_directory


def test_gif_files_give_their_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (250, 10)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (batch,) = fastk.utils.image_dataset_from_directory(tmp_path, labels=None, image_size=4, verbose=False)
    assert batch[0, 0, 0, 0] > 240
    assert pathlib.Path(tmp_path / "a.gif").exists()
