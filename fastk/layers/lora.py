"""LoRA: a frozen weight and a small trained correction of it.

    W + (alpha / rank) · A B,    A: (..., rank), B: (rank, last axis of W)

Source: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from __future__ import annotations

from typing import Any

import torch

from fastk import initializers
from fastk.tensor import to_boundary
from fastk.variable import Variable


class LowRankAdaptation:
    """The part of a layer whose weight `_lora_weight` can be frozen and corrected.

    >>> import fastk
    >>> layer = fastk.layers.Dense(16)
    >>> layer.build((None, 32))
    >>> layer.enable_lora(rank=2)
    >>> [(v.name, v.shape) for v in layer.trainable_weights]
    [('bias', (16,)), ('lora_kernel_a', (32, 2)), ('lora_kernel_b', (2, 16))]
    """

    _lora_weight = "kernel"
    lora_enabled = False
    lora_rank: int | None = None
    lora_alpha: float | None = None
    add_weight: Any
    built: bool
    _own_variables: Any

    def _set_lora(self, rank: int | None, alpha: float | None) -> None:
        """Keeps the constructor's arguments."""
        self.lora_rank = rank
        self.lora_alpha = rank if alpha is None else alpha

    def _build_lora(self) -> None:
        """Makes the correction in `build`, where the constructor was given a rank."""
        if self.lora_rank:
            self._add_lora(self.lora_rank, self.lora_alpha, "he_uniform", "zeros")

    def enable_lora(
        self,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
    ) -> None:
        """Freezes the weight and adds a trained correction of low rank, which is zero at first. Compile anew then.

        Args:
            rank: the correction's rank.
            lora_alpha: the correction is multiplied by `lora_alpha / rank`; by default by 1.
            a_initializer, b_initializer: first values of the two factors.

        Raises:
            ValueError: a layer that is not built, that has a correction already, or whose weight has a constraint.
        """
        if getattr(self, f"{self._lora_weight}_constraint") is not None:
            raise ValueError(
                f"Lora is incompatible with {self._lora_weight.removesuffix('s')} constraints. In order to enable lora "
                f"on this layer, remove the `{self._lora_weight}_constraint` argument."
            )
        if not self.built:
            raise ValueError("Cannot enable lora on a layer that isn't yet built: call the layer or its `build` first.")
        if self.lora_enabled:
            raise ValueError("lora is already enabled. This can only be done once per layer.")
        self._state_locked = False
        try:
            self._add_lora(rank, lora_alpha, a_initializer, b_initializer)
        finally:
            self._state_locked = True

    def _add_lora(self, rank: int, alpha: float | None, a_initializer: Any, b_initializer: Any) -> None:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise ValueError(f"The rank of lora must be a positive integer. Received: rank={rank!r}")
        name = self._lora_weight
        weight = getattr(self, name)
        shapes = {"a": (*weight.shape[:-1], rank), "b": (rank, weight.shape[-1])}
        for factor, initializer in (("a", a_initializer), ("b", b_initializer)):
            variable = self.add_weight(
                name=f"lora_{name}_{factor}",
                shape=shapes[factor],
                initializer=initializers.get(initializer),
                dtype="float32",  # small steps would be lost in half precision
                regularizer=getattr(self, f"{name}_regularizer"),
            )
            setattr(self, f"lora_{name}_{factor}", variable)
        weight.trainable = False
        # As in Keras the weight's name now means it with its correction, and `_kernel` the frozen variable.
        del self.__dict__[name]
        object.__setattr__(self, f"_{name}", weight)
        self.lora_enabled = True
        self.lora_rank = rank
        self.lora_alpha = rank if alpha is None else alpha

    def __getattr__(self, name: str) -> Any:
        if name == self._lora_weight and self.__dict__.get("lora_enabled"):
            return to_boundary(self._adapted())
        return super().__getattr__(name)  # type: ignore[misc]

    def _frozen(self) -> Variable:
        """The weight's variable, without the correction."""
        return getattr(self, f"_{self._lora_weight}" if self.lora_enabled else self._lora_weight)

    def _factors(self) -> tuple[Variable, Variable]:
        return getattr(self, f"lora_{self._lora_weight}_a"), getattr(self, f"lora_{self._lora_weight}_b")

    def _lora_scale(self) -> float:
        assert self.lora_alpha is not None and self.lora_rank is not None
        return self.lora_alpha / self.lora_rank

    def _adapted(self) -> torch.Tensor:
        """The weight with its correction."""
        weight = self._frozen().value
        if not self.lora_enabled:
            return weight
        a, b = self._factors()
        return weight + (self._lora_scale() * torch.matmul(a.value, b.value)).to(weight.dtype)

    def _lora_weights(self) -> dict[str, Variable]:
        """The factors by name, for the graph."""
        return {v.name: v for v in self._factors()} if self.lora_enabled else {}

    def _lora_config(self) -> dict[str, Any]:
        return {"lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha} if self.lora_rank else {}

    # A file holds the weight with its correction: whoever reads it needs no LoRA.

    def _without_lora(self) -> list[Variable]:
        factors = self._factors()
        own = [v for v in self._own_variables() if not any(v is factor for factor in factors)]
        weight = self._frozen()  # it may have moved behind the others
        return [weight, *(v for v in own if v is not weight)]

    def save_own_variables(self, store: Any) -> None:
        """Puts the variables into `store`, the correction added to the weight."""
        if not self.lora_enabled:
            super().save_own_variables(store)  # type: ignore[misc]
            return
        weight = self._frozen()
        for i, variable in enumerate(self._without_lora()):
            store[f"{i}"] = self._adapted().detach() if variable is weight else variable

    def load_own_variables(self, store: Any) -> None:
        """Reads the variables from `store`; the correction becomes zero."""
        if not self.lora_enabled:
            super().load_own_variables(store)  # type: ignore[misc]
            return
        own = self._without_lora()
        if len(store.keys()) != len(own):
            raise ValueError(
                f"Layer '{getattr(self, 'name', '')}' expected {len(own)} variables, but received "
                f"{len(store.keys())} variables during loading. Expected: {[(v.name, v.shape) for v in own]}"
            )
        for i, variable in enumerate(own):
            variable.assign(store[f"{i}"])
        for factor in self._factors():
            factor.assign(torch.zeros(factor.shape))
