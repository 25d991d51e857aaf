"""What every augmentation layer must do: shapes, formats, dicts, seeds, inference."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.layers.checks import BATCH, run_layer
from tests.training.stand_in import crossings_in_steps
from tests.training.step_models import data

# Of each layer: arguments, and whether it (changes the size, works in inference, has gradients that are finite).
LAYERS = {
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.3, "width_factor": (-0.2, 0.1)},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": (-0.2, 0.1)},
    "RandomShear": {"x_factor": 0.3, "y_factor": (0.1, 0.2)},
    "RandomPerspective": {"scale": 0.4},
    "RandomElasticTransform": {"scale": 0.8},
    "RandomCrop": {"height": 5, "width": 4},
    "RandomContrast": {"factor": 0.5},
    "RandomBrightness": {"factor": 0.3},
    "RandomHue": {"factor": 0.4},
    "RandomSaturation": {"factor": 0.4},
    "RandomSharpness": {"factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomPosterization": {"factor": (2, 5)},
    "RandomInvert": {"factor": 0.6},
    "RandomGrayscale": {"factor": 0.6},
    "RandomGaussianBlur": {"factor": 0.8, "kernel_size": 5},
    "RandomErasing": {"factor": 0.8},
    "RandomColorJitter": {
        "brightness_factor": 0.2,
        "contrast_factor": 0.2,
        "saturation_factor": 0.2,
        "hue_factor": 0.2,
    },
    "Solarization": {"addition_factor": 0.3, "threshold_factor": 0.5},
    "MixUp": {"alpha": 0.4},
    "CutMix": {},
    "RandAugment": {},
    "AugMix": {},
    "Resizing": {"height": 5, "width": 4},
    "CenterCrop": {"height": 5, "width": 4},
    "AutoContrast": {},
    "Equalization": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (2, 3)},
    "MaxNumBoundingBoxes": {"max_number": 3},
}
RESIZE = ("RandomCrop", "Resizing", "CenterCrop")
IN_INFERENCE = ("Resizing", "CenterCrop", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization")
UNSEEDED = (*IN_INFERENCE, "Equalization", "MaxNumBoundingBoxes")
# Steps, and the square root of a grey pixel's saturation, have no gradient.
NO_GRADIENT = ("RandomPosterization", "RandAugment", "AugMix", "Equalization", *IN_INFERENCE[2:], "Solarization")
WITHOUT_BOXES = ("RandomElasticTransform", "CutMix")
SEEDS = {"RandomColorJitter": 5, "RandAugment": 10, "AugMix": 10}  # of layers that are made of others
each = pytest.mark.parametrize("name", LAYERS)


def make(name, **kwargs):
    seed = {} if name in UNSEEDED else {"seed": 7}
    return getattr(layers, name)(**{**LAYERS[name], **seed, **kwargs})


def images(rng, data_format="channels_last", count=4):
    x = rng.uniform(1, 254, (count, 9, 8, 3)).astype("float32")
    return x if data_format == "channels_last" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@each
def test_shapes_configuration_and_precision(name, rng):
    seed = {} if name in UNSEEDED else {"seed": 7}
    # Draws are of the batch's shape: sizes may be unknown, where the layer does not need them.
    run_layer(
        getattr(layers, name),
        {**LAYERS[name], **seed},
        inputs=images(rng),
        expected_shape=(4, 5, 4, 3) if name in RESIZE else (4, 9, 8, 3),
        unknown=BATCH,
        seeds=SEEDS.get(name, 0 if name in UNSEEDED else 1),
        gradients=name not in NO_GRADIENT,
        mixed=name not in ("MaxNumBoundingBoxes", "Resizing", "RandomGrayscale", IN_INFERENCE[-1]),
        call_kwargs={"training": True},
    )


@each
def test_channels_first_gives_the_same_pixels(name, rng):
    last, first = images(rng), images(np.random.default_rng(0), "channels_first")
    expected = make(name, data_format="channels_last")(last, training=True)
    actual = make(name, data_format="channels_first")(first, training=True)
    if name == "RandomErasing":  # its noise is drawn in the order of the layout
        return
    np.testing.assert_allclose(actual.detach().movedim(1, -1), expected, atol=2e-3)


@each
def test_one_image_alone_keeps_its_rank(name, rng):
    x = images(rng)[0]
    outputs = make(name)(x, training=True)
    assert tuple(outputs.shape) == ((5, 4, 3) if name in RESIZE else x.shape)


@each
def test_a_seed_gives_the_same_draws_and_further_calls_other_ones(name, rng):
    x = images(rng)
    first, second = make(name), make(name)
    a, b = first(x, training=True), second(x, training=True)
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=0)
    if name not in UNSEEDED:
        again = [first(x, training=True) for _ in range(6)]
        assert any(not torch.equal(torch.as_tensor(a), torch.as_tensor(c)) for c in again)


@each
def test_inference_leaves_images_alone(name, rng):
    x = images(rng)
    outputs = make(name)(x, training=False)
    if name not in IN_INFERENCE:
        np.testing.assert_array_equal(outputs, x)


@each
def test_integer_images(name, rng):
    x = images(rng).astype("uint8")
    outputs = make(name)(x, training=True)
    kept = name in (
        "Resizing",
        "RandomGrayscale",
        "ContrastLimitedAdaptiveHistogramEqualization",
        "MaxNumBoundingBoxes",
    )
    assert outputs.dtype is (torch.uint8 if kept else torch.float32)


@each
def test_dicts_are_transformed_together_and_left_as_they_are(name, rng):
    x = images(rng)
    data = {
        "images": x.copy(),
        "labels": np.eye(4, dtype="float32"),
        "segmentation_masks": rng.integers(0, 3, (4, 9, 8, 1)),
    }
    boxes = np.tile(np.array([[1.0, 2.0, 5.0, 6.0], [0.0, 1.0, 7.0, 7.0]], "float32"), (4, 1, 1))
    if name not in WITHOUT_BOXES:
        data["bounding_boxes"] = {"boxes": boxes, "labels": np.tile([1, 2], (4, 1))}
    before = {key: value.copy() for key, value in data.items()}
    outputs = make(name, bounding_box_format="xyxy")(data, training=True)
    assert outputs.keys() == data.keys() and outputs is not data
    for key in ("images", "labels", "segmentation_masks"):
        np.testing.assert_array_equal(data[key], before[key])
    size = outputs["images"].shape[1:3]
    assert outputs["segmentation_masks"].shape[:3] == (4, *size)
    if name not in WITHOUT_BOXES:
        np.testing.assert_array_equal(data["bounding_boxes"]["boxes"], boxes)
        result = outputs["bounding_boxes"]["boxes"].numpy()
        assert result.shape[0] == 4 and result.shape[-1] == 4
        padding = -1 if name == "MaxNumBoundingBoxes" else 0
        assert (result >= padding).all() and (result[..., [0, 2]] <= size[1]).all()
        assert (result[..., [1, 3]] <= size[0]).all()


@each
def test_boxes_need_a_format(name, rng):
    data = {"images": images(rng), "bounding_boxes": {"boxes": np.zeros((4, 1, 4)), "labels": np.zeros((4, 1))}}
    with pytest.raises(ValueError, match="bounding_box_format='xyxy'"):
        make(name)(data)


@each
def test_an_image_of_another_rank_is_refused(name):
    with pytest.raises(ValueError, match="rank 3"):
        make(name)(np.ones((4, 4), "float32"))


@each
def test_a_training_step_with_the_layer_is_replayed(name, rng):
    """Numbers are drawn where the host does not read them; but which augmentations a policy applies, it does."""
    model = keras.Sequential([keras.Input((9, 8, 3)), make(name), layers.Flatten(), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    model.fit(images(rng, count=16), np.zeros((16, 1), "float32"), batch_size=4, verbose=0)
    reasons = model._steps["train"].reasons
    assert (
        any("reads a tensor's values" in why for why in reasons) if name in ("RandAugment", "AugMix") else not reasons
    )


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("RandAugment", "AugMix")])
def test_nothing_passes_between_the_host_and_a_gpu(name):
    small = {"height": 2, "width": 1} if name in RESIZE else {}
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Reshape((2, 2, 3)),
            make(name, **small),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    assert crossings_in_steps(model, *data(16)) == {}


def test_a_layer_in_a_pipeline_of_torch(rng):
    x = images(rng, count=6)
    layer = layers.RandomFlip(seed=1)

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return layer(x[i], training=True)

    batch = next(iter(torch.utils.data.DataLoader(Images(), batch_size=6)))
    flipped = x[:, ::-1, ::-1]
    for image, one, other in zip(batch.numpy(), x, flipped, strict=True):
        assert np.array_equal(image, one) or np.array_equal(image, other)


@pytest.mark.parametrize(
    ("make_layer", "message"),
    [
        (lambda: layers.RandomRotation(factor=1.5), r"`factor`.*\[-1, 1\].*factor=1.5"),
        (lambda: layers.RandomRotation(factor="much"), "number"),
        (lambda: layers.RandomZoom(-1.0), r"`height_factor`.*\(-1.0, 1.0\]"),
        (lambda: layers.RandomTranslation(0.1, [0.1, 0.2, 0.3]), "`width_factor`.*list of two numbers"),
        (lambda: layers.RandomShear(x_factor=-0.1), r"`x_factor`.*\[0.0, 1.0\]"),
        (lambda: layers.Solarization(addition_factor=2), "`addition_factor`"),
        (lambda: layers.RandomBrightness(0.1, value_range=255), "`value_range` argument should be a list of two"),
        (lambda: layers.RandomPerspective(scale=2.0), "`scale`"),
        (lambda: layers.RandomGaussianBlur(kernel_size=4), "odd"),
        (lambda: layers.RandomGrayscale(2.0), "between 0 and 1"),
        (lambda: layers.RandomErasing(fill_value=[1, 2]), "`fill_value`.*three numbers"),
        (lambda: layers.RandomFlip("sideways"), "Unknown `mode`"),
        (lambda: layers.Resizing(2, 2, factor=0.1), "does not take a `factor`"),
    ],
)
def test_wrong_arguments_are_refused(make_layer, message):
    with pytest.raises(ValueError, match=message):
        make_layer()


@pytest.mark.parametrize("argument", [{"fill_mode": "glue"}, {"interpolation": "psychic"}])
def test_unknown_ways_to_warp_are_refused(argument):
    with pytest.raises(NotImplementedError, match="Unknown"):
        layers.RandomRotation(0.1, **argument)


def test_boxes_given_as_lists_are_padded(rng):
    data = {
        "images": images(rng, count=2),
        "bounding_boxes": {"boxes": [[[0, 0, 4, 4]], [[1, 1, 2, 2], [2, 2, 3, 3]]], "labels": [[1], [2, 3]]},
    }
    boxes = layers.Resizing(9, 8, bounding_box_format="xyxy")(data)["bounding_boxes"]
    assert boxes["labels"].tolist() == [[1, -1], [2, 3]]
    assert boxes["boxes"][0].tolist() == [[0, 0, 4, 4], [0, 0, 0, 0]]


def test_max_num_bounding_boxes_cuts_and_pads(rng):
    layer = layers.MaxNumBoundingBoxes(2, fill_value=-7, bounding_box_format="xyxy")
    for count, labels in ((1, [[5, -7]] * 2), (3, [[5, 5]] * 2)):
        boxes = {"boxes": np.ones((2, count, 4)), "labels": np.full((2, count), 5)}
        outputs = layer({"images": images(rng, count=2), "bounding_boxes": boxes})["bounding_boxes"]
        assert outputs["labels"].tolist() == labels and outputs["boxes"].shape == (2, 2, 4)


def test_pipeline(rng):
    x = images(rng)
    pipeline = layers.Pipeline([layers.RandomFlip(seed=3), layers.Resizing(4, 4), layers.Rescaling(1 / 255)])
    assert pipeline(x, training=True).shape == (4, 4, 4, 3)
    inference = layers.Resizing(4, 4)(x) / 255
    np.testing.assert_allclose(pipeline(x, training=False), inference, rtol=1e-6)
    clone = layers.Pipeline.from_config(pipeline.get_config())
    np.testing.assert_array_equal(clone(x, training=False), pipeline(x, training=False))
    assert [type(layer).__name__ for layer in clone.layers] == ["RandomFlip", "Resizing", "Rescaling"]
