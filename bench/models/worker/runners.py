"""How a provider trains and predicts."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Protocol

import numpy as np

from .cases import CASES


class Runner(Protocol):
    """One model of one provider, with its data."""

    parameters: int
    device: str

    def train(self) -> float:
        """Trains for one epoch and returns its loss."""
        ...

    def predict(self) -> np.ndarray:
        """The model's outputs for all of the data."""
        ...

    def predict_one(self) -> np.ndarray:
        """The model's output for one row."""
        ...


def make(
    name: str, steps: int, keras: str | None, backend: str | None, compiled: bool, accelerated: bool = False
) -> Runner:
    """The model `name` with data for an epoch of so many steps.

    Args:
        name: of `CASES`.
        steps: of an epoch.
        keras: the module that speaks Keras, or None for a loop over torch.
        backend: Keras's backend.
        compiled: whether the loop's module goes through `torch.compile`.
        accelerated: whether fastk is inside.
    """
    if keras is None:
        return AcceleratedRunner(name, steps) if accelerated else TorchRunner(name, steps, compiled)
    runner = KerasRunner(importlib.import_module(keras), backend, name, steps)
    if accelerated:
        importlib.import_module("fastk.integrations.keras").accelerate(runner.model)
    return runner


class KerasRunner:
    """`compile`, `fit` and `predict` as a user writes them."""

    def __init__(self, keras: Any, backend: str | None, name: str, steps: int):
        case = CASES[name]
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_global_policy(case.policy)
        self.model = case.build(keras)
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        self.parameters = sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)
        inputs, self.y = case.data(steps)
        self.batch = case.batch
        self.x = inputs[0] if len(inputs) == 1 else inputs
        self.row = inputs[0][:1] if len(inputs) == 1 else [x[:1] for x in inputs]
        self.device = _tensorflow_device() if backend == "tensorflow" else self._device()

    def _device(self) -> str:
        value = self.model.trainable_variables[0].value
        return str(value.device)

    def train(self) -> float:
        """One call of `fit`."""
        return float(self.model.fit(self.x, self.y, batch_size=self.batch, verbose=0).history["loss"][-1])

    def predict(self) -> np.ndarray:
        """One call of `predict`."""
        return self.model.predict(self.x, batch_size=self.batch, verbose=0)

    def predict_one(self) -> np.ndarray:
        """One call of `predict` with one row."""
        return self.model.predict(self.row, verbose=0)


def _tensorflow_device() -> str:
    import tensorflow  # type: ignore[import-not-found]

    return "cuda" if tensorflow.config.list_logical_devices("GPU") else "cpu"


class TorchRunner:
    """A loop over torch at its best: data made once, the fused Adam, loss and accuracy summed as tensors."""

    def __init__(self, name: str, steps: int, compiled: bool = False):
        import torch

        from .torch_models import MODELS, initialize

        self.torch, case = torch, CASES[name]
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = initialize(MODELS[name]()).to(device)
        self.parameters = sum(p.numel() for p in self.model.parameters()) - case.unlike_torch
        inputs, labels = case.data(steps)
        self.x, self.y = [torch.from_numpy(x).to(device) for x in inputs], torch.from_numpy(labels).to(device)
        self.row = [x[:1] for x in inputs]
        self.batch, self.device = case.batch, str(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7, fused=True)
        # One graph a shape: a batch and one row must not meet in a graph with a size left open.
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        self.call = torch.compile(self.model, dynamic=False, mode=mode) if compiled else self.model
        self.mixed = case.policy == "mixed_bfloat16"

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if not self.mixed:
            return contextlib.nullcontext()
        return self.torch.autocast(self.y.device.type, self.torch.bfloat16)

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Of a batch of logits."""
        return self.torch.nn.functional.cross_entropy(outputs.flatten(0, -2), labels.flatten())

    def step(self, x: tuple, labels: Any) -> tuple:
        """One step: the loss and the logits."""
        self.optimizer.zero_grad()
        with self._precision():
            outputs = self.call(*x)
        loss = self.loss(outputs, labels)
        loss.backward()
        self.optimizer.step()
        return loss, outputs

    def train(self) -> float:
        """One epoch over shuffled data."""
        torch, device = self.torch, self.y.device
        self.model.train()
        order = torch.randperm(len(self.y), device=device)
        total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        for start in range(0, len(self.y), self.batch):
            index = order[start : start + self.batch]
            labels = self.y[index]
            loss, outputs = self.step(tuple(x[index] for x in self.x), labels)
            total += loss.detach() * len(index)
            correct += (outputs.detach().argmax(-1) == labels).sum()
        return float(total) / len(self.y)

    def predict(self) -> np.ndarray:
        """Probabilities, batch by batch."""
        self.model.eval()
        with self.torch.inference_mode(), self._precision():
            parts = [
                self.call(*[x[start : start + self.batch] for x in self.x]).float().softmax(-1)
                for start in range(0, len(self.y), self.batch)
            ]
            return self.torch.cat(parts).cpu().numpy()

    def predict_one(self) -> np.ndarray:
        """Probabilities of one row, from numpy to numpy."""
        self.model.eval()
        with self.torch.inference_mode(), self._precision():
            row = [self.torch.from_numpy(x).to(self.y.device) for x in self.row]
            return self.call(*row).float().softmax(-1).cpu().numpy()


class AcceleratedRunner(TorchRunner):
    """The same loop with fastk inside: the module accelerated, the step captured, fastk's optimizer."""

    def __init__(self, name: str, steps: int):
        super().__init__(name, steps)
        from fastk import optim
        from fastk.integrations.torch import TrainStep, accelerate

        accelerate(self.model)
        self.optimizer = optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7)
        self.captured = TrainStep(self.model, self.loss, self.optimizer, returns_outputs=True)

    def step(self, x: tuple, labels: Any) -> tuple:
        """One step: the loss and the logits."""
        with self._precision():
            return self.captured(x, labels)
