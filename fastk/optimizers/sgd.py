"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Unpack

from fastk.autograd import sgd_
from fastk.optimizers.base import LearningRateLike, Optimizer
from fastk.optimizers.hyperparameters import Options


class SGD(Optimizer):
    """Gradient descent, with momentum or Nesterov momentum.

    `m = momentum * m - learning_rate * g`, then `w += m`, or with Nesterov `w += momentum * m - learning_rate * g`.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        momentum: a float in [0, 1].
        nesterov: look one step ahead.
        options: the arguments of `Optimizer`.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> optimizer = fastk.optimizers.SGD(learning_rate=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.apply([fastk.ops.convert_to_tensor([1.0])], [w])
    >>> w.numpy().round(3)
    array([0.71], dtype=float32)
    """

    hyperparameters = ("momentum", "nesterov")
    _takes_options = True

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        if not isinstance(momentum, float) or not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be a float between [0, 1]. Received: momentum={momentum!r}")
        self.momentum = momentum
        self.nesterov = nesterov

    def _create_slots(self, variables):
        self.momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum else []

    def _update_tensors(self, parameters, gradients, slots, learning_rate, step, options=None):
        if self.momentum:
            sgd_(parameters, gradients, slots[0], learning_rate, self.momentum, self.nesterov, options)
        else:
            sgd_(parameters, gradients, None, learning_rate, options=options)
