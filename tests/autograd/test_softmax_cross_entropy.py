import numpy as np
import pytest
import torch

from fastk import autograd


def oracle(logits, q):
    shifted = logits - logits.max(-1, keepdims=True)
    return -(q * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1)


def smoothed(q, smoothing):
    return (1 - smoothing) * q + smoothing / q.shape[-1]


@pytest.mark.parametrize("leading", [(7,), (2, 3), (0,), (), (2, 1, 3)])
@pytest.mark.parametrize("classes", [1, 2, 11])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_forward(leading, classes, smoothing, normal, close):
    logits = normal(*leading, classes) * 3
    labels = torch.randint(0, classes, leading, generator=torch.Generator().manual_seed(1))
    q = np.eye(classes)[labels.numpy()]
    expected = oracle(logits.numpy(), smoothed(q, smoothing))
    close(autograd.softmax_cross_entropy(logits, labels, True, smoothing), expected, terms=classes)
    close(autograd.softmax_cross_entropy(logits, labels.int(), True, smoothing), expected, terms=classes)
    close(autograd.softmax_cross_entropy(logits, torch.as_tensor(q), False, smoothing), expected, terms=classes)


def test_labels_need_not_sum_to_one(normal, close):
    logits, q = normal(4, 5), normal(4, 5).abs()
    close(autograd.softmax_cross_entropy(logits, q, False), oracle(logits.numpy(), q.numpy()), terms=5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype, normal, close):
    logits = normal(6, 64, dtype=dtype)
    labels = torch.arange(6)
    loss = autograd.softmax_cross_entropy(logits, labels, True)
    assert loss.dtype == dtype
    close(loss, oracle(logits.double().numpy(), np.eye(64)[:6]), terms=64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient(smoothing, normal, gradcheck):
    labels = torch.tensor([[0, 3], [2, 2]])
    gradcheck(lambda x: autograd.softmax_cross_entropy(x, labels, True, smoothing), normal(2, 2, 4))
    gradcheck(lambda x: autograd.softmax_cross_entropy(x, labels, True, smoothing, 2), normal(2, 2, 4))
    gradcheck(lambda x, q: autograd.softmax_cross_entropy(x, q, False, smoothing), normal(3, 4), normal(3, 4))


@pytest.mark.parametrize("ignored", [2, -1, 255])  # a class, and labels that are none
def test_ignored_rows(ignored, normal, close):
    logits = normal(4, 5).requires_grad_()
    labels = torch.tensor([0, ignored, 4, ignored])
    with torch.no_grad():
        logits[1, 0], logits[3, 2] = torch.nan, torch.inf
    loss = autograd.softmax_cross_entropy(logits, labels, True, ignore_class=ignored)
    close(loss[[0, 2]], oracle(logits.detach().numpy()[[0, 2]], np.eye(5)[[0, 4]]), terms=5)
    assert loss[[1, 3]].tolist() == [0, 0]
    loss.sum().backward()
    assert not logits.grad[[1, 3]].any() and logits.grad.isfinite().all()


def test_large_logits():
    logits = torch.tensor([[1000.0, 0.0], [-1000.0, 0.0]])
    assert autograd.softmax_cross_entropy(logits, torch.tensor([0, 0]), True).tolist() == [0.0, 1000.0]


def test_nan_is_not_hidden():
    assert autograd.softmax_cross_entropy(torch.tensor([[torch.nan, 0.0]]), torch.tensor([1]), True).isnan().all()


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
