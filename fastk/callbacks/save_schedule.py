"""When a callback that saves every so many batches is due."""

from __future__ import annotations


class SaveSchedule:
    """Counts batches across epochs, also where several batches pass between two calls.

    Args:
        every: `"epoch"`, or the number of batches between two saves.

    >>> schedule = SaveSchedule(3)
    >>> [schedule.due(batch) for batch in (0, 1, 2, 0, 1, 2)]
    [False, False, True, False, False, True]
    """

    def __init__(self, every: str | int):
        if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise ValueError(f"Unrecognized save_freq: {every}. Expected save_freq are 'epoch' or a positive integer.")
        self.every = every
        self.last_batch: int | None = None
        self._seen = 0

    def due(self, batch: int) -> bool:
        """Whether to save after `batch` (counted from 0 in each epoch)."""
        if self.every == "epoch":
            return False
        new_epoch = self.last_batch is None or batch <= self.last_batch
        self._seen += batch + 1 if new_epoch else batch - (self.last_batch or 0)
        self.last_batch = batch
        if self._seen < int(self.every):
            return False
        self._seen = 0
        return True
