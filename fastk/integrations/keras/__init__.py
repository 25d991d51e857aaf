"""fastk inside Keras on torch: `accelerate` a model where it is, or replace Keras's functions inside `patched()`.

For those who stay with Keras: the model, its files, its callbacks and its loops are Keras's; the steps are fastk's.
`docs/in_keras.md` says what is replaced, and what is not. Keras is imported at the first call.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from fastk.integrations.keras.support import keras_on_torch

if TYPE_CHECKING:
    from fastk.integrations.keras.acceleration import Acceleration
    from fastk.integrations.keras.patches import Calls
    from fastk.integrations.keras.report import Report

__all__ = ["accelerate", "explain", "patched", "restore"]


def accelerate(model: Any, replay_custom_steps: bool = False) -> Acceleration:
    """Has a Keras model train, evaluate and predict with fastk's kernels and its captured step, until it is taken back.

    The model stays the object that it is, with its variables, its optimizer's and its metrics', which fastk works on.

    Args:
        model: a `keras.Model` on the backend torch; compiled or not, built or not.
        replay_custom_steps: whether a `train_step`, `test_step` or `predict_step` of the user's is recorded and
            replayed, too. Code in it that is no operation on tensors then runs for the recorded steps alone, as under
            `jax.jit`.

    Returns:
        A handle: `handle.undo()` takes it back, as does the end of a `with` block; `handle.explain()` is `explain`.

    Raises:
        ImportError: Keras is not installed.
        RuntimeError: it has a version that is not tested, or another backend than torch.
        TypeError: `model` is no `keras.Model`.

    ```python
    import keras  # with KERAS_BACKEND=torch
    import fastk.integrations.keras as fk

    fk.accelerate(model)
    model.fit(x, y)
    print(fk.explain(model))
    fk.restore(model)
    ```
    """
    keras = keras_on_torch()
    if not isinstance(model, keras.Model):
        raise TypeError(f"`accelerate` takes a keras.Model. Received: {model!r} (of type {type(model)}).")
    from fastk.integrations.keras.acceleration import PLACE, Acceleration

    if PLACE in vars(model):
        vars(model)[PLACE].undo()
    acceleration = Acceleration(keras, model, replay_custom_steps)
    acceleration.install()
    return acceleration


def restore(model: Any) -> None:
    """Takes `accelerate` back: the model runs as Keras runs it, with the weights and states that it has now.

    Args:
        model: the model; one that is not accelerated stays as it is.
    """
    acceleration = _of(model)
    if acceleration is not None:
        acceleration.undo()


def explain(model: Any, batch_size: int = 32, training: bool = True) -> Report:
    """What of an accelerated model fastk computes, how its steps run, and what runs as in Keras, with the reasons.

    Args:
        model: the model.
        batch_size: the samples that costs are counted for.
        training: whether the plan is shown for a training step, or for inference.

    Raises:
        ValueError: the model is not accelerated.
    """
    acceleration = _of(model)
    if acceleration is None:
        raise ValueError(f"The model {getattr(model, 'name', model)!r} is not accelerated: call `accelerate(model)`.")
    return acceleration.explain(batch_size, training)


def patched() -> AbstractContextManager[Calls]:
    """A context manager inside which Keras's functions on torch are fastk's, for any code that uses Keras.

    `fastk.integrations.keras.patches.patched` says what it does for other threads, and what it raises.
    """
    keras_on_torch()
    from fastk.integrations.keras.patches import patched as patched_functions

    return patched_functions()


def _of(model: Any) -> Any:
    from fastk.integrations.keras.acceleration import PLACE

    return getattr(model, "__dict__", {}).get(PLACE)
