"""Images mixed, cut into each other, erased; and policies of augmentations."""

import numpy as np
import torch

from fastk import layers
from fastk.layers.preprocessing.images import draws
from fastk.random import SeedGenerator


def batch(rng, count=6):
    return rng.uniform(0, 255, (count, 10, 8, 3)).astype("float32")


def test_mix_up_mixes_images_labels_and_masks_alike(rng):
    x, labels = batch(rng), np.eye(6, dtype="float32")
    masks = rng.uniform(size=(6, 10, 8, 1)).astype("float32")
    layer = layers.MixUp(alpha=0.8, seed=1)
    t = layer.get_random_transformation(x)
    share, order = t["mix_weight"].numpy(), t["permutation_order"].numpy()
    assert sorted(order) == list(range(6)) and ((share >= 0) & (share <= 1)).all()

    def mixed(a):
        weight = share.reshape(-1, *[1] * (a.ndim - 1))
        return weight * a + (1 - weight) * a[order]

    np.testing.assert_allclose(layer.transform_images(x, t), mixed(x), atol=1e-3)
    np.testing.assert_allclose(layer.transform_labels(labels, t), mixed(labels), atol=1e-6)
    np.testing.assert_allclose(layer.transform_segmentation_masks(masks, t), mixed(masks), atol=1e-6)


def test_mix_up_keeps_the_boxes_of_both(rng):
    layer = layers.MixUp(seed=1, bounding_box_format="xyxy")
    boxes = {"boxes": rng.uniform(size=(2, 3, 4)).astype("float32"), "labels": np.array([[1, 2, 3], [4, 5, 6]])}
    outputs = layer.transform_bounding_boxes(boxes, {"mix_weight": np.ones(2), "permutation_order": np.array([1, 0])})
    assert outputs["labels"].tolist() == [[1, 2, 3, 4, 5, 6], [4, 5, 6, 1, 2, 3]]
    np.testing.assert_array_equal(outputs["boxes"][0, 3:], boxes["boxes"][1])


def test_cut_mix_weights_labels_by_the_area(rng):
    x = np.arange(6, dtype="float32")[:, None, None, None] + np.zeros((6, 40, 40, 1), "float32")
    labels = np.eye(6, dtype="float32")
    outputs = layers.CutMix(seed=3)({"images": x, "labels": labels}, training=True)
    for own, image, label in zip(range(6), outputs["images"].numpy(), outputs["labels"].numpy(), strict=True):
        others = [v for v in np.unique(image) if v != own]
        assert len(others) <= 1
        shown = (image == own).mean()
        assert abs(label[own] - shown) < 0.06 or (others == [] and label[own] > 0.9), "up to the border's pixels"


def test_erasing_fills_a_window(rng):
    x = np.ones((20, 16, 16, 3), "float32")
    layer = layers.RandomErasing((1, 1), scale=(0.1, 0.4), fill_value=[7, 8, 9], seed=1)
    outputs = layer(x, training=True).numpy()
    for image in outputs:
        rows, columns = np.nonzero(image[..., 0] != 1)
        window = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (window == [7, 8, 9]).all() and 0.05 < window[..., 0].size / 256 < 0.5
    noise = layers.RandomErasing((1, 1), seed=1)(x, training=True)
    assert len(np.unique(noise)) > 20


def test_a_policy_applies_what_it_drew_in_that_order(rng):
    x = batch(rng)
    layer = layers.RandAugment(num_ops=2, seed=1)
    transformation = layer.get_random_transformation(x)
    names = [layer.augmentations[i] for i in transformation["layer_idxes"].tolist()]
    expected = x
    for name in names:
        expected = getattr(layer, name).transform_images(expected, transformation["transforms"][name])
    np.testing.assert_array_equal(layer.transform_images(x, transformation), expected)
    drawn = {tuple(layer.get_random_transformation(x)["layer_idxes"].tolist()) for _ in range(60)}
    assert {i for pair in drawn for i in pair} == set(range(11))


def test_aug_mix_is_a_mixture(rng):
    x = batch(rng)
    layer = layers.AugMix(seed=1, num_chains=2)
    t = layer.get_random_transformation(x)
    assert len(t["chain_transforms"]) == 2 and abs(t["chain_mixing_weights"].sum().item() - 1) < 1e-6
    untouched = {**t, "chain_transforms": [[], []]}
    np.testing.assert_allclose(layer.transform_images(x, untouched), x, atol=1e-3)


def test_draws_have_the_moments_of_their_distributions():
    seed, count = SeedGenerator(1), 10_000
    for alpha in (0.2, 1.0, 3.5):
        values = draws.beta((count,), alpha, torch.float32, seed).double().numpy()
        assert abs(values.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
        assert abs(values.var() - 1 / (4 * (2 * alpha + 1))) < 0.008
        logs = draws.log_gamma((count,), alpha, seed).numpy()
        assert abs(np.exp(logs).mean() - alpha) < 6 * np.sqrt(alpha / count)
    shares = draws.dirichlet(3, 1.0, torch.float32, seed)
    assert abs(shares.sum().item() - 1) < 1e-6
    orders = {tuple(draws.permutation(3, seed).tolist()) for _ in range(80)}
    assert len(orders) == 6
    values = draws.integers((2000,), 2, 5, seed)
    assert values.unique().tolist() == [2, 3, 4]
    assert not draws.beta((100,), 1e-6, torch.float32, seed).isnan().any(), "a tiny parameter gives 0 and 1"
