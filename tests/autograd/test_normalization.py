# pyright: reportCallIssue=false
# (a list of tensors, of a length that the checker does not know, is unpacked into the first arguments)
import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.errors import ImplementationUnavailable
from fastk.kernels.activation.aten import ACTIVATIONS


def only_aten(implementation, axes, rank):
    """Skips a case with axes that are not the last ones; `test_axes_that_kernels_refuse` says what becomes of them."""
    axes = sorted(axis % rank for axis in ((axes,) if isinstance(axes, int) else axes))
    if implementation != "aten" and axes != list(range(rank - len(axes), rank)):
        pytest.skip("the kernels take the last axes")


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
def test_batch_norm_training(implementation, shape, axis, affine, normal, close):
    only_aten(implementation, axis, len(shape))
    x = normal(*shape) * 3 + 5
    channels = shape[axis]
    gamma, beta = normal(channels), normal(channels)
    axes = tuple(a for a in range(len(shape)) if a != axis % len(shape))
    view = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    spread = (gamma.cpu().numpy().reshape(view), beta.cpu().numpy().reshape(view)) if affine else (1, 0)
    weights = (gamma, beta) if affine else (None, None)
    y, mean, variance = autograd.batch_norm(
        x, *weights, None, None, axis, 1e-3, training=True, implementation=implementation
    )
    expected = normalised(x.cpu().numpy(), axes, *spread, 1e-3)
    for actual, value in zip((y, mean.view(view), variance.view(view)), expected, strict=True):
        close(actual, value, terms=x.numel() / channels, scale=25)


@pytest.mark.parametrize(("shape", "axis"), [((7, 3), -1), ((2, 3, 4, 5), 1)])
def test_batch_norm_inference(implementation, shape, axis, normal, close):
    only_aten(implementation, axis, len(shape))
    x, channels = normal(*shape), shape[axis]
    gamma, beta, mean = (normal(channels) for _ in range(3))
    variance = normal(channels).square()
    y, same_mean, same_variance = autograd.batch_norm(
        x, gamma, beta, mean, variance, axis, 1e-2, implementation=implementation
    )
    assert torch.equal(same_mean, mean) and torch.equal(same_variance, variance)
    view = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    g, b, m, v = (t.cpu().numpy().reshape(view) for t in (gamma, beta, mean, variance))
    close(y, (x.cpu().numpy() - m) / np.sqrt(v + 1e-2) * g + b, scale=10)


def test_batch_norm_masked(implementation, normal, close):
    x, gamma, beta = normal(3, 4, 5), normal(5), normal(5)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool, device=x.device)
    y, mean, variance = autograd.batch_norm(
        x, gamma, beta, None, None, training=True, mask=mask, implementation=implementation
    )
    counted = x.cpu().numpy()[mask.cpu().numpy()]
    n = len(counted) + 1e-7
    expected_mean = counted.sum(0) / n
    expected_variance = ((counted - expected_mean) ** 2).sum(0) / n
    close(mean, expected_mean, terms=8)
    close(variance, expected_variance, terms=8)
    expected = (x.cpu().numpy() - expected_mean) / np.sqrt(
        expected_variance + 1e-3
    ) * gamma.cpu().numpy() + beta.cpu().numpy()
    close(y, expected, terms=8)
    x[~mask] = torch.nan
    assert torch.equal(
        autograd.batch_norm(x, None, None, None, None, training=True, mask=mask, implementation=implementation)[1], mean
    )
    empty = autograd.batch_norm(
        x, None, None, None, None, training=True, mask=torch.zeros_like(mask), implementation=implementation
    )
    assert not empty[1].any() and not empty[2].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((4, 2), -1), ((2, 2, 3, 2), -1), ((2, 3, 2), 1)])
def test_batch_norm_gradient(implementation, shape, axis, training, normal, gradcheck):
    only_aten(implementation, axis, len(shape))
    c = shape[axis]
    mean, variance = normal(c), normal(c).square() + 0.1

    def y(x, gamma, beta):
        return autograd.batch_norm(x, gamma, beta, mean, variance, axis, 1e-3, training, implementation=implementation)[
            0
        ]

    gradcheck(y, normal(*shape), normal(c), normal(c))


def test_batch_norm_masked_gradient(implementation, device, normal, gradcheck):
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool, device=device)

    def y(x, gamma, beta):
        return autograd.batch_norm(x, gamma, beta, None, None, training=True, mask=mask, implementation=implementation)[
            0
        ]

    gradcheck(y, normal(2, 3, 2), normal(2), normal(2))


