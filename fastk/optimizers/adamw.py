"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Unpack

from fastk.optimizers.adam import Adam
from fastk.optimizers.base import LearningRateLike
from fastk.optimizers.hyperparameters import CommonOptions


class AdamW(Adam):
    """`Adam`, with weights that shrink by the fraction `learning_rate * weight_decay` before each step.

    Args:
        learning_rate: a float, a schedule, or a callable without arguments.
        weight_decay: see above; `exclude_from_weight_decay` exempts variables.
        beta_1, beta_2, epsilon, amsgrad: as in `Adam`.
        options: the arguments of `Optimizer`.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.

    >>> import fastk
    >>> w = fastk.Variable([1.0])
    >>> optimizer = fastk.optimizers.AdamW(learning_rate=0.1, weight_decay=0.5)
    >>> optimizer.apply([fastk.ops.convert_to_tensor([0.0])], [w])
    >>> w.numpy()
    array([0.95], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: LearningRateLike = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[CommonOptions],
    ):
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)
