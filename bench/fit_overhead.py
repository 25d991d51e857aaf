"""What `fit` costs above a plain torch loop: both train the same network on the same data, in turns, in one run.

    python bench/fit_overhead.py [--model mlp] [--repeats 9] [--json FILE]

The torch loop is what a PyTorch user would write, at its best for this size: tensors made once, `F.cross_entropy` on
logits, `torch.optim.Adam(fused=True)`, a loss and an accuracy summed as tensors. Times are microseconds a step; the
figure to quote is the median of the ratios of neighbouring runs, which a machine that drifts disturbs least.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import fastk as keras
from fastk import layers
from fastk.device import get_device

SAMPLES = 32 * 400


def mlp() -> tuple[keras.Model, torch.nn.Module, tuple[int, ...], int]:
    """784-128-10 with softmax, batch 32: the Keras guide's first model."""
    model = keras.Sequential(
        [layers.Input((784,)), layers.Dense(128, activation="relu"), layers.Dense(10, activation="softmax")]
    )
    rival = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return model, rival, (784,), 32


def mlp_dropout() -> tuple[keras.Model, torch.nn.Module, tuple[int, ...], int]:
    """The same with dropout after the hidden layer, as the guide prints it."""
    model = keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rival = torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(128, 10)
    )
    return model, rival, (784,), 32


def cnn() -> tuple[keras.Model, torch.nn.Module, tuple[int, ...], int]:
    """The small MNIST network, batch 128 (the rival in torch's own layout, channels last)."""
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rival = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(1600, 10),
    )  # fmt: skip
    for parameter in rival.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model, rival, (28, 28, 1), 128


MODELS = {"mlp": mlp, "mlp_dropout": mlp_dropout, "cnn": cnn}


def torch_epoch(rival: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int) -> Callable[[], float]:
    """A function that trains `rival` for one epoch and returns its loss."""
    optimizer = torch.optim.Adam(rival.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def epoch() -> float:
        order = torch.randperm(len(x), device=x.device)
        total, correct = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        for start in range(0, len(x), batch):
            index = order[start : start + batch]
            inputs, labels = x[index], y[index]
            optimizer.zero_grad()
            outputs = rival(inputs)
            loss = torch.nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
            correct += (outputs.detach().argmax(1) == labels).sum()
        return float(total) / len(x)

    return epoch


def machine() -> str:
    """What is measured: a GPU's name, or the processor's kind."""
    device = get_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def main() -> None:
    """Runs the comparison and prints one line a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in arguments.model or MODELS:
        keras.utils.set_random_seed(0)
        model, rival, shape, batch = MODELS[name]()
        samples = SAMPLES if name != "cnn" else batch * 20
        rng = np.random.default_rng(0)
        x = rng.random((samples, *shape), dtype=np.float32)
        y = rng.integers(0, 10, samples)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        device = get_device()
        rival.to(device)
        x_torch = torch.from_numpy(x).to(device)
        if len(shape) == 3:
            x_torch = x_torch.permute(0, 3, 1, 2)  # channels last in memory, as torch calls it
        epoch = torch_epoch(rival, x_torch, torch.from_numpy(y).to(device), batch)
        model.fit(x, y, batch_size=batch, verbose=0)
        epoch()
        steps = samples // batch
        ours, theirs = [], []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            model.fit(x, y, batch_size=batch, verbose=0)
            middle = time.perf_counter()
            epoch()
            end = time.perf_counter()
            ours.append((middle - start) / steps * 1e6)
            theirs.append((end - middle) / steps * 1e6)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        rows.append({"model": name, "batch": batch, "fit_us": statistics.median(ours),
                     "torch_us": statistics.median(theirs), "ratio": ratio})  # fmt: skip
        print(
            f"{name:12} batch {batch:4}  fit {rows[-1]['fit_us']:8.1f} us/step  torch loop {rows[-1]['torch_us']:8.1f} "
            f"us/step  ratio {ratio:.2f}"
        )
    if arguments.json:
        about = {"torch": torch.__version__, "python": platform.python_version(), "machine": machine(),
                 "threads": arguments.threads}  # fmt: skip
        with open(arguments.json, "w") as file:
            json.dump({"about": about, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
