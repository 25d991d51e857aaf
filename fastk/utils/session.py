"""`clear_session`: forget what earlier models left in the process."""

from __future__ import annotations

import gc
import sys

from fastk import dtype_policies, naming
from fastk.random.seed_generator import reset_global_seed_generator


def clear_session(free_memory: bool = True) -> None:
    """Starts the numbering of names anew, and forgets the global seed generator and dtype policy.

    Args:
        free_memory: whether to collect garbage at once, which can take a while.

    >>> from fastk import naming, utils
    >>> utils.clear_session()
    >>> naming.auto_name("Dense"), naming.auto_name("Dense")
    ('dense', 'dense_1')
    """
    naming.reset_names()
    reset_global_seed_generator()
    dtype_policies.reset_dtype_policy()
    dynamo = sys.modules.get("torch._dynamo")  # its cache of compiled functions, where anything was compiled
    if dynamo is not None:
        dynamo.reset()
    if free_memory:
        gc.collect()
