"""Updating a metric and computing a loss never ask the host for a value, and add in place."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastk import losses, metrics
from fastk.scopes import internal

# Operations whose result, or whose size, the host has to wait for.
WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "unique_dim",
    "_unique2",
    "masked_select",
    "bincount",
}


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        assert name not in WAITING, f"{name} waits for the device"
        # Indexing by a mask waits; by integers it does not.
        indices = args[1] if name in ("index", "index_put_") else ()
        assert not any(i is not None and i.dtype == torch.bool for i in indices), (
            f"{name} by a mask waits for the device"
        )
        return func(*args, **(kwargs or {}))


def tensors(rng):
    n, c = 6, 3
    return {
        "number": torch.tensor(rng.random((n, c)), dtype=torch.float32),
        "probability": torch.tensor(rng.dirichlet(np.ones(c), n), dtype=torch.float32),
        "one_hot": torch.eye(c)[torch.tensor(rng.integers(0, c, n))],
        "label": torch.tensor(rng.integers(0, c, n)),
        "weight": torch.tensor(rng.random(n), dtype=torch.float32),
    }


NEEDS_LABELS = {"SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy", "SparseCategoricalCrossentropy", "Circle",
                "CategoricalGeneralizedCrossEntropy"}  # fmt: skip
ARGUMENTS = {
    "IoU": {"num_classes": 3, "target_class_ids": [0], "sparse_y_true": False, "sparse_y_pred": False},
    "MeanIoU": {"num_classes": 3, "sparse_y_true": False, "sparse_y_pred": False},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "MeanMetricWrapper": {"fn": losses.mean_squared_error},
}
METRICS = sorted(name for name in metrics.__all__ if isinstance(getattr(metrics, name), type) and name != "Metric")
LOSSES = sorted(
    name
    for name in losses.__all__
    if isinstance(getattr(losses, name), type) and name not in ("Loss", "LossFunctionWrapper", "CTC")
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("ignore:You are passing weight")
def test_updates_never_wait(rng, name, weighted):
    given = tensors(rng)
    metric = getattr(metrics, name)(**ARGUMENTS.get(name, {}))
    target = given["label"] if name in NEEDS_LABELS else given["one_hot"]
    arguments = (given["number"],) if name in ("Mean", "Sum") else (target, given["probability"])
    weight = given["weight"] if weighted else None
    if name == "BinaryIoU" and weighted:  # one weight an entry, not a sample
        weight = given["number"]
    metric.update_state(*arguments, sample_weight=weight)  # makes its variables
    storages = [v.value.data_ptr() for v in metric.variables]
    with NoWaiting(), internal():
        metric.update_state(*arguments, sample_weight=weight)
        metric.result()
        metric.reset_state()
    assert [v.value.data_ptr() for v in metric.variables] == storages


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_never_wait(rng, name, weighted):
    given = tensors(rng)
    loss = getattr(losses, name)()
    target = given["label"] if name in NEEDS_LABELS else given["one_hot"]
    prediction = given["probability"].requires_grad_()
    weight = given["weight"] if weighted and name not in ("Dice", "Tversky") else None
    with NoWaiting():
        loss(target, prediction, sample_weight=weight).backward()
    assert prediction.grad is not None and prediction.grad.isfinite().all()


def test_the_mode_notices():
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        float(torch.ones(()))
    with NoWaiting(), pytest.raises(AssertionError, match="by a mask"):
        torch.ones(3)[torch.tensor([True, False, True])]
