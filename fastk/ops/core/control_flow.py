"""Loops, branches and mapped functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import tree
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.symbolic import compute_output_spec
from fastk.ops.operands import canonical_axis
from fastk.ops.registration import operation
from fastk.scopes import state
from fastk.tensor import convert_to_tensor

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "switch", "vectorized_map", "while_loop"]


def _same(x: Any) -> KerasTensor:
    return KerasTensor(x.shape, dtype=x.dtype)


def _element(x: Any) -> KerasTensor:
    return KerasTensor(x.shape[1:], dtype=x.dtype)


def _batched(structure: Any, size: int | None) -> Any:
    return tree.map_structure(lambda y: None if y is None else KerasTensor((size, *y.shape), dtype=y.dtype), structure)


def _cond_spec(pred: Any, true_fn: Callable, false_fn: Callable) -> Any:
    outcomes = compute_output_spec(true_fn), compute_output_spec(false_fn)
    kinds = [tree.map_structure(lambda y: None if y is None else (y.shape, y.dtype), outcome) for outcome in outcomes]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "`true_fn` and `false_fn` should return outputs of the same kind (struct, dtype and shape). "
            f"Got {outcomes[0]} and {outcomes[1]} instead."
        )
    return outcomes[0]


@operation("pred true_fn false_fn", spec=_cond_spec)
def cond(pred: Any, true_fn: Callable, false_fn: Callable) -> Any:
    """What `true_fn()` returns where `pred` is true, else what `false_fn()` does.

    `pred` is read on the host, which waits for the device: `where` does not.
    """
    if state.symbolic:
        return true_fn()
    return true_fn() if pred else false_fn()


def _switch_spec(index: Any, branches: Any, *operands: Any) -> Any:
    return compute_output_spec(branches[0], *operands)


@operation("index branches operands", spec=_switch_spec)
def switch(index: Any, branches: Any, *operands: Any) -> Any:
    """What the branch of the given index returns for `operands`; the index is clipped to those that there are.

    >>> from fastk import ops
    >>> ops.switch(1, [lambda x, y: x + y, lambda x, y: x - y], 5, 3)
    2
    """
    if state.symbolic:
        return branches[0](*operands)
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def _while_spec(cond: Callable, body: Callable, loop_vars: Any, maximum_iterations: int | None = None) -> Any:
    return tree.map_structure(_same, loop_vars)


@operation("loop_vars", spec=_while_spec)
def while_loop(cond: Callable, body: Callable, loop_vars: Any, maximum_iterations: int | None = None) -> Any:
    """`loop_vars = body(*loop_vars)` as long as `cond(*loop_vars)` is true.

    Args:
        cond: returns a boolean scalar, read on the host each time.
        body: returns new loop variables in the structure of the old ones.
        loop_vars: a tensor, or a tuple or list of (structures of) tensors.
        maximum_iterations: stop after so many.

    >>> from fastk import ops
    >>> ops.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, 2 * x), (0, 1.0))
    (tensor(3, dtype=torch.int32), tensor(8.))
    """
    several = isinstance(loop_vars, (tuple, list))
    values = tree.map_structure(convert_to_tensor, tuple(loop_vars) if several else (loop_vars,))
    count = 0
    # Without values there is no condition; the variables keep their shapes.
    while not state.symbolic and (maximum_iterations is None or count < maximum_iterations) and cond(*values):
        values = body(*values)
        values = tuple(values) if isinstance(values, (list, tuple)) else (values,)
        count += 1
    return values if several else values[0]


def _fori_spec(lower: Any, upper: Any, body_fun: Callable, init_val: Any) -> Any:
    return tree.map_structure(_same, init_val)


@operation("init_val", spec=_fori_spec)
def fori_loop(lower: Any, upper: Any, body_fun: Callable, init_val: Any) -> Any:
    """`value = body_fun(i, value)` for each `i` from `lower` to below `upper`, beginning with `init_val`.

    >>> from fastk import ops
    >>> ops.fori_loop(0, 4, lambda i, total: total + i, 0)
    6
    """
    value = init_val
    if any(isinstance(bound, torch.Tensor) and bound.is_meta for bound in (lower, upper)):
        return body_fun(0, value)
    for i in range(int(lower), int(upper)):
        value = body_fun(i, value)
    return value


def _map_spec(f: Callable, xs: Any) -> Any:
    size = tree.flatten(xs)[0].shape[0]
    return _batched(compute_output_spec(f, tree.map_structure(_element, xs)), size)


@operation("f xs", spec=_map_spec)
def map(f: Callable, xs: Any) -> Any:
    """`f` of each element of `xs` along axis 0, the results stacked; one element after the other.

    >>> from fastk import ops
    >>> ops.map(lambda x: x * x, ops.arange(4)).tolist()
    [0, 1, 4, 9]
    """
    xs = tree.map_structure(convert_to_tensor, xs)
    size = tree.flatten(xs)[0].shape[0]
    results = [f(tree.map_structure(lambda x, i=i: x[i], xs)) for i in range(size)]
    return tree.map_structure(lambda *ys: torch.stack([convert_to_tensor(y) for y in ys]), *results)


def _vectorized_map_spec(function: Callable, elements: Any) -> Any:
    return _map_spec(function, elements)


@operation("elements", spec=_vectorized_map_spec)
def vectorized_map(function: Callable, elements: Any) -> Any:
    """`function` of each element along axis 0, all at once (`torch.vmap`)."""
    return torch.vmap(function)(tree.map_structure(convert_to_tensor, elements))


def _scan_spec(
    f: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: Any = 1
) -> Any:
    size = int(length) if length is not None else tree.flatten(xs)[0].shape[0]
    element = None if xs is None else tree.map_structure(_element, xs)
    carry, y = compute_output_spec(f, init, element)
    return carry, _batched(y, size)


@operation("f init xs", spec=_scan_spec)
def scan(
    f: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: Any = 1
) -> Any:
    """Runs `carry, y = f(carry, x)` over the elements of `xs` along axis 0.

    Args:
        f: takes the carry and an element, returns the next carry and an output.
        init: the first carry.
        xs: (a structure of) tensors, or None.
        length: the number of steps, where `xs` is None.
        reverse: begin with the last element.
        unroll: a positive int or a bool, checked and otherwise without effect: the steps run one by one.

    Returns:
        The last carry, and the outputs stacked in the order of `xs`.

    >>> from fastk import ops
    >>> carry, ys = ops.scan(lambda c, x: (c + x, c + x), ops.cast(0, "int32"), ops.arange(1, 5))
    >>> int(carry), ys.tolist()
    (10, [1, 3, 6, 10])
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(f"`unroll` must be an positive integer or boolean. Received: unroll={unroll}")
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    xs = None if xs is None else tree.map_structure(convert_to_tensor, xs)
    steps = range(int(length) if length is not None else tree.flatten(xs)[0].shape[0])
    carry = tree.map_structure(convert_to_tensor, init)
    nothing = [torch.zeros_like(x) for x in tree.flatten(carry)]
    outputs = []
    for i in reversed(steps) if reverse else steps:
        carry, y = f(carry, None if xs is None else tree.map_structure(lambda x, i=i: x[i], xs))
        outputs.append(nothing if y is None else y)
    if reverse:
        outputs.reverse()
    return carry, tree.map_structure(lambda *ys: torch.stack([convert_to_tensor(y) for y in ys]), *outputs)


