"""Implicit GEMM in Triton: a correlation with a kernel, and a correlation's gradient by its input, channels last.

One kernel serves both. It multiplies patches of an image by the weights, tap by tap, no patch ever being stored:

    out[b, i, j, n] = sum over taps (r, s) and k of in[b, h0(i) + r jump_h, w0(j) + s jump_w, k] W[r, s, k, n]

    M  rows of the product: pixels (b, i, j)     N  its columns: output channels of one group
    K  input channels of one group               G  groups, an axis of the grid
    R, S  window

Forward: h0 = i stride - top, jump = dilation. The gradient by the input runs the same sum backwards, n and k having
changed places. Output row h receives g[i] W[r] where i stride = h + top - r dilation. So the rows h = phase + i' stride
of one phase see the taps r = first, first + step, .. alone, step = stride / gcd(stride, dilation), and with them

    h0 = i' + (phase + top - first dilation) / stride,     jump = -dilation / gcd(stride, dilation):

a correlation without strides of a sub-sampled window. The phases are an axis of the grid; with stride 1 there is one.

A window that leaves the image reads zeros by a mask: h and w are compared as unsigned, so that one comparison a row
refuses both sides. Offsets within one image are 32 bits wide, those of images 64.

The loop over K goes tap by tap; where that would leave a block of K half empty (C = 3, or 24), it runs over the R S C
columns of the patch at once ("packed"), C being known to the compiler, which then divides by multiplying.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.autotune import configuration_for
from fastk.kernels.activation.triton_kernels import activate
from fastk.kernels.conv2d.configurations import TUNABLE, Correlation, most_registers
from fastk.kernels.gemm_configurations import GemmConfiguration, kind_of, tiles
from fastk.kernels.triton_runtime import architecture, sm_count
from fastk.kernels.window import Padding, Pair


@triton.jit
def taps_of_phase(phase, before, window, stride, dilation):
    """(first, count) of the taps r < window with (phase + before - r dilation) divisible by stride."""
    first = window
    count = 0
    for r in range(window):
        meets = (phase + before - r * dilation) % stride == 0
        first = tl.where(meets & (count == 0), r, first)
        count += meets.to(tl.int32)
    return first, count


@triton.jit
def is_inside(h, w, HEIGHT, WIDTH):
    """Whether 0 <= h < HEIGHT and 0 <= w < WIDTH; a negative number is a large unsigned one."""
    return (h.to(tl.uint32) < HEIGHT) & (w.to(tl.uint32) < WIDTH)


@triton.jit
def multiply_packed(
    acc, x_rows, w_ptrs, h0, w0, start, offs_k, mask_n, IN_H, IN_W, jump_h, jump_w, channels, stride_k,
    R: tl.constexpr, S: tl.constexpr, C: tl.constexpr, INPUT_PRECISION: tl.constexpr,
):  # fmt: skip
    """acc plus the product of BLOCK_K columns of the patches, from `start` on, with their weights."""
    k = start + offs_k
    tap = k // C
    r, s = tap // S, tap % S
    h, w = h0[:, None] + (r * jump_h)[None, :], w0[:, None] + (s * jump_w)[None, :]
    shift = (r * jump_h * IN_W + s * jump_w) * channels + k % C
    inside = is_inside(h, w, IN_H, IN_W) & (k < R * S * C)[None, :]
    x = tl.load(x_rows[:, None] + shift[None, :], mask=inside, other=0.0)  # [BLOCK_M, BLOCK_K]
    mask_w = (k < R * S * C)[:, None] & mask_n[None, :]
    weights = tl.load(w_ptrs + start * stride_k, mask=mask_w, other=0.0)  # [BLOCK_K, BLOCK_N]
    return tl.dot(x, weights, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)


@triton.jit
def correlation_kernel(
    y_ptr, z_ptr, x_ptr, kernel_ptr, bias_ptr,
    B, IN_H, IN_W, OUT_H, OUT_W, K_UNITS, N_UNITS, G, R, S,
    stride_h, stride_w, dilation_h, dilation_w, step_r, step_s, top, left,
    K_UNIT: tl.constexpr, N_UNIT: tl.constexpr, GRADIENT: tl.constexpr, TRANSPOSED: tl.constexpr,
    PACKED_R: tl.constexpr, PACKED_S: tl.constexpr, PACKED_C: tl.constexpr, UNROLLED: tl.constexpr,
    HAS_BIAS: tl.constexpr, SAVES_Z: tl.constexpr, ACTIVATION: tl.constexpr, INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of y = activation(z + bias), or of the gradient by the input: see above.

    Sizes come in units of up to 16 bytes, K = K_UNITS K_UNIT: from a size that is divisible by 8 and not by 16 the
    compiler infers nothing. TRANSPOSED: the weights lie as [N, R, S, K], else as [R, S, K, N].
    """
    K, N = K_UNITS * K_UNIT, N_UNITS * N_UNIT
    group = tl.program_id(1)
    tiles_n = tl.cdiv(N, BLOCK_N)
    pid_m, pid_n = tl.program_id(0) // tiles_n, tl.program_id(0) % tiles_n
    phase_h, phase_w = 0, 0
    if GRADIENT:
        phase_h, phase_w = tl.program_id(2) // stride_w, tl.program_id(2) % stride_w
        rows, columns = tl.cdiv(OUT_H - phase_h, stride_h), tl.cdiv(OUT_W - phase_w, stride_w)
        first_r, count_r = taps_of_phase(phase_h, top, R, stride_h, dilation_h)
        first_s, count_s = taps_of_phase(phase_w, left, S, stride_w, dilation_w)
        offset_h = (phase_h + top - first_r * dilation_h) // stride_h
        offset_w = (phase_w + left - first_s * dilation_w) // stride_w
        jump_h, jump_w = -(step_r * dilation_h // stride_h), -(step_s * dilation_w // stride_w)
        move_h, move_w = 1, 1
    else:
        rows, columns = OUT_H, OUT_W
        first_r, count_r, first_s, count_s = 0, R, 0, S
        step_r, step_s = 1, 1  # every tap, whatever the stride
        offset_h, offset_w, jump_h, jump_w = -top, -left, dilation_h, dilation_w
        move_h, move_w = stride_h, stride_w
    M = B * rows * columns
    if pid_m * BLOCK_M >= M:
        return

    offs_m = tl.minimum(pid_m * BLOCK_M + tl.arange(0, BLOCK_M), M - 1)  # rows beyond M repeat the last one
    image, i, j = offs_m // columns // rows, offs_m // columns % rows, offs_m % columns
    h0, w0 = i * move_h + offset_h, j * move_w + offset_w
    x_rows = x_ptr + image.to(tl.int64) * (IN_H * IN_W * K * G) + (h0 * IN_W + w0) * (K * G) + group * K
    offs_k = tl.arange(0, BLOCK_K)
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_n = offs_n < N
    stride_tap = K * N * G
    if GRADIENT:  # [R, S, N, G K]
        stride_k, stride_n, stride_g = 1, K * G, K
    elif TRANSPOSED:  # [G N, R, S, K]
        stride_k, stride_n, stride_g, stride_tap = 1, R * S * K, R * S * K * N, K
    else:  # [R, S, K, G N]
        stride_k, stride_n, stride_g = N * G, 1, N
    w_ptrs = kernel_ptr + group * stride_g + offs_k[:, None] * stride_k + offs_n[None, :] * stride_n

    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32)
    if UNROLLED:
        # Elements too narrow for asynchronous copies (C = 3): with `start` known each column's tap is a constant.
        for start in tl.static_range(0, PACKED_R * PACKED_S * PACKED_C, BLOCK_K):
            acc = multiply_packed(
                acc, x_rows, w_ptrs, h0, w0, start, offs_k, mask_n, IN_H, IN_W, jump_h, jump_w, K * G, stride_k,
                PACKED_R, PACKED_S, PACKED_C, INPUT_PRECISION,
            )  # fmt: skip
    elif PACKED_C > 0:
        for start in range(0, PACKED_R * PACKED_S * PACKED_C, BLOCK_K):
            acc = multiply_packed(
                acc, x_rows, w_ptrs, h0, w0, start, offs_k, mask_n, IN_H, IN_W, jump_h, jump_w, K * G, stride_k,
                PACKED_R, PACKED_S, PACKED_C, INPUT_PRECISION,
            )  # fmt: skip
    else:
        x_ptrs = x_rows[:, None] + offs_k[None, :]
        r, s, c = 0, 0, 0
        for _ in range(count_r * count_s * tl.cdiv(K, BLOCK_K)):
            inside = is_inside(h0 + r * jump_h, w0 + s * jump_w, IN_H, IN_W)
            mask_k = c + offs_k < K
            shift = (r * jump_h * IN_W + s * jump_w) * (K * G) + c
            x = tl.load(x_ptrs + shift, mask=inside[:, None] & mask_k[None, :], other=0.0)  # [BLOCK_M, BLOCK_K]
            tap = (first_r + r * step_r) * S + first_s + s * step_s
            mask_w = mask_k[:, None] & mask_n[None, :]
            weights = tl.load(w_ptrs + (tap * stride_tap + c * stride_k), mask=mask_w, other=0.0)  # [BLOCK_K, BLOCK_N]
            acc = tl.dot(x, weights, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)
            c += BLOCK_K
            s = tl.where(c >= K, s + 1, s)
            c = tl.where(c >= K, 0, c)
            r = tl.where(s == count_s, r + 1, r)
            s = tl.where(s == count_s, 0, s)

    offs_m = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    pixel = offs_m.to(tl.int64)
    if GRADIENT:
        row, column = offs_m // columns % rows * stride_h + phase_h, offs_m % columns * stride_w + phase_w
        pixel = ((offs_m // columns // rows).to(tl.int64) * OUT_H + row) * OUT_W + column
    offsets = pixel[:, None] * (N * G) + (group * N + offs_n)[None, :]
    mask = (offs_m < M)[:, None] & mask_n[None, :]
    if HAS_BIAS:
        acc += tl.load(bias_ptr + group * N + offs_n, mask=mask_n, other=0.0).to(acc.dtype)[None, :]
    if SAVES_Z:
        tl.store(z_ptr + offsets, acc.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(y_ptr + offsets, activate(acc, ACTIVATION).to(y_ptr.dtype.element_ty), mask=mask)


def correlate(
    y: Tensor,
    z: Tensor | None,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    activation: str | None,
    precision: str,
    configuration: GemmConfiguration | None = None,
) -> None:
    """y = activation(x correlated with kernel + bias), and z what the activation was taken of; all contiguous.

    precision: how float32 is multiplied; "ieee" for other types.
    """
    if not y.numel():
        return
    kh, kw, inner, filters = kernel.shape
    # Tensor cores take 32-bit weights with K innermost alone: turned here once, they are copied 16 bytes at a time.
    transposed = x.dtype == torch.float32 and precision != "ieee"
    weights = kernel.permute(3, 0, 1, 2).contiguous() if transposed else kernel
    launch(
        y, z, x, weights, bias, y.shape[:3].numel(), inner, filters // groups, groups, (kh, kw),
        strides, padding, dilation, activation, precision, False, transposed, configuration,
    )  # fmt: skip


def input_gradient(
    dx: Tensor,
    g: Tensor,
    kernel: Tensor,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    precision: str,
    configuration: GemmConfiguration | None = None,
) -> None:
    """dx = the gradient of `correlate` by x, g being the gradient by z; all contiguous."""
    if not dx.numel():
        return
    batch, height, width, _ = dx.shape
    kh, kw, inner, filters = kernel.shape
    pixels = batch * math.ceil(height / strides[0]) * math.ceil(width / strides[1])  # of the largest phase
    launch(
        dx, None, g, kernel, None, pixels, filters // groups, inner, groups, (kh, kw),
        strides, padding, dilation, None, precision, True, False, configuration,
    )  # fmt: skip


def launch(
    y, z, x, kernel, bias, pixels, depth, columns, groups, window,
    strides, padding, dilation, activation, precision, gradient, transposed, configuration=None,
):  # fmt: skip
    """depth: K; columns: N; pixels: M of the largest phase."""
    phases = strides[0] * strides[1] if gradient else 1
    packable = not gradient and window != (1, 1)
    kind = kind_of(x.dtype, precision)
    problem = Correlation(
        pixels, columns, depth, groups, window, strides, dilation, x.dtype, kind,
        bias is not None, activation, z is not None, gradient, architecture(), sm_count(),
    )  # fmt: skip
    arguments = (
        y, z, x, kernel, bias, pixels, depth, columns, groups, window,
        strides, padding, dilation, activation, precision, gradient, transposed,
    )  # fmt: skip
    chosen = configuration or configuration_for(TUNABLE, problem, arguments)
    item = x.element_size()
    k_unit, n_unit = math.gcd(depth, 16 // item), math.gcd(columns, 16 // item)
    packed = packable and depth % chosen.block_k != 0
    packed_r, packed_s, packed_c = (*window, depth) if packed else (0, 0, 0)
    correlation_kernel[(tiles(chosen, pixels, columns), groups, phases)](
        y, z, x, kernel, bias,
        x.size(0), x.size(1), x.size(2), y.size(1), y.size(2), depth // k_unit, columns // n_unit, groups, *window,
        *strides, *dilation, *(s // math.gcd(s, d) for s, d in zip(strides, dilation, strict=True)),
        padding[0][0], padding[1][0],
        k_unit, n_unit, gradient, transposed,
        packed_r, packed_s, packed_c, packed and k_unit * item < 8 and packed_r * packed_s * packed_c <= 512,
        bias is not None, z is not None, activation, precision,
        chosen.block_m, chosen.block_n, chosen.block_k, num_warps=chosen.num_warps, num_stages=chosen.num_stages,
        enable_fp_fusion=True,
        maxnreg=most_registers(chosen, kind, architecture()) if gradient else None,
    )  # fmt: skip
