"""Shape inference: every op on meta tensors gives the shapes and dtypes that it gives on data."""

import pytest
import torch

from fastk import autograd, tree

CASES = {
    "activation": ([(2, 3)], {"name": "gelu"}),
    "dense": ([(2, 5, 3), (3, 4), (4,)], {"activation": "relu", "dropout_rate": 0.5, "seed": (1, 2)}),
    "conv2d": ([(2, 6, 7, 3), (3, 3, 3, 4), (4,)], {"strides": 2, "padding": "same", "activation": "relu"}),
    "conv1d": ([(2, 7, 3), (3, 3, 4)], {"padding": "causal"}),
    "depthwise_conv2d": ([(2, 6, 7, 3), (3, 3, 3, 2)], {}),
    "max_pool2d": ([(2, 7, 6, 3)], {"padding": "same"}),
    "average_pool2d": ([(2, 7, 6, 3)], {"pool_size": 2, "strides": 1, "padding": "same"}),
    "max_pool1d": ([(2, 7, 3)], {}),
    "average_pool1d": ([(2, 7, 3)], {}),
    "lstm": ([(2, 5, 3), (3, 16), (4, 16), (16,)], {}),
    "lstm without sequences": ([(2, 5, 3), (3, 16), (4, 16), (16,)], {"return_sequences": False}),
    "gru": ([(2, 5, 3), (3, 12), (4, 12), (2, 12)], {}),
    "simple_rnn": ([(2, 5, 3), (3, 4), (4, 4), (4,)], {}),
    "gru_cell": ([(2, 3), (2, 4), (3, 12), (4, 12), (2, 12)], {}),
    "simple_rnn_cell": ([(2, 3), (2, 4), (3, 4), (4, 4), (4,)], {}),
    "dropout": ([(2, 3)], {"rate": 0.5, "seed": (1, 2)}),
    "batch_norm": ([(2, 3, 4), (4,), (4,), (4,), (4,)], {"training": True}),
    "batch_norm at inference": ([(2, 4, 3), (4,), (4,), (4,), (4,)], {"axis": 1}),
    "layer_norm": ([(2, 3, 4), (2, 4), (2, 4)], {"axis": (0, 2)}),
    "softmax_cross_entropy": ([(2, 3, 4), (2, 3, 4)], {"sparse": False, "label_smoothing": 0.1}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", CASES)
def test_shapes_without_data(case, dtype):
    op = getattr(autograd, case.split()[0])
    shapes, options = CASES[case]

    def run(device):
        tensors = [torch.ones(shape, dtype=dtype, device=device) for shape in shapes]
        results = tree.flatten(op(*tensors, **options))
        return [result if result is None else (tuple(result.shape), result.dtype) for result in results], results

    inferred, results = run("meta")
    assert inferred == run("cpu")[0]
    assert all(result is None or result.is_meta for result in results)


def test_masked_sequences_without_data():
    x, mask = torch.ones(2, 5, 3, device="meta"), torch.ones(2, 5, dtype=torch.bool, device="meta")
    kernel, recurrent_kernel = torch.ones(3, 16, device="meta"), torch.ones(4, 16, device="meta")
    outputs, last, _ = autograd.lstm(x, kernel, recurrent_kernel, mask=mask, reverse=True)
    assert outputs is not None and outputs.shape == (2, 5, 4) and last.shape == (2, 4)
