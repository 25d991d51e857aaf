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


class Scan(torch.autograd.Function):
    """h_1 .. h_T [T, B, H] from the projections x^zr [T, B, 2 H] and x^h [T, B, H], h_0, R [H, 3 H] and b'_h [H]."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, candidates: Tensor, h: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:  # noqa: D102
        steps, batch, units = candidates.shape
        kernel_zr, kernel_h = kernel.split((2 * units, units), 1)
        zr, n, u = gates.clone(), torch.empty_like(candidates), torch.empty_like(candidates)
        states = candidates.new_empty(steps + 1, batch, units)
        states[0] = h
        z, r = zr.chunk(2, 2)
        loop = [v.unbind(0) for v in (zr, z, r, u, candidates, n, states[:-1], states[1:])]
        for zr_t, z_t, r_t, u_t, x_t, n_t, old, new in zip(*loop, strict=True):
            zr_t.addmm_(old, kernel_zr).sigmoid_()
            torch.addmm(bias, old, kernel_h, out=u_t)
            torch.addcmul(x_t, r_t, u_t, out=n_t).tanh_()
            torch.lerp(n_t, old, z_t, out=new)
        ctx.save_for_backward(zr, u, n, states, kernel)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The gru's own derivative was asked for with create_graph=True, and has no derivative in turn. "
                "Pass activation=torch.tanh, the function: then autograd differentiates the loop, any number of times."
            )
        zr, u, n, states, kernel = ctx.saved_tensors
        steps, batch, units = n.shape
        z, r = zr.chunk(2, 2)
        through_n = (1.0 - z).mul_(1.0 - n * n)
        factors = n.new_empty(steps, batch, 3, units)
        torch.mul((states[:-1] - n).mul_(z), 1.0 - z, out=factors[:, :, 0])
        torch.mul(through_n, r, out=factors[:, :, 2])
        torch.mul(factors[:, :, 2] * u, 1.0 - r, out=factors[:, :, 1])
        d_zru = torch.empty_like(factors)
        flat = d_zru.view(steps, batch, 3 * units)
        d_states = torch.cat([torch.zeros_like(n[:1]), grads[0]])
        transposed = kernel.t()
        loop = [v.unbind(0)[::-1] for v in (d_states[1:], d_states[:-1], z, factors, d_zru, flat)]
        for g, g_before, z_t, factors_t, d_t, flat_t in zip(*loop, strict=True):
            torch.mul(g.unsqueeze(1), factors_t, out=d_t)
            g_before.addcmul_(g, z_t).addmm_(flat_t, transposed)
        d_kernel = states[:-1].reshape(-1, units).t() @ flat.view(-1, 3 * units)
        d_bias = d_zru[:, :, 2].sum((0, 1))
        return flat[:, :, : 2 * units], d_states[1:] * through_n, d_states[0], d_kernel, d_bias
