"""fastk, by itself and in Keras, and the rivals: what each needs, and the environment of its process."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fastk import config

FOLDER = Path(__file__).resolve().parent
PACKAGES = Path(config.__file__).resolve().parents[1]  # where `import fastk` finds this fastk


@dataclass(frozen=True)
class Provider:
    """A rival, by its name in `PROVIDERS`.

    Args:
        needs: the modules that must be installed.
        keras: the module that speaks Keras, or None for a loop over torch.
        backend: Keras's backend.
        compiled: whether the loop's module goes through `torch.compile`.
        accelerated: whether fastk is inside, by `fastk.integrations`.
    """

    needs: tuple[str, ...]
    keras: str | None = None
    backend: str | None = None
    compiled: bool = False
    accelerated: bool = False

    def missing(self) -> str | None:
        """What keeps the provider from running, or None."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def environment(self, threads: int, device: str, home: str) -> dict[str, str]:
        """The environment of the provider's process.

        Args:
            threads: threads that every library may use for one operation.
            device: "cpu" hides GPUs; "auto" does not.
            home: a folder for Keras's settings, so that the user's do not enter.
        """
        count = str(threads)
        paths = [str(FOLDER), str(PACKAGES), config.environment_with().get("PYTHONPATH", "")]
        environment = config.environment_with() | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count,
            "TF_NUM_INTRAOP_THREADS": count, "TF_NUM_INTEROP_THREADS": count,
            "NPROC": count,  # the thread pool of JAX
            "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": home,
            # Several processes share a GPU, and none multiplies float32 in a lower precision.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "NVIDIA_TF32_OVERRIDE": "0",
        }  # fmt: skip
        if self.backend:
            environment["KERAS_BACKEND"] = self.backend
        if device == "cpu":
            environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        return environment

    def command(self, model: str, steps: int, threads: int) -> list[str]:
        """What starts the provider's process."""
        asked = {"name": model, "steps": steps, "keras": self.keras, "backend": self.backend, "compiled": self.compiled}
        asked |= {"accelerated": self.accelerated}
        return [sys.executable, "-P", "-m", "worker", str(threads), json.dumps(asked)]


PROVIDERS = {
    "fastk": Provider(("torch",), keras="fastk"),
    "fastk-in-keras": Provider(("keras", "torch"), keras="keras", backend="torch", accelerated=True),
    "keras-torch": Provider(("keras", "torch"), keras="keras", backend="torch"),
    "keras-jax": Provider(("keras", "jax"), keras="keras", backend="jax"),
    "keras-tensorflow": Provider(("keras", "tensorflow"), keras="keras", backend="tensorflow"),
    "torch": Provider(("torch",)),
    "torch.compile": Provider(("torch",), compiled=True),
    "fastk-in-torch": Provider(("torch",), accelerated=True),
}
QUICK = ("fastk", "torch")
