"""What the Triton kernels of the recurrent ops share: tiles, masked steps, the barrier between programs, and the GEMMs.

A sequence runs in three parts, B sequences, T steps, I inputs, H units, G gates:

    1  z = x W + b                      one GEMM for all steps             `project`
    2  the scan over the steps          the op's own kernels               gates [B, T, G H], dz likewise
    3  dW = x^T dz  dR = h^T dz  ...    GEMMs over all steps at once       `projection_gradients`, `recurrent_gradient`

z, gates, dz [B, T, G H], cells and previous [B, T, H] are in the order of x: what stands at one step in one of them
belongs to that step in the others, so that part 3 multiplies flat matrices. Outputs are in the order of the steps,
which `reverse` makes another. `previous` is h before the step, times the recurrent dropout factors where all gates
share them: the operand of R as it was multiplied.

The scan has three forms. In one launch for all steps, a program keeping R and the states of its sequences (small H);
in one cooperative launch, each program keeping a slice of R and all of them meeting at a barrier before a step
(larger H); in one launch a step (any H).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastk.kernels.activation import saves_input
from fastk.kernels.activation.triton_kernels import activate
from fastk.kernels.recurrence_configurations import Problem
from fastk.kernels.triton_runtime import INTERPRETED, architecture, float32_precision, sm_count

# Which outputs are those of the state, the others being 0.
ALL_SHOWN, UNMASKED_SHOWN, SEEN_SHOWN = 0, 1, 2

ALL = tl.constexpr(ALL_SHOWN)
UNMASKED = tl.constexpr(UNMASKED_SHOWN)
SEEN = tl.constexpr(SEEN_SHOWN)
FIRST_BLOCK = tl.constexpr(128)

is_saved_before = triton.constexpr_function(saves_input)


# ---------------------------------------------------------------- device functions


@triton.jit
def step_at(t, T, REVERSE: tl.constexpr):
    """Where the step taken as number t stands in x."""
    return tl.cast(T - 1 - t if REVERSE else t, tl.int64)


@triton.jit
def saved(before, after, ACTIVATION: tl.constexpr):
    """What backward needs of an activation: its argument or its result."""
    return before if is_saved_before(ACTIVATION) else after


@triton.jit
def squash(x, ACTIVATION: tl.constexpr, FAST: tl.constexpr):
    """The activation; with FAST, which is bfloat16, by the hardware's tanh: 2^-11 off, bfloat16's rounding is 2^-9."""
    if FAST and ACTIVATION == "tanh":
        y = hardware_tanh(x)
    elif FAST and ACTIVATION == "sigmoid":
        y = 0.5 * hardware_tanh(0.5 * x) + 0.5
    else:
        y = activate(x, ACTIVATION)
    return y


@triton.jit
def hardware_tanh(x):
    """tanh of float32, one instruction from compute capability 7.5 on."""
    return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def value(s, ACTIVATION: tl.constexpr):
    """The activation's result from what was saved of it."""
    return activate(s, ACTIVATION) if is_saved_before(ACTIVATION) else s


@triton.jit
def load_state(state_ptr, state, inside, dtype: tl.constexpr):
    """A tile of [B, H]; state_ptr None: zeros."""
    if state_ptr is None:
        tile = tl.zeros(inside.shape, dtype)
    else:
        tile = tl.load(state_ptr + state, mask=inside, other=0.0).to(dtype)
    return tile


@triton.jit
def load_keep(mask_ptr, rows, mask_b, step):
    """Whether each row's step is unmasked; mask_ptr None: it is."""
    return mask_b if mask_ptr is None else tl.load(mask_ptr + rows + step, mask=mask_b, other=0) != 0  # [BLOCK_B]


@triton.jit
def first_unmasked(mask_ptr, rows, mask_b, T, REVERSE: tl.constexpr, BLOCK_B: tl.constexpr):
    """The number of each row's first unmasked step, T for a row without any."""
    first = tl.full([BLOCK_B], 0, tl.int32) + T
    for start in range(0, T, FIRST_BLOCK):
        t = start + tl.arange(0, FIRST_BLOCK)
        inside = mask_b[:, None] & (t < T)[None, :]
        step = step_at(t, T, REVERSE)
        keep = tl.load(mask_ptr + rows[:, None] + step[None, :], mask=inside, other=0) != 0  # [BLOCK_B, FIRST_BLOCK]
        first = tl.minimum(first, tl.min(tl.where(keep, t[None, :], T), axis=1))
    return first


@triton.jit
def is_shown(keep, first, t, SHOWN: tl.constexpr):
    """Whether the output of step t is that of the state."""
    return keep if SHOWN == UNMASKED else t >= first


