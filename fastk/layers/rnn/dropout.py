"""The dropout of recurrent cells: one mask for all steps of a sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastk import autograd
from fastk.random import SeedGenerator
from fastk.scopes import state


class DropoutMasks:
    """Draws a cell's masks at the first step of a sequence and keeps them for the others.

    The same mask at every step is what keeps dropout from destroying what a state remembers (Gal and Ghahramani, 2016,
    "A theoretically grounded application of dropout in recurrent neural networks"). The layer that runs the cell calls
    `forget_masks` at the end of the sequence; whoever calls a cell alone calls `reset_dropout_mask` and
    `reset_recurrent_dropout_mask`.

    Attributes:
        dropout, recurrent_dropout: the shares of the inputs and of the previous outputs that are dropped.
        seed_generator: what the masks are drawn from.
        dropout_mask_count: the number of masks, one for each gate; None for one that all gates share.
    """

    dropout: float
    recurrent_dropout: float
    seed_generator: SeedGenerator
    dropout_mask_count: int | None = None

    def get_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Factors of one step's input, of its shape or `(dropout_mask_count, *shape)`; None without dropout."""
        return self._kept_mask("_dropout_mask", self.dropout, step_input)

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Factors of the previous output, of its shape or `(dropout_mask_count, *shape)`; None without dropout."""
        return self._kept_mask("_recurrent_dropout_mask", self.recurrent_dropout, step_input)

    def reset_dropout_mask(self) -> None:
        """Forgets the mask of the inputs: the next step draws one."""
        self.__dict__.pop("_dropout_mask", None)

    def reset_recurrent_dropout_mask(self) -> None:
        """Forgets the mask of the previous outputs: the next step draws one."""
        self.__dict__.pop("_recurrent_dropout_mask", None)

    def _kept_mask(self, name: str, rate: float, like: Tensor) -> Tensor | None:
        if rate == 0 or state.symbolic:
            return None
        mask = self.__dict__.get(name)
        if mask is None or mask.shape[-like.ndim :] != like.shape:
            shape = like.shape if self.dropout_mask_count is None else (self.dropout_mask_count, *like.shape)
            mask = autograd.dropout(like.new_ones(shape), rate, self.seed_generator.next())
            self.__dict__[name] = mask
        return mask


def forget_masks(cell: Any) -> None:
    """Forgets the masks of `cell`, and of the cells stacked in it."""
    if isinstance(cell, DropoutMasks):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    else:
        for inner in getattr(cell, "cells", ()):
            forget_masks(inner)
