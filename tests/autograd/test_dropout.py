import math

import pytest
import torch

from fastk import autograd
from fastk.kernels.dropout import aten_bits


def lane(index, seed, offset):
    """16 random bits of an element, in Python's integers, as the contract says."""
    low = 2**32 - 1
    counter = [index // 8 & low, index // 8 >> 32, offset & low, offset >> 32 & low]
    key = [seed & low, seed >> 32 & low]
    for _ in range(7):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            second >> 32 ^ counter[1] ^ key[0],
            second & low,
            first >> 32 ^ counter[3] ^ key[1],
            first & low,
        ]
        key = [(key[0] + 0x9E3779B9) & low, (key[1] + 0xBB67AE85) & low]
    return counter[index % 8 // 2] >> 16 * (index % 2) & 0xFFFF


def oracle(shape, rate, seed, offset):
    """The scaled mask of a shape, float64."""
    bound = min(round(65536 * rate), 65535)
    kept = [lane(i, seed, offset) >= bound for i in range(math.prod(shape))]
    return torch.tensor(kept, dtype=torch.float64).view(shape) / (1 - rate)


@pytest.fixture
def scaled_mask(implementation, device):
    """scaled_mask(shape, rate, seed): dropout of ones, in float64."""

    def draw(shape, rate, seed, **options):
        ones = torch.ones(shape, dtype=torch.float64, device=device)
        return autograd.dropout(ones, rate, seed, implementation=implementation, **options).cpu()

    return draw


def test_the_oracle_is_philox():
    """The known answer of Random123 (`kat_vectors`, philox4x32 with 7 rounds) for a counter and a key of zeros."""
    words = [lane(i, 0, 0) | lane(i + 1, 0, 0) << 16 for i in (0, 2, 4, 6)]
    assert words == [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]


SEEDS = [(7, 9), (0, 0), (-7, 2**32 - 1), (2**63 - 1, -(2**63)), (3 << 32, 5 << 32)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 61, 1024, 1027, 2500])  # around the group of 8 and the program of 1024
def test_the_mask_is_that_of_the_contract(scaled_mask, seed, size):
    if size > 100 and seed != (7, 9):
        pytest.skip("sizes and seeds one at a time")
    expected = oracle((size,), 0.3, *seed)
    assert torch.equal(scaled_mask((size,), 0.3, seed), expected)
    assert torch.equal(scaled_mask((size,), 0.3, torch.tensor(seed)), expected)


def test_masks_in_torch_integer_ops():
    """What runs on devices without kernels of their own, and where a graph is traced."""
    for seed in SEEDS:
        for given in (seed, torch.tensor(seed)):
            bits = aten_bits.device_bits(61, given, torch.device("cpu")) + 2**15
            assert bits.tolist() == [lane(i, *seed) for i in range(61)]


def test_bits_of_many_elements_and_of_consecutive_offsets():
    count = 8 * aten_bits._BLOCK + 11
    bits = aten_bits.host_bits(count, (1, 2))[-50:] + 2**15
    assert (bits.long() % 2**16).tolist() == [lane(i, 1, 2) for i in range(count - 50, count)]
    for offset in [*range(2**32 - 4, 2**32 + 9), *range(9, 50, 3), 2**32 - 2, 5, 6, 2**32]:
        for count in (3, 20):
            bits = aten_bits.host_bits(count, (1, offset)).long() + 2**15
            assert bits.tolist() == [lane(i, 1, offset) for i in range(count)]


def test_runs_are_forgotten():
    for seed in range(2 * aten_bits._KEPT_RUNS):
        aten_bits.host_bits(8, (seed, 0))
    assert len(aten_bits._ahead.runs) <= aten_bits._KEPT_RUNS


def test_compiled_masks_are_those_of_eager_mode():
    compiled = torch.compile(autograd.dropout, backend="eager", fullgraph=True)
    seed = torch.tensor([7, 9])
    assert torch.equal(compiled(torch.ones(60), 0.3, seed), autograd.dropout(torch.ones(60), 0.3, seed))


def test_masks_of_other_seeds_and_offsets_are_independent(scaled_mask):
    first = scaled_mask((64, 33), 0.5, (7, 9)) != 0
    for other in [(7, 10), (8, 9), (9, 7), (7, 9 + 2**32), (7 + 2**32, 9), (-7, 9)]:
        agree = (first == (scaled_mask((64, 33), 0.5, other) != 0)).double().mean()
        assert abs(agree - 0.5) < 5 * 0.5 / math.sqrt(64 * 33), other  # independent masks agree on half


