"""Applications are what Keras's are: their layers, weights, arguments and errors."""

import importlib
import inspect
import json
import pathlib
import re
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch

import fastk as keras
from fastk.applications import frame, imagenet_utils, published
from fastk.errors import FileMissing
from fastk.initializers import VarianceScaling
from fastk.variable import makes_new_tensors
from tests.applications import cases

HERE = pathlib.Path(__file__).parent
STRUCTURE = json.loads((HERE / "structure.json").read_text())  # what Keras 3.15 said: `keras_side.py structure`
MODULES = [
    "convnext", "densenet", "efficientnet", "efficientnet_v2", "imagenet_utils", "inception_resnet_v2",
    "inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3", "nasnet", "resnet", "resnet50", "resnet_v2",
    "vgg16", "vgg19", "xception",
]  # fmt: skip
CHANNELS_LAST_ONLY = ("DenseNet121", "NASNetMobile", "ConvNeXtTiny")


@pytest.fixture
def unset(monkeypatch):
    """Weights of random values are made without values: their memory is never touched."""

    @makes_new_tensors
    def empty(self, shape, dtype=None):
        return torch.empty(tuple(shape))

    monkeypatch.setattr(VarianceScaling, "__call__", empty)


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("name", cases.NAMES)
def test_structure_is_that_of_keras(name, unset):
    assert cases.structure(cases.made(keras, name, {})) == STRUCTURE[name]


def test_modules_hold_their_functions():
    for name in MODULES:
        module = importlib.import_module(f"fastk.applications.{name}")
        assert module is getattr(keras.applications, name)
        assert callable(module.preprocess_input) and callable(module.decode_predictions)
    assert keras.applications.resnet50.ResNet50 is keras.applications.resnet.ResNet50 is keras.applications.ResNet50
    for name in cases.NAMES:
        function = getattr(keras.applications, name)
        assert function.__name__ == name and function.__module__.startswith("fastk.applications.")
        assert all(f"{argument}: " in function.__doc__ for argument in inspect.signature(function).parameters)
    assert sorted(keras.applications.__all__) == sorted(cases.NAMES + MODULES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNet50", 'include_top=True weights="imagenet" input_tensor input_shape pooling classes=1000 '
         'classifier_activation="softmax" name="resnet50"'),
        ("MobileNet", 'input_shape alpha=1.0 depth_multiplier=1 dropout=0.001 include_top=True weights="imagenet" '
         'input_tensor pooling classes=1000 classifier_activation="softmax" name'),
        ("MobileNetV3Small", 'input_shape alpha=1.0 minimalistic=False include_top=True weights="imagenet" '
         'input_tensor classes=1000 pooling dropout_rate=0.2 classifier_activation="softmax" '
         'include_preprocessing=True name="MobileNetV3Small"'),
        ("ConvNeXtTiny", 'include_top=True include_preprocessing=True weights="imagenet" input_tensor input_shape '
         'pooling classes=1000 classifier_activation="softmax" name="convnext_tiny"'),
    ],
)  # fmt: skip
def test_arguments_come_in_keras_order(name, expected):
    found = [
        p.name
        if p.default is None
        else f"{p.name}={json.dumps(p.default) if isinstance(p.default, str) else p.default}"
        for p in inspect.signature(getattr(keras.applications, name)).parameters.values()
    ]
    assert found == expected.split()


@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3")
@pytest.mark.parametrize("name", ["VGG16", "ResNet50V2", "MobileNet", "MobileNetV2", "MobileNetV3Small", "Xception"])
def test_features_of_any_size_in_both_data_formats(name, unset):
    shapes = {}
    for data_format, shape in (("channels_last", (None, None, 4)), ("channels_first", (4, None, None))):
        keras.config.set_image_data_format(data_format)
        try:
            model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=shape)
        finally:
            keras.config.set_image_data_format("channels_last")
        shapes[data_format] = model.output_shape
        assert model.input_shape == (None, *shape)
    batch, *sizes, channels = shapes["channels_last"]
    assert (batch, *sizes) == (None, None, None) and channels > 500
    assert shapes["channels_first"] == (None, channels, None, None)


@pytest.mark.parametrize("name", CHANNELS_LAST_ONLY)
def test_some_have_one_data_format(name, channels_first):
    with pytest.raises(ValueError, match=r"does not support the `channels_first`.*set_image_data_format"):
        getattr(keras.applications, name)(weights=None)


def test_channels_first_computes_what_channels_last_does(channels_first):
    options = {"alpha": 0.35, "include_top": False, "pooling": "avg"}
    first = cases.made(keras, "MobileNetV2", {**options, "input_shape": (3, 32, 32)})
    cases.randomise(first)
    keras.config.set_image_data_format("channels_last")
    last = cases.made(keras, "MobileNetV2", {**options, "input_shape": (32, 32, 3)})
    last.set_weights(first.get_weights())
    x = cases.images(last)
    expected = last.predict_on_batch(x)
    found = first.predict_on_batch(np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=cases.tolerance(last) * np.abs(expected).max())


