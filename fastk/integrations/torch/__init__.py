"""fastk inside PyTorch: an `nn.Module` as it is, its chains of layers computed by fastk's fused ops.

>>> import torch
>>> from torch import nn
>>> from fastk.integrations.torch import accelerate, restore
>>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
>>> x = torch.randn(5, 3)
>>> expected = model(x)
>>> torch.equal(accelerate(model)(x), expected)
True
>>> torch.equal(restore(model)(x), expected)
True
"""

from fastk.integrations.torch.accelerating import accelerate, explain, is_accelerated, restore
from fastk.integrations.torch.report import Fused, Kept, Report
from fastk.integrations.torch.stepping import TrainStep

__all__ = ["Fused", "Kept", "Report", "TrainStep", "accelerate", "explain", "is_accelerated", "restore"]
