"""`TerminateOnNaN`: ends training when the loss is no number any more."""

from __future__ import annotations

import math

from fastk.callbacks.callback import Callback


class TerminateOnNaN(Callback):
    """Stops training at the first batch after which the loss is NaN or infinite. It reads the loss at every batch."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            print(f"Batch {batch}: Invalid loss ({loss}), terminating training")
            self.model.stop_training = True
