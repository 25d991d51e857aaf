"""fastk inside Keras on torch: `accelerate` a model where it is, or replace Keras's functions inside `patched()`.

For those who stay with Keras: the model, its files, its callbacks and its loops are Keras's; the steps are fastk's.
`docs/in_keras.md` says what is replaced, and what is not.
"""

from __future__ import annotations

from typing import Any

__all__ = ["accelerate", "explain", "patched", "restore"]


def accelerate(model: Any, replay_custom_steps: bool = False) -> Any:
    pass
