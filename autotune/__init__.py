"""The autotuner: which configuration a kernel is launched with, and whose implementation an op runs on.

A kernel states its choice once, as a `Tunable`: the problems, the configurations that can solve them, one predicate
that says which are valid, what they cost by the model, and the default. Its launcher asks `configuration_for`, which
answers from memory, from the database of earlier measurements, from the winners shipped for the GPU, by measuring
(`FASTK_AUTOTUNE=on`), or with the default. `docs/autotuning.md` has the whole of it.
"""

if __name__ != "fastk.autotune":
    raise ImportError(
        f"This folder is the package fastk.autotune, not {__name__!r}: write `import fastk.autotune`. "
        "Where another package named 'autotune' was meant, start Python outside the fastk repository."
    )

from fastk.autotune.model import Work
from fastk.autotune.space import Accuracy, Resources, Tunable, example_tensor
from fastk.autotune.tuner import Decision, configuration_for, decision_for, decisions, forget, is_informed

__all__ = [
    "Accuracy",
    "Decision",
    "Resources",
    "Tunable",
    "Work",
    "configuration_for",
    "decision_for",
    "decisions",
    "example_tensor",
    "forget",
    "is_informed",
]
