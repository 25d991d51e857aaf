"""How the rows of logits are cut into programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RowConfiguration:
    """BLOCK_M rows of BLOCK_C classes a program at a time, by num_warps warps."""

    BLOCK_M: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why it is of no use: registers hold up to 16 elements of a row and as many of its probabilities."""
        share = self.BLOCK_M * self.BLOCK_C // (32 * self.num_warps)
        return None if 8 <= share <= 16 else f"a thread would have {share} elements, not 8 to 16"


SHIPPED = (
    *(RowConfiguration(2048 // classes, classes, 4) for classes in (16, 32, 64, 128, 256, 512, 1024, 2048)),
    RowConfiguration(1, 4096, 8),
)


def choose_configuration(classes: int) -> RowConfiguration:
    """The smallest block that holds a row; longer rows are walked in blocks of the largest.

    >>> choose_configuration(10).BLOCK_C, choose_configuration(1000).BLOCK_C, choose_configuration(32000).BLOCK_C
    (16, 1024, 4096)
    """
    return next((shipped for shipped in SHIPPED if shipped.BLOCK_C >= classes), SHIPPED[-1])
