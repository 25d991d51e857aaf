import numpy as np
import pytest
import torch

from fastk import autograd, dispatch


def oracle(logits, q):
    shifted = logits - logits.max(-1, keepdims=True)
    return -(q * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1)


def gradient_oracle(logits, q, g):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return (p * q.sum(-1, keepdims=True) - q) * g[..., None]


def smoothed(q, smoothing):
    return (1 - smoothing) * q + smoothing / q.shape[-1]


@pytest.fixture
def cross_entropy(implementation, device):
    """softmax_cross_entropy of an implementation, of tensors on any device."""
    refusal = dispatch.availability("softmax_cross_entropy", device.type)[implementation]
    if refusal is not None:
        pytest.skip(refusal)

    def call(logits, labels, *arguments, **options):
        options["implementation"] = implementation
        return autograd.softmax_cross_entropy(logits.to(device), labels.to(device), *arguments, **options)

    return call


@pytest.mark.parametrize("leading", [(7,), (2, 3), (0,), (), (2, 1, 3)])
@pytest.mark.parametrize("classes", [1, 2, 11])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_forward(cross_entropy, leading, classes, smoothing, normal, close):
    logits = normal(*leading, classes) * 3
    labels = torch.randint(0, classes, leading, generator=torch.Generator().manual_seed(1))
    q = np.eye(classes)[labels.numpy()]
    expected = oracle(logits.numpy(), smoothed(q, smoothing))
    close(cross_entropy(logits, labels, True, smoothing), expected, terms=classes)
    close(cross_entropy(logits, labels.int(), True, smoothing), expected, terms=classes)
    close(cross_entropy(logits, torch.as_tensor(q), False, smoothing), expected, terms=classes)


def test_labels_need_not_sum_to_one(cross_entropy, normal, close):
    logits, q = normal(4, 5), normal(4, 5).abs()
    close(cross_entropy(logits, q, False), oracle(logits.numpy(), q.numpy()), terms=5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(cross_entropy, dtype, normal, close):
    logits = normal(6, 64, dtype=dtype)
    labels = torch.arange(6)
    loss = cross_entropy(logits, labels, True)
    assert loss.dtype == dtype
    close(loss, oracle(logits.double().numpy(), np.eye(64)[:6]), terms=64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient(cross_entropy, smoothing, normal, gradcheck):
    labels = torch.tensor([[0, 3], [2, 2]])
    gradcheck(lambda x: cross_entropy(x, labels, True, smoothing), normal(2, 2, 4))
    gradcheck(lambda x: cross_entropy(x, labels[:1], True, smoothing, 3), normal(1, 2, 4))
    gradcheck(lambda x, q: cross_entropy(x, q, False, smoothing), normal(2, 3), normal(2, 3))


@pytest.mark.parametrize("classes", [1, 10, 16, 37, 1000, 2049, 9000])  # blocks of 16 to 4096, three of them
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sparse", [True, False])
def test_long_rows(cross_entropy, classes, smoothing, sparse, normal, close):
    rows = 5 if classes > 100 else 131  # more than a program's
    logits = (normal(rows, classes, dtype=torch.float32) * 3).requires_grad_()
    g = normal(rows, dtype=torch.float32)
    labels = torch.arange(rows) * 7 % classes
    q = np.arange(classes) == labels.numpy()[:, None]
    if not sparse:
        labels = torch.softmax(normal(rows, classes, dtype=torch.float32) * 3, 1)
        q = labels.double().numpy()
    q, x = smoothed(q, smoothing), logits.detach().double().numpy()
    loss = cross_entropy(logits, labels, sparse, smoothing)
    close(loss, oracle(x, q), terms=classes)
    (dlogits,) = torch.autograd.grad(loss, logits, g.to(loss.device))
    close(dlogits, gradient_oracle(x, q, g.double().numpy()), terms=classes)


@pytest.mark.parametrize("classes", [10, 5000])
@pytest.mark.parametrize(("sparse", "smoothing"), [(True, 0.0), (True, 0.1), (False, 0.1)])
def test_with_gradient(implementation, device, classes, sparse, smoothing, normal, close):
    op = "softmax_cross_entropy_with_gradient"
    refusal = dispatch.availability(op, device.type)[implementation]
    if refusal is not None:
        pytest.skip(refusal)
    logits, weights = normal(4, classes, dtype=torch.float32), normal(4, dtype=torch.float32)
    weights[2] = 0  # the row that is ignored
    labels = torch.tensor([0, 9, 7, classes - 1])
    q = (np.arange(classes) == labels.numpy()[:, None]).astype(float)
    given = labels if sparse else torch.as_tensor(q, dtype=torch.float32)
    loss, gradient = autograd.softmax_cross_entropy_with_gradient(
        logits.to(device),
        given.to(device),
        weights.to(device),
        sparse,
        smoothing,
        7 if sparse else None,
        implementation,
    )
    x, q = logits.double().numpy(), smoothed(q, smoothing)
    expected = oracle(x, q)
    expected[2] = 0 if sparse else expected[2]
    close(loss, expected, terms=classes)
    close(gradient, gradient_oracle(x, q, weights.double().numpy()), terms=classes)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool])
def test_integer_labels(cross_entropy, dtype, normal, close):
    logits, labels = normal(3, 2), torch.tensor([1, 0, 1])
    close(cross_entropy(logits, labels.to(dtype), True), oracle(logits.numpy(), np.eye(2)[labels]))
    dense = torch.eye(2)[labels].to(dtype)
    close(cross_entropy(logits, dense, False), oracle(logits.numpy(), np.eye(2)[labels]))


