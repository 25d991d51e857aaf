"""`MonitorCallback`: the base of callbacks that watch whether one of the logs improves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastk import ops
from fastk.callbacks.callback import Callback
from fastk.user_warning import warn_user


class MonitorCallback(Callback):
    """Knows whether a value of the logs is better than another.

    Args:
        monitor: the name in the logs.
        mode: `"min"`, `"max"`, or `"auto"`: down for a loss, else the direction that the metric of that name knows.
        baseline: the first value to be better than; None where any is.
        min_delta: the least difference that counts.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0
    ):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warn_user(f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode.")
            mode = "auto"
        self.monitor, self.mode, self.best, self.min_delta = monitor, mode, baseline, abs(min_delta)
        self.monitor_op: Callable[[Any, Any], Any] | None = None

    def _set_monitor_op(self) -> None:
        up = {"min": False, "max": True}.get(self.mode)
        name = self.monitor.removeprefix("val_")
        if up is None and name == "loss":
            up = False
        if up is None:
            for metric in getattr(self.model, "metrics", ()):
                if metric.name == name and getattr(metric, "_direction", None) is not None:
                    up = metric._direction == "up"
        if up is None:
            raise ValueError(
                f"{type(self).__name__} callback received monitor={self.monitor}, but it is not known whether that "
                "metric should be maximized or minimized. Pass `mode='max'` in order to monitor based on the highest "
                "metric value, or pass `mode='min'` in order to use the lowest value."
            )
        self.monitor_op = ops.greater if up else ops.less

    def _is_improvement(self, value: Any, reference: Any) -> bool:
        if reference is None:
            return True
        if self.monitor_op is None:
            self._set_monitor_op()
        assert self.monitor_op is not None
        delta = self.min_delta if self.monitor_op is ops.greater else -self.min_delta
        return bool(self.monitor_op(value - delta, reference))

    def _monitored(self, logs: dict | None, purpose: str) -> Any:
        """The watched value; None, with a warning, where the logs have none."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warn_user(
                f"{purpose} conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs or {})}"
            )
        return value
