"""activation(x, name): one of the elementwise activations that other ops apply as an epilogue.

    linear        x                                relu          max(x, 0)
    relu6         min(max(x, 0), 6)                leaky_relu    x, or 0.2 x where x < 0
    elu           x, or exp(x) - 1 where x < 0     selu          1.0507 x, or 1.7581 (exp(x) - 1) where x < 0
    gelu          x (1 + erf(x / sqrt 2)) / 2      gelu_tanh     x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
    silu          x sigmoid(x)                     sigmoid       1 / (1 + exp(-x))
    tanh          tanh(x)                          softplus      log(1 + exp(x)); x above 20
    hard_sigmoid  min(max(x + 3, 0), 6) / 6        mish          x tanh(softplus(x))

x: any shape, float32, float64, bfloat16 or float16; the result has its shape and dtype. NaN stays NaN.
Backward needs x of gelu, gelu_tanh, silu and mish, which are not monotonic, and the result of the others: where the
result determines the derivative, an op that fuses the activation need not store x.
"""

from __future__ import annotations

import torch

_FROM_INPUT = frozenset({"gelu", "gelu_tanh", "silu", "mish"})
_BOUNDED = frozenset({"relu6", "hard_sigmoid"})  # above by 6 and by 1, with a derivative that jumps there


def saves_input(name: str | None) -> bool:
    """Whether the derivative of the activation needs its input; else it is taken from the result."""
    return name in _FROM_INPUT


def before_dropout(name: str | None, rate: float, dtype: torch.dtype) -> float:
    """What the kept results of dropout are multiplied by, for the derivative to be taken from them.

    It undoes the division by 1 - rate. A result at an upper bound has been rounded: it is moved past the bound, where
    the derivative is 0, and not into the range where it is not.

    >>> before_dropout("tanh", 0.5, torch.float32), before_dropout("silu", 0.5, torch.float32)
    (0.5, 1.0)
    """
    if saves_input(name):
        return 1.0
    return (1.0 - rate) * (1.0 + 2.0 * torch.finfo(dtype).eps if rate and name in _BOUNDED else 1.0)
