"""The rivals: what each needs, the environment it is started in, and how it trains and predicts."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bench.models.cases import CASES


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


@dataclass(frozen=True)
class Provider:
    """A rival, by its name in `PROVIDERS`.

    Args:
        needs: the modules that must be installed.
        keras: the module that speaks Keras, or None for a loop over torch.
        backend: Keras's backend.
        compiled: whether the loop's module goes through `torch.compile`.
    """

    needs: tuple[str, ...]
    keras: str | None = None
    backend: str | None = None
    compiled: bool = False

    def missing(self) -> str | None:
        """What keeps the provider from running, or None."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def environment(self, threads: int, device: str, home: str) -> dict[str, str]:
        """The environment of the provider's process.

        Args:
            threads: threads that every library may use for one operation.
            device: "cpu" hides GPUs; "auto" does not.
            home: a folder for Keras's settings, so that the user's do not enter.
        """
        count = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count,
            "TF_NUM_INTRAOP_THREADS": count, "TF_NUM_INTEROP_THREADS": count,
            "NPROC": count,  # the thread pool of JAX
            "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": home,
            # Several processes share a GPU, and none multiplies float32 in a lower precision.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "NVIDIA_TF32_OVERRIDE": "0",
        }  # fmt: skip
        if self.backend:
            environment["KERAS_BACKEND"] = self.backend
        if device == "cpu":
            environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        return environment

    def runner(self, name: str, steps: int) -> Runner:
        """The model `name` with data for an epoch of so many steps; called in the provider's process."""
        if self.keras is None:
            return TorchRunner(name, steps, self.compiled)
        return KerasRunner(importlib.import_module(self.keras), self.backend, name, steps)


PROVIDERS = {
    "fastk": Provider(("torch",), keras="fastk"),
    "keras-torch": Provider(("keras", "torch"), keras="keras", backend="torch"),
    "keras-jax": Provider(("keras", "jax"), keras="keras", backend="jax"),
    "keras-tensorflow": Provider(("keras", "tensorflow"), keras="keras", backend="tensorflow"),
    "torch": Provider(("torch",)),
    "torch.compile": Provider(("torch",), compiled=True),
}


class KerasRunner:
    """`compile`, `fit` and `predict` as a user writes them."""

    def __init__(self, keras: Any, backend: str | None, name: str, steps: int):
        case = CASES[name]
        keras.utils.set_random_seed(0)
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

    def __init__(self, name: str, steps: int, compiled: bool):
        import torch

        from bench.models.torch_models import MODELS, initialize

        self.torch, case = torch, CASES[name]
        torch.manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = initialize(MODELS[name]()).to(device)
        self.parameters = sum(p.numel() for p in self.model.parameters()) - case.unlike_torch
        inputs, labels = case.data(steps)
        self.x, self.y = [torch.from_numpy(x).to(device) for x in inputs], torch.from_numpy(labels).to(device)
        self.row = [x[:1] for x in inputs]
        self.batch, self.device = case.batch, str(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7, fused=True)
        # One graph a shape: a batch and one row must not meet in a graph with a size left open.
        self.call = torch.compile(self.model, dynamic=False) if compiled else self.model

    def train(self) -> float:
        """One epoch over shuffled data."""
        torch, device = self.torch, self.y.device
        self.model.train()
        order = torch.randperm(len(self.y), device=device)
        total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        for start in range(0, len(self.y), self.batch):
            index = order[start : start + self.batch]
            labels = self.y[index]
            self.optimizer.zero_grad()
            outputs = self.call(*[x[index] for x in self.x])
            loss = torch.nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(index)
            correct += (outputs.detach().argmax(1) == labels).sum()
        return float(total) / len(self.y)

    def predict(self) -> np.ndarray:
        """Probabilities, batch by batch."""
        self.model.eval()
        with self.torch.inference_mode():
            parts = [
                self.call(*[x[start : start + self.batch] for x in self.x]).softmax(-1)
                for start in range(0, len(self.y), self.batch)
            ]
            return self.torch.cat(parts).cpu().numpy()

    def predict_one(self) -> np.ndarray:
        """Probabilities of one row, from numpy to numpy."""
        self.model.eval()
        with self.torch.inference_mode():
            row = [self.torch.from_numpy(x).to(self.y.device) for x in self.row]
            return self.call(*row).softmax(-1).cpu().numpy()
