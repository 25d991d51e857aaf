"""Capture: what a function does to tensors, recorded once and replayed without its Python.

On the CPU a `Recorder` notes the ATen calls of a step while it runs; two recordings that agree become a `Program`, a
flat list of calls on buffers that were laid out beforehand. A step that depends on anything else than its inputs and
the state that it updates (a value read by the host, a size that follows from data, a tensor that is another one each
time) is not captured, and the reason is kept in words.

>>> import torch
>>> import torch
>>> total = torch.zeros(())
>>> def step(x):
...     total.add_((x * x).sum())
>>> x = torch.ones(3)
>>> first, second = record(step, x), record(step, x)
>>> first.difference(second) is None
True
>>> program = build(second)
>>> x.fill_(2.0)
tensor([2., 2., 2.])
>>> program.run()
>>> total
tensor(18.)
"""

from fastk.capture.host_call import host_call
from fastk.capture.program import Program, build
from fastk.capture.recorder import Recording, record

__all__ = ["Program", "Recording", "build", "host_call", "record"]