def test_the_global_generator_is_neither_read_nor_moved(scaled_mask):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    scaled_mask((100,), 0.5, (1, 2))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1 / 3])
def test_share_and_scale(scaled_mask, rate):
    n = 20_003
    y = scaled_mask((n,), rate, (3, 4))
    assert abs((y == 0).double().mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    assert (y[y != 0] == 1 / (1 - rate)).all()


def test_edges(implementation, device, scaled_mask):
    x = torch.ones(3, 0, 2, device=device)
    assert autograd.dropout(x, 0.5, (1, 2), implementation=implementation).shape == x.shape
    assert autograd.dropout(x, 0.0, None, implementation=implementation) is x
    y = torch.tensor([1.0, math.inf, math.nan], device=device)
    assert autograd.dropout(y, 1.0, (1, 2), implementation=implementation).tolist() == [0, 0, 0]
    assert autograd.dropout(torch.tensor(1.0, device=device), 0.5, (1, 2), implementation=implementation).dim() == 0
    assert (scaled_mask((1000,), 1 - 1e-9, (1, 2)) != 0).sum() <= 1
    assert (scaled_mask((1000,), 1e-9, (1, 2)) != 0).all()


def test_nan_is_not_hidden(implementation, device):
    y = autograd.dropout(torch.full((64,), math.nan, device=device), 0.5, (1, 2), implementation=implementation)
    assert y.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_masks_do_not_depend_on_the_dtype(implementation, device, dtype, close):
    y = autograd.dropout(torch.ones(50, dtype=dtype, device=device), 0.3, (1, 2), implementation=implementation)
    assert y.dtype == dtype
    close(y, oracle((50,), 0.3, 1, 2))


@pytest.mark.parametrize("noise_shape", [(4, 1, 6), (1, 5, 6), (4, 5, 1), (1, 1, 1), (4, 5, 6)])
def test_noise_shape(implementation, device, noise_shape, normal, close):
    expected = oracle(noise_shape, 0.5, 1, 2)
    x, g = normal(4, 5, 6).to(device).requires_grad_(), normal(4, 5, 6)
    y = autograd.dropout(x, 0.5, (1, 2), noise_shape, implementation)
    close(y, x.detach().cpu() * expected)
    y.backward(g.to(device))
    close(x.grad, g * expected)


def test_noise_shape_with_the_sizes_of_x(scaled_mask):
    expected = scaled_mask((4, 5, 6), 0.5, (1, 2), noise_shape=(4, 1, 6))
    assert torch.equal(expected, scaled_mask((4, 5, 6), 0.5, (1, 2), noise_shape=[None, 1, 6]))


def test_derivatives(implementation, device, normal, gradcheck):
    x = normal(3, 3).to(device).requires_grad_()

    def drop(x):
        return autograd.dropout(x, 0.25, (1, 2), implementation=implementation)

    gradcheck(drop, x)
    (gradient,) = torch.autograd.grad(drop(x).sum(), x)
    assert torch.equal(gradient.cpu(), oracle((3, 3), 0.25, 1, 2))
    gradgradcheck = torch.autograd.gradgradcheck
    assert gradgradcheck(lambda x: drop(x * x), x[:1].detach().requires_grad_())


def test_non_contiguous(implementation, device, close):
    x = torch.arange(1.0, 13, device=device).view(3, 4)
    y = autograd.dropout(x.t(), 0.5, (1, 2), implementation=implementation)
    close(y, x.t().cpu() * oracle((4, 3), 0.5, 1, 2))


@pytest.mark.parametrize(
    ("rate", "seed", "noise_shape", "message"),
    [
        (1.5, (1, 2), None, r"dropout must be in \[0, 1\]. Received: 1.5"),
        (-0.1, (1, 2), None, "Received: -0.1"),
        (0.5, None, None, "needs `seed`"),
        (0.5, torch.ones(2), None, r"an int64 tensor \(seed, offset\). Received shape \(2,\) and dtype torch.float32"),
        (0.5, torch.tensor([1, 2, 3]), None, r"Received shape \(3,\)"),
        (0.5, (1, 2), (2,), r"Received noise_shape=\(2,\) for x of shape \(2, 3\)"),
        (0.5, (1, 2), (2, 2), "the size 1 or that of x"),
    ],
)
def test_errors(rate, seed, noise_shape, message):
    with pytest.raises(ValueError, match=message):
        autograd.dropout(torch.ones(2, 3), rate, seed, noise_shape)


def test_the_ops_pass_opcheck(device):
    pytest.importorskip("triton")
    x, seed = torch.ones(2, 9, device=device), torch.tensor([1, 2], device=device)
    forward, backward = torch.ops.fastk.dropout_forward.default, torch.ops.fastk.dropout_backward.default
    torch.library.opcheck(forward, (x.requires_grad_(), 0.5, seed, None, "triton"))
    torch.library.opcheck(backward, (x.detach(), 0.5, seed, (2, 1), "triton"))