@operation("f elems")
def associative_scan(f: Callable, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """The running results of an associative function, in a number of steps that grows with the logarithm of the size.

    Args:
        f: an associative function of two structures like `elems`.
        elems: (a structure of) tensors.
        reverse: begin with the last element.
        axis: what is scanned along.

    Source: Blelloch, "Prefix Sums and Their Applications", 1990.

    >>> from fastk import ops
    >>> ops.associative_scan(lambda a, b: a + b, ops.arange(5)).tolist()
    [0, 1, 3, 6, 10]
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    flat = [convert_to_tensor(x) for x in tree.flatten(elems)]
    axis = canonical_axis(axis, flat[0].ndim)
    if len({x.shape[axis] for x in flat}) > 1:
        raise ValueError(
            "Array inputs to associative_scan must have the same first dimension. "
            f"(saw: {[tuple(x.shape) for x in flat]})"
        )
    flat = [torch.flip(x, (axis,)) for x in flat] if reverse else flat

    def combine(a: list[torch.Tensor], b: list[torch.Tensor]) -> list[torch.Tensor]:
        return tree.flatten(f(tree.pack_sequence_as(elems, a), tree.pack_sequence_as(elems, b)))

    flat = _scanned(flat, combine, axis)
    return tree.pack_sequence_as(elems, [torch.flip(x, (axis,)) for x in flat] if reverse else flat)


def _part(xs: list[torch.Tensor], axis: int, start: int, stop: int | None = None, step: int = 1) -> list[torch.Tensor]:
    return [x[(slice(None),) * axis + (slice(start, stop, step),)] for x in xs]


def _scanned(xs: list[torch.Tensor], combine: Callable, axis: int) -> list[torch.Tensor]:
    size = xs[0].shape[axis]
    if size < 2:
        return xs
    # Results at odd positions are those of neighbours combined; each gives the even one after it.
    odd = _scanned(combine(_part(xs, axis, 0, size - 1, 2), _part(xs, axis, 1, None, 2)), combine, axis)
    even = _part(xs, axis, 0, 1)
    if size > 2:
        later = combine(_part(odd, axis, 0, (size - 1) // 2), _part(xs, axis, 2, None, 2))
        even = [torch.cat(pair, dim=axis) for pair in zip(even, later, strict=True)]
    return [_interleaved(a, b, axis) for a, b in zip(even, odd, strict=True)]


def _interleaved(even: torch.Tensor, odd: torch.Tensor, axis: int) -> torch.Tensor:
    pairs = odd.shape[axis]
    both = torch.stack((even.narrow(axis, 0, pairs), odd), dim=axis + 1).flatten(axis, axis + 1)
    return torch.cat((both, even.narrow(axis, pairs, even.shape[axis] - pairs)), dim=axis)
