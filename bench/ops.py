"""What each op costs on a GPU: fastk's Triton and CuPy kernels beside torch, forward and forward with backward.

    python -m bench.ops [--op dense] [--dtype bfloat16] [--seconds 420] [--json FILE]

Each provider's call is captured as a CUDA graph, so that kernels are compared and not their launching. The providers
of a case take turns, after a write that empties the second-level cache; 20th, 50th and 80th percentile of the times
between CUDA events. Before it is timed, a provider must come as near to the float64 result as torch does in the same
dtype, within a factor of 4; one that does not is reported and has no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.about import about
from fastk import autograd

PROVIDERS = ("triton", "cupy", "aten")
ROUNDS = 30


@dataclass(frozen=True)
class Case:
    """One op at one size: its inputs, and how it is called with an implementation."""

    op: str
    size: str
    inputs: tuple[Tensor, ...]  # those that require a gradient get one in the backward
    call: Callable[..., Tensor]  # call(*inputs, implementation=...)
    flops: float = 0.0
    least_bytes: float = 0.0  # of the forward


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """The cases, in the order in which they are measured; sizes from models."""
    size = dtype.itemsize
    for m, k, n in ((128, 784, 512), (4096, 1024, 4096), (8192, 8192, 8192)):
        inputs = (normal(dtype, m, k), normal(dtype, k, n, scale=k**-0.5), normal(dtype, n))
        flops, traffic = 2.0 * m * k * n, size * (m * k + k * n + m * n)
        yield Case("dense", f"{m}x{k}x{n} relu", inputs, _dense("relu"), flops, traffic)
        if m == 4096:
            yield Case("dense", f"{m}x{k}x{n} gelu", inputs, _dense("gelu"), flops, traffic)
            yield Case("dense", f"{m}x{k}x{n} relu dropout", inputs, _dense("relu", 0.2), flops, traffic)
    for batch, side, channels, filters, window, stride in (
        (128, 28, 128, 128, 3, 1),
        (128, 56, 64, 128, 3, 2),
        (128, 56, 64, 256, 1, 1),
        (128, 32, 3, 64, 3, 1),
    ):
        inputs = (
            normal(dtype, batch, side, side, channels),
            normal(dtype, window, window, channels, filters, scale=(window * window * channels) ** -0.5),
            normal(dtype, filters),
        )
        pixels = batch * (side // stride) ** 2
        yield Case(
            "conv2d",
            f"{batch}x{side}x{side}x{channels} {window}x{window}/{stride} {filters} relu",
            inputs,
            lambda x, w, b, implementation, stride=stride: autograd.conv2d(
                x, w, b, stride, "same", activation="relu", implementation=implementation
            ),
            2.0 * pixels * window * window * channels * filters,
            size * (inputs[0].numel() + inputs[1].numel() + pixels * filters),
        )
    x = normal(dtype, 128, 112, 112, 64)
    yield Case(
        "max_pool2d",
        "128x112x112x64 2x2",
        (x,),
        lambda x, implementation: autograd.max_pool2d(x, 2, implementation=implementation),
        least_bytes=size * x.numel() * 1.25,
    )
    x, seed = normal(dtype, 8192, 8192), torch.tensor([1, 2], device="cuda")
    yield Case(
        "dropout",
        "8192x8192",
        (x,),
        lambda x, implementation: autograd.dropout(x, 0.1, seed, implementation=implementation),
        least_bytes=size * x.numel() * 2,
    )
    yield Case(
        "layer_norm",
        "8192x8192",
        (x, normal(dtype, 8192), normal(dtype, 8192)),
        lambda x, g, b, implementation: autograd.layer_norm(x, g, b, implementation=implementation),
        least_bytes=size * x.numel() * 2,
    )
    x = normal(dtype, 128, 56, 56, 64)
    yield Case(
        "batch_norm",
        "128x56x56x64",
        (x, normal(torch.float32, 64), normal(torch.float32, 64)),
        lambda x, g, b, implementation: autograd.batch_norm(
            x, g, b, None, None, training=True, implementation=implementation
        )[0],
        least_bytes=size * x.numel() * 3,
    )
    logits, labels = normal(dtype, 8192, 32000), torch.randint(32000, (8192,), device="cuda")
    yield Case(
        "softmax_cross_entropy",
        "8192x32000",
        (logits,),
        lambda x, implementation: autograd.softmax_cross_entropy(x, labels, sparse=True, implementation=implementation),
        least_bytes=size * logits.numel(),
    )
    for batch, steps, units in ((32, 50, 64), (64, 128, 256), (64, 128, 1024)):
        inputs = (
            normal(dtype, batch, steps, units),
            normal(dtype, units, 4 * units, scale=units**-0.5),
            normal(dtype, units, 4 * units, scale=units**-0.5),
            normal(dtype, 4 * units),
        )
        yield Case(
            "lstm",
            f"{batch}x{steps}x{units}",
            inputs,
            lambda x, w, r, b, implementation: autograd.lstm(x, w, r, b, implementation=implementation)[1],
            16.0 * batch * steps * units * units,
        )


def _dense(activation: str, rate: float = 0.0) -> Callable[..., Tensor]:
    seed = torch.tensor([1, 2], device="cuda")
    return lambda x, w, b, implementation: autograd.dense(
        x, w, b, activation, rate, seed if rate else None, implementation=implementation
    )


def normal(dtype: torch.dtype, *shape: int, scale: float = 1.0) -> Tensor:
    """Normally distributed numbers on the GPU that want a gradient."""
    return torch.randn(shape, device="cuda").mul_(scale).to(dtype).requires_grad_()


def captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """The call as a graph, after the warming up that captures need."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def gradients(case: Case, inputs: tuple[Tensor, ...], implementation: str) -> tuple[Tensor, ...]:
    """The result and the gradient of its sum by every input."""
    y = case.call(*inputs, implementation=implementation)
    return y, *torch.autograd.grad(y, inputs, torch.ones_like(y))


