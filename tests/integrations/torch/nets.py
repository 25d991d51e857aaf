"""Networks as users of torch write them."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Block(nn.Module):
    """A residual block: functions and modules as activations, in place and not."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        self.blocks = nn.ModuleList([Block(8, 8), Block(8, 16, 2)])
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.head(x.view(x.size(0), -1))


class LeNet(nn.Module):
    """As torch's tutorials have it: functions, and a view of what a pool returns."""

    def __init__(self, rate=0.0):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding="same"), nn.Conv2d(6, 8, 3, bias=False)
        self.fc1, self.fc2 = nn.Linear(8 * 3 * 3, 16), nn.Linear(16, 5)
        self.rate = rate

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.gelu(self.conv2(x)), 2)
        x = x.view(-1, 8 * 3 * 3)
        x = F.dropout(self.fc1(x).relu(), self.rate, training=self.training)
        return self.fc2(x)


class Classifier(nn.Module):
    """Recurrent layers over [B, T, 6], and a head."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layers = kind(6, 7, batch_first=True, **options)
        self.norm = nn.LayerNorm(7 * self.layers.bidirectional + 7)
        self.head = nn.Sequential(nn.Linear(self.norm.normalized_shape[0], 8), nn.Tanh(), nn.Linear(8, 5))

    def forward(self, x):
        return self.head(self.norm(self.layers(x)[0][:, -1]))


def mlp(rate=0.0):
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(rate), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 5))


def images(channels=3, size=8, batch=6):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(5), device="cpu")


def sequences(batch=6):
    return torch.randn(batch, 9, 6, generator=torch.Generator().manual_seed(6), device="cpu")


def rows(batch=6):
    return torch.randn(batch, 6, generator=torch.Generator().manual_seed(7), device="cpu")


NETS = {
    "mlp": (mlp, rows),
    "lenet": (LeNet, lambda: images(1, 16)),
    "resnet": (ResNet, images),
    "lstm": (lambda: Classifier(nn.LSTM, num_layers=2), sequences),
    "gru": (lambda: Classifier(nn.GRU, bidirectional=True), sequences),
}
"""How each is made, and what it is fed: a batch of 6, for 5 classes."""
