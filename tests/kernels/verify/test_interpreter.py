"""What the interpreter computes: each fault of Triton's own that is mended, against float64 or torch."""

import functools

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402
from triton.language.extra import libdevice  # noqa: E402
from triton.tools.tensor_descriptor import TensorDescriptor  # noqa: E402

from fastk.kernels.verify import numerics  # noqa: E402


@triton.jit
def product_kernel(y_ptr, a_ptr, b_ptr, SIZE: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    rows = tl.arange(0, SIZE)[:, None]
    columns = tl.arange(0, SIZE)[None, :]
    depth = tl.arange(0, K)
    a = tl.load(a_ptr + rows * K + depth[None, :])  # [SIZE, K]
    b = tl.load(b_ptr + depth[:, None] * SIZE + columns)  # [K, SIZE]
    y = tl.dot(a, b, input_precision=PRECISION, out_dtype=y_ptr.dtype.element_ty)
    tl.store(y_ptr + rows * SIZE + columns, y)


def product(a, b, precision="ieee", out=torch.float32):
    y = torch.empty(len(a), len(a), dtype=out)
    product_kernel[(1,)](y, a, b, len(a), a.shape[1], precision)
    return y


def random(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dot_multiplies_half_precision_exactly_and_accumulates_in_float32(dtype):
    a, b = random(16, 64, dtype=dtype), random(64, 16, dtype=dtype)
    expected = a.double() @ b.double()
    # |error| <= terms * eps * sum |a b|, and a factor below the bound: a multiplication of bits is off by thousands
    bound = 64 * 2**-24 * (a.double().abs() @ b.double().abs())
    assert ((product(a, b).double() - expected).abs() <= bound).all()


def test_dot_of_float64_and_of_int8():
    a, b = random(16, 16, dtype=torch.float64), random(16, 16, dtype=torch.float64)
    np.testing.assert_allclose(product(a, b, out=torch.float64), a @ b, rtol=0, atol=16 * 2**-52 * 16)
    a, b = (torch.randint(-128, 128, (32, 32), dtype=torch.int8) for _ in range(2))
    assert torch.equal(product(a, b, out=torch.int32), (a.long() @ b.long()).int())


def test_dot_in_tf32_ignores_the_last_13_bits():
    a = torch.full((16, 16), 1 + 2**-10 + 2**-11)  # the last addend is below TF32's last bit
    b = torch.eye(16)
    assert product(a, b, "ieee")[0, 0] == 1 + 2**-10 + 2**-11
    assert product(a, b, "tf32")[0, 0] == 1 + 2**-10
    assert product(a, b, "tf32x3")[0, 0] == 1 + 2**-10 + 2**-11


def test_dot_in_tf32x3_is_near_float32_and_in_tf32_is_not():
    a, b = random(16, 64), random(64, 16)
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    errors = {precision: ((product(a, b, precision) - exact).abs() / size).max() for precision in ("tf32", "tf32x3")}
    assert errors["tf32x3"] < 64 * 2**-24  # as float32 bounds it
    assert 2**-13 < errors["tf32"] < 2 * 2**-10  # two factors, each truncated at 2^-10


def test_dot_in_tf32x3_keeps_infinity():
    a = torch.full((16, 16), float("inf"))
    assert product(a, torch.ones(16, 16), "tf32x3").eq(float("inf")).all()


def test_dot_refuses_what_the_tensor_cores_refuse():
    with pytest.raises(AssertionError, match="K >= "):
        product(random(16, 4), random(4, 16))


@triton.jit
def cast_kernel(y_ptr, x_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    tl.store(y_ptr + offs, tl.load(x_ptr + offs).to(y_ptr.dtype.element_ty))


def cast(x, dtype):
    y = torch.empty(len(x), dtype=dtype)
    cast_kernel[(1,)](y, x, len(x))
    return y


EDGES = [0.0, -0.0, 1.0, float("inf"), float("-inf"), float("nan"), 65504.0, 65520.0, 1e-7, -3.4e38, 3.39e38, 1e-40]


@pytest.mark.parametrize("source", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("target", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_casts_round_to_nearest_even_as_torch(source, target):
    halfway = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11]  # between two bfloat16, between two float16
    x = torch.cat([torch.tensor(EDGES + halfway, dtype=torch.float64), random(48, dtype=torch.float64)]).to(source)
    assert torch.equal(cast(x, target).nan_to_num(7.0), x.to(target).nan_to_num(7.0))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int8])
def test_casts_between_integers_and_bfloat16(dtype):
    x = torch.tensor([-3, 0, 1, 127], dtype=dtype)
    assert torch.equal(cast(x, torch.bfloat16), x.bfloat16())
    assert torch.equal(cast(x.bfloat16(), dtype), x)


@triton.jit
def bfloat16_kernel(y_ptr, a_ptr, b_ptr, less_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    a = tl.load(a_ptr + offs)
    b = tl.load(b_ptr + offs)
    tl.store(y_ptr + offs, a * b - a)
    tl.store(less_ptr + offs, (a < b).to(tl.int8))


def test_arithmetic_of_bfloat16_is_that_of_numbers_not_of_bits():
    a, b = random(64, dtype=torch.bfloat16), random(128, dtype=torch.bfloat16)[64:]
    y, less = torch.empty_like(a), torch.empty(64, dtype=torch.int8)
    bfloat16_kernel[(1,)](y, a, b, less, 64)
    assert torch.equal(y, a * b - a)
    assert torch.equal(less.bool(), a < b)


@triton.jit
def functions_kernel(y_ptr, x_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    x = tl.load(x_ptr + offs)
    tl.store(y_ptr + offs, libdevice.tanh(x))
    tl.store(y_ptr + SIZE + offs, libdevice.log1p(tl.exp(x)))
    tl.store(y_ptr + 2 * SIZE + offs, libdevice.expm1(x))
    tl.store(y_ptr + 3 * SIZE + offs, tl.erf(x))
    tl.store(y_ptr + 4 * SIZE + offs, libdevice.erf(x))
    tl.store(y_ptr + 5 * SIZE + offs, tl.sigmoid(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_of_libdevice(dtype):
    x, y = random(64, dtype=dtype), torch.empty(6, 64, dtype=dtype)
    functions_kernel[(1,)](y, x, 64)
    wide = x.double()
    expected = [wide.tanh(), wide.exp().log1p(), wide.expm1(), wide.erf(), wide.erf(), wide.sigmoid()]
    np.testing.assert_allclose(y.double(), torch.stack(expected), rtol=8 * torch.finfo(dtype).eps, atol=0)


def test_an_unknown_function_of_libdevice_is_named():
    with pytest.raises(NotImplementedError, match="__nv_j0f"):
        numerics.libdevice("__nv_j0f")
    assert numerics.libdevice("__nv_fast_expf") is np.exp
    assert numerics.libdevice("__nv_erf") is numerics.erf


@triton.jit
def assembly_kernel(y_ptr, x_ptr, ASSEMBLY: tl.constexpr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    x = tl.load(x_ptr + offs)
    y = tl.inline_asm_elementwise(ASSEMBLY, "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)  # pyright: ignore[reportArgumentType]
    tl.store(y_ptr + offs, y)


def test_inline_assembly_of_one_instruction():
    x, y = random(32), torch.empty(32)
    assembly_kernel[(1,)](y, x, "tanh.approx.f32 $0, $1;", 32)
    np.testing.assert_allclose(y, x.tanh(), rtol=1e-6)
    with pytest.raises(NotImplementedError, match="INLINE_ASSEMBLY"):
        assembly_kernel[(1,)](y, x, "{ add.f32 $0, $1, $1; neg.f32 $0, $0; }", 32)


@triton.jit
def extremes_kernel(y_ptr, x_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    x = tl.load(x_ptr + offs)
    tl.store(y_ptr + offs, tl.maximum(x, 0.0))
    tl.store(y_ptr + SIZE + offs, tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL))
    tl.store(y_ptr + 2 * SIZE + offs, tl.clamp(x, -1.0, 1.0))


def test_maximum_with_nan_gives_the_number_as_the_gpu_does():
    x, y = torch.tensor([float("nan"), -2.0, 2.0, 0.5]), torch.empty(3, 4)
    extremes_kernel[(1,)](y, x, 4)
    assert y[0].tolist() == [0.0, 0.0, 2.0, 0.5]
    assert y[1].isnan().tolist() == [True, False, False, False]
    assert y[2].tolist() == [-1.0, -1.0, 1.0, 0.5]


@triton.jit
def integers_kernel(y_ptr, x_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    x = tl.load(x_ptr + offs)
    tl.store(y_ptr + offs, tl.umulhi(x, x))
    tl.store(y_ptr + SIZE + offs, ~x)
    tl.store(y_ptr + 2 * SIZE + offs, x >> 5)
    tl.store(y_ptr + 3 * SIZE + offs, x * x)  # wraps


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint32, torch.int64, torch.uint64])
def test_integer_arithmetic_has_the_width_and_sign_of_its_type(dtype):
    bits = torch.iinfo(dtype).bits
    numbers = [3, 2 ** (bits - 1) - 1, 12345 << (bits // 2 - 8), 7]
    numbers += [-n for n in numbers] if torch.iinfo(dtype).min < 0 else [2**bits - 1, 2**bits - 2, 0, 1]
    x = torch.tensor(numbers, dtype=dtype)
    y = torch.empty(4, 8, dtype=dtype)
    integers_kernel[(1,)](y, x, 8)

    def wrapped(value):
        value &= 2**bits - 1
        return value - 2**bits if torch.iinfo(dtype).min < 0 and value >= 2 ** (bits - 1) else value

    unsigned = [n & (2**bits - 1) for n in numbers]
    assert y[0].tolist() == [wrapped(n * n >> bits) for n in unsigned]
    assert y[1].tolist() == [wrapped(~n) for n in numbers]
    assert y[2].tolist() == [n >> 5 for n in numbers]
    assert y[3].tolist() == [wrapped(n * n) for n in numbers]
    assert x.tolist() == numbers


@triton.jit
def welford(mean_a, m2_a, count_a, mean_b, m2_b, count_b):
    count = count_a + count_b
    delta = mean_b - mean_a
    weight = tl.where(count == 0.0, 0.0, count_b / count)
    return mean_a + delta * weight, m2_a + m2_b + delta * delta * count_a * weight, count


@triton.jit
def first_order(a, x, b, y):
    return a * b, b * x + y


@triton.jit
def reductions_kernel(y_ptr, x_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    x = tl.load(x_ptr + rows[:, None] * COLUMNS + columns[None, :])
    zero = tl.zeros((ROWS, COLUMNS), x.dtype)
    mean, m2, _ = tl.reduce((x, zero, zero + 1.0), 1, welford)
    tl.store(y_ptr + rows, mean)
    tl.store(y_ptr + ROWS + rows, m2 / COLUMNS)
    tl.store(y_ptr + 2 * ROWS + rows, tl.argmax(x, 1).to(x.dtype))
    tl.store(y_ptr + 3 * ROWS + rows, tl.sum(x, 1))
    tl.store(y_ptr + 4 * ROWS, tl.max(x))
    tl.store(y_ptr + 4 * ROWS + 1, tl.sum(tl.min(x, 0, keep_dims=True)))


@triton.jit
def scan_kernel(y_ptr, x_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    offs = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    x = tl.load(x_ptr + offs)
    _, y = tl.associative_scan((x * 0.0 + 0.5, x), 0, first_order)
    tl.store(y_ptr + offs, y)
    _, y = tl.associative_scan((x * 0.0 + 0.5, x), 0, first_order, reverse=True)
    tl.store(y_ptr + ROWS * COLUMNS + offs, y)


def test_reductions_with_a_combining_function():
    x, y = random(8, 16, dtype=torch.float64), torch.empty(34, dtype=torch.float64)
    reductions_kernel[(1,)](y, x, 8, 16)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-13)
    close(y[:8], x.mean(1))
    close(y[8:16], x.var(1, correction=0))
    assert torch.equal(y[16:24].long(), x.argmax(1))
    close(y[24:32], x.sum(1))
    close(y[32:], torch.stack([x.max(), x.amin(0).sum()]))


def test_scans_with_a_combining_function_keep_the_order():
    x, y = random(8, 4, dtype=torch.float64), torch.empty(2, 8, 4, dtype=torch.float64)
    scan_kernel[(1,)](y, x, 8, 4)
    for result, source in ((y[0], x), (y[1].flip(0), x.flip(0))):
        state = torch.zeros(4, dtype=torch.float64)
        for row, expected in zip(source, result, strict=True):
            state = 0.5 * state + row
            np.testing.assert_allclose(state, expected, rtol=1e-14, atol=1e-14)


@triton.jit
def scaled_kernel(y_ptr, x_ptr, scale, flag, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    if flag:
        tl.store(y_ptr + offs, tl.load(x_ptr + offs) * scale)


def test_floats_are_float32_and_with_float64_tensors_float64():
    x = torch.ones(4, dtype=torch.bfloat16)
    y = torch.empty(4)
    scaled_kernel[(1,)](y, x, 0.1, True, 4)
    assert torch.equal(y, torch.full((4,), 0.1))  # a bfloat16 times a float32 is a float32
    y = torch.empty(4, dtype=torch.float64)
    scaled_kernel[(1,)](y, x.double(), 0.1, True, 4)
    assert y.tolist() == [0.1] * 4
    scaled_kernel[(1,)](y, x.double(), 0.2, False, 4)
    assert y.tolist() == [0.1] * 4


@triton.jit
def masked_kernel(y_ptr, x_ptr, n, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    tl.store(y_ptr + offs, tl.load(x_ptr + offs, mask=offs < n))
    tl.store(y_ptr + SIZE, tl.load(x_ptr, mask=n < 0, other=0.0))  # a scalar whose `other` is false in Python


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lanes_masked_off_without_other_hold_nan(dtype):
    x, y = torch.ones(4, dtype=dtype), torch.empty(9, dtype=dtype)
    masked_kernel[(1,)](y, x, 4, 8)
    assert y[:4].eq(1).all() and y[4:8].isnan().all() and y[8] == 0


def test_lanes_masked_off_without_other_hold_a_conspicuous_integer():
    y = torch.zeros(9, dtype=torch.int32)
    masked_kernel[(1,)](y, torch.ones(4, dtype=torch.int32), 4, 8)
    assert y[4:8].eq(0x5A5A5A5A).all()


@triton.jit
def ambiguous_kernel(x_ptr, n, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    tl.store(x_ptr + offs, 1.0, mask=(offs >= 0) and (offs < n))


def test_a_block_is_neither_true_nor_false():
    with pytest.raises(TypeError, match="Combine masks with & and"):
        ambiguous_kernel[(1,)](torch.zeros(4), 4, 4)


def test_arguments_of_a_launch():
    x, y = torch.ones(4), torch.empty(4)
    with pytest.raises(TypeError, match="no parameter 'num_warp'"):
        scaled_kernel[(1,)](y, x, 0.1, True, 4, num_warp=4)
    with pytest.raises(TypeError, match="x_ptr is on meta"):
        scaled_kernel[(1,)](y, x.to("meta"), 0.1, True, 4)
    with pytest.raises(TypeError, match="missing"):
        scaled_kernel[(1,)](y, x, 0.1)
    scaled_kernel[lambda meta: (triton.cdiv(4, meta["SIZE"]),)](y, x, scale=0.5, flag=True, SIZE=4, num_warps=8)
    assert y.tolist() == [0.5] * 4
    scaled_kernel[(0,)](y, x, 2.0, True, 4)
    assert y.tolist() == [0.5] * 4


@triton.jit
def descriptor_kernel(y_desc, x_desc, z_ptr, M, N, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK
    z_desc = tl.make_tensor_descriptor(z_ptr, [M, N], [N, 1], [BLOCK, BLOCK])  # pyright: ignore[reportArgumentType]
    for column in range(0, tl.cdiv(N, BLOCK)):
        x = x_desc.load([row, column * BLOCK])
        z = z_desc.load([row, column * BLOCK])
        y_desc.store([row, column * BLOCK], x + z)


def test_descriptors_read_zero_outside_and_are_counted(interpreter):
    M, N, BLOCK = 20, 24, 16  # neither a multiple of the block
    x, z, y = random(M, N), random(2 * M, N)[M:], torch.empty(M, N)
    with interpreter.poison(), interpreter.trace() as launches:
        x_desc, y_desc = (TensorDescriptor.from_tensor(t, [BLOCK, BLOCK]) for t in (x, y))
        descriptor_kernel[(2,)](y_desc, x_desc, z, M, N, BLOCK)
    np.testing.assert_array_equal(y, x + z)
    (launch,) = launches
    assert launch.loads.requested == launch.loads.unique == 2 * x.nbytes
    assert launch.stores.requested == launch.stores.unique == y.nbytes
    with pytest.raises(interpreter.OutOfBoundsError, match="z_ptr"):
        descriptor_kernel[(3,)](y_desc, x_desc, z, M + 1, N, BLOCK)


def test_poison_shows_what_is_left_unwritten(interpreter):
    with interpreter.poison():
        made = [torch.empty(2), torch.empty_like(torch.ones(2)), torch.ones(1).new_empty(2)]
        made += [torch.empty_strided((2,), (1,)), torch.empty(2, dtype=torch.bfloat16)]
        number = torch.empty(1, dtype=torch.int32)
    assert all(tensor.isnan().all() for tensor in made)
    assert number.item() == 2**31 - 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_install_says_what_to_do_where_kernels_are_compiled(interpreter, monkeypatch):
    compiled = triton.JITFunction(tl.standard._sum_combine.fn)
    monkeypatch.setattr(tl.standard, "_sum_combine", compiled)
    with pytest.raises(interpreter.InterpreterUnavailable, match="Set TRITON_INTERPRET=1"):
        interpreter.install()


def test_the_language_is_as_it_was_after_a_launch():
    before = [dict(vars(owner)) for owner in (tl, tl.core, tl.tensor, libdevice)]
    cast(torch.ones(4), torch.float16)
    with pytest.raises(TypeError):
        ambiguous_kernel[(1,)](torch.zeros(4), 4, 4)
    assert before == [dict(vars(owner)) for owner in (tl, tl.core, tl.tensor, libdevice)]