def test_input_tensors_may_be_computed():
    image = keras.Input((64, 64, 1), name="gray")
    model = keras.applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_tensor=keras.layers.Conv2D(3, 1)(image), pooling="max"
    )
    assert model.inputs == [image] and model.output_shape == (None, 1280)
    assert model(np.zeros((1, 64, 64, 1), "float32")).shape == (1, 1280)


def test_classes_and_their_activation():
    options = {"weights": None, "alpha": 0.35, "input_shape": (32, 32, 3), "classes": 5}
    model = keras.applications.MobileNetV2(**options)
    assert model.layers[-1].activation.__name__ == "softmax" and model.output_shape == (None, 5)
    logits = keras.applications.MobileNetV2(classifier_activation=None, **options)
    assert logits.layers[-1].activation.__name__ == "linear"


SMALL = {"input_shape": (32, 32, 3), "include_top": False}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ResNet50", {"weights": "nowhere.h5"}, "should be either `None`.*Received: weights=nowhere.h5"),
        ("ResNet50", {"classes": 7}, "`classes` should be 1000. Received classes=7"),
        ("ResNet50", {"weights": None, "input_shape": (20, 32, 3)}, "at least 32x32"),
        ("Xception", {"weights": None, "input_shape": (70, 71, 3)}, "at least 71x71"),
        ("ResNet50", {"weights": None, "input_shape": (32, 3)}, "tuple of three"),
        ("ResNet50", {"weights": None, "input_shape": (None, None, 3)}, "static `input_shape`"),
        ("ResNet50", {"input_shape": (32, 32, 3)}, r"should be \(224, 224, 3\)"),
        ("ResNet50", {"include_top": False, "input_shape": (32, 32, 1)}, "must have 3 channels"),
        ("ResNet50", {"classifier_activation": "relu"}, "Only `None` and `softmax`"),
        ("ResNet50", {"weights": None, "input_tensor": 3}, "must be a KerasTensor"),
        ("MobileNet", {"alpha": 0.3}, "alpha can be one of"),
        ("MobileNet", {"depth_multiplier": 2}, "depth multiplier must be 1"),
        ("MobileNetV2", {"alpha": 0.3}, "alpha can be one of"),
        ("MobileNetV3Small", {"weights": None, "input_shape": (16, 32, 3)}, "at least 32x32"),
        ("MobileNetV3Small", {"alpha": 0.75, "minimalistic": True}, "alpha can be one of `1.0` only"),
        ("NASNetMobile", {"include_top": False, "input_shape": (None, None, 3)}, "must be static"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(keras.applications, name)(**options)


def test_an_input_tensor_of_another_width_than_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"must equal input_shape\[1\]"):
        keras.applications.MobileNetV2(weights=None, input_tensor=keras.Input((64, 64, 3)), input_shape=(32, 32, 3))


def test_unusual_arguments_are_warned_about(unset):
    with pytest.warns(UserWarning, match="5 input channels"):
        keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 5))
    with pytest.warns(UserWarning, match="`pooling='mean'` is not known"):
        keras.applications.MobileNetV2(weights=None, pooling="mean", **SMALL)


