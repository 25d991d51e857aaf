"""Seeds: where every random number of fastk comes from.

A `SeedGenerator` holds `[seed, offset]` on the device and moves the offset on at each draw; the same pair always
gives the same numbers.
"""

from __future__ import annotations

import random as python_random
import threading
from typing import Any

import torch

from fastk.naming import auto_name, name_scope
from fastk.variable import Variable


class _Global(threading.local):
    generator: SeedGenerator | None = None


_global = _Global()


def make_default_seed() -> int:
    """A seed from Python's own generator, which `set_random_seed` makes reproducible."""
    return python_random.randint(1, int(1e9))


class SeedGenerator:
    """A stream of seeds for random layers and `keras.random` functions.

    Args:
        seed: an integer, or None for one drawn at random.
        name: name of the state's scope.

    >>> import fastk
    >>> generator = fastk.random.SeedGenerator(seed=1337)
    >>> generator.next().tolist(), generator.next().tolist()
    ([1337, 0], [1337, 1])
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        self.name = name or auto_name(type(self).__name__)
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ValueError(f"Argument `seed` must be an integer. Received: seed={seed}")
        self._initial_seed = seed
        first = make_default_seed() if seed is None else seed
        with name_scope(self.name, caller=self):
            self.state = Variable(
                lambda shape, dtype: torch.tensor([first, 0], dtype=torch.int64),
                shape=(2,),
                dtype="int64",
                trainable=False,
                name="seed_generator_state",
            )

    def next(self, ordered: bool = True) -> torch.Tensor:
        """The current `[seed, offset]`, int64; the state moves on."""
        current = self.state.value.detach()
        seed = current.clone()
        if ordered:
            self.state.assign(current + _increment(current.device))
        else:
            self.state.assign((current + 1) * 5387 % 933199)
        return seed

    def get_config(self) -> dict[str, Any]:
        """The arguments that make such a generator anew."""
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """A generator from `get_config`'s result."""
        return cls(**config)


_increments: dict[torch.device, torch.Tensor] = {}


def _increment(device: torch.device) -> torch.Tensor:
    if device not in _increments:
        _increments[device] = torch.tensor([0, 1], dtype=torch.int64, device=device)
    return _increments[device]


def global_seed_generator() -> SeedGenerator:
    """The generator used where no seed is given."""
    if _global.generator is None:
        _global.generator = SeedGenerator()
    return _global.generator


def global_seed_generator_if_any() -> SeedGenerator | None:
    """The generator used where no seed is given; None where none has been needed since it was last forgotten."""
    return _global.generator


def reset_global_seed_generator() -> None:
    """Forgets the global generator: the next use makes one, seeded from Python's generator."""
    _global.generator = None


def draw_seed(seed: SeedGenerator | int | None) -> torch.Tensor:
    """`[seed, offset]` as an int64 tensor: from a generator, an integer, or (None) the global generator."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if seed is None:
        return global_seed_generator().next()
    if isinstance(seed, int) and not isinstance(seed, bool):
        return torch.tensor([seed, 0], dtype=torch.int64)
    raise ValueError(
        "Argument `seed` must be either an integer or an instance of `SeedGenerator`. "
        f"Received: seed={seed} (of type {type(seed)})"
    )


def host_generator(seed: torch.Tensor) -> torch.Generator:
    """A torch generator that starts at `[seed, offset]`, on the seed's device."""
    first, offset = seed.tolist()
    # The multiplier (the 64-bit golden ratio) keeps neighbouring offsets from giving neighbouring seeds.
    mixed = (first + offset * 0x9E3779B97F4A7C15) & 0x7FFF_FFFF_FFFF_FFFF
    return torch.Generator(device=seed.device).manual_seed(mixed)
