"""`CellLayer`: what `LSTM`, `GRU` and `SimpleRNN` share, an `RNN` that makes its cell itself."""

from __future__ import annotations

from typing import Any, ClassVar

from fastk import activations, regularizers
from fastk.layers.input_spec import InputSpec
from fastk.layers.rnn.rnn import RNN


def _option_of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


class CellLayer(RNN):
    """An `RNN` whose constructor takes its cell's arguments; the cell's options can be read from it."""

    # What a layer's attribute reads from its cell; subclasses name further options.
    _cell_options: ClassVar[tuple[str, ...]] = (
        "units", "activation", "use_bias", "dropout", "recurrent_dropout",
        "kernel_initializer", "recurrent_initializer", "bias_initializer",
        "kernel_regularizer", "recurrent_regularizer", "bias_regularizer",
        "kernel_constraint", "recurrent_constraint", "bias_constraint",
    )  # fmt: skip

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in cls._cell_options:
            setattr(cls, name, _option_of_cell(name))

    def __init__(self, cell: Any, **kwargs: Any):
        super().__init__(cell, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        of_cell = config.pop("cell")["config"]
        return {
            **config,
            **{name: value for name, value in of_cell.items() if name not in config},
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """A layer from `get_config`'s result."""
        return cls(**config)


class GatedLayer(CellLayer):
    """A `CellLayer` that may be run by a vendor's kernel.

    Args:
        cell: the layer's cell.
        use_cudnn: `"auto"`: whichever kernel is the fastest that can run the layer. `True`: the same, or an error where
            the layer's options leave only the way step by step. `False`: step by step.
    """

    def __init__(self, cell: Any, use_cudnn: str | bool = "auto", **kwargs: Any):
        if use_cudnn not in ("auto", True, False):
            raise ValueError(
                "Invalid value received for argument `use_cudnn`. Expected one of {'auto', True, False}. "
                f"Received: use_cudnn={use_cudnn}"
            )
        super().__init__(cell, **kwargs)
        self.use_cudnn = use_cudnn

    def _may_fuse(self) -> bool:
        cell: Any = self.cell
        if self.use_cudnn is True and not (
            cell.activation is activations.tanh
            and cell.recurrent_activation is activations.sigmoid
            and not cell.recurrent_dropout
            and getattr(cell, "reset_after", True)
        ):
            raise ValueError(
                "use_cudnn=True was specified, but cuDNN is not supported for this layer configuration: it "
                "takes activation='tanh', recurrent_activation='sigmoid', no recurrent_dropout and, in a GRU, "
                "reset_after=True. Pass use_cudnn='auto'."
            )
        return self.use_cudnn is not False


def cell_arguments(layer_arguments: dict[str, Any]) -> dict[str, Any]:
    """What a layer hands to its cell of its own keyword arguments; those that are the cell's alone are taken out."""
    arguments = {name: layer_arguments[name] for name in ("dtype", "trainable") if name in layer_arguments}
    if "implementation" in layer_arguments:
        arguments["implementation"] = layer_arguments.pop("implementation")
    return arguments