def test_batch_norm_statistics_carry_no_gradient(implementation, normal):
    x = normal(4, 2).requires_grad_()
    for mask in (None, torch.ones(4, dtype=torch.bool, device=x.device)):
        _, mean, variance = autograd.batch_norm(
            x, None, None, None, None, training=True, mask=mask, implementation=implementation
        )
        assert not mean.requires_grad and not variance.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_batch_norm_statistics_are_wide(implementation, dtype, normal, close):
    x = (normal(4096, 3) + 100).to(dtype)  # a half type could not even count to 4096 ones
    y, mean, variance = autograd.batch_norm(
        x,
        torch.ones(3, device=x.device),
        torch.zeros(3, device=x.device),
        None,
        None,
        training=True,
        implementation=implementation,
    )
    assert y.dtype == dtype and mean.dtype == variance.dtype == torch.float32
    expected = normalised(x.double().cpu().numpy(), 0, 1, 0, 1e-3)
    close(mean, expected[1][0], terms=4096)
    close(variance, expected[2][0], terms=4096, scale=100)
    # y = x a - mean a: what a large mean costs, |mean| / deviation. The statistics are rounded to float32 at least.
    close(y, expected[0], terms=4096 if dtype == torch.float32 else 1, scale=100 if dtype == torch.float32 else 8)


def test_batch_norm_leaves_the_moving_statistics_alone(implementation, device):
    mean, variance = torch.zeros(2, device=device), torch.ones(2, device=device)
    autograd.batch_norm(
        torch.full((3, 2), torch.nan, device=device),
        None,
        None,
        mean,
        variance,
        training=True,
        implementation=implementation,
    )
    assert mean.tolist() == [0, 0] and variance.tolist() == [1, 1]


