"""The ways around a recurrent op's loop give what the loop gives."""

import pytest
import torch

from fastk.kernels.gru import aten as gru
from fastk.kernels.gru.aten_scan import Scan
from fastk.kernels.lstm import aten as lstm
from fastk.kernels.recurrence import Compact, gate_products

B, T, I, H = 4, 6, 3, 5  # noqa: E741 - the sizes as the contracts name them
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1], [0] * 6, [1] * 6], dtype=torch.bool)


def normal(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def test_compact_sequences():
    x = torch.arange(1.0, 13).view(2, 6, 1)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0], [0] * 6], dtype=torch.bool)
    compact = Compact.of(x * mask.unsqueeze(-1), mask)
    assert compact.x.squeeze(-1).tolist() == [[2, 4, 5, 0, 0, 0], [0] * 6]
    assert compact.padding.tolist() == [[False] * 3 + [True] * 3, [True] * 6]
    outputs = compact.x * 10
    assert compact.spread(outputs, False).squeeze(-1).tolist() == [[0, 20, 20, 40, 50, 50], [0] * 6]
    assert compact.spread(outputs, True).squeeze(-1).tolist() == [[0, 20, 0, 40, 50, 0], [0] * 6]
    final = compact.final_state(outputs, torch.tensor([[7.0], [8.0]]))
    assert final.tolist() == [[50], [8]]
    assert compact.last_output(final, False).tolist() == [[50], [0]]
    assert compact.last_output(final, True).tolist() == [[0], [0]]


def test_products_of_gates():
    x, kernel, mask = normal(2, B, I), normal(I, 3 * H), normal(3, B, I)
    parts = [(x * mask[k]) @ kernel[:, k * H : (k + 1) * H] for k in range(3)]
    torch.testing.assert_close(gate_products(x, kernel, mask), torch.cat(parts, -1))
    torch.testing.assert_close(gate_products(x, kernel, mask[:1].expand(3, -1, -1)), gate_products(x, kernel, mask[0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
@pytest.mark.parametrize("zero", [False, True])
def test_fused_lstm_is_the_loop(mask, zero, dtype):
    x, kernel, recurrent = normal(B, T, I, dtype=dtype), normal(I, 4 * H, dtype=dtype), normal(H, 4 * H, dtype=dtype)
    bias, states = normal(4 * H, dtype=dtype), (normal(B, H, dtype=dtype), normal(B + 1, H, dtype=dtype)[1:])

    def run(activation):
        return lstm.lstm(x, kernel, recurrent, bias, states, mask, activation, "sigmoid", None, None, True, True, zero)

    torch.testing.assert_close(run("tanh"), run(torch.tanh))


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("with_bias", [True, False])
def test_torch_gru_and_scan_are_the_loop(mask, zero, with_bias):
    x, kernel, recurrent = normal(B, T, I), normal(I, 3 * H), normal(H, 3 * H)
    bias, h = normal(2, 3 * H) if with_bias else None, normal(B, H)

    def run(activation):
        return gru.gru(x, kernel, recurrent, bias, h, mask, activation, "sigmoid", True, None, None, False, True, zero)

    loop = run(torch.tanh)
    torch.testing.assert_close(run("tanh"), loop)
    clean = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)
    torch.testing.assert_close(gru._fused(clean, h, kernel, recurrent, bias, mask, True, zero), loop)  # a GPU


def test_the_derivative_of_scan():
    inputs = [normal(T, B, 3 * H), normal(B, H), normal(H, 3 * H), normal(H)]
    assert torch.autograd.gradcheck(Scan.apply, [tensor.requires_grad_() for tensor in inputs])


def test_scan_says_that_it_has_no_second_derivative():
    x, kernel, recurrent = normal(B, T, I), normal(I, 3 * H), normal(H, 3 * H).requires_grad_()

    def last(activation):
        options = (None, None, None, activation, "sigmoid", True, None, None, False, False, False)
        return gru.gru(x, kernel, recurrent, *options)[1].sum()

    with pytest.raises(RuntimeError, match=r"Pass activation=torch\.tanh"):
        torch.autograd.grad(last("tanh"), recurrent, create_graph=True)
    (gradient,) = torch.autograd.grad(last(torch.tanh), recurrent, create_graph=True)
    assert gradient.requires_grad
