"""The options that layers take for their weights: `kernel_initializer`, `bias_regularizer` and their like."""

from __future__ import annotations

from typing import Any

from fastk import constraints, initializers, regularizers
from fastk.variable import Variable

_KINDS: dict[str, Any] = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}


class WeightOptions:
    """Keeps `<weight>_<option>` attributes, writes them into the configuration, and makes weights with them."""

    _weight_options: tuple[str, ...] = ()
    add_weight: Any

    def _set_weight_options(self, **options: Any) -> None:
        """Resolves each `<weight>_<option>` identifier and keeps it as an attribute of that name."""
        for name, identifier in options.items():
            setattr(self, name, _KINDS[name.rpartition("_")[2]].get(identifier))
        self._weight_options = (*self._weight_options, *options)

    def _weight_options_config(self) -> dict[str, Any]:
        """The options, serialized, for `get_config`."""
        return {name: _KINDS[name.rpartition("_")[2]].serialize(getattr(self, name)) for name in self._weight_options}

    def _add_weight_with_options(self, name: str, shape: tuple, option: str | None = None, **kwargs: Any) -> Variable:
        """`add_weight` with the options of the weight `option` (by default `name`), unless `kwargs` has others."""
        found = {kind: getattr(self, f"{option or name}_{kind}", None) for kind in _KINDS}
        return self.add_weight(name=name, shape=shape, **{**found, **kwargs})