def test_batch_norm_of_a_constant_and_of_nothing(implementation, device):
    y, mean, variance = autograd.batch_norm(
        torch.full((8, 2), 3.0, device=device), None, None, None, None, training=True, implementation=implementation
    )
    assert (mean == 3).all() and (variance >= 0).all() and (variance < 1e-9).all()
    assert (y.abs() < 3 / 1e-3**0.5 * 2.0**-23).all()
    assert autograd.batch_norm(
        torch.ones(0, 2, device=device),
        None,
        None,
        torch.zeros(2, device=device),
        torch.ones(2, device=device),
        implementation=implementation,
    )[0].shape == (0, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_norm_with_an_activation(implementation, activation, training, normal, close):
    """An activation that is fused against one that follows, forward and backward."""
    x, gamma, beta, weights = (normal(*shape, dtype=torch.float32) for shape in ((6, 4), (4,), (4,), (6, 4)))
    mean, variance = normal(4, dtype=torch.float32), normal(4, dtype=torch.float32).square()

    def run(implementation, fused):
        inputs = [t.clone().requires_grad_() for t in (x, gamma, beta)]
        y = autograd.batch_norm(
            *inputs, mean, variance, -1, 1e-3, training, None, activation if fused else None, implementation
        )[0]
        y = y if fused else autograd.activation(y, activation)
        return [y, *torch.autograd.grad(y, inputs, weights)]

    for actual, expected in zip(run(implementation, True), run("aten", False), strict=True):
        close(actual, expected.detach().cpu().numpy(), terms=20)


# One less and one more than the rows that fit in a tile, several blocks for each program, channels that no vector
# divides, one channel, and more than a tile has.
@pytest.mark.parametrize("shape", [(511, 3), (513, 1), (4 * 64 * 5 + 3, 24), (700, 131)])
@pytest.mark.parametrize("masked", [False, True])
def test_batch_norm_of_many_rows(implementation, shape, masked, normal, close):
    x, gamma, beta, weights = normal(*shape) * 2 + 3, normal(shape[1]), normal(shape[1]), normal(*shape)
    mask = normal(shape[0]) > -0.5 if masked else None
    inputs = [t.float().requires_grad_() for t in (x, gamma, beta)]
    result = autograd.batch_norm(
        *inputs, None, None, training=True, mask=mask, activation="tanh", implementation=implementation
    )
    gradients = torch.autograd.grad(result[0], inputs, weights.float())
    counted = slice(None) if mask is None else mask
    values = [t.float().double().requires_grad_() for t in (x, gamma, beta)]
    mean, variance = values[0][counted].mean(0), values[0][counted].var(0, correction=0)
    y = torch.tanh((values[0] - mean) * torch.rsqrt(variance + 1e-3) * values[1] + values[2])
    expected = (y, mean, variance, *torch.autograd.grad(y, values, weights.float().double()))
    scales = (1, 10, 10, 1, *(float(t.abs().max()) for t in expected[4:]))
    for actual, other, scale in zip((*result, *gradients), expected, scales, strict=True):
        close(actual, other.detach().cpu().numpy(), terms=shape[0], scale=scale)


@pytest.mark.parametrize("rows", [300, 3000])
def test_batch_norm_keeps_the_variance_of_a_large_mean(implementation, rows, normal):
    """sum(x^2) - sum(x)^2 / N would be off by 100 % here: 1e4^2 eps is 12."""
    x = (normal(rows, 3) + 1e4).float()
    expected = x.double().var(0, correction=0)
    variance = autograd.batch_norm(x, None, None, None, None, training=True, implementation=implementation)[2]
    assert ((variance - expected).abs() < 2e-3 * expected).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("op", ["batch_norm", "layer_norm"])
def test_gradients_of_half_types(implementation, op, dtype, normal, close):
    x, weights = normal(40, 24, dtype=dtype), normal(40, 24, dtype=dtype)
    gamma, beta = normal(24, dtype=torch.float32), normal(24, dtype=torch.float32)

    def run(tensors, weights, implementation):
        inputs = [t.clone().requires_grad_() for t in tensors]
        if op == "batch_norm":
            y = autograd.batch_norm(*inputs, None, None, training=True, implementation=implementation)[0]
        else:
            y = autograd.layer_norm(*inputs, implementation=implementation)
        return inputs, torch.autograd.grad(y, inputs, weights)

    inputs, actual = run((x, gamma, beta), weights, implementation)
    _, expected = run([t.double() for t in (x, gamma, beta)], weights.double(), "aten")
    for one, other, tensor in zip(actual, expected, inputs, strict=True):
        assert one.dtype == tensor.dtype
        close(one.to(dtype), other.cpu().numpy(), terms=4)


def test_batch_norm_of_frozen_weights(implementation, normal, close):
    """Each gradient alone, and dx at given statistics, which is one pass."""
    x, gamma, beta, mean = normal(5, 3), normal(3), normal(3), normal(3)
    for training in (True, False):
        for wanted in range(3):

            def run(implementation, training=training, wanted=wanted):
                inputs = [t.clone().requires_grad_(i == wanted) for i, t in enumerate((x, gamma, beta))]
                arguments = (*inputs, mean, mean.square(), -1, 1e-3, training, None, "relu", implementation)
                return torch.autograd.grad(autograd.batch_norm(*arguments)[0].square().sum(), inputs[wanted])[0]

            close(run(implementation), run("aten").cpu().numpy(), terms=5, scale=10)


@pytest.mark.parametrize("op", ["batch_norm", "layer_norm"])
def test_non_contiguous(implementation, op, normal, close):
    x, gamma, beta = normal(6, 5).t(), normal(12)[::2], normal(6)
    g = normal(6, 5).t()

    def run(x, gamma, beta, g):
        inputs = [t.detach().requires_grad_() for t in (x, gamma, beta)]
        if op == "batch_norm":
            y = autograd.batch_norm(*inputs, None, None, training=True, implementation=implementation)[0]
        else:
            y = autograd.layer_norm(*inputs, implementation=implementation)
        return [y, *torch.autograd.grad(y, inputs, g)]

    plain = run(*(t.contiguous() for t in (x, gamma, beta, g)))
    for actual, expected in zip(run(x, gamma, beta, g), plain, strict=True):
        close(actual, expected.detach().cpu().numpy())


def test_axes_that_kernels_refuse(implementation, normal):
    if implementation != "triton":
        pytest.skip("any axes will do, or none")
    x = normal(2, 3, 4)
    with pytest.raises(ImplementationUnavailable, match="channels that are last, and they are axis 1 of 3"):
        autograd.batch_norm(x, None, None, None, None, 1, training=True, implementation=implementation)
    with pytest.raises(ImplementationUnavailable, match=r"normalises the last axes, and axes \(0, 2\) of 3"):
        autograd.layer_norm(x, axis=(0, 2), implementation=implementation)
    with pytest.raises(ImplementationUnavailable, match="up to 8192 elements"):
        autograd.layer_norm(normal(1, 8193), implementation=implementation)


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
    with pytest.raises(ValueError, match="Unknown activation of batch_norm: 'softmax'"):
        autograd.batch_norm(x, None, None, None, None, training=True, activation="softmax")
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
def test_layer_norm(implementation, shape, axis, affine, normal, close):
    only_aten(implementation, axis, len(shape))
    axes = tuple(sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)))
    sizes = [shape[a] for a in axes]
    x, gamma, beta = normal(*shape), normal(*sizes), normal(*sizes)
    view = [size if a in axes else 1 for a, size in enumerate(shape)]
    spread = (gamma.cpu().numpy().reshape(view), beta.cpu().numpy().reshape(view)) if affine else (1, 0)
    weights = (gamma, beta) if affine else (None, None)
    y = autograd.layer_norm(x, *weights, axis, 1e-3, implementation=implementation)
    close(y, normalised(x.cpu().numpy(), axes, *spread, 1e-3)[0], terms=np.prod(sizes))


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), -1), ((2, 3, 2), (0, 2))])
def test_layer_norm_gradient(implementation, shape, axis, normal, gradcheck):
    only_aten(implementation, axis, len(shape))
    sizes = [shape[a] for a in sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis))]
    gradcheck(
        lambda *a: autograd.layer_norm(*a, axis=axis, epsilon=1e-3, implementation=implementation),
        normal(*shape),
        normal(*sizes),
        normal(*sizes),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layer_norm_dtypes(implementation, dtype, normal, close):
    x = (normal(3, 512) + 10).to(dtype)
    y = autograd.layer_norm(
        x, torch.ones(512, device=x.device), torch.zeros(512, device=x.device), implementation=implementation
    )
    assert y.dtype == dtype
    close(
        y, normalised(x.double().cpu().numpy(), 1, 1, 0, 1e-3)[0], terms=512 if dtype == torch.float32 else 1, scale=8
    )


# A row, columns that no vector divides, one less and one more than a tile has, rows for several blocks of a program.
@pytest.mark.parametrize("shape", [(1, 1), (3, 24), (5, 127), (2, 129), (1100, 17), (3, 8192)])
def test_layer_norm_rows(implementation, shape, normal, close):
    x, gamma, beta, weights = normal(*shape) * 2 + 50, normal(shape[1]), normal(shape[1]), normal(*shape)
    inputs = [t.float().requires_grad_() for t in (x, gamma, beta)]
    y = autograd.layer_norm(*inputs, implementation=implementation)
    gradients = torch.autograd.grad(y, inputs, weights.float())
    values = [t.float().double().requires_grad_() for t in (x, gamma, beta)]
    centered = values[0] - values[0].mean(1, keepdim=True)
    expected = centered * torch.rsqrt(centered.square().mean(1, keepdim=True) + 1e-3) * values[1] + values[2]
    others = torch.autograd.grad(expected, values, weights.float().double())
    # The mean is rounded to 50 eps, which 1 / sqrt(variance + epsilon) magnifies.
    scale = 50 / float((centered.detach().square().mean(1) + 1e-3).min()) ** 0.5
    for actual, other in zip((y, *gradients), (expected, *others), strict=True):
        size = max(scale, float(other.detach().abs().max()))
        close(actual, other.detach().cpu().numpy(), terms=sum(shape), scale=size)


def test_layer_norm_of_frozen_weights(implementation, normal, close):
    x, gamma, beta = normal(5, 3), normal(3), normal(3)
    for wanted in range(3):

        def run(implementation, wanted=wanted):
            inputs = [t.clone().requires_grad_(i == wanted) for i, t in enumerate((x, gamma, beta))]
            y = autograd.layer_norm(*inputs, implementation=implementation)
            return torch.autograd.grad(y.square().sum(), inputs[wanted])[0]

        close(run(implementation), run("aten").cpu().numpy(), terms=5, scale=10)


def test_layer_norm_errors(normal):
    x = normal(2, 3)
    for axis in (2, (), (1, 1), (1, -1)):
        with pytest.raises(ValueError, match="different axes of x"):
            autograd.layer_norm(x, axis=axis)
    with pytest.raises(ValueError, match=r"`beta` of shape \(3,\). Received shape \(2,\)"):
        autograd.layer_norm(x, None, normal(2))
