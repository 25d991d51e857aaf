import numpy as np
import pytest
import torch

from fastk import autograd


def normalised(x, axes, gamma, beta, epsilon):
    """Normalisation over `axes`; gamma and beta broadcast."""
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta, mean, variance


# Rows, sequences, images, the channels in front, one position a channel.
@pytest.mark.parametrize(
    ("shape", "axis"), [((7, 3), -1), ((2, 5, 3), 2), ((2, 3, 4, 5), -1), ((2, 3, 4, 5), 1), ((1, 3), 1)]
)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_training(shape, axis, affine, normal, close):
    x = normal(*shape) * 3 + 5
    channels = shape[axis]
    gamma, beta = normal(channels), normal(channels)
    axes = tuple(a for a in range(len(shape)) if a != axis % len(shape))
    view = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    spread = (gamma.numpy().reshape(view), beta.numpy().reshape(view)) if affine else (1, 0)
    weights = (gamma, beta) if affine else (None, None)
    y, mean, variance = autograd.batch_norm(x, *weights, None, None, axis, 1e-3, training=True)
    expected = normalised(x.numpy(), axes, *spread, 1e-3)
    for actual, value in zip((y, mean.view(view), variance.view(view)), expected, strict=True):
        close(actual, value, terms=x.numel() / channels, scale=25)


@pytest.mark.parametrize(("shape", "axis"), [((7, 3), -1), ((2, 3, 4, 5), 1)])
def test_batch_norm_inference(shape, axis, normal, close):
    x, channels = normal(*shape), shape[axis]
    gamma, beta, mean = (normal(channels) for _ in range(3))
    variance = normal(channels).square()
    y, same_mean, same_variance = autograd.batch_norm(x, gamma, beta, mean, variance, axis, 1e-2)
    assert torch.equal(same_mean, mean) and torch.equal(same_variance, variance)
    view = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    g, b, m, v = (t.numpy().reshape(view) for t in (gamma, beta, mean, variance))
    close(y, (x.numpy() - m) / np.sqrt(v + 1e-2) * g + b, scale=10)


def test_batch_norm_masked(normal, close):
    x, gamma, beta = normal(3, 4, 5), normal(5), normal(5)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    y, mean, variance = autograd.batch_norm(x, gamma, beta, None, None, training=True, mask=mask)
    counted = x.numpy()[mask.numpy()]
    n = len(counted) + 1e-7
    expected_mean = counted.sum(0) / n
    expected_variance = ((counted - expected_mean) ** 2).sum(0) / n
    close(mean, expected_mean, terms=8)
    close(variance, expected_variance, terms=8)
    expected = (x.numpy() - expected_mean) / np.sqrt(expected_variance + 1e-3) * gamma.numpy() + beta.numpy()
    close(y, expected, terms=8)
    x[~mask] = torch.nan
    assert torch.equal(autograd.batch_norm(x, None, None, None, None, training=True, mask=mask)[1], mean)
    empty = autograd.batch_norm(x, None, None, None, None, training=True, mask=torch.zeros_like(mask))
    assert not empty[1].any() and not empty[2].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((4, 2), -1), ((2, 2, 3, 2), -1), ((2, 3, 2), 1)])
def test_batch_norm_gradient(shape, axis, training, normal, gradcheck):
    c = shape[axis]
    mean, variance = normal(c), normal(c).square() + 0.1

    def y(x, gamma, beta):
        return autograd.batch_norm(x, gamma, beta, mean, variance, axis, 1e-3, training)[0]

    gradcheck(y, normal(*shape), normal(c), normal(c))


def test_batch_norm_masked_gradient(normal, gradcheck):
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)

    def y(x, gamma, beta):
        return autograd.batch_norm(x, gamma, beta, None, None, training=True, mask=mask)[0]

    gradcheck(y, normal(2, 3, 2), normal(2), normal(2))


def test_batch_norm_statistics_carry_no_gradient(normal):
    x = normal(4, 2).requires_grad_()
    for mask in (None, torch.ones(4, dtype=torch.bool)):
        _, mean, variance = autograd.batch_norm(x, None, None, None, None, training=True, mask=mask)
        assert not mean.requires_grad and not variance.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_batch_norm_statistics_are_wide(dtype, normal, close):
    x = (normal(4096, 3) + 100).to(dtype)  # a half type could not even count to 4096 ones
    y, mean, variance = autograd.batch_norm(x, torch.ones(3), torch.zeros(3), None, None, training=True)
    assert y.dtype == dtype and mean.dtype == variance.dtype == torch.float32
    expected = normalised(x.double().numpy(), 0, 1, 0, 1e-3)
    close(mean, expected[1][0], terms=4096)
    close(variance, expected[2][0], terms=4096, scale=100)
    # y = x a - mean a: what a large mean costs, |mean| / deviation. The statistics are rounded to float32 at least.
    close(y, expected[0], terms=4096 if dtype == torch.float32 else 1, scale=100 if dtype == torch.float32 else 8)


