"""Torch's activations, as modules, functions and methods, by fastk's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


@dataclass(frozen=True)
class Rule:
    """An activation of torch.

    parameters: those after x, with torch's defaults; `inplace` changes no number.
    names: fastk's name for each tuple of values that fastk has.
    """

    parameters: tuple[tuple[str, Any], ...]
    names: dict[tuple, str]


def _plain(name: str) -> Rule:
    return Rule((), {(): name})


RULES = {
    "relu": _plain("relu"),
    "relu6": _plain("relu6"),
    "leaky_relu": Rule((("negative_slope", 0.01),), {(0.2,): "leaky_relu"}),
    "elu": Rule((("alpha", 1.0),), {(1.0,): "elu"}),
    "selu": _plain("selu"),
    "gelu": Rule((("approximate", "none"),), {("none",): "gelu", ("tanh",): "gelu_tanh"}),
    "silu": _plain("silu"),
    "sigmoid": _plain("sigmoid"),
    "tanh": _plain("tanh"),
    "softplus": Rule((("beta", 1.0), ("threshold", 20.0)), {(1.0, 20.0): "softplus"}),
    "hardsigmoid": _plain("hard_sigmoid"),
    "mish": _plain("mish"),
}
MODULES: dict[type, str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Softplus: "softplus",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Mish: "mish",
}
# `torch.relu`, `F.relu`, `F.relu_` and so on; softplus is one builtin under two names.
FUNCTIONS: dict[Callable[..., Any], str] = {
    function: name
    for name in RULES
    for where in (F, torch)
    for function in (getattr(where, name, None), getattr(where, f"{name}_", None))
    if function is not None
}


@dataclass(frozen=True)
class Unknown:
    """An activation that fastk's kernels do not have, in words."""

    reason: str


def of_module(module: nn.Module) -> str | Unknown | None:
    """fastk's name for an activation module; None for a module that is none."""
    name = MODULES.get(type(module))
    if name is None:
        return None
    return _named(name, {key: getattr(module, key) for key, _ in RULES[name].parameters})


def of_call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | Unknown | None:
    """fastk's name for what a call of a function, or of a method by its name, computes; None for no activation.

    args, kwargs: those after x.

    >>> of_call(torch.relu, (), {}), of_call("relu_", (), {}), of_call(F.gelu, (), {"approximate": "tanh"})
    ('relu', 'relu', 'gelu_tanh')
    >>> of_call(F.leaky_relu, (), {})
    Unknown(reason='leaky_relu with negative_slope=0.01, and fastk has it with negative_slope=0.2')
    """
    name = target.removesuffix("_") if isinstance(target, str) else FUNCTIONS.get(target)
    if name is None or name not in RULES:
        return None
    given = dict(zip((key for key, _ in RULES[name].parameters), args, strict=False))
    return _named(name, given | {key: value for key, value in kwargs.items() if key != "inplace"})


def _named(name: str, given: dict[str, Any]) -> str | Unknown:
    rule = RULES[name]
    values = tuple(given.get(key, default) for key, default in rule.parameters)
    try:
        known = rule.names.get(values)
    except TypeError:  # a value of the graph: no number that is known ahead
        known = None
    if known is not None:
        return known

    def shown(values: tuple) -> str:
        return ", ".join(f"{key}={value!r}" for (key, _), value in zip(rule.parameters, values, strict=True))

    return Unknown(f"{name} with {shown(values)}, and fastk has it with {' or '.join(map(shown, rule.names))}")