def test_labels_that_are_no_class(cross_entropy, implementation, device, normal, close):
    """An error where the host has the labels; NaN where reading them would stop the device. -100 is no exception."""
    logits = normal(4, 5).requires_grad_()
    labels = torch.tensor([0, 5, -100, 4])
    if implementation == "aten":
        with pytest.raises(IndexError, match="out of bounds"):
            cross_entropy(logits, labels, True)
        return
    loss = cross_entropy(logits, labels, True)
    assert loss[1:3].isnan().all() and loss[[0, 3]].isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient[1:3].isnan().all() and gradient[[0, 3]].isfinite().all()


@pytest.mark.parametrize("sparse", [True, False])
def test_second_derivative(cross_entropy, sparse, normal):
    labels = torch.tensor([1, 0]) if sparse else normal(2, 3).abs()
    logits = normal(2, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: cross_entropy(x, labels, sparse, 0.1), logits)


def test_gradient_of_the_mean_and_of_transposed_logits(cross_entropy, normal, close):
    logits, labels = normal(3, 4).requires_grad_(), torch.tensor([0, 2, 1, 1])
    cross_entropy(logits.t(), labels, True).mean().backward()
    expected = gradient_oracle(logits.detach().t().numpy(), np.eye(3)[labels], np.full(4, 0.25))
    close(logits.grad, expected.T)


def test_masked_classes(cross_entropy):
    """Logits of -inf, as masks write them, have no part in the loss of the others."""
    logits = torch.tensor([[1.0, -torch.inf, 1.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), True)
    assert loss.item() == pytest.approx(np.log(2))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.tolist() == [[-0.5, 0.0, 0.5]]
    assert cross_entropy(logits, torch.tensor([1]), True).tolist() == [torch.inf]
    assert cross_entropy(torch.full((1, 2), -torch.inf), torch.tensor([1]), True).isnan().all()


@pytest.mark.parametrize("ignored", [2, -1, 255])  # a class, and labels that are none
def test_ignored_rows(cross_entropy, ignored, normal, close):
    logits = normal(4, 5).requires_grad_()
    labels = torch.tensor([0, ignored, 4, ignored])
    with torch.no_grad():
        logits[1, 0], logits[3, 2] = torch.nan, torch.inf
    loss = cross_entropy(logits, labels, True, ignore_class=ignored)
    close(loss[[0, 2]], oracle(logits.detach().numpy()[[0, 2]], np.eye(5)[[0, 4]]), terms=5)
    assert loss[[1, 3]].tolist() == [0, 0]
    loss.sum().backward()
    assert not logits.grad[[1, 3]].any() and logits.grad.isfinite().all()


def test_large_logits(cross_entropy):
    logits = torch.tensor([[1000.0, 0.0], [-1000.0, 0.0]])
    assert cross_entropy(logits, torch.tensor([0, 0]), True).tolist() == [0.0, 1000.0]
    logits = torch.tensor([[1e6, 1e6 + 1]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), True)
    assert loss.item() == pytest.approx(np.log(1 + np.e), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient[0, 1].item() == pytest.approx(1 / (1 + 1 / np.e), rel=1e-6)


def test_nan_is_not_hidden(cross_entropy):
    assert cross_entropy(torch.tensor([[torch.nan, 0.0]]), torch.tensor([1]), True).isnan().all()


def test_errors(normal):
    logits = normal(3, 4)
    cases = [
        (
            (torch.tensor([0, 1]), True),
            r"logits of shape \(3, 4\) expects labels of shape \(3,\). Received shape \(2,\)",
        ),
        ((torch.tensor([0, 1, 2]), False), r"expects labels of shape \(3, 4\)"),
        ((torch.ones(3), True), "of an integer dtype. Received: torch.float32"),
        ((torch.tensor([0, 1, 2]), True, 1.5), r"`label_smoothing` must be in \[0, 1\]"),
        ((normal(3, 4), False, 0.0, 1), "`ignore_class` is the index of a class"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            autograd.softmax_cross_entropy(logits, *arguments)
        with pytest.raises(ValueError, match=message):
            autograd.softmax_cross_entropy_with_gradient(logits, arguments[0], torch.ones(3), *arguments[1:])
    with pytest.raises(ValueError, match=r"`weights` must have the shape of the losses, \(3,\). Received: \(\)"):
        autograd.softmax_cross_entropy_with_gradient(logits, torch.tensor([0, 1, 2]), torch.tensor(1.0), True)


def test_the_ops_pass_opcheck(device):
    pytest.importorskip("triton")
    logits, labels = torch.rand(2, 3, device=device), torch.tensor([0, 2], device=device)
    ops = torch.ops.fastk
    options = True, 0.1, None
    torch.library.opcheck(
        ops.softmax_cross_entropy_forward.default, (logits.clone().requires_grad_(), labels, *options, "triton")
    )
    loss, statistics = ops.softmax_cross_entropy_forward(logits, labels, *options, "triton")
    backward = ops.softmax_cross_entropy_backward.default
    with_gradient = ops.softmax_cross_entropy_with_gradient.default
    torch.library.opcheck(with_gradient, (logits, labels, loss, *options, "triton"))
    torch.library.opcheck(backward, (loss, logits, labels, statistics, *options, [True, False], "triton"))
