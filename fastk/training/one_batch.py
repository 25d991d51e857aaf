"""`train_on_batch`, `test_on_batch` and `predict_on_batch`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastk import device as devices
from fastk import tree
from fastk.distribution import strategies
from fastk.distribution.ranks import Group
from fastk.scopes import internal
from fastk.tensor import convert_to_numpy, is_text_array
from fastk.training import parallel
from fastk.training.build import build_for
from fastk.training.data import make_source
from fastk.training.data.convert import to_tensor
from fastk.training.data.parts import own_parts, part_of, rows_of
from fastk.training.logs import as_numbers
from fastk.training.stepping import Stepping, one_or_all


class OneBatch(Stepping):
    """The one-batch forms of `fit`, `evaluate` and `predict`."""

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step; returns the loss and the metrics of this batch."""
        if class_weight is not None and sample_weight is not None:
            raise ValueError(
                "Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                f"Received: sample_weight={sample_weight}, class_weight={class_weight}"
            )
        return self._run_single("train", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and the metrics of one batch."""
        with torch.no_grad():
            return self._run_single("test", x, y, sample_weight, None, return_dict)

    def _run_single(self, mode: str, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool) -> Any:
        known = step = self._known(f"{mode} on batch")
        if step is None:
            self._begin(f"{mode}_on_batch")
        batch, group = self._single_batch(x, y, sample_weight, class_weight), strategies.active()
        try:
            if step is None:
                build_for(self, batch[0])
                step = self._start(mode, on_batch=True)
            with internal():
                logs = as_numbers(step(*batch) if group is None else self._step_on_part(mode, step, batch, group))
        finally:
            if known is None:
                self._release()
        if return_dict:
            return logs
        if known is None:
            return self._in_order(logs)
        if known.log_names is None or known.log_names.keys() != logs.keys():
            known.log_names = dict.fromkeys(self._names_in_order(logs))
        return one_or_all([logs[name] for name in known.log_names])

    def _step_on_part(self, mode: str, step: Any, batch: Any, group: Group) -> dict[str, Any]:
        """A step over this process's part of one batch; returns the results of the whole one."""
        if self._same_in is not group:
            parallel.share_out(self, group)
            if mode == "train":
                self._find_trained()
            parallel.synchronise(self, group)
        part = part_of(batch, group) if strategies.cuts_data() else next(own_parts(iter([batch]), group))
        logs = parallel.run_part(self, group, step, part)
        if part.share is None and not group.is_first:
            self.reset_metrics()
        return self._final_logs(logs if not self._is_own(f"{mode}_step") else None, group, part.share)

    def predict_on_batch(self, x: Any) -> Any:
        """The model's outputs for one batch, as NumPy arrays."""
        batch = self._single_batch(x)
        step = self._known("predict")
        if step is None:
            build_for(self, batch[0])
            step = self._start("predict")
        with torch.no_grad(), internal():
            outputs = step(*batch)
        if isinstance(outputs, torch.Tensor):
            return convert_to_numpy(outputs)
        return tree.map_structure(convert_to_numpy, outputs)

    @staticmethod
    def _single_batch(x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None) -> tuple:
        device = devices.get_device()
        if class_weight is None and sample_weight is None and is_array(x) and (y is None or is_array(y)):
            if y is None:
                return to_tensor(x).to(device), None, None
            if x.shape[:1] == y.shape[:1]:
                return to_tensor(x).to(device), to_tensor(y).to(device), None
        if y is None and sample_weight is None and type(x) in (list, tuple) and rows_in_common(x) is not None:
            return type(x)([to_tensor(one).to(device) for one in x]), None, None
        source = make_source(
            x, y, sample_weight, batch_size=max(rows_of(x), 1), class_weight=class_weight, device=device
        )
        return source.peek()


def is_array(x: Any) -> bool:
    """Whether it is one array of numbers, which needs no source of batches."""
    return type(x) in (np.ndarray, torch.Tensor) and not is_text_array(x)


def rows_in_common(arrays: Any) -> int | None:
    """How many rows all of several arrays have; None where they are no arrays, or differ."""
    counts = {x.shape[0] if is_array(x) and x.ndim else None for x in arrays}
    return counts.pop() if len(counts) == 1 else None
