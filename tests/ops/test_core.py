"""Control flow, parts of tensors, gradients of the user's own, shapes of symbolic tensors."""

import numpy as np
import pytest
import torch

from fastk import Function, KerasTensor, ops


def test_reshape_with_the_sizes_of_a_symbolic_shape():
    x = KerasTensor((None, None, 6))
    batch, steps, _ = ops.shape(x)
    y = ops.reshape(x, (batch, steps, 2, 3))
    assert y.shape == (None, None, 2, 3)
    assert Function(x, y)(np.zeros((4, 5, 6), "float32")).shape == (4, 5, 2, 3)
    z = ops.reshape(x, (batch, -1))
    assert Function(x, z)(np.zeros((4, 5, 6), "float32")).shape == (4, 30)


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        slice(None, None, -1),
        slice(5, 2, -1),
        (slice(1, None), 2),
        (Ellipsis, 0),
        (None, slice(None)),
        (slice(None, None, 2), None, 1),
        (slice(None), slice(3, 0, -2)),
        (Ellipsis, slice(None, None, -1)),
        (None, 1, slice(None, None, -3)),
    ],
    ids=str,
)
def test_get_item_is_numpys(key):
    x = np.arange(20.0, dtype="float32").reshape(5, 4)
    np.testing.assert_array_equal(ops.get_item(x, key), x[key])
    symbolic = KerasTensor((5, 4))
    y = ops.get_item(symbolic, key)
    assert y.shape == x[key].shape
    np.testing.assert_array_equal(Function(symbolic, y)(x), x[key])


def test_get_item_of_an_unknown_size():
    x = KerasTensor((None, 4))
    assert x[:2].shape == (None, 4)  # a batch may be smaller than 2
    assert x[0].shape == (4,)
    assert x[:, 1:3].shape == (None, 2)


def test_sizes_that_only_one_operand_knows():
    assert ops.add(KerasTensor((None, 3)), KerasTensor((5, 1))).shape == (5, 3)
    assert ops.matmul(KerasTensor((None, None)), KerasTensor((3, 4))).shape == (None, 4)
    assert ops.concatenate([KerasTensor((None, 3)), KerasTensor((2, None))], axis=1).shape == (2, None)
    assert ops.stack([KerasTensor((None, 3)), KerasTensor((2, None))]).shape == (2, 2, 3)
    assert ops.einsum("ab,bc->ac", KerasTensor((2, None)), KerasTensor((3, 4))).shape == (2, 4)


def test_windows_over_unknown_sizes():
    image = KerasTensor((None, None, None, 3))
    assert ops.conv(image, KerasTensor((16, 16, 3, 8)), strides=16).shape == (None, None, None, 8)
    assert ops.max_pool(image, 100).shape == (None, None, None, 3)
    assert ops.conv(KerasTensor((1, 224, 224, 3)), KerasTensor((16, 16, 3, 8)), strides=16).shape == (1, 14, 14, 8)


@pytest.mark.parametrize("reduction", [None, "add", "max", "min", "mul"])
@pytest.mark.parametrize("depth", [1, 2])
def test_scatter_update(reduction, depth):
    x = np.arange(12.0).reshape(3, 4)
    indices = np.array([[0], [2], [0]]) if depth == 1 else np.array([[0, 1], [2, 3], [0, 1]])
    if reduction is None:
        indices = indices[:2]
    updates = np.array([2.5, -3.0, 7.0])[: len(indices)]
    updates = updates[:, None] * np.arange(1, 5) if depth == 1 else updates
    combine = {None: lambda a, b: b, "add": np.add, "max": np.maximum, "min": np.minimum, "mul": np.multiply}[reduction]
    expected = x.copy()
    for index, update in zip(indices, updates, strict=True):
        expected[tuple(index)] = combine(expected[tuple(index)], update)
    np.testing.assert_allclose(ops.scatter_update(x, indices, updates, reduction), expected)


