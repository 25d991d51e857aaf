"""nn.LSTM and nn.GRU by fastk's ops, layer by layer and direction by direction, with the module's own parameters.

torch's weights are transposed views of fastk's. The gates of its LSTM have fastk's order; those of its GRU are r, z, n
where fastk has z, r, h: the rows change places at each call, and gradients go back the same way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fastk import autograd
from fastk.integrations.torch.fused import by_torch
from fastk.integrations.torch.single import SAME_ON_CPU, Declined

WITHOUT_GRADIENTS = "calls without gradients on the CPU, where torch's own loop is faster"


def lstm(module: nn.LSTM, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> Any:
    """LSTM: (output, (h_n, c_n)); on the CPU torch's own, which is what fastk's op calls there."""
    refusal = refusal_of(module) or _call_refusal(input)
    if refusal is None and by_torch(input):
        refusal = SAME_ON_CPU
    return Declined(refusal) if refusal is not None else run_lstm(module, input, hx)


def gru(module: nn.GRU, input: Any, hx: Tensor | None = None) -> Any:
    """GRU: (output, h_n); on the CPU in training alone, where fastk's loop has a derivative of its own."""
    refusal = refusal_of(module) or _call_refusal(input)
    if refusal is None and by_torch(input) and not torch.is_grad_enabled():
        refusal = WITHOUT_GRADIENTS
    return Declined(refusal) if refusal is not None else run_gru(module, input, hx)


def refusal_of(module: nn.RNNBase) -> str | None:
    """None, or why a layer is never computed by fastk's op."""
    if module.proj_size:
        return f"proj_size={module.proj_size}: fastk's LSTM has no projection of the output"
    return None


def _call_refusal(input: Any) -> str | None:
    if not isinstance(input, Tensor):
        return f"an input of type {type(input).__name__}"
    if input.dim() != 3 or 0 in input.shape:
        return "a sequence without a batch, or without elements"
    return None


def run_lstm(module: nn.LSTM, input: Tensor, hx: tuple[Tensor, Tensor] | None) -> tuple:
    """An LSTM over [B, T, I] or, without `batch_first`, [T, B, I]."""
    if hx is not None:
        module.check_forward_args(input, hx, None)  # type: ignore[arg-type]

    def run(x: Tensor, number: int, names: tuple[str, ...], reverse: bool) -> tuple:
        kernel, recurrent, *biases = (getattr(module, name) for name in names)
        bias = biases[0] + biases[1] if biases else None
        initial = None if hx is None else (hx[0][number], hx[1][number])
        y, _, states = autograd.lstm(x, kernel.t(), recurrent.t(), bias, initial, reverse=reverse)
        return y, states

    output, states = _through_layers(module, input, run)
    h_n, c_n = (torch.stack(each) for each in zip(*states, strict=True))
    return output, (h_n, c_n)


def run_gru(module: nn.GRU, input: Tensor, hx: Tensor | None) -> tuple:
    """A GRU, likewise."""
    if hx is not None:
        module.check_forward_args(input, hx, None)

    def run(x: Tensor, number: int, names: tuple[str, ...], reverse: bool) -> tuple:
        kernel, recurrent, *biases = (_reordered(getattr(module, name)) for name in names)
        bias = torch.stack(biases) if biases else None
        initial = None if hx is None else hx[number]
        y, _, states = autograd.gru(x, kernel.t(), recurrent.t(), bias, initial, reverse=reverse)
        return y, states

    output, states = _through_layers(module, input, run)
    return output, torch.stack([h for (h,) in states])


def _through_layers(module: nn.RNNBase, input: Tensor, run: Any) -> tuple[Tensor, list]:
    """(the last layer's output, the states of each layer and direction)."""
    x = input if module.batch_first else input.transpose(0, 1)
    states = []
    for layer in range(module.num_layers):
        if layer and module.dropout and module.training:  # torch drops time-major sequences: so the masks are its own
            x = F.dropout(x.transpose(0, 1), module.dropout).transpose(0, 1)
        outputs = []
        for backwards in (False, True) if module.bidirectional else (False,):
            names = tuple(f"{name}_l{layer}{'_reverse' if backwards else ''}" for name in _names(module))
            y, last = run(x, len(states), names, backwards)
            outputs.append(y.flip(1) if backwards else y)
            states.append(last)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
    return (x if module.batch_first else x.transpose(0, 1)), states


def _names(module: nn.RNNBase) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if module.bias else ("weight_ih", "weight_hh")


def _reordered(weights: Tensor) -> Tensor:
    """Rows of the gates r, z, n as z, r, n."""
    r, z, n = weights.chunk(3)
    return torch.cat([z, r, n])
