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
        """None, or why it is of no use: a thread must have a 128-bit access of one row, or a few of a long one.

        With more rows a thread loads the labels, and backward the statistics, in pieces.
        """
        share = self.BLOCK_M * self.BLOCK_C // (32 * self.num_warps)
        if share in (4, 8) or (self.BLOCK_M == 1 and share == 16):
            return None
        return f"a thread would have {share} elements of {self.BLOCK_M} rows, not 4, 8 or of one row 16"


_BY_ROWS = {
    share: tuple(RowConfiguration(128 * share // classes, classes, 4) for classes in _classes)
    for share, _classes in {8: (16, 32, 64, 128, 256, 512, 1024), 4: (16, 32, 64, 128, 256, 512)}.items()
}
_BY_ROW = RowConfiguration(1, 1024, 4), RowConfiguration(1, 2048, 4), RowConfiguration(1, 4096, 8)
SHIPPED = tuple(dict.fromkeys((*_BY_ROWS[8], *_BY_ROWS[4], *_BY_ROW)))


def choose_configuration(classes: int, itemsize: int) -> RowConfiguration:
    """The smallest block that holds a row; longer rows are walked in blocks of the largest. itemsize: of a logit.

    >>> [choose_configuration(classes, 2).BLOCK_C for classes in (10, 1000, 32000)]
    [16, 1024, 4096]
    """
    candidates = (*_BY_ROWS[8 if itemsize == 2 else 4], *_BY_ROW)
    return next((shipped for shipped in candidates if classes <= shipped.BLOCK_C), _BY_ROW[-1])
