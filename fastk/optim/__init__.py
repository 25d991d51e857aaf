"""Optimizers for torch's training loops: `torch.optim`'s names, arguments, numbers and state dicts, a step a launch.

>>> import torch
>>> from fastk import optim
>>> model = torch.nn.Linear(3, 1)
>>> optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, max_norm=1.0)
>>> model(torch.ones(2, 3)).sum().backward()
>>> optimizer.step()
>>> isinstance(optimizer, torch.optim.AdamW)
True
"""

from fastk.optim.adam import Adam, AdamW
from fastk.optim.rmsprop import RMSprop
from fastk.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]
