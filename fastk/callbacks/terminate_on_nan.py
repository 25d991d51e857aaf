"""`TerminateOnNaN`: ends training when the loss is no number any more."""

from __future__ import annotations

import math

from fastk.callbacks.callback import Callback
from fastk.messages import tell


class TerminateOnNaN(Callback):
    """Stops training at the first batch after which the loss is NaN or infinite. It reads the loss at every batch.

    Args:
        raise_error: whether to raise at once, so that no other callback saves or deletes anything any more, instead of
            setting `model.stop_training`.

    Raises:
        RuntimeError: with `raise_error`, where the loss is not finite.
    """

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately. "
                "A lower learning rate, `clipnorm` or scaled inputs may help."
            )
        tell(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
