import pytest
import torch

from fastk import autograd


def nodes(tensor):
    """The names of the nodes that backward passes through."""
    found, ahead = [], [tensor.grad_fn]
    while ahead:
        node = ahead.pop()
        found.append(node.name())
        ahead += [following for following, _ in node.next_functions if following is not None]
    return found


@pytest.mark.parametrize(
    "y",
    [
        lambda w, b: autograd.dense(torch.ones(3, 4), w, b, "relu"),
        lambda w, b: autograd.dense(torch.ones(2, 3, 4), w, b, "relu"),
        lambda w, b: autograd.dense(torch.ones(2, 3, 4), w, None, "relu"),
        lambda w, b: autograd.conv2d(torch.ones(2, 3, 3, 4), w.view(1, 1, 4, 5), b, activation="relu"),
    ],
    ids=["dense", "dense, more axes", "dense, no bias", "conv2d"],
)
def test_an_activation_in_place_copies_no_gradient(y):
    names = nodes(y(torch.ones(4, 5, requires_grad=True), torch.ones(5)))
    assert "ReluBackward0" in names and "torch::autograd::CopySlices" not in names  # which in place on a view makes
