import numpy as np
import pytest
import torch

from fastk import utils


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (4, 3), (3, 1), (3, 2, 1), (1, 1)])
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_to_categorical(rng, shape, make):
    labels = rng.integers(0, 5, shape)
    one_hot = utils.to_categorical(make(labels), 5)
    squeezed = labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels
    assert type(one_hot) is type(make(labels)) and np.array_equal(one_hot, np.eye(5)[squeezed])


def test_to_categorical_of_a_scalar_and_of_a_list():
    assert utils.to_categorical(2, 4).tolist() == [0, 0, 1, 0]
    assert utils.to_categorical([0, 2]).shape == (2, 3)
    assert utils.to_categorical(torch.tensor([0, 2])).shape == (2, 3)
    assert utils.to_categorical([1.0], 2).dtype == np.float64
    assert utils.to_categorical(torch.tensor([1]), 2).dtype is torch.float32


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_to_categorical_out_of_range(labels):
    with pytest.raises(ValueError, match="takes class indices from 0 to 2"):
        utils.to_categorical(labels, 3)
    rows = utils.to_categorical(torch.tensor(labels), 3)
    assert sorted(rows.sum(-1).tolist()) == [0.0, 1.0]


@pytest.mark.parametrize("order", [1, 2, 3, np.inf])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_normalize(rng, order, axis):
    x = rng.normal(size=(3, 4))
    x[:, 0] = 0.0
    power = (
        np.abs(x).max(axis, keepdims=True)
        if order == np.inf
        else (np.abs(x) ** order).sum(axis, keepdims=True) ** (1 / order)
    )
    expected = x / np.where(power == 0, 1, power)
    assert np.abs(utils.normalize(x, axis, order) - expected).max() < 1e-14
    got = utils.normalize(torch.tensor(x), axis, order)
    assert isinstance(got, torch.Tensor) and np.abs(got.numpy() - expected).max() < 1e-14


def test_normalize_of_integers():
    assert utils.normalize(np.array([[3, 4]])).tolist() == [[0.6, 0.8]]
    assert utils.normalize(torch.tensor([[3, 4]])).dtype is torch.float32
