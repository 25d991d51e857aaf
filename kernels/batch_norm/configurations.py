"""Tiles of batch normalisation over x [R, C]: 16 elements a thread, rows of at least 32 bytes."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ROWS_AT_ONCE = 512
MOST_PARTIALS = 512  # the second stage holds all of a channel's in one tile


@dataclass(frozen=True)
class TileConfiguration:
    """BLOCK_R rows by BLOCK_C channels. Where a tile holds all R rows, training takes one launch each way."""

    BLOCK_R: int
    BLOCK_C: int
    num_warps: int

    def why_invalid(self) -> str | None:
        """None, or why the kernels would be slow with it."""
        elements = self.BLOCK_R * self.BLOCK_C // (32 * self.num_warps)
        if elements > 16:
            return f"{elements} elements a thread: a mean and a sum of squares of each beside it spill above 16"
        if self.BLOCK_C < 16:
            return f"{self.BLOCK_C} channels of bfloat16 are less than a sector of 32 bytes"
        return None

    def holds(self, R: int) -> bool:
        """Whether one tile has all rows."""
        return self.BLOCK_R >= R


# All rows at once: 2048 elements on four warps, or 16 channels by more rows.
WHOLE = tuple(TileConfiguration(r, max(16, 2048 // r), max(4, r // 32)) for r in (16, 32, 64, 128, 256, 512))
# Rows in turn: eight warps, four of which programs keep enough bytes under way for the memory of a multiprocessor.
STREAMED = tuple(TileConfiguration(4096 // c, c, 8) for c in (16, 32, 64, 128))
SHIPPED = WHOLE + STREAMED


def choose_configuration(R: int, C: int) -> TileConfiguration:
    """A tile of all rows up to 512 of them, else the narrowest that has all channels."""
    if R <= MOST_ROWS_AT_ONCE:
        return next(tile for tile in WHOLE if tile.holds(R))
    return next((tile for tile in STREAMED if tile.BLOCK_C >= C), STREAMED[-1])


def split_rows(R: int, C: int, tile: TileConfiguration, processors: int) -> tuple[int, int, int]:
    """(programs over the channels, programs over the rows, blocks of rows for each of these)."""
    columns = -(-C // tile.BLOCK_C)
    blocks = -(-R // tile.BLOCK_R)
    programs = max(1, min(blocks, MOST_PARTIALS, 4 * processors // columns))
    steps = -(-blocks // programs)
    return columns, -(-blocks // steps), steps
