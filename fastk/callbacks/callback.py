"""`Callback`: what is called at the beginning and the end of training, of each epoch and of each batch."""

from __future__ import annotations

from typing import Any


class Callback:
    """The base of callbacks: override the methods that matter, read and change `self.model`.

    `logs` holds results by name, as floats. A batch's are read from the device when a batch method first looks at them:
    a method that does not look costs training nothing.

    Attributes:
        model: the model that is trained.
        params: `verbose`, `epochs` and `steps` of the call.

    >>> import fastk
    >>> class Shout(fastk.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(f"epoch {epoch} is over!")
    >>> Shout().on_epoch_end(3)
    epoch 3 is over!
    """

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before training with `verbose`, `epochs` and `steps`."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before training with the model."""
        self._model = model

    def on_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Called at the start of an epoch of training, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Called at the end of an epoch, with its results and, under `val_...`, those of validation."""

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Called before a batch of `fit`."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Called after a batch of `fit`, with the epoch's results so far."""
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Called before a batch of `evaluate`, or of validation in `fit`."""

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Called after a batch of `evaluate`, or of validation in `fit`."""

    def on_predict_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Called after a batch of `predict`, with its `outputs`."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Called at the start of `fit`."""

    def on_train_end(self, logs: dict | None = None) -> None:
        """Called at the end of `fit`, with the last epoch's results."""

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Called at the start of `evaluate` or of validation."""

    def on_test_end(self, logs: dict | None = None) -> None:
        """Called at the end of `evaluate` or of validation, with the results."""

    def on_predict_begin(self, logs: dict | None = None) -> None:
        """Called at the start of `predict`."""

    def on_predict_end(self, logs: dict | None = None) -> None:
        """Called at the end of `predict`."""
