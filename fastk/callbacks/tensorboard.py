"""`TensorBoard`: results, weights and traces for the TensorBoard program, written through torch's own writer."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from fastk.callbacks.callback import Callback
from fastk.distribution.files import is_writer
from fastk.tensor import convert_to_numpy


class _NoWriter:
    """In the place of a writer on all processes but the first."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class TensorBoard(Callback):
    """Logs for `tensorboard --logdir LOG_DIR`; needs the package `tensorboard`.

    Args:
        log_dir: the folder; results of training go to `train/` in it, those of validation to `validation/`.
        histogram_freq: epochs between two histograms of the weights; 0 for none.
        write_graph: whether the model's configuration is written as text.
        write_images: not supported; must be False.
        write_steps_per_second: whether the speed is logged.
        update_freq: `"epoch"`, `"batch"`, or a number of batches between two logs of the results so far.
        profile_batch: the batch to trace with torch's profiler, or the first and the last of several; 0 for none.
        embeddings_freq, embeddings_metadata: not supported; must be 0 and None.
    """

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):
        super().__init__()
        if write_images or embeddings_freq or embeddings_metadata is not None:
            raise ValueError(
                "TensorBoard does not support `write_images`, `embeddings_freq` and `embeddings_metadata`: leave them "
                f"out. Received: {write_images}, {embeddings_freq}, {embeddings_metadata}"
            )
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq, self.write_graph = histogram_freq, write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq: Any = 1 if update_freq == "batch" else update_freq
        if self.update_freq != "epoch" and (not isinstance(self.update_freq, int) or self.update_freq < 1):
            raise ValueError(f"`update_freq` must be 'epoch', 'batch' or a positive integer. Received: {update_freq!r}")
        first, last = (profile_batch, profile_batch) if isinstance(profile_batch, int) else tuple(profile_batch)
        self._profiled = range(first, last + 1) if first else range(0)
        self._profiler: Any = None
        self._writers: dict[str, Any] = {}
        self._step = 0
        if self.update_freq != "epoch" or self._profiled:
            # Only then is every batch's result needed: a callback without these methods costs a step nothing.
            self.on_train_batch_begin = self._before_batch  # type: ignore[method-assign]
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]

    def _writer(self, name: str) -> Any:
        if not is_writer():
            return _NoWriter()
        if name not in self._writers:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter
            except ImportError as error:
                raise ImportError(
                    "The TensorBoard callback needs the package `tensorboard`: install it with `pip install "
                    "tensorboard`."
                ) from error
            self._writers[name] = SummaryWriter(os.path.join(self.log_dir, name))
        return self._writers[name]

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._step = 0
        writer = self._writer("train")
        if self.write_graph:
            writer.add_text("keras", f"```json\n{self.model.to_json(indent=1)}\n```", 0)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_start = time.perf_counter()

    def _before_batch(self, batch: int, logs: dict | None = None) -> None:
        if self._step + 1 in self._profiled and self._profiler is None and is_writer():
            self._profiler = torch.profiler.profile(
                on_trace_ready=torch.profiler.tensorboard_trace_handler(os.path.join(self.log_dir, "train"))
            )
            self._profiler.__enter__()

    def _after_batch(self, batch: int, logs: dict | None = None) -> None:
        self._step += 1
        if self.update_freq != "epoch" and self._step % self.update_freq == 0:
            for name, value in (logs or {}).items():
                self._writer("train").add_scalar(f"batch_{name}", value, self._step)
        if self._profiler is not None and self._step + 1 not in self._profiled:
            self._stop_profiler()

    def _stop_profiler(self) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        values = dict(logs or {})
        values.setdefault("learning_rate", float(convert_to_numpy(self.model.optimizer.learning_rate)))
        for name, value in values.items():
            where = "validation" if name.startswith("val_") else "train"
            self._writer(where).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.write_steps_per_second and self.params.get("steps"):
            seconds = time.perf_counter() - self._epoch_start
            self._writer("train").add_scalar("epoch_steps_per_second", self.params["steps"] / seconds, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for variable in self.model.weights:
                self._writer("train").add_histogram(f"{variable.path}/histogram", variable.value.detach(), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._profiler is not None:
            self._stop_profiler()
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
