"""The reference models as a user of torch writes them; images come as [B, H, W, C], as Keras's do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .keras_models import CLASSES, LENGTH, TOKENS, WORDS


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


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = 4 * channels
        self.first = convolution(inputs, channels, 1)
        self.second = convolution(channels, channels, 3, stride)
        self.third = convolution(channels, outputs, 1)
        self.shortcut = nn.Identity() if inputs == outputs else convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's images."""
        y = torch.relu(self.second(torch.relu(self.first(x))))
        return torch.relu(self.third(y) + self.shortcut(x))


def resnet50() -> nn.Module:
    """ResNet-50."""
    blocks, inputs = [], 64
    for channels, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(count):
            blocks.append(Bottleneck(inputs, channels, 2 if number == 0 and channels > 64 else 1))
            inputs = 4 * channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)]
    return nn.Sequential(ChannelsLast(), convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks, *head)


class EncoderBlock(nn.Module):
    """Attention by torch's fused kernel, then two dense layers."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.first, self.second = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] again."""
        q, k, v = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attention = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first(x + self.output(attention))
        return self.second(x + self.hidden(x))


class Transformer(nn.Module):
    """Tokens and positions, two blocks, a mean, a dense layer."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(TOKENS, 64), nn.Parameter(torch.zeros(LENGTH, 64))
        self.blocks = nn.Sequential(*[EncoderBlock(64, 4, 256) for _ in range(2)])
        self.dense = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of texts."""
        return self.dense(self.blocks(self.tokens(x) + self.positions).mean(1))


class LanguageModel(nn.Module):
    """Two LSTMs, and the next word at every step."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 200)
        self.layers, self.dense = nn.LSTM(200, 200, num_layers=2, batch_first=True), nn.Linear(200, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, words]."""
        return self.dense(self.layers(self.words(x))[0])


def initialize(model: nn.Module) -> nn.Module:
    """Gives the parameters Keras's starting values, so that losses can be compared: Glorot's uniform, no bias.

    Embeddings get small uniform numbers. Convolutions get theirs in the layout of their images, channels last.
    """
    for module in model.modules():
        if isinstance(module, (nn.Embedding, Transformer)):
            nn.init.uniform_(module.weight if isinstance(module, nn.Embedding) else module.positions, -0.05, 0.05)
            continue
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
    for block in (module for module in model.modules() if isinstance(module, EncoderBlock)):
        for part in block.inputs.weight.data.chunk(3):  # queries, keys and values are three layers in Keras
            nn.init.xavier_uniform_(part)
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
    "transformer": Transformer,
    "lstm_lm": LanguageModel,
    "resnet50": resnet50,
}
