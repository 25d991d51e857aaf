"""What fastk's GPU kernels aim at, and what results say of each aim.

An aim compares times of one measurement: how many times as fast as a rival fastk is, or what share of the roofline of
the run it reaches. Over several sizes it is the geometric mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastk.bench import results

Row = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """One aim.

    Args:
        what: the op or model, and the direction.
        case: of the rows that count.
        measure: likewise.
        least: the aim: a ratio, or a percentage of the roofline.
        rival: a provider; `"best"` for the fastest that is not fastk's; None for the roofline.
        ours: fastk's provider.
        variant: a word that the variant must have.
        dtype: of the rows.
    """

    what: str
    case: str
    measure: str
    least: float
    rival: str | None
    ours: str = "fastk"
    variant: str = ""
    dtype: str = "bfloat16"

    def text(self) -> str:
        """The aim in words."""
        if self.rival is None:
            return f"≥ {self.least:g} % of the roofline"
        names = {"best": "the best rival", results.FLOOR: "the bare product"}
        return f"≥ {self.least:g} × {names.get(self.rival, self.rival)}"

    def measured(self, found: Iterable[Row]) -> list[float]:
        """The ratio or percentage of each size that rows have."""
        by_key = results.times_of(found)
        values = []
        for key, row in by_key.items():
            if not self._counts(row):
                continue
            if self.rival is None:
                value = row.get("roofline_percent")
            elif self.rival == "best":
                value = row["best_rival_percent"] / 100 if "best_rival_percent" in row else None
            else:
                other = by_key.get((*key[:-1], self.rival))
                value = other["ms"]["p50"] / row["ms"]["p50"] if other else None
            values += [] if value is None else [value]
        return values

    def _counts(self, row: Row) -> bool:
        asked = (self.case, self.measure, self.ours)
        return (
            (row["case"], row["measure"], row["provider"]) == asked
            and self.variant in (*row["variant"].split(), "")
            and row["dtype"] in (self.dtype, f"mixed_{self.dtype}")
        )


def mean(values: list[float]) -> float | None:
    """The geometric mean, None of none."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


BOTH = "forward+backward"
AIMS = (
    Aim("Dense, bias, ReLU forward", "dense", "forward", 1.0, results.FLOOR, variant="relu"),
    Aim("Dense, bias, GELU forward", "dense", "forward", 1.1, "torch.compile", variant="gelu"),
    Aim("Dense, bias, ReLU, dropout forward", "dense", "forward", 1.1, "torch.compile", variant="dropout"),
    Aim("Dense 8192 × 8192 × 8192", "dense", "forward", 95, None, variant="8192x8192x8192"),
    Aim("Dense forward and backward", "dense", BOTH, 1.15, "torch.compile"),
    Aim("Conv2D 3 × 3 with bias and ReLU", "conv2d", "forward", 1.05, "library", variant="3x3/1"),
    Aim("Conv2D 1 × 1 with bias and ReLU", "conv2d", "forward", 1.05, "library", variant="1x1/1"),
    Aim("Conv2D forward, the kernels alone", "conv2d", "forward", 1.0, results.FLOOR, ours="fastk-triton"),
    Aim("Conv2D forward and backward, dispatched", "conv2d", BOTH, 1.0, "torch"),
    Aim("BatchNormalization in training", "batch_norm", BOTH, 1.25, "torch"),
    Aim("MaxPooling2D forward and backward", "max_pool2d", BOTH, 1.6, "torch"),
    Aim("MaxPooling2D forward and backward", "max_pool2d", BOTH, 92, None),
    Aim("Dropout forward and backward", "dropout", BOTH, 1.2, "torch"),
    Aim("Dropout forward and backward", "dropout", BOTH, 92, None),
    Aim("LSTM forward and backward", "lstm", BOTH, 3, "torch"),
    Aim("Softmax cross-entropy forward and backward", "softmax_cross_entropy", BOTH, 1.5, "torch.compile"),
    Aim("Softmax cross-entropy forward and backward", "softmax_cross_entropy", BOTH, 90, None),
    Aim("Adam, float32", "adam", "forward", 1.0, "torch", dtype="float32"),
    Aim("Adam, float32", "adam", "forward", 92, None, dtype="float32"),
    Aim("`fit`, MLP", "mlp", "fit", 50, "keras-torch", dtype="float32"),
    Aim("`fit`, MLP", "mlp", "fit", 1.5, "torch.compile", dtype="float32"),
    Aim("`fit`, MLP", "mlp", "fit", 1.2, "keras-jax", dtype="float32"),
    Aim("`fit`, small residual CNN", "resnet", "fit", 10, "keras-torch", dtype="float32"),
    Aim("`fit`, small residual CNN", "resnet", "fit", 1.3, "torch", dtype="float32"),
    Aim("`fit`, ResNet-50, batch 256", "resnet50", "fit", 2, "keras-torch"),
    Aim("`fit`, ResNet-50, batch 256", "resnet50", "fit", 1.15, "torch.compile"),
    Aim("`predict`, one row, MLP", "mlp", "one row", 100, "keras-torch", dtype="float32"),
)