def errors(case: Case) -> dict[str, list[float] | str]:
    """For each provider the largest relative error of the result and of each gradient, or why there is none."""
    exact = tuple(t.detach().double().requires_grad_() for t in case.inputs)
    oracle = gradients(case, exact, "aten")
    found: dict[str, list[float] | str] = {}
    for provider in PROVIDERS:
        try:
            values = gradients(case, case.inputs, provider)
        except Exception as error:  # whatever stops a provider is a line of the report
            found[provider] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        found[provider] = [
            float((v.double() - o).abs().max() / o.abs().max()) for v, o in zip(values, oracle, strict=True)
        ]
    return found


def measure(case: Case, scratch: Tensor) -> list[dict]:
    """One row a provider and direction."""
    rows, graphs = [], {}
    found = errors(case)
    bound = found["aten"]
    if isinstance(bound, str):
        raise RuntimeError(f"torch itself fails at {case.op} {case.size}, so nothing can be judged: {bound}")
    epsilon = torch.finfo(case.inputs[0].dtype).eps
    for provider in PROVIDERS:
        error = found[provider]
        if isinstance(error, str):
            rows.append({"provider": provider, "failed": error})
            continue
        if any(e > 4 * max(a, epsilon) for e, a in zip(error, bound, strict=True)):
            rows.append({"provider": provider, "failed": f"errors {error} against torch's {bound}"})
            continue
        graphs[provider, "forward"] = captured(lambda p=provider: case.call(*case.inputs, implementation=p))
        graphs[provider, "both"] = captured(lambda p=provider: gradients(case, case.inputs, p))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in graphs}
    for _ in range(ROUNDS):
        for key, graph in graphs.items():
            scratch.zero_()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[key].append(start.elapsed_time(end))
    for (provider, direction), values in times.items():
        p20, p50, p80 = (statistics.quantiles(values, n=10)[i] for i in (1, 4, 7))
        row = {"provider": provider, "direction": direction, "ms": p50, "ms_p20": p20, "ms_p80": p80}
        if direction == "forward":
            row |= {"tflops": case.flops / p50 / 1e9, "gbs": case.least_bytes / p50 / 1e6}
        rows.append(row | {"of_torch": statistics.median(times["aten", direction]) / p50})
    return [{"op": case.op, "size": case.size, "dtype": str(case.inputs[0].dtype).split(".")[1], **r} for r in rows]


def metadata() -> dict:
    """What was measured, and where."""
    return about() | {
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "cuda": torch.version.cuda,
    }


def main() -> None:
    """Measures every case within the time given and prints a line a row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", action="append", help="only this op; may be repeated")
    parser.add_argument("--dtype", action="append", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--seconds", type=float, default=420.0, help="no case is started after that many seconds")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench.ops measures on a GPU, and torch sees none.")
    torch.manual_seed(0)
    started, rows = time.monotonic(), []
    scratch = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")  # larger than any second-level cache
    for dtype in arguments.dtype or ["bfloat16", "float32"]:
        for case in cases(getattr(torch, dtype)):
            if arguments.op and case.op not in arguments.op:
                continue
            if time.monotonic() - started > arguments.seconds:
                print(f"Out of time before {case.op} {case.size} {dtype}.")
                break
            for row in measure(case, scratch):
                rows.append(row)
                what = row.get("failed") or f"{row['direction']:8} {row['ms']:9.4f} ms  x{row['of_torch']:.2f} of torch"
                print(f"{row['op']:22} {row['size']:34} {dtype:9} {row['provider']:7} {what}", flush=True)
            if arguments.json:
                Path(arguments.json).write_text(json.dumps({"metadata": metadata(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