def test_slices_that_begin_at_a_tensor():
    x = np.arange(20.0).reshape(5, 4)
    np.testing.assert_array_equal(ops.slice(x, torch.tensor([1, 2]), (2, 2)), x[1:3, 2:4])
    np.testing.assert_array_equal(ops.slice(x, (1, 2), (-1, 1)), x[1:, 2:3])
    expected = x.copy()
    expected[1:3, 2:4] = 0
    np.testing.assert_array_equal(ops.slice_update(x, torch.tensor([1, 2]), np.zeros((2, 2))), expected)
    np.testing.assert_array_equal(ops.slice_update(x, [1, 2], np.zeros((2, 2))), expected)
    np.testing.assert_array_equal(x[1, 2], 6)  # the caller's array is the caller's


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(size, reverse):
    x = np.random.default_rng(size).normal(size=(2, size))
    expected = np.flip(np.cumsum(np.flip(x, 1), 1), 1) if reverse else np.cumsum(x, 1)
    np.testing.assert_allclose(ops.associative_scan(lambda a, b: a + b, x, reverse=reverse, axis=1), expected)


def test_scan_in_reverse_gives_outputs_in_the_order_of_the_inputs():
    carry, outputs = ops.scan(lambda c, x: (c + x, c), torch.tensor(0.0), torch.tensor([1.0, 2.0, 3.0]), reverse=True)
    assert carry.item() == 6
    assert outputs.tolist() == [5, 3, 0]


def test_loops_and_branches():
    assert ops.while_loop(lambda i: i < 10, lambda i: i + 4, 0).item() == 12
    assert ops.while_loop(lambda i: i < 10, lambda i: i + 4, 0, maximum_iterations=2).item() == 8
    assert ops.cond(torch.tensor(False), lambda: 1, lambda: 2) == 2
    assert ops.switch(7, [lambda: "first", lambda: "last"]) == "last"
    x = torch.arange(6.0).reshape(3, 2)
    torch.testing.assert_close(ops.map(lambda row: row.sum(), x), x.sum(1))
    torch.testing.assert_close(ops.vectorized_map(lambda row: row.sum(), x), x.sum(1))


def test_branches_must_agree_symbolically():
    x = KerasTensor((2,))
    with pytest.raises(ValueError, match="same kind"):
        ops.cond(KerasTensor((), dtype="bool"), lambda: x, lambda: ops.sum(x))


@pytest.mark.parametrize("style", ["torch", "jax"])
def test_custom_gradient(style):
    @ops.custom_gradient
    def scaled(x, y):
        def of_arguments(*args, upstream):
            return upstream * 100, upstream * args[0]

        def of_upstream(upstream):
            return upstream * 100, upstream * x

        return x * y, of_arguments if style == "torch" else of_upstream

    x, y = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    result = scaled(x, y)
    gradients = torch.autograd.grad(result * 3, (x, y))
    assert (result.item(), *map(float, gradients)) == (10.0, 300.0, 6.0)


def test_saturate_cast():
    x = np.array([-1.0, 3.7, 300.0, np.inf, -np.inf], "float32")
    assert ops.saturate_cast(x, "uint8").tolist() == [0, 3, 255, 255, 0]
    assert ops.saturate_cast(np.array([2**40, -(2**40)]), "int32").tolist() == [2**31 - 1, -(2**31)]


