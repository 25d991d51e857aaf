"""Whether a provider computes what it should: nothing is timed that does not.

The oracle is torch in float64, which is none of fastk's implementations. A provider's result and gradients may be off,
relative to the largest number of each tensor, by 4 times the largest of: what torch is off in the same dtype; eps of
that dtype; and what sums of n products in float32 are off in any order, sqrt(n) eps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastk.bench.ops.cases import Case

SLACK = 4.0
HOPELESS = 0.1  # torch itself is further off than that: nothing can be judged
DEVIATIONS = 5.0  # of the share that dropout keeps

Values = tuple[Tensor, ...]


class Gate:
    """What is right for one case with its operands.

    Args:
        case: what is computed.
        inputs: the operands.
        g: the gradient of the result; None where the op has none.
    """

    def __init__(self, case: Case, inputs: tuple[Tensor, ...], g: Tensor | None):
        self.case, self.inputs, self.g = case, inputs, g
        self._exact: Values | None = None

    def errors(self, values: Values) -> list[float]:
        """The largest relative error of the result and of each gradient.

        Raises:
            ValueError: dropout that keeps a share which chance does not explain.
        """
        return [
            float((value.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-30))
            for value, exact in zip(values, self.exact(values[0]), strict=False)  # some have no gradients
        ]

    def allowed(self, usual: list[float]) -> list[float]:
        """The largest errors that pass, given torch's."""
        own = torch.finfo(self.inputs[0].dtype).eps
        wide = torch.finfo(torch.promote_types(self.inputs[0].dtype, torch.float32)).eps
        sizes = [t.numel() for t in (self.g, *self.inputs) if t is not None and (t is self.g or t.requires_grad)]
        most = max(self.case.flops // 2, *sizes) if sizes else 1
        lengths = [most / size for size in sizes] or [1.0] * len(usual)
        return [SLACK * max(error, own, wide * math.sqrt(length)) for error, length in zip(usual, lengths, strict=True)]

    def exact(self, result: Tensor) -> Values:
        """What the result and the gradients are in float64, with the dropout mask that the result shows."""
        if self._exact is None or self.case.rate:
            self._exact = self._computed(result)
        return self._exact

    def _computed(self, result: Tensor) -> Values:
        rival = self.case.oracle or self.case.rivals["torch"]
        doubles = tuple(
            x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x for x in self.inputs
        )
        if self.case.results:
            doubles = tuple(x.clone() for x in doubles)
        prepared = rival.prepare(doubles)
        if self.g is None:
            return prepared.values(None)
        if not self.case.rate:
            return prepared.values(self.g.double())
        whole = prepared.values(None)[0]
        kept = (result != 0) | (whole == 0)
        self._check_share(kept[whole != 0])
        scale = kept.double() / (1 - self.case.rate)
        y, *gradients = prepared.values(self.g.double() * scale)
        return y * scale, *gradients

    def _check_share(self, kept: Tensor) -> None:
        rate, count = self.case.rate, kept.numel()
        share = float(kept.double().mean())
        if (
            abs(share - (1 - rate)) > DEVIATIONS * math.sqrt(rate * (1 - rate) / count) + 1 / 256
        ):  # thresholds of 8 bits
            raise ValueError(f"dropout of {rate} kept a share of {share:.4f} of {count} numbers")

    def refusal(self, errors: list[float], usual: list[float]) -> str | None:
        """None, or what says that a provider is wrong, its errors beside torch's."""
        if all(error <= most for error, most in zip(errors, self.allowed(usual), strict=False)):
            return None  # a comparison with NaN is False
        return f"wrong: relative errors {_numbers(errors)}, where torch has {_numbers(usual)}"


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.1e}" for value in values)
