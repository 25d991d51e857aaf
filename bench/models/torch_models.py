"""The reference models as a user of torch writes them; images come as [B, H, W, C], as Keras's do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.cases import CLASSES


class ChannelsLast(nn.Module):
    """[B, H, W, C] as torch names it: [B, C, H, W], the same memory."""

    def forward(self, x: Tensor) -> Tensor:
        """No copy."""
        return x.permute(0, 3, 1, 2)


def mlp(rate: float = 0.0) -> nn.Module:
    """784-128-10."""
    dropout = [nn.Dropout(rate)] if rate else []
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), *dropout, nn.Linear(128, CLASSES))


def wide_mlp() -> nn.Module:
    """784-512-512-10."""
    hidden = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(512, CLASSES))


def cnn() -> nn.Module:
    """Two convolutions with pools."""
    return nn.Sequential(
        ChannelsLast(),
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, CLASSES),
    )  # fmt: skip


def convolution(inputs: int, channels: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch normalization with Keras's constants."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
    )


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.first = convolution(inputs, channels, 3, stride)
        self.second = convolution(channels, channels, 3)
        self.shortcut = nn.Identity() if inputs == channels else convolution(inputs, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's images."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def resnet() -> nn.Module:
    """ResNet-14."""
    blocks = [
        Block(16, 16, 1),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 32, 1),
        Block(32, 64, 2),
        Block(64, 64, 1),
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)]
    return nn.Sequential(ChannelsLast(), convolution(3, 16, 3), nn.ReLU(), *blocks, *head)


class Recurrent(nn.Module):
    """Recurrent layers, then a dense one on the last state."""

    def __init__(self, *layers: nn.Module, units: int):
        super().__init__()
        self.layers, self.dense = nn.ModuleList(layers), nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of sequences."""
        for layer in self.layers:
            x = layer(x)[0]
        return self.dense(x[:, -1])


class Branches(nn.Module):
    """Two inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(32, 64)
        self.hidden, self.dense = nn.Linear(128, 64), nn.Linear(64, CLASSES)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits of a batch of pairs."""
        both = torch.cat([torch.relu(self.a(a)), torch.relu(self.b(b))], dim=1)
        return self.dense(torch.relu(self.hidden(both)))


def initialize(model: nn.Module) -> nn.Module:
    """Gives the parameters Keras's starting values, so that losses can be compared: Glorot's uniform, no bias.

    Convolutions get theirs in the layout of their images, channels last.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1:
                recurrent = name.startswith("weight_hh")
                parts = (
                    parameter.data.chunk(parameter.shape[0] // parameter.shape[1]) if recurrent else [parameter.data]
                )
                for part in parts:
                    (nn.init.orthogonal_ if recurrent else nn.init.xavier_uniform_)(part)
                if parameter.ndim == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
            elif "bias" in name:
                nn.init.zeros_(parameter.data)
    return model


MODELS = {
    "mlp": mlp,
    "mlp_dropout": lambda: mlp(0.2),
    "wide_mlp": wide_mlp,
    "cnn": cnn,
    "resnet": resnet,
    "lstm": lambda: Recurrent(nn.LSTM(32, 64, batch_first=True), units=64),
    "gru": lambda: Recurrent(nn.GRU(32, 64, batch_first=True), nn.GRU(64, 32, batch_first=True), units=32),
    "branches": Branches,
}
