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
# 512 elements are a warp's, for few rows; of many rows eight warps share gamma, beta and the sums of their gradients.
SHIPPED = tuple(dict.fromkeys(_of(elements, width) for width in _WIDTHS for elements in (512, 4096)))
# Warps that a multiprocessor has of each kernel: with 80 and 128 registers a thread, which is what they need.
FORWARD_WARPS, BACKWARD_WARPS = 24, 16


def choose_configuration(M: int, N: int, processors: int) -> RowConfiguration:
    """The narrowest tile that holds a row; of 4096 elements where two programs for each multiprocessor remain."""
    width = max(16, 1 << (N - 1).bit_length())
    large = _of(4096, width)
    return large if 2 * processors * large.BLOCK_M <= M else _of(512, width)


def share_out(M: int, configuration: RowConfiguration, warps: int, processors: int) -> tuple[int, int]:
    """(programs, blocks of rows for each): no more programs than are under way at once, of `warps` a multiprocessor.

    >>> share_out(65536, RowConfiguration(4, 1024, 8), warps=16, processors=132)
    (261, 63)
    """
    blocks = -(-M // configuration.BLOCK_M)
    resident = max(1, warps // configuration.num_warps) * processors
    steps = -(-blocks // min(blocks, resident))
    return -(-blocks // steps), steps


def registers(configuration: RowConfiguration, warps: int) -> int:
    """How many a thread may have for `warps` to be on a multiprocessor at once; ptxas itself may aim lower, and spill.

    >>> registers(RowConfiguration(4, 1024, 8), warps=24), registers(RowConfiguration(1, 8192, 16), warps=24)
    (80, 128)
    """
    resident = max(1, warps // configuration.num_warps) * configuration.num_warps
    return 65536 // (32 * resident) // 8 * 8
