"""Nested structures of lists, tuples, dicts and dataclass-like nodes: `optree` under Keras's names.

None is a leaf, and a dict is walked in the order of its sorted keys, as in Keras.

>>> from fastk import tree
>>> tree.map_structure(lambda v: v + 1, {"a": 1, "b": (2, 3)})
{'a': 2, 'b': (3, 4)}
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import optree

__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]

_OPTIONS: dict[str, Any] = {"none_is_leaf": True, "namespace": "fastk"}


def register_list(cls: type) -> None:
    """Makes instances of `cls`, a subclass of list, be walked like lists; what is made of one is a plain list."""
    optree.register_pytree_node(cls, lambda x: (list(x), None), lambda _, items: list(items), namespace="fastk")


def register_dict(cls: type) -> None:
    """Makes instances of `cls`, a subclass of dict, be walked like dicts; what is made of one is a plain dict."""

    def children(x: Any) -> tuple:
        keys = sorted(x)
        return [x[key] for key in keys], keys, keys

    optree.register_pytree_node(
        cls, children, lambda keys, items: dict(zip(cast(list, keys), items, strict=True)), namespace="fastk"
    )


def is_nested(structure: Any) -> bool:
    """Whether `structure` is a container that the functions here would open."""
    return not optree.tree_is_leaf(structure, **_OPTIONS)


def flatten(structure: Any) -> list:
    """The leaves, depth first."""
    return optree.tree_leaves(structure, **_OPTIONS)


def flatten_with_path(structure: Any) -> list[tuple[tuple, Any]]:
    """`(path, leaf)` pairs, a path being the keys and indices that lead to the leaf."""
    paths, leaves, _ = optree.tree_flatten_with_path(structure, **_OPTIONS)
    return list(zip(paths, leaves, strict=True))


def map_structure(func: Callable, *structures: Any, none_is_leaf: bool = True) -> Any:
    """`func` over the leaves of structures of one shape; a structure of the results."""
    if not structures:
        raise ValueError("Must provide at least one structure")
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: {func!r}")
    if none_is_leaf:
        return optree.tree_map(func, *structures, **_OPTIONS)

    def leave_none(first, *rest):
        return None if first is None else func(first, *rest)

    return optree.tree_map(leave_none, *structures, **_OPTIONS)


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """The leaves `flat_sequence` in the shape of `structure`."""
    leaves, spec = optree.tree_flatten(structure, **_OPTIONS)
    values = list(flat_sequence)
    if len(values) != len(leaves):
        raise ValueError(
            f"The structure has {len(leaves)} leaves, but the flat sequence has {len(values)}: "
            f"{structure!r}, {values!r}."
        )
    return optree.tree_unflatten(spec, values)


def assert_same_structure(a: Any, b: Any, check_types: bool | None = None) -> None:
    """Raises `ValueError` unless both have the same containers, keys and lengths; `check_types` means nothing."""
    if check_types is not None:
        warnings.warn(
            "The `check_types` argument is deprecated and has no effect: remove it, or call `assert_same_paths`, for "
            "which lists, tuples and namedtuples are the same.",
            DeprecationWarning,
            stacklevel=2,
        )
    spec_a, spec_b = optree.tree_structure(a, **_OPTIONS), optree.tree_structure(b, **_OPTIONS)
    if spec_a != spec_b:
        raise ValueError(
            f"`a` and `b` don't have the same structure. Expected that of a, a {type(a).__name__}: a={a!r}. "
            f"Received: b={b!r}."
        )


def assert_same_paths(a: Any, b: Any) -> None:
    """Raises `ValueError` unless the leaves of both have the same paths, whatever the kinds of the containers.

    >>> from fastk import tree
    >>> tree.assert_same_paths([1, {"a": 2}], (3, {"a": 4}))
    """
    paths_a = {path for path, _ in flatten_with_path(a)}
    paths_b = {path for path, _ in flatten_with_path(b)}
    if paths_a != paths_b:
        raise ValueError(
            f"`a` and `b` don't have the same paths. Only in `a`: {sorted(map(str, paths_a - paths_b))}; only in `b`: "
            f"{sorted(map(str, paths_b - paths_a))}."
        )


def map_structure_up_to(shallow_structure: Any, func: Callable, *structures: Any) -> Any:
    """`func` over the subtrees of `structures` that stand where `shallow_structure` has leaves."""
    spec = optree.tree_structure(shallow_structure, **_OPTIONS)
    columns = [spec.flatten_up_to(structure) for structure in structures]
    return optree.tree_unflatten(spec, [func(*row) for row in zip(*columns, strict=True)])


def lists_to_tuples(structure: Any) -> Any:
    """The same structure with every list a tuple (hashable where its leaves are)."""
    if isinstance(structure, dict):
        return {key: lists_to_tuples(value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)) and not hasattr(structure, "_fields"):
        return tuple(lists_to_tuples(value) for value in structure)
    return structure


def traverse(func: Callable, structure: Any, top_down: bool = True) -> Any:
    """`func` on every subtree; a value other than None replaces it (`MAP_TO_NONE` stands for None)."""

    def children(node):
        if not is_nested(node):
            return node
        return optree.tree_map(
            lambda child: traverse(func, child, top_down), node, is_leaf=lambda child: child is not node, **_OPTIONS
        )

    def replaced(node):
        result = func(node)
        if result is MAP_TO_NONE:
            return True, None
        return result is not None, result

    if top_down:
        done, value = replaced(structure)
        return value if done else children(structure)
    mapped = children(structure)
    done, value = replaced(mapped)
    return value if done else mapped


class MAP_TO_NONE:  # noqa: N801 - Keras's name
    """Returned by the function given to `traverse` to put None in a subtree's place."""


def is_shape(value: Any) -> bool:
    """Whether `value` is one shape, not a structure of shapes."""
    return isinstance(value, (list, tuple)) and all(size is None or isinstance(size, int) for size in value)


def map_shape_structure(func: Callable, structure: Any) -> Any:
    """`func` over the shapes of a structure of shapes; None counts as a shape that is not known.

    >>> from fastk import tree
    >>> tree.map_shape_structure(len, {"a": (2, None), "b": [(3,), ()]})
    {'a': 2, 'b': [1, 0]}
    """
    if structure is None or is_shape(structure):
        return func(structure)
    if isinstance(structure, dict):
        return {key: map_shape_structure(func, structure[key]) for key in sorted(structure)}
    return type(structure)(map_shape_structure(func, item) for item in structure)
