"""What is measured: each op at sizes of layers in real models.

A case's operands are made by its `make`, from a seed; those that want a gradient get one in the backward pass. Cases
that a CPU takes well under a second for are measured on both devices, the others on a GPU alone. To add one, add a
line to its op's table; to add an op, a function like `_dense` and a line in `CASES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastk import autograd
from fastk.bench.ops import jax_rivals, optimizers, rivals
from fastk.bench.ops.rivals import Rival

BOTH, GPU = ("cpu", "cuda"), ("cuda",)
RATE = 0.2


@dataclass(frozen=True)
class Maker:
    """Makes operands.

    Args:
        device: where they live.
        dtype: of the floats.
    """

    device: str
    dtype: torch.dtype

    def normal(self, *shape: int, scale: float = 1.0, grad: bool = True, dtype: torch.dtype | None = None) -> Tensor:
        """Normally distributed numbers that want a gradient."""
        values = torch.randn(shape, device=self.device).mul_(scale).to(dtype or self.dtype)
        return values.requires_grad_(grad)

    def labels(self, rows: int, classes: int) -> Tensor:
        """Class numbers."""
        return torch.randint(classes, (rows,), device=self.device)

    def seed(self) -> Tensor:
        """What a dropout mask is a function of."""
        return torch.tensor((1, 2), device=self.device)

    def wide(self) -> torch.dtype:
        """What statistics are kept in."""
        return torch.promote_types(self.dtype, torch.float32)


@dataclass(frozen=True)
class Case:
    """One op at one size.

    Args:
        op: its folder in `kernels/`.
        variant: sizes and options in words.
        source: the model whose layer it is.
        make: makes the operands.
        call: fastk's op, `call(*operands, implementation=...)`.
        rivals: by provider; `torch` is the oracle too, in float64.
        oracle: in the place of `torch` where that is random.
        jax: makes JAX's function of the operands, where there is one.
        flops: of the products of the forward pass; the backward pass has two for each.
        rereads: whether the backward pass needs the operands.
        least_bytes: of the operands, where it is not each of them read once and the result written once.
        rate: of dropout.
        results: how many operands the op updates in place, instead of having a result; they come first.
        devices: where it is measured.
        quick: whether `--quick` measures it.
    """

    op: str
    variant: str
    source: str
    make: Callable[[Maker], tuple[Tensor, ...]]
    call: Callable[..., Any]
    rivals: dict[str, Rival]
    oracle: Rival | None = None
    jax: Callable[[], Callable] | None = None
    flops: int = 0
    rereads: bool = True
    least_bytes: Callable[[tuple[Tensor, ...]], int] | None = None
    rate: float = 0.0
    results: int = 0
    devices: tuple[str, ...] = BOTH
    quick: bool = False

    def __str__(self) -> str:
        return f"{self.op} {self.variant}"


def cases() -> Iterator[Case]:
    """All cases, in the order in which they are measured."""
    for family in FAMILIES.values():
        yield from family()


def _dense() -> Iterator[Case]:
    for M, K, N, activation, rate, source, devices in (
        (32, 784, 128, "relu", 0.0, "mlp", BOTH),
        (32, 784, 128, "relu", RATE, "mlp_dropout", BOTH),
        (256, 784, 512, "relu", 0.0, "wide_mlp", BOTH),
        (256, 512, 512, "relu", 0.0, "wide_mlp", BOTH),
        (256, 2048, 1000, None, 0.0, "resnet50", BOTH),
        (1024, 64, 256, "gelu", 0.0, "transformer", BOTH),
        (700, 200, 10000, None, 0.0, "lstm_lm", BOTH),
        (4096, 1024, 4096, "relu", 0.0, "BERT large", GPU),
        (4096, 1024, 4096, "gelu", 0.0, "BERT large", GPU),
        (4096, 1024, 4096, "relu", RATE, "BERT large", GPU),
        (8192, 8192, 8192, "relu", 0.0, "the largest product", GPU),
    ):
        others = {"torch": rivals.dense(activation, rate), "floor": rivals.product()}
        if activation == "relu" and not rate:
            others["library"] = rivals.dense_library()
        yield Case(
            "dense",
            f"{M}x{K}x{N}" + (f" {activation}" if activation else "") + (f" dropout {rate}" if rate else ""),
            source,
            lambda make, M=M, K=K, N=N, rate=rate: (
                make.normal(M, K),
                make.normal(K, N, scale=K**-0.5),
                make.normal(N),
                *([make.seed()] if rate else []),
            ),
            lambda x, w, b, seed=None, *, implementation, activation=activation, rate=rate: autograd.dense(
                x, w, b, activation, rate, seed, implementation
            ),
            others,
            oracle=rivals.dense(activation),
            jax=None if rate else lambda activation=activation: jax_rivals.dense(activation),
            flops=2 * M * K * N,
            rate=rate,
            devices=devices,
            quick=source in ("mlp", "wide_mlp") and K == 784,
        )


def _conv2d() -> Iterator[Case]:
    for B, side, C, F, window, stride, padding, source, devices in (
        (128, 28, 1, 32, 3, 1, 0, "cnn", BOTH),
        (128, 13, 32, 64, 3, 1, 0, "cnn", BOTH),
        (64, 16, 32, 32, 3, 1, 1, "resnet", BOTH),
        (8, 28, 128, 128, 3, 1, 1, "resnet50", BOTH),
        (8, 28, 128, 512, 1, 1, 0, "resnet50", BOTH),
        (256, 224, 3, 64, 7, 2, 3, "resnet50", GPU),
        (256, 56, 64, 64, 3, 1, 1, "resnet50", GPU),
        (256, 56, 64, 256, 1, 1, 0, "resnet50", GPU),
        (256, 56, 128, 128, 3, 2, 1, "resnet50", GPU),
        (256, 14, 256, 256, 3, 1, 1, "resnet50", GPU),
        (256, 7, 512, 512, 3, 1, 1, "resnet50", GPU),
    ):
        pixels = B * ((side + 2 * padding - window) // stride + 1) ** 2
        yield Case(
            "conv2d",
            f"{B}x{side}x{side}x{C} {window}x{window}/{stride} {F} relu",
            source,
            lambda make, B=B, side=side, C=C, F=F, window=window: (
                make.normal(B, side, side, C),
                make.normal(window, window, C, F, scale=(window * window * C) ** -0.5),
                make.normal(F),
            ),
            lambda x, w, b, implementation, stride=stride, p=padding: autograd.conv2d(
                x, w, b, stride, ((p, p), (p, p)), activation="relu", implementation=implementation
            ),
            {
                "torch": rivals.conv2d(stride, padding, "relu"),
                "library": rivals.conv2d_library(stride, padding),
                "floor": rivals.convolution(stride, padding),
            },
            jax=lambda stride=stride, padding=padding: jax_rivals.conv2d(stride, padding),
            flops=2 * pixels * window * window * C * F,
            devices=devices,
            quick=source == "cnn" and C > 1,
        )


def _depthwise_conv2d() -> Iterator[Case]:
    for B, side, C, source, devices in ((8, 28, 64, "MobileNet", BOTH), (128, 56, 128, "MobileNet", GPU)):
        yield Case(
            "depthwise_conv2d",
            f"{B}x{side}x{side}x{C} 3x3/1",
            source,
            lambda make, B=B, side=side, C=C: (
                make.normal(B, side, side, C),
                make.normal(3, 3, C, 1, scale=1 / 3),
                make.normal(C),
            ),
            lambda x, w, b, implementation: autograd.depthwise_conv2d(
                x, w, b, padding=((1, 1), (1, 1)), implementation=implementation
            ),
            {"torch": rivals.depthwise_conv2d(1, 1)},
            flops=2 * B * side * side * C * 9,
            devices=devices,
        )


def _pools() -> Iterator[Case]:
    for op, call, rival in (
        ("max_pool2d", autograd.max_pool2d, rivals.max_pool2d(2)),
        ("average_pool2d", autograd.average_pool2d, rivals.average_pool2d(2)),
    ):
        for B, side, C, source, devices in ((128, 26, 32, "cnn", BOTH), (256, 112, 64, "VGG", GPU)):
            yield Case(
                op,
                f"{B}x{side}x{side}x{C} 2x2",
                source,
                lambda make, B=B, side=side, C=C: (make.normal(B, side, side, C),),
                lambda x, implementation, call=call: call(x, 2, implementation=implementation),
                {"torch": rival},
                jax=jax_rivals.max_pool2d if op == "max_pool2d" else None,
                rereads=False,
                devices=devices,
                quick=op == "max_pool2d" and source == "cnn",
            )


def _elementwise() -> Iterator[Case]:
    for M, N, source, devices in ((256, 512, "wide_mlp", BOTH), (8192, 8192, "a large layer", GPU)):
        yield Case(
            "activation",
            f"{M}x{N} gelu",
            source,
            lambda make, M=M, N=N: (make.normal(M, N),),
            lambda x, implementation: autograd.activation(x, "gelu", implementation),
            {"torch": rivals.activation("gelu")},
            devices=devices,
        )
        yield Case(
            "dropout",
            f"{M}x{N} {RATE}",
            source,
            lambda make, M=M, N=N: (make.normal(M, N), make.seed()),
            lambda x, seed, implementation: autograd.dropout(x, RATE, seed, implementation=implementation),
            {"torch": rivals.dropout(RATE)},
            oracle=rivals.dropout(0.0),
            rereads=False,
            rate=RATE,
            devices=devices,
            quick=True,
        )


def _normalizations() -> Iterator[Case]:
    for M, N, source, devices in ((2048, 64, "transformer", BOTH), (8192, 1024, "BERT large", GPU)):
        yield Case(
            "layer_norm",
            f"{M}x{N}",
            source,
            lambda make, M=M, N=N: (make.normal(M, N), make.normal(N), make.normal(N)),
            lambda x, gamma, beta, implementation: autograd.layer_norm(
                x, gamma, beta, epsilon=1e-3, implementation=implementation
            ),
            {"torch": rivals.layer_norm(1e-3)},
            jax=lambda: jax_rivals.layer_norm(1e-3),
            devices=devices,
            quick=True,
        )
    for B, side, C, source, devices in ((64, 32, 16, "resnet", BOTH), (256, 56, 64, "resnet50", GPU)):
        yield Case(
            "batch_norm",
            f"{B}x{side}x{side}x{C} training",
            source,
            lambda make, B=B, side=side, C=C: (
                make.normal(B, side, side, C),
                make.normal(C, dtype=make.wide()),
                make.normal(C, dtype=make.wide()),
            ),
            lambda x, gamma, beta, implementation: autograd.batch_norm(
                x, gamma, beta, None, None, epsilon=1e-3, training=True, implementation=implementation
            )[0],
            {"torch": rivals.batch_norm(1e-3)},
            jax=lambda: jax_rivals.batch_norm(1e-3),
            devices=devices,
            quick=True,
        )


def _losses() -> Iterator[Case]:
    for M, N, source, devices in (
        (32, 10, "mlp", BOTH),
        (700, 10000, "lstm_lm", BOTH),
        (8192, 32000, "a language model", GPU),
    ):
        yield Case(
            "softmax_cross_entropy",
            f"{M}x{N}",
            source,
            lambda make, M=M, N=N: (make.normal(M, N), make.labels(M, N)),
            lambda x, labels, implementation: autograd.softmax_cross_entropy(
                x, labels, sparse=True, implementation=implementation
            ),
            {"torch": rivals.cross_entropy()},
            jax=jax_rivals.cross_entropy,
            devices=devices,
            quick=source == "lstm_lm",
        )


def _recurrent() -> Iterator[Case]:
    for op, call, rival, gates in (
        ("lstm", autograd.lstm, rivals.lstm(), 4),
        ("gru", autograd.gru, rivals.gru(), 3),
    ):
        for B, T, H, source, devices in (
            (32, 50, 64, op, BOTH),
            (20, 35, 200, "lstm_lm", BOTH),
            (64, 128, 256, "a speech model", GPU),
            (64, 128, 1024, "a speech model", GPU),
        ):
            bias = (gates * H,) if op == "lstm" else (2, gates * H)
            yield Case(
                op,
                f"{B}x{T}x{H}",
                source,
                lambda make, B=B, T=T, H=H, bias=bias, gates=gates: (
                    make.normal(B, T, H),
                    make.normal(H, gates * H, scale=H**-0.5),
                    make.normal(H, gates * H, scale=H**-0.5),
                    make.normal(*bias),
                ),
                lambda *operands, implementation, call=call: call(
                    *operands, return_sequences=False, implementation=implementation
                )[1],
                {"torch": rival},
                jax=jax_rivals.lstm if op == "lstm" else None,
                flops=2 * 2 * B * T * H * gates * H,
                devices=devices,
                quick=source == "lstm",
            )


def _optimizers() -> Iterator[Case]:
    for sizes, source, devices in (
        (((784, 128), (128,), (128, 10), (10,)), "mlp", BOTH),
        (((784, 512), (512,), (512, 512), (512,), (512, 10), (10,)), "wide_mlp", BOTH),
        (((4096, 1024), (1024,), (1024, 4096), (4096,)) * 12, "BERT large, 12 layers", GPU),
    ):
        for name in optimizers.STEPS:
            yield Case(
                name,
                f"{source}, {len(sizes)} tensors",
                source,
                lambda make, sizes=sizes, name=name: optimizers.operands(name, sizes, make.normal),
                optimizers.ours(name),
                {"torch": optimizers.Optimizer(_nothing, name=name)},
                least_bytes=lambda tensors, name=name: optimizers.least_bytes(name, tensors),
                results=len(sizes),
                devices=devices,
                quick=name == "adam" and source == "mlp",
            )


def _nothing(*operands: Tensor) -> Tensor:
    raise NotImplementedError("an optimizer's call is made with its operands")


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "dense": _dense,
    "convolutions": _conv2d,
    "depthwise convolutions": _depthwise_conv2d,
    "pools": _pools,
    "recurrent": _recurrent,
    "losses": _losses,
    "normalizations": _normalizations,
    "elementwise": _elementwise,
    "optimizers": _optimizers,
}