@triton.jit
def sum_of_rows(
    a_ptr, b_ptr, total, mask_a, mask_b, SIZE: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr
):
    """total + A B^T, the sum over SIZE elements that are contiguous in both.

    a_ptr [rows of A, 1] and b_ptr [1, rows of B] point at the rows, mask_a and mask_b say which there are.
    """
    offs_k = tl.arange(0, BLOCK_K)
    for k in range(0, SIZE, BLOCK_K):
        mask_k = k + offs_k < SIZE
        a = tl.load(a_ptr + (k + offs_k)[None, :], mask=mask_a & mask_k[None, :], other=0.0)  # [rows of A, BLOCK_K]
        b = tl.load(b_ptr + (k + offs_k)[:, None], mask=mask_b & mask_k[:, None], other=0.0)  # [BLOCK_K, rows of B]
        total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=total.dtype)
    return total


@triton.jit
def arrive(counter_ptr):
    """Tells whoever waits on the counter that what this program has stored can be read."""
    tl.debug_barrier()  # the stores of all threads come before the release of one
    tl.atomic_add(counter_ptr, 1, sem="release", scope="gpu")


@triton.jit
def wait(counter_ptr, target):
    """Returns once `target` arrivals were counted."""
    while tl.atomic_add(counter_ptr, 0, sem="acquire", scope="gpu") < target:
        pass


@triton.jit
def slot_of(t, T, slots, REVERSE: tl.constexpr):
    """Where h before step t is exchanged: at the step's place if there is one for each, else in turns."""
    return tl.where(slots == T, step_at(t, T, REVERSE), t % 2)


@triton.jit
def load_parts(tile, stride, offs_k, mask_n, H: tl.constexpr, SHARE: tl.constexpr, CHUNK: tl.constexpr):
    """The slice of R that a program multiplies by, in parts of SHARE units of the sum, CHUNK of each at a time.

    tile [PARTS, CHUNK, BLOCK_N] points at the first units offs_k [PARTS, CHUNK], the next ones are `stride` further.
    """
    slices = ()
    for k in tl.static_range(0, SHARE, CHUNK):
        inside = (offs_k + k < H)[:, :, None] & mask_n[None, None, :]
        slices += (tl.load(tile + k * stride, mask=inside, other=0.0),)  # [PARTS, CHUNK, BLOCK_N]
    return slices


