"""`set_random_seed`: one seed for every generator of the process."""

from __future__ import annotations

import random

import numpy as np
import torch

from fastk.random.seed_generator import reset_global_seed_generator


def set_random_seed(seed: int) -> None:
    """Makes what follows reproducible: seeds Python's, NumPy's and torch's generators, and with them fastk's.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ValueError: for anything else.

    >>> from fastk import random, utils
    >>> utils.set_random_seed(1)
    >>> first = random.normal((3,))
    >>> utils.set_random_seed(1)
    >>> bool((random.normal((3,)) == first).all())
    True
    """
    if not isinstance(seed, int):
        raise ValueError(f"Expected `seed` argument to be an integer. Received: seed={seed} (of type {type(seed)})")
    if not 0 <= seed < 2**32:
        raise ValueError(
            f"Expected `seed` to be between 0 and 2**32 - 1, the range of NumPy's seeds. Received: seed={seed}"
        )
    reset_global_seed_generator()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