# ---------------------------------------------------------------- files of weights


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_come_from_a_file(tmp_path, ending):
    options = {**SMALL, "alpha": 0.35}
    saved = cases.made(keras, "MobileNetV2", {**options})
    cases.randomise(saved)
    path = tmp_path / f"file{ending}"
    (saved.save if ending == ".keras" else saved.save_weights)(path)
    loaded = keras.applications.MobileNetV2(weights=str(path), **options)
    for a, b in zip(saved.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("name", "options", "url", "cached", "file_hash"),
    [
        ("ResNet50", {}, "tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", None,
         "2cb95161c43110f7111970584f804107"),
        ("VGG19", SMALL, "tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", None,
         "253f8cb515780f3b799900260a226db6"),
        ("MobileNet", {"alpha": 0.25}, "tensorflow/keras-applications/mobilenet/mobilenet_2_5_224_tf.h5", None, None),
        ("MobileNetV2", {"alpha": 1.4, **SMALL, "input_shape": (96, 96, 3)}, "tensorflow/keras-applications/"
         "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.4_96_no_top.h5", None, None),
        ("MobileNetV3Large", {"minimalistic": True}, "tensorflow/keras-applications/mobilenet_v3/"
         "weights_mobilenet_v3_large_minimalistic_224_1.0_float.h5", None, "675e7b876c45c57e9e63e6d90a36599c"),
        ("NASNetMobile", {"include_top": False}, "tensorflow/keras-applications/nasnet/NASNet-mobile-no-top.h5",
         "nasnet_mobile_no_top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
        ("EfficientNetB0", {"name": "mine"}, "keras-applications/efficientnetb0.h5", None,
         "902e53a9f72be733fc0bcb005b3ebbac"),
        ("EfficientNetV2B0", SMALL, "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b0_notop.h5", None,
         "893217f2bb855e2983157299931e43ff"),
        ("ConvNeXtTiny", {}, "tensorflow/keras-applications/convnext/convnext_tiny.h5", None,
         "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_published_weights(name, options, url, cached, file_hash, monkeypatch, unset):
    asked, loaded = [], []
    monkeypatch.setattr(
        keras.utils, "get_file", lambda *args, **kwargs: asked.append((args, kwargs)) or "here.h5", raising=False
    )
    monkeypatch.setattr(keras.Model, "load_weights", lambda self, path: loaded.append(path))
    getattr(keras.applications, name)(**options)
    ((file, origin), kwargs) = asked[0]
    assert origin == f"https://storage.googleapis.com/{url}"
    assert file == (cached or url.rpartition("/")[2]) and loaded == ["here.h5"]
    assert kwargs == {"cache_subdir": "models", "file_hash": file_hash}


def test_without_a_connection_the_file_and_its_place_are_named(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    place = tmp_path / "models" / "mobilenet_2_5_224_tf.h5"
    with pytest.raises(FileMissing, match=f"{re.escape(str(place))}.*weights=None"):
        keras.applications.MobileNet(alpha=0.25)


# ---------------------------------------------------------------- ImageNet's conventions


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_preprocessing(mode, axis, rng):
    shape = {-1: (2, 5, 4, 3), 0: (3, 5, 4), 1: (2, 3, 5, 4)}[axis]
    data_format = "channels_last" if axis == -1 else "channels_first"
    x = rng.uniform(0, 255, shape).astype("float32")
    channels = np.moveaxis(x.astype("float64"), axis, -1)
    expected = {
        "caffe": channels[..., ::-1] - [103.939, 116.779, 123.68],
        "tf": channels / 127.5 - 1,
        "torch": (channels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    }[mode]
    tensor = keras.ops.convert_to_tensor(x.copy())
    symbolic = keras.KerasTensor(shape if axis == 0 else (None, *shape[1:]))
    found = imagenet_utils.preprocess_input(tensor, data_format, mode)
    eps = float(np.finfo("float32").eps) * 255 * 4  # four roundings of values up to 255
    np.testing.assert_allclose(np.moveaxis(np.asarray(found), axis, -1), expected, rtol=0, atol=eps)
    np.testing.assert_array_equal(np.asarray(tensor), x)  # tensors are left as they are
    assert imagenet_utils.preprocess_input(symbolic, data_format, mode).shape == symbolic.shape
    array = x.copy()
    found = imagenet_utils.preprocess_input(array, data_format, mode)
    np.testing.assert_allclose(np.moveaxis(found, axis, -1), expected, rtol=0, atol=eps)
    assert np.shares_memory(found, array)  # arrays of floats are overwritten, as Keras documents
    integers = x.astype("uint8")
    before = integers.copy()
    assert imagenet_utils.preprocess_input(integers, data_format, mode).dtype == "float32"
    np.testing.assert_array_equal(integers, before)


def test_each_family_preprocesses_as_it_was_trained():
    x = np.full((1, 1, 1, 3), 255.0)
    modes = {"vgg16": 255 - 103.939, "resnet_v2": 1.0, "densenet": (1 - 0.485) / 0.229, "efficientnet": 255.0}
    for module, first in modes.items():
        found = getattr(keras.applications, module).preprocess_input(x.copy())
        assert found[0, 0, 0, 0] == pytest.approx(first)
    for wrong in ({"mode": "other"}, {"data_format": "channels_middle"}):
        with pytest.raises(ValueError, match="Expected"):
            imagenet_utils.preprocess_input(x, **wrong)


def test_predictions_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({str(i): [f"n{i}", f"class {i}"] for i in range(1000)}))
    asked = []
    monkeypatch.setattr(keras.utils, "get_file", lambda *a, **k: asked.append((a, k)) or str(path), raising=False)
    imagenet_utils.class_index.cache_clear()
    scores = np.zeros((2, 1000), "float32")
    scores[0, [3, 5]] = 0.25, 0.5
    scores[1, 999] = 1.0
    try:
        first, second = keras.applications.vgg16.decode_predictions(scores, top=2)
    finally:
        imagenet_utils.class_index.cache_clear()
    assert first == [("n5", "class 5", np.float32(0.5)), ("n3", "class 3", np.float32(0.25))]
    assert second[0] == ("n999", "class 999", np.float32(1.0)) and len(second) == 2
    assert asked[0][0][1].endswith("/download.tensorflow.org/data/imagenet_class_index.json")
    for wrong in (scores[0], scores[:, :10]):
        with pytest.raises(ValueError, match=r"\(samples, 1000\)"):
            imagenet_utils.decode_predictions(wrong)


def test_filters_are_rounded():
    # Width multipliers and rounding of MobileNetV2: Keras's table of filters for alpha 0.35.
    assert [frame.rounded(c * 0.35) for c in (32, 16, 24, 96, 160, 320)] == [16, 8, 8, 32, 56, 112]


def test_padding_of_even_and_odd_images():
    shape = {"inputs": keras.KerasTensor((None, 7, 8, 3))}
    assert imagenet_utils.correct_pad(kernel_size=(5, 3), **shape) == ((2, 2), (0, 1))
    assert imagenet_utils.correct_pad(keras.KerasTensor((None, None, None, 3)), 3) == ((0, 1), (0, 1))


def test_urls_are_of_https():
    assert published.ORIGIN.startswith("https://")