@triton.jit
def add_parts(
    totals,
    operand,
    factors,
    slices,
    offs_k,
    mask_b,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    SHARE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Each total [PARTS, BLOCK_B, BLOCK_N] + what other programs wrote, read once, times the slices of `load_parts`.

    operand, and factors of it or None [PARTS, BLOCK_B, CHUNK]: pointers at the first units of each part.
    """
    for chunk in tl.static_range(SHARE // CHUNK):
        inside = mask_b[None, :, None] & (offs_k + chunk * CHUNK < H)[:, None, :]
        a = tl.load(operand + chunk * CHUNK, mask=inside, other=0.0, cache_modifier=".cg")  # [PARTS, BLOCK_B, CHUNK]
        if factors is not None:
            a = (a * tl.load(factors + chunk * CHUNK, mask=inside, other=0.0)).to(a.dtype)
        sums = ()
        for gate in tl.static_range(len(slices)):
            r = slices[gate][chunk]  # [PARTS, CHUNK, BLOCK_N]
            sums += (tl.dot(a, r, totals[gate], input_precision=PRECISION, out_dtype=totals[gate].dtype),)
        totals = sums
    return totals


# ---------------------------------------------------------------- before the scan


def supports(op: str, x: Tensor, *arguments: object) -> str | None:
    """None, or why Triton does not run `op` on these arguments, which are those of `aten.<op>`."""
    tensors = [x, *(t for a in arguments for t in (a if isinstance(a, tuple) else (a,)) if isinstance(t, Tensor))]
    if any(callable(a) and not isinstance(a, Tensor) for a in arguments):
        return f"{op} in Triton knows activations by their names, and one is a function"
    if len({t.dtype for t in tensors if t.is_floating_point()}) > 1 and not torch.is_autocast_enabled(x.device.type):
        return f"{op} in Triton takes tensors of one dtype, and these are of several"
    if x.dtype == torch.float64 and not INTERPRETED:
        return f"{op} in Triton takes float32, bfloat16 and float16, not float64"
    factors = arguments[-2:] if op.endswith("_cell") else arguments[-5:-3]
    if any(isinstance(f, Tensor) and f.requires_grad for f in factors):
        return f"{op} in Triton has no derivative by a dropout mask"
    return None


@dataclass(frozen=True)
class Scan:
    """What the forms of the scan and its derivative are told alike.

    factors: the recurrent dropout factors; shown: see `shown_outputs`.
    """

    recurrent_kernel: Tensor
    mask: Tensor | None
    factors: Tensor | None
    activation: str
    recurrent_activation: str
    reverse: bool
    shown: int

    @classmethod
    def of(cls, recurrent_kernel: Tensor, mask: Tensor | None, factors: Tensor | None, *others) -> Scan:
        """With the tensors laid out as the kernels read them."""
        mask = None if mask is None else mask.contiguous()
        factors = None if factors is None else factors.contiguous()
        return cls(recurrent_kernel.contiguous(), mask, factors, *others)

    def flags(self, dtype: torch.dtype) -> dict:
        """The kernels' flags that do not depend on the form."""
        return {
            "H": self.recurrent_kernel.size(0),
            "ACTIVATION": self.activation,
            "RECURRENT_ACTIVATION": self.recurrent_activation,
            "FACTORS": gate_factors(self.factors),
            "SHOWN": self.shown,
            "REVERSE": self.reverse,
            "PRECISION": precision(dtype),
            "ACCUMULATOR": accumulator(dtype),
        }


def project(x: Tensor, kernel: Tensor, bias: Tensor | None, factors: Tensor | None) -> Tensor:
    """(x factors) kernel + bias for all steps: [B, T, G H], contiguous and nobody else's.

    x: [B, T, I]; factors: [B, I], or [G, B, I] with one for each gate, or None.
    """
    batch, steps, _ = x.shape
    if factors is None or factors.dim() == 2:
        rows = (x if factors is None else x * factors.unsqueeze(1)).flatten(0, 1)
        z = rows @ kernel if bias is None else torch.addmm(bias, rows, kernel)
        return z.view(batch, steps, kernel.size(1))
    z = x.new_empty(batch * steps, kernel.size(1))
    columns = zip(z.chunk(len(factors), 1), kernel.chunk(len(factors), 1), factors, strict=True)
    for gate, (out, weights, factor) in enumerate(columns):
        rows = (x * factor.unsqueeze(1)).flatten(0, 1)
        if bias is None:
            torch.mm(rows, weights, out=out)
        else:
            torch.addmm(bias.chunk(len(factors))[gate], rows, weights, out=out)
    return z.view(batch, steps, kernel.size(1))


def shown_outputs(mask: Tensor | None, has_state: bool, zero_output_for_mask: bool) -> int:
    """Which outputs are those of the state: see `kernels.recurrence`. Without a state those before the first are 0."""
    if mask is None or not (has_state or zero_output_for_mask):
        return ALL_SHOWN
    return UNMASKED_SHOWN if zero_output_for_mask else SEEN_SHOWN


def gate_factors(factors: Tensor | None) -> int:
    """How many recurrent dropout factors there are for a unit: 0, 1, or one for each gate."""
    return 0 if factors is None else 1 if factors.dim() == 2 else factors.size(0)


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """What products and states are kept in."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def precision(dtype: torch.dtype) -> str | None:
    """`input_precision` of `tl.dot`."""
    return float32_precision() if dtype == torch.float32 else None


def problem(x: Tensor, recurrent_kernel: Tensor, factors: Tensor | None) -> Problem:
    """What a configuration is chosen for."""
    units, columns = recurrent_kernel.shape
    sizes = *x.shape[:2], units, columns // max(1, units)
    return Problem(*sizes, x.dtype, precision(x.dtype), gate_factors(factors), architecture(), sm_count())


# ---------------------------------------------------------------- after the scan


def projection_gradients(
    dz: Tensor, x: Tensor, kernel: Tensor, mask: Tensor | None, factors: Tensor | None, needed: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `project`: (dx, dkernel, dbias); empty where not needed.

    Where the mask [B, T] is False dz is 0, and x, which may be NaN there, is taken as 0.
    """
    dbias = dz.sum((0, 1)) if needed[2] else dz.new_empty(0)
    each = [None] if factors is None else [factors.unsqueeze(1)] if factors.dim() == 2 else list(factors.unsqueeze(2))
    columns, weights = dz.flatten(0, 1).chunk(len(each), 1), kernel.chunk(len(each), 1)
    dx, dkernel = dz.new_empty(0), dz.new_empty(0)
    if needed[0]:
        parts = [(d @ w.t()).view(x.shape) for d, w in zip(columns, weights, strict=True)]
        dx = sum_of_products(parts, each)
    if needed[1]:
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        dkernel = torch.empty_like(kernel, memory_format=torch.contiguous_format)
        for out, d, factor in zip(dkernel.chunk(len(each), 1), columns, each, strict=True):
            rows = x if factor is None else x * factor
            torch.mm(rows.flatten(0, 1).t(), d, out=out)
    return dx, dkernel, dbias


def recurrent_gradient(dz: Tensor, previous: Tensor, factors: Tensor | None) -> Tensor:
    """dR [H, G H] of previous R; factors [G, B, H] are not yet in `previous`, those of [B, H] are."""
    units = previous.size(2)
    rows, columns = previous.flatten(0, 1), dz.flatten(0, 1)
    if factors is None or factors.dim() == 2:
        return rows.t() @ columns
    gradient = dz.new_empty(units, dz.size(2))
    gates = zip(gradient.chunk(len(factors), 1), columns.chunk(len(factors), 1), factors, strict=True)
    for out, d, factor in gates:
        torch.mm((previous * factor.unsqueeze(1)).flatten(0, 1).t(), d, out=out)
    return gradient


def sum_of_products(parts: list[Tensor], factors: list[Tensor | None]) -> Tensor:
    """The sum of each part times its factor."""
    total: Tensor | None = None
    for part, factor in zip(parts, factors, strict=True):
        term = part if factor is None else part * factor
        total = term if total is None else total + term
    if total is None:
        raise ValueError("sum_of_products needs at least one part.")
    return total
