"""Tiles of layer normalisation: whole rows, held in registers from the load to the store."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_ROW = 8192  # with 16384 backward, on 32 warps of 64 registers, spills 176 bytes a thread in float32


@dataclass(frozen=True)
class RowConfiguration:
    """BLOCK_M rows of up to BLOCK_N elements for each program."""

    BLOCK_M: int
    BLOCK_N: int
    num_warps: int

    def why_invalid(self, N: int) -> str | None:
        """None, or why it cannot take rows of N elements."""
        if self.BLOCK_N < N:
            return f"a tile of {self.BLOCK_N} columns does not hold a row of {N}"
        elements = self.BLOCK_M * self.BLOCK_N // (32 * self.num_warps)
        if elements > 16:
            return f"{elements} elements a thread: backward keeps six values of each, and spills above 16"
        return None


def _of(elements: int, BLOCK_N: int) -> RowConfiguration:
    return RowConfiguration(max(1, elements // BLOCK_N), BLOCK_N, max(1, max(elements, BLOCK_N) // 512))


_WIDTHS = tuple(1 << power for power in range(4, 14))
# 512 elements are a warp's, for few rows; 2048, four warps, have enough bytes under way for many.
SHIPPED = tuple(dict.fromkeys(_of(elements, width) for width in _WIDTHS for elements in (512, 2048)))


def choose_configuration(M: int, N: int, processors: int) -> RowConfiguration:
    """The narrowest tile that holds a row; of 2048 elements where two programs for each multiprocessor remain."""
    width = max(16, 1 << (N - 1).bit_length())
    large = _of(2048, width)
    return large if 2 * processors * large.BLOCK_M <= M else _of(512, width)


def programs_of_backward(M: int, configuration: RowConfiguration, processors: int) -> int:
    """How many programs share the rows: 16 warps a multiprocessor, so that partial sums of dgamma stay few."""
    resident = max(1, 16 // configuration.num_warps) * processors
    return max(1, min(resident, -(-M // configuration.BLOCK_M)))
