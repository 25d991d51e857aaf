"""The GRU's loop over time with a derivative of its own, for reset_after, tanh and sigmoid.

With u_t = h_{t-1} R_h + b'_h and the rest as in `kernels.gru`, forward is

    n_t = tanh(x^h_t + r_t u_t),   h_t = n_t + z_t (h_{t-1} - n_t)

and backward, g_t being the gradient of h_t, and F and N being computed for all steps at once,

    d(z, r, u)_t = g_t F_t,   F = ((h_{t-1} - n) z (1 - z),  N u r (1 - r),  N r)
    d x^h_t      = g_t N_t,   N = (1 - z) (1 - n^2)
    g_{t-1}      = dy_{t-1} + g_t z_t + d(z, r, u)_t R^T

so that a step back is three calls of ATen, where autograd makes twenty. Saved: z, r, u, n and h of every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # (g, y) -> g y (1 - y)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # (g, y) -> g (1 - y^2)


class Scan(torch.autograd.Function):
    """(h_1 .. h_T [T, B, H], h_T) from the projections x^zr and x^h [T, B, 3 H], h_0, R [H, 3 H] and b'_h [H].

    The last state comes as a result of its own, so that where it alone is used no gradient of the others is made.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, h: Tensor, kernel: Tensor, bias: Tensor) -> tuple:  # noqa: D102
        steps, batch, columns = projected.shape
        units = columns // 3
        gates, candidates = projected.split((2 * units, units), 2)
        zru = torch.empty_like(projected)  # becomes z, r and u: one product a step adds h R to all three
        zru[:, :, : 2 * units] = gates
        zru[:, :, 2 * units :] = bias
        states = projected.new_empty(steps + 1, batch, units)
        states[0] = h
        n = projected.new_empty(steps, batch, units)
        z, r, u = zru.chunk(3, 2)
        loop = [v.unbind(0) for v in (zru, zru[:, :, : 2 * units], z, r, u, candidates, n, states[:-1], states[1:])]
        for zru_t, zr_t, z_t, r_t, u_t, x_t, n_t, old, new in zip(*loop, strict=True):
            zru_t.addmm_(old, kernel)
            zr_t.sigmoid_()
            torch.addcmul(x_t, r_t, u_t, out=n_t).tanh_()
            torch.lerp(n_t, old, z_t, out=new)
        ctx.save_for_backward(zru, n, states, kernel)
        ctx.set_materialize_grads(False)
        return states[1:], states[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The gru's own derivative was asked for with create_graph=True, and has no derivative in turn. "
                "Pass activation=torch.tanh, the function: then autograd differentiates the loop, any number of times."
            )
        of_states, of_last = grads
        if of_states is None and of_last is None:
            return (None,) * 4
        zru, n, states, kernel = ctx.saved_tensors
        steps, batch, units = n.shape
        z, r, u = zru.chunk(3, 2)
        through_n, d_zru = _factors(z, r, u, n, states[:-1])
        flat = d_zru.view(steps, batch, 3 * units)
        d_states = torch.empty_like(states)  # of h_0 .. h_T
        _add(of_last, None if of_states is None else of_states[-1], out=d_states[-1])
        dy = [None] * (steps + 1) if of_states is None else [None, *of_states.unbind(0)]
        transposed = kernel.t()
        loop = [v.unbind(0)[::-1] for v in (d_states[1:], d_states[:-1], z, d_zru, flat)]
        for dy_before, g, g_before, z_t, d_t, flat_t in zip(dy[-2::-1], *loop, strict=True):
            d_t.mul_(g.unsqueeze(1))
            if dy_before is None:
                torch.mul(g, z_t, out=g_before)
            else:
                torch.addcmul(dy_before, g, z_t, out=g_before)
            g_before.addmm_(flat_t, transposed)
        d_kernel = states[:-1].reshape(-1, units).t() @ flat.view(-1, 3 * units)
        d_bias = d_zru[:, :, 2].sum((0, 1))
        torch.mul(through_n, d_states[1:], out=d_zru[:, :, 2])  # in the place of u's gradient: that of x^h
        return flat, d_states[0], d_kernel, d_bias


def _factors(z: Tensor, r: Tensor, u: Tensor, n: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """N [T, B, H] and F [T, B, 3, H], in as few passes as ATen's formulas of derivatives allow."""
    through_n = 1.0 - z
    _tanh_backward(through_n, n, grad_input=through_n)
    factors = n.new_empty(*n.shape[:2], 3, n.size(2))
    of_z, of_r, of_u = factors.unbind(2)
    passing = before - n
    _sigmoid_backward(passing, z, grad_input=of_z)
    torch.mul(through_n, r, out=of_u)
    torch.mul(through_n, u, out=passing)
    _sigmoid_backward(passing, r, grad_input=of_r)
    return through_n, factors


def _add(a: Tensor | None, b: Tensor | None, out: Tensor) -> None:
    """The sum of what is there of a and b."""
    if a is not None:
        out.copy_(a) if b is None else torch.add(a, b, out=out)
    elif b is not None:
        out.copy_(b)