def test_batch_norm_leaves_the_moving_statistics_alone():
    mean, variance = torch.zeros(2), torch.ones(2)
    autograd.batch_norm(torch.full((3, 2), torch.nan), None, None, mean, variance, training=True)
    assert mean.tolist() == [0, 0] and variance.tolist() == [1, 1]


def test_batch_norm_of_a_constant_and_of_nothing():
    y, mean, variance = autograd.batch_norm(torch.full((8, 2), 3.0), None, None, None, None, training=True)
    assert (mean == 3).all() and (variance >= 0).all() and (variance < 1e-9).all()
    assert (y.abs() < 3 / 1e-3**0.5 * 2.0**-23).all()
    assert autograd.batch_norm(torch.ones(0, 2), None, None, torch.zeros(2), torch.ones(2))[0].shape == (0, 2)


def test_batch_norm_errors(normal):
    x, c = normal(2, 3, 4), normal(4)
    with pytest.raises(ValueError, match="rank 2 or more"):
        autograd.batch_norm(normal(3), None, None, None, None, training=True)
    with pytest.raises(ValueError, match=r"at least one position. Received x of shape \(0, 4\)"):
        autograd.batch_norm(normal(0, 4), None, None, None, None, training=True)
    with pytest.raises(ValueError, match="axis=3"):
        autograd.batch_norm(x, None, None, None, None, axis=3, training=True)
    with pytest.raises(ValueError, match=r"`gamma` of shape \(3,\). Received shape \(4,\)"):
        autograd.batch_norm(x, c, None, None, None, axis=1, training=True)
    with pytest.raises(ValueError, match="needs `mean` and `variance` unless training"):
        autograd.batch_norm(x, None, None, None, None)
    for mask in (torch.ones(2, 3), torch.ones(2, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"`mask` of dtype torch.bool"):
            autograd.batch_norm(x, None, None, None, None, training=True, mask=mask)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((7,), -1), ((2, 5), -1), ((0, 5), -1), ((2, 3, 5), (1, 2)), ((2, 3, 5), 1), ((2, 3, 4, 5), (3, 1))],
)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, axis, affine, normal, close):
    axes = tuple(sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)))
    sizes = [shape[a] for a in axes]
    x, gamma, beta = normal(*shape), normal(*sizes), normal(*sizes)
    view = [size if a in axes else 1 for a, size in enumerate(shape)]
    spread = (gamma.numpy().reshape(view), beta.numpy().reshape(view)) if affine else (1, 0)
    weights = (gamma, beta) if affine else (None, None)
    y = autograd.layer_norm(x, *weights, axis, 1e-3)
    close(y, normalised(x.numpy(), axes, *spread, 1e-3)[0], terms=np.prod(sizes))


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), -1), ((2, 3, 2), (0, 2))])
def test_layer_norm_gradient(shape, axis, normal, gradcheck):
    sizes = [shape[a] for a in sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis))]
    gradcheck(
        lambda *a: autograd.layer_norm(*a, axis=axis, epsilon=1e-3), normal(*shape), normal(*sizes), normal(*sizes)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layer_norm_dtypes(dtype, normal, close):
    x = (normal(3, 512) + 10).to(dtype)
    y = autograd.layer_norm(x, torch.ones(512), torch.zeros(512))
    assert y.dtype == dtype
    close(y, normalised(x.double().numpy(), 1, 1, 0, 1e-3)[0], terms=512 if dtype == torch.float32 else 1, scale=8)


def test_layer_norm_errors(normal):
    x = normal(2, 3)
    for axis in (2, (), (1, 1), (1, -1)):
        with pytest.raises(ValueError, match="different axes of x"):
            autograd.layer_norm(x, axis=axis)
    with pytest.raises(ValueError, match=r"`beta` of shape \(3,\). Received shape \(2,\)"):
        autograd.layer_norm(x, None, normal(2))
