"""`SwapEMAWeights`: evaluates and saves with the moving averages of the weights."""

from __future__ import annotations

from typing import Any

from fastk.callbacks.callback import Callback


class SwapEMAWeights(Callback):
    """Puts the optimizer's moving averages in the place of the weights for validation, and back for training.

    The optimizer must have been made with `use_ema=True`. After training the model has the averaged weights.

    Args:
        swap_on_epoch: whether the averages are in place during `on_epoch_end` too, for a `ModelCheckpoint` that comes
            after.
    """

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._averages_in_place = False

    def _pairs(self) -> list[tuple[Any, Any]]:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averaging = [o for o in getattr(optimizer, "optimizers", [optimizer]) if getattr(o, "use_ema", False)]
        if not averaging:
            raise ValueError(
                f"SwapEMAWeights must be used when `use_ema=True` is set on the optimizer. Received: {optimizer!r} "
                "without it. Compile the model with an optimizer such as keras.optimizers.Adam(use_ema=True)."
            )
        pairs = []
        for one in averaging:
            pairs += zip(one._trainable_variables, one._model_variables_moving_average, strict=True)
        return [(variable, average) for variable, average in pairs if average is not None]

    def _swap(self) -> None:
        for variable, average in self._pairs():
            value = variable.value.detach().clone()
            variable.assign(average)
            average.assign(value)
        self._averages_in_place = not self._averages_in_place

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self.swap_on_epoch and self._averages_in_place:
            self._swap()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not self.swap_on_epoch:
            return
        if not self._averages_in_place:
            self._swap()
        if epoch == self.params["epochs"] - 1 or self.model.stop_training:
            # After the last epoch the optimizer writes the averages into the weights: they must be averages again.
            for variable, average in self._pairs():
                average.assign(variable)

    def on_test_begin(self, logs: dict | None = None) -> None:
        if not self._averages_in_place:
            self._swap()

    def on_test_end(self, logs: dict | None = None) -> None:
        if self._averages_in_place:
            self._swap()

    def on_predict_begin(self, logs: dict | None = None) -> None:
        self.on_test_begin()

    def on_predict_end(self, logs: dict | None = None) -> None:
        self.on_test_end()
