"""Variables of fastk's that hold the very tensors of Keras's variables: what one writes, the other reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk.variable import Variable


class Unlike(ValueError):
    """Why something of Keras's has no twin in fastk, as a sentence."""


def share(own: Variable, theirs: Any) -> None:
    """Has a variable of fastk hold the tensor of one of Keras's.

    Args:
        own: the variable of fastk, of the same shape and dtype; it takes over what training asks of a variable.
        theirs: the `keras.Variable`.
    """
    value = theirs._value
    if value is None:
        raise Unlike(f"the variable {theirs.path} is not initialized")
    if tuple(value.shape) != tuple(own.shape) or (own._value is not None and own._value.dtype is not value.dtype):
        raise Unlike(f"the variable {theirs.path} has another shape or dtype than fastk's {own.path}")
    own._value = value
    own._trainable = theirs.trainable
    own._overwrite_with_gradient = bool(getattr(theirs, "overwrite_with_gradient", False))


def shared(theirs: Any) -> Variable:
    """A variable of fastk's, for its optimizers, that holds the tensor of one of Keras's."""
    own = Variable.__new__(Variable)
    own.name, own.path = theirs.name, theirs.path
    own._dtype, own._shape = str(theirs._dtype), tuple(theirs.shape)
    own._autocast, own.aggregation, own.synchronization = False, "none", "auto"
    own._value = own._initializer = own._regularizer = None
    constraint = theirs.constraint
    own._constraint = None if constraint is None else lambda variable: constraint(variable.value)
    share(own, theirs)
    return own


def share_layer(own: Any, theirs: Any) -> None:
    """Has a layer of fastk, which is built, hold the tensors of its counterpart in Keras, and be trained as it is.

    Raises:
        Unlike: the two do not have the same variables.
    """
    for mine, yours in pairs_of_weights(own, theirs):
        before = mine._value
        share(mine, yours)
        _register(own, before, mine._value)
    mine, yours = _seed_generators(own), _seed_generators(theirs)
    if len(mine) != len(yours):
        raise Unlike(f"it has {len(yours)} seed generators in Keras, and {len(mine)} in fastk")
    for one, other in zip(mine, yours, strict=True):
        one.next = _draws_from(other)
    _follow_trainable(own, theirs)
    if hasattr(own, "finalize_state") and own.weights:
        own.finalize_state()  # what follows from what the layer was adapted to


def pairs_of_weights(own: Any, theirs: Any) -> list[tuple[Variable, Any]]:
    """The weights of both, by their paths within the layer, or where these differ by their order and names."""
    mine, yours = _by_path(own), _by_path(theirs)
    if mine.keys() == yours.keys() and len(mine) == len(own.weights) == len(theirs.weights):
        return [(mine[path], yours[path]) for path in mine]
    if [(v.name, tuple(v.shape)) for v in own.weights] == [(v.name, tuple(v.shape)) for v in theirs.weights]:
        return list(zip(own.weights, theirs.weights, strict=True))
    raise Unlike(
        f"its weights are {[f'{v.name}{list(v.shape)}' for v in theirs.weights]} in Keras, and "
        f"{[f'{v.name}{list(v.shape)}' for v in own.weights]} in fastk"
    )


def _by_path(layer: Any) -> dict[str, Any]:
    def within(path: str) -> str:
        parts = path.split("/")
        return "/".join(parts[parts.index(layer.name) + 1 :]) if layer.name in parts else path

    return {within(v.path): v for v in layer.weights}


def _seed_generators(layer: Any) -> list[Any]:
    return [generator for one in layer._flatten_layers() for generator in one._seed_generators]


def _draws_from(generator: Any) -> Callable[..., torch.Tensor]:
    """`SeedGenerator.next` of fastk on the state of Keras's, which moves on as it does in Keras."""
    value = generator.state._value.detach()  # [seed, offset], in Keras's dtype; assigned in place
    increment = torch.tensor([0, 1], dtype=value.dtype, device=value.device)

    def draw(ordered: bool = True) -> torch.Tensor:
        if not ordered:
            return generator.next(ordered).long()
        seed = value.long() if value.dtype is not torch.int64 else value.clone()
        value.add_(increment)
        return seed

    return draw


def _follow_trainable(own: Any, theirs: Any) -> None:
    """Frozen layers compute otherwise (batch normalization); what is trained says the shared tensor by itself."""
    object.__setattr__(own, "_trainable", bool(theirs.trainable))
    if len(own._layers) == len(theirs._layers):
        for mine, yours in zip(own._layers, theirs._layers, strict=True):
            _follow_trainable(mine, yours)
    elif not all(layer.trainable == theirs.trainable for layer in theirs._flatten_layers()):
        raise Unlike("layers inside it are frozen")


def _register(layer: Any, before: torch.Tensor | None, now: Any) -> None:
    """Puts the shared tensor in the place of the layer's own, under which torch lists its parameters."""
    for one in layer._flatten_layers():
        for registered in (one._parameters, one._buffers):
            for name, value in registered.items():
                if value is before:
                    registered[name] = now
