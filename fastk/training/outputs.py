"""Matching what the user gives per output (losses, weights, metrics, labels) to a model's outputs.

Given may be: one value for all outputs, a list in the order of the outputs, a dict by output names, or a structure like
that of the outputs. All come out as a flat list, one entry an output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastk import tree


@dataclass(frozen=True)
class Outputs:
    """The structure of a model's outputs.

    Attributes:
        structure: the outputs' structure, with None as leaves.
        names: the name of each output, flat; None where it has none.
        paths: the keys and indices that lead to each output, flat.

    >>> outputs = Outputs.of({"a": 1.0, "b": 2.0}, None)
    >>> outputs.match({"b": "mse"}, "loss"), outputs.match(["mse", "mae"], "loss"), outputs.match("mse", "loss")
    ([None, 'mse'], ['mse', 'mae'], ['mse', 'mse'])
    """

    structure: Any
    names: list[str | None]
    paths: list[tuple]

    @classmethod
    def of(cls, y_pred: Any, names: list[str] | None) -> Outputs:
        """The structure of `y_pred`; `names` are those of the model's output layers, in its own order."""
        paths = [path for path, _ in tree.flatten_with_path(y_pred)]
        if isinstance(y_pred, dict) and all(len(path) == 1 for path in paths):
            found: list[str | None] = [str(path[0]) for path in paths]
        elif names is not None and len(names) == len(paths):
            found = list(names)
        else:
            found = [None] * len(paths)
        return cls(tree.map_structure(lambda _: None, y_pred), found, paths)

    def __len__(self) -> int:
        return len(self.names)

    def match(self, given: Any, what: str, default: Any = None) -> list:
        """`given` as one entry an output.

        Args:
            given: what the user passed.
            what: the argument's name, for the error.
            default: the entry of an output that `given` leaves out.

        Raises:
            ValueError: where `given` fits the outputs in none of the forms.
        """
        if given is None:
            return [default] * len(self)
        if isinstance(given, dict):
            return self._match_dict(given, what, default)
        if isinstance(given, (list, tuple)):
            if len(given) == len(self):
                return list(given)
            nested = self.by_place(given)
            if nested is not None:
                return nested
            raise ValueError(
                f"Invalid `{what}`: it must have one entry for each of the model's {len(self)} output(s) "
                f"{self.shown()}. Received: {what}={given!r} with {len(given)} entries."
            )
        return [given] * len(self)

    def _match_dict(self, given: dict, what: str, default: Any) -> list:
        if given.keys() <= {name for name in self.names if name is not None}:
            return [given.get(name, default) for name in self.names]
        nested = self.by_place(given)
        if nested is not None:
            return nested
        unknown = sorted(str(key) for key in given if key not in self.names)
        raise ValueError(
            f"Invalid `{what}`. Expected keys {self.shown()}, the names of the model's outputs. Received: keys "
            f"{list(given)}, of which {unknown} are unknown."
        )

    def by_place(self, given: Any) -> list | None:
        """The subtrees of `given` at the places of the outputs; None where it has another structure."""
        if self.paths == [()]:
            return None
        found = []
        for path in self.paths:
            value = given
            for key in path:
                try:
                    value = value[key]
                except (KeyError, IndexError, TypeError):
                    return None
            found.append(value)
        return found

    def shown(self) -> Any:
        """The outputs' names, or where they have none their structure, for an error."""
        return self.names if any(self.names) else tree.map_structure(lambda _: "*", self.structure)

    def label(self, path: tuple, fallback: str) -> str:
        """What the results of the subtree at `path` are called.

        Args:
            path: keys and indices.
            fallback: the name where the outputs have none.

        >>> Outputs.of({"a": (1.0, 2.0), "b": 3.0}, ["x", "y", "z"]).label(("a", 1), "mse")
        'a/y'
        """
        name = self.names[self.paths.index(path)] if path in self.paths else None
        if path in self.paths and (not path or isinstance(path[-1], int)):
            path = (*path[:-1], name or fallback)
        return "/".join(map(str, path)) or "_".join(name or fallback for name in self.names)
