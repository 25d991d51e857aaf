"""The ops: functions of torch tensors, differentiable by torch's autograd, that nothing else of fastk is needed for.

Each checks its arguments, asks `fastk.dispatch` which implementation runs, and calls it. Layouts are Keras's: channels
last, kernels [kh, kw, C / groups, F]. The ops ending in `_` work in place, over lists of tensors.

>>> import torch
>>> from fastk import autograd
>>> x, kernel = torch.ones(2, 3), torch.ones(3, 4, requires_grad=True)
>>> autograd.dense(x, kernel, activation="relu").sum().backward()
>>> kernel.grad[0]
tensor([2., 2., 2., 2.])
"""

from fastk.autograd.activation import activation
from fastk.autograd.adam import adam_
from fastk.autograd.batch_norm import batch_norm
from fastk.autograd.conv2d import conv1d, conv2d, depthwise_conv2d
from fastk.autograd.dense import dense
from fastk.autograd.dropout import dropout
from fastk.autograd.gru import gru, gru_cell
from fastk.autograd.layer_norm import layer_norm
from fastk.autograd.lstm import lstm, lstm_cell
from fastk.autograd.pool2d import average_pool1d, average_pool2d, max_pool1d, max_pool2d
from fastk.autograd.rmsprop import rmsprop_
from fastk.autograd.sgd import sgd_
from fastk.autograd.simple_rnn import simple_rnn, simple_rnn_cell
from fastk.autograd.softmax_cross_entropy import softmax_cross_entropy, softmax_cross_entropy_with_gradient
from fastk.autograd.steps import StepOptions

__all__ = [
    "StepOptions",
    "activation",
    "adam_",
    "average_pool1d",
    "average_pool2d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "dense",
    "depthwise_conv2d",
    "dropout",
    "gru",
    "gru_cell",
    "layer_norm",
    "lstm",
    "lstm_cell",
    "max_pool1d",
    "max_pool2d",
    "rmsprop_",
    "sgd_",
    "simple_rnn",
    "simple_rnn_cell",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_gradient",
]
