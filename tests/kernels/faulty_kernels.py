"""Kernels that do not pass the gates that their variants name, and two that pass all of them."""

import torch
import triton
import triton.language as tl

from fastk.kernels.verify.case import Case

N = 1000  # 8 divides it and 16 does not
ROWS = 4096


@triton.jit
def scale(y_ptr, x_ptr, size, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < size)
    tl.store(y_ptr + offsets, 2 * x, mask=offsets < size)


@triton.jit
def gather(y_ptr, x_ptr, step, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets * step))


@triton.jit
def scatter(y_ptr, x_ptr, step, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offsets * step, tl.load(x_ptr + offsets))


@triton.jit
def divide(y_ptr, x_ptr, divisor, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets) // divisor)


@triton.jit
def product(
    y_ptr, x_ptr, w_ptr, M, N8, K, TRANSPOSED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """y = x w with w [K, N], stored so or as [N, K]."""
    N = N8 * 8
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    mask_m, mask_n = offs_m[:, None] < M, offs_n[None, :] < N
    stride_wk, stride_wn = (N, 1) if TRANSPOSED else (1, K)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for k in range(0, K, BLOCK_K):
        x = tl.load(x_ptr + offs_m[:, None] * K + (k + offs_k)[None, :], mask=mask_m, other=0.0)  # [BLOCK_M, BLOCK_K]
        w = tl.load(
            w_ptr + offs_n[None, :] * stride_wn + (k + offs_k)[:, None] * stride_wk, mask=mask_n, other=0.0
        )  # [BLOCK_K, BLOCK_N]
        sums = tl.dot(x, w, sums, input_precision=PRECISION)
    y = sums.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + offs_m[:, None] * N + offs_n[None, :], y, mask=mask_m & mask_n)


def empty(*shape, dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype, device="meta")


def multiply(dtype=torch.bfloat16, precision="tf32", block=(128, 128, 64), transposed=False, warps=8, stages=3):
    x, w, y = empty(ROWS, ROWS, dtype=dtype), empty(N, ROWS, dtype=dtype), empty(ROWS, N, dtype=dtype)
    grid = (triton.cdiv(ROWS, block[0]), triton.cdiv(N, block[1]))
    launch(
        product, grid, y, x, w, ROWS, N // 8, ROWS, transposed, precision, *block, num_warps=warps, num_stages=stages
    )


def streaming(kernel, argument, dtype=torch.bfloat16, **options):
    launch(kernel, (1,), empty(ROWS * N, dtype=dtype), empty(ROWS * N, dtype=dtype), argument, 1024, **options)


def launch(kernel, grid, *arguments, enable_fp_fusion=True, **options):
    kernel[grid](*arguments, enable_fp_fusion=enable_fp_fusion, **options)


def faulty(kernel, gates, dtype, launch, architectures=(90,), **options):
    """A case that must not pass `gates`, which are its variant, and must pass all others."""
    return Case(kernel, gates, dtype, launch, architectures=architectures, **options)


def cases():
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
        yield Case("scale", "", name, lambda dtype=dtype: streaming(scale, ROWS * N, dtype=dtype))
    yield Case("product", "", "bf16", multiply, tensor_cores=True)

    yield faulty("scale", "wide_loads wide_stores", "bf16", lambda: streaming(scale, ROWS * N + 8))
    yield faulty("gather", "wide_loads", "bf16", lambda: streaming(gather, 3), (100,))
    yield faulty("scatter", "wide_stores", "bf16", lambda: streaming(scatter, 3), (80,))
    yield faulty("divide", "no_calls", "fp32", lambda: streaming(divide, 1 << 40, dtype=torch.int64))

    def left_open():
        streaming(scale, ROWS * N, enable_fp_fusion=None)

    yield faulty("scale", "fused_rounding", "fp32", left_open)

    def multiply_ieee():
        multiply(torch.float32, "ieee", block=(64, 64, 16), warps=4)

    def multiply_transposed():  # tf32 is transposed on its way to shared memory, four bytes at a time
        multiply(torch.float32, block=(128, 64, 32), transposed=True)

    def multiply_large(stages=3):  # the sums alone take 256 registers of a thread
        multiply(block=(128, 256, 64), warps=4, stages=stages)

    yield faulty("product", "tensor_cores", "fp32", multiply_ieee, (80, 90, 100), tensor_cores=True)
    yield faulty("product", "wide_loads", "tf32", multiply_transposed, tensor_cores=True)
    yield faulty("product", "no_spills", "bf16", multiply_large, (80,), tensor_cores=True)
    yield faulty("product", "no_spills no_warnings one_wait", "bf16", lambda: multiply_large(1), tensor_cores=True)
    yield faulty("product", "compiles", "bf16", lambda: multiply(stages=8))
    yield faulty("scale", "compiles", "bf16", multiply)