def test_normalisations_with_all_arguments():
    rng = np.random.default_rng(0)
    x, mean, offset, scale = rng.normal(size=(2, 3, 4)), *rng.normal(size=(3, 3))
    y = ops.batch_normalization(x, mean, mean**2, axis=1, offset=offset, scale=scale, epsilon=0.1)
    along = (slice(None), None)
    expected = (x - mean[along]) / np.sqrt(mean[along] ** 2 + 0.1) * scale[along] + offset[along]
    np.testing.assert_allclose(y, expected)
    y = ops.layer_normalization(x, scale, offset, axis=1, epsilon=0.1)
    centred = x - x.mean(1, keepdims=True)
    expected = centred / np.sqrt(x.var(1, keepdims=True) + 0.1) * scale[along] + offset[along]
    np.testing.assert_allclose(y, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_conv_transpose_is_the_gradient_of_conv(rank, padding, strides):
    """Where conv maps the size of the result back onto that of the input."""
    rng = np.random.default_rng(0)
    kernel = torch.from_numpy(rng.normal(size=(3,) * rank + (2, 4)))  # (..., filters, channels)
    y = torch.from_numpy(rng.normal(size=(1, *(4,) * rank, 4)))
    result = ops.conv_transpose(y, kernel, strides=strides, padding=padding)
    x = torch.zeros_like(result, requires_grad=True)
    (ops.conv(x, kernel, strides=strides, padding=padding) * y).sum().backward()
    torch.testing.assert_close(result, x.grad)
    symbolic = ops.conv_transpose(KerasTensor(y.shape), KerasTensor(kernel.shape), strides=strides, padding=padding)
    assert symbolic.shape == tuple(result.shape)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layouts_and_ranks_of_windows(rank, data_format):
    x = torch.randn(2, *(6,) * rank, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.randn(*(3,) * rank, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = torch.movedim(x, -1, 1)
    weights = kernel.permute(rank + 1, rank, *range(rank))
    conv = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1](first, weights, padding=1)
    pools = torch.nn.functional
    pooled = (pools.max_pool1d, pools.max_pool2d, pools.max_pool3d)[rank - 1](first, 2)
    given = x if data_format == "channels_last" else first
    for result, expected in (
        (ops.conv(given, kernel, padding="same", data_format=data_format), conv),
        (ops.max_pool(given, 2, data_format=data_format), pooled),
    ):
        result = torch.movedim(result, -1, 1) if data_format == "channels_last" else result
        torch.testing.assert_close(result, expected)
    average = ops.average_pool(given, 4, 4, "same", data_format)
    assert average.shape[1 if data_format == "channels_last" else 2] == 2


def test_images():
    rng = np.random.default_rng(0)
    x = rng.random((2, 6, 8, 3)).astype("float32")
    np.testing.assert_allclose(ops.image.hsv_to_rgb(ops.image.rgb_to_hsv(x)), x, atol=1e-6)
    np.testing.assert_array_equal(ops.image.resize(x, (3, 4), "nearest"), x[:, 1::2, 1::2])
    assert ops.image.resize(x, (3, 4), "lanczos3", antialias=True).shape == (2, 3, 4, 3)
    np.testing.assert_allclose(ops.image.resize(np.ones((4, 4, 1)), (7, 3), "lanczos5"), np.ones((7, 3, 1)), atol=1e-12)
    patches = ops.image.extract_patches(x, (2, 4))
    np.testing.assert_array_equal(patches[0, 1, 0], x[0, 2:4, :4].reshape(-1))
    np.testing.assert_array_equal(ops.image.crop_images(x, 1, 2, target_height=3, target_width=4), x[:, 1:4, 2:6])
    padded = ops.image.pad_images(x, 1, 2, 3, 4)
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), (1, 3), (2, 4), (0, 0))))


@pytest.mark.parametrize("center", [True, False])
def test_istft_inverts_stft(center):
    x = np.random.default_rng(0).normal(size=(2, 64))
    parts = ops.stft(x, 16, 4, 16, center=center)
    back = ops.istft(parts, 16, 4, 16, center=center, length=64 if center else None)
    inner = slice(0, 64) if center else slice(12, -12)  # where all windows overlap
    np.testing.assert_allclose(back[:, inner], x[:, inner], atol=1e-12)


def test_ctc():
    logits = np.random.default_rng(0).normal(size=(1, 3, 3))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    # All paths of three steps that collapse to the label 1 (0 is the blank).
    paths = [(1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    expected = sum(np.prod([p[0, t, c] for t, c in enumerate(path)]) for path in paths)
    loss = ops.ctc_loss(np.array([[1]]), logits, np.array([1]), np.array([3]))
    np.testing.assert_allclose(loss, [-np.log(expected)])
    labels, scores = ops.ctc_decode(logits, np.array([3]), strategy="beam_search", top_paths=9)
    where = [row.tolist() for row in labels[:, 0]].index([1, -1, -1])
    np.testing.assert_allclose(scores[0, where], np.log(expected))
