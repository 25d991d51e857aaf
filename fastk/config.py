"""Configuration: every environment variable is read here, once, and validated.

`docs/environment.md` lists them; a test compares the two. Keras's own settings
(`floatx`, `epsilon`, `image_data_format`) live here too, under Keras's names.

>>> from fastk import config
>>> config.floatx()
'float32'
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastk.errors import ConfigurationError
from fastk.user_warning import warn_user

# And what modules above this one add by `public`.
__all__ = [
    "autotune",
    "autotune_seconds",
    "backend",
    "cache_folder",
    "disable_flash_attention",
    "disable_traceback_filtering",
    "enable_flash_attention",
    "enable_traceback_filtering",
    "epsilon",
    "float32_precision",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_nnx_enabled",
    "is_traceback_filtering_enabled",
    "kernels",
    "max_epochs",
    "max_steps_per_epoch",
    "set_autotune",
    "set_autotune_seconds",
    "set_backend",
    "set_epsilon",
    "set_float32_precision",
    "set_floatx",
    "set_image_data_format",
    "set_kernels",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "standardize_data_format",
    "triton_interpreted",
]

IMPLEMENTATIONS = ("auto", "triton", "cupy", "aten")
FLOAT_TYPES = ("bfloat16", "float16", "float32", "float64")
DATA_FORMATS = ("channels_last", "channels_first")
FLOAT32_PRECISIONS = ("ieee", "tf32", "tf32x3")
AUTOTUNE_MODES = ("off", "cached", "on")


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser that accepts the names in `allowed` and nothing else."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return parse


def positive_seconds(text: str) -> float:
    """A parser of a positive, finite number of seconds."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError("expected a positive number of seconds")
    return value


def whole_number_or_nothing(text: str) -> int | None:
    """A parser of a number from 0 on; None for an empty text."""
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError("expected a whole number from 0 on")
    return int(text)


@dataclass(frozen=True)
class EnvironmentVariable:
    """One variable: its default as text, how to parse it, and what it means."""

    default: str
    parse: Callable[[str], object]
    meaning: str


ENVIRONMENT: dict[str, EnvironmentVariable] = {
    "CXX": EnvironmentVariable("g++", str, "The C++ compiler that emulates CUDA kernels on the CPU, for their tests."),
    "FASTK_AUTOTUNE": EnvironmentVariable(
        "cached",
        one_of(*AUTOTUNE_MODES),
        "Which configurations GPU kernels are launched with: `cached` (those measured earlier, else by sizes), `on` "
        "(measures at the first use of a size, [autotuning](autotuning.md)) or `off` (by sizes).",
    ),
    "FASTK_AUTOTUNE_SECONDS": EnvironmentVariable(
        "10", positive_seconds, "How long `FASTK_AUTOTUNE=on` may search for one kernel and size, in seconds."
    ),
    "FASTK_CACHE": EnvironmentVariable(
        "", str, "Folder of what fastk keeps between runs: the tuning database. Empty: `fastk` in `XDG_CACHE_HOME`."
    ),
    "FASTK_COLLECTIVE_SECONDS": EnvironmentVariable(
        "600",
        positive_seconds,
        "How long a process waits for the others ([many devices](many_devices.md)), in seconds.",
    ),
    "FASTK_DEVICE": EnvironmentVariable(
        "auto",
        str,
        "Device that variables and data live on: `auto` (CUDA if there is one, under `torchrun` that of `LOCAL_RANK`, "
        "else the CPU), `cpu`, `cuda`, `cuda:1`.",
    ),
    "FASTK_DISTRIBUTION": EnvironmentVariable(
        "auto",
        one_of("auto", "off"),
        "Whether a program under `torchrun` that sets no distribution trains data-parallel "
        "([many devices](many_devices.md)): `auto` (it does) or `off` (each process trains by itself).",
    ),
    "FASTK_FLOAT32_PRECISION": EnvironmentVariable(
        "tf32x3",
        one_of(*FLOAT32_PRECISIONS),
        "How fastk's GPU kernels multiply float32 matrices: `tf32x3` (tensor cores, three products, the accuracy of "
        "float32), `tf32` (tensor cores, 10 bits of mantissa, the fastest) or `ieee` (without tensor cores).",
    ),
    "FASTK_KERNELS": EnvironmentVariable(
        "auto",
        one_of(*IMPLEMENTATIONS),
        "Implementation of the core ops: `auto`, `triton`, `cupy` or `aten`. "
        "A name other than `auto` raises where it cannot run.",
    ),
    "KERAS_BACKEND": EnvironmentVariable(
        "", str, "Read by `fastk run` and `install_as_keras`, which warn where it names another backend than `torch`."
    ),
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": EnvironmentVariable(
        "",
        str,
        "Addresses of the processes, for `keras.distribution.initialize`; the first one's, with its port, counts.",
    ),
    "KERAS_DISTRIBUTION_NUM_PROCESSES": EnvironmentVariable(
        "", whole_number_or_nothing, "The number of processes, for `keras.distribution.initialize`."
    ),
    "KERAS_DISTRIBUTION_PROCESS_ID": EnvironmentVariable(
        "", whole_number_or_nothing, "The number of this process, from 0 on, for `keras.distribution.initialize`."
    ),
    "KERAS_HOME": EnvironmentVariable(
        "", str, "Folder of the cache of data sets, weights and other downloads; `~/.keras` where it is empty."
    ),
    "LOCAL_RANK": EnvironmentVariable(
        "", whole_number_or_nothing, "Set by `torchrun`: the number of this process on its machine, and so of its GPU."
    ),
    "NO_COLOR": EnvironmentVariable("", str, "Any value: the progress bar uses no colours (https://no-color.org)."),
    "PYCHARM_HOSTED": EnvironmentVariable(
        "", str, "Set by PyCharm's console, which redraws lines as a terminal does: the progress bar follows."
    ),
    "RANK": EnvironmentVariable(
        "", whole_number_or_nothing, "Set by `torchrun`: the number of this process among all."
    ),
    "TERM": EnvironmentVariable("", str, "The kind of terminal; on a `dumb` one the progress bar uses no colours."),
    "TRITON_INTERPRET": EnvironmentVariable(
        "0",
        one_of("0", "1", "false", "true", "off", "on"),
        "`1`: Triton kernels run in Triton's interpreter, on CPU tensors: slow, for tests and debugging.",
    ),
    "WORLD_SIZE": EnvironmentVariable("", whole_number_or_nothing, "Set by `torchrun`: the number of processes."),
    "XDG_CACHE_HOME": EnvironmentVariable(
        "", str, "The user's folder for caches, of the XDG base directory specification. Empty: `~/.cache`."
    ),
}


def read_environment(name: str, environ: os._Environ | dict[str, str] = os.environ) -> object:
    """The parsed value of one variable; `ConfigurationError` names it and what it takes."""
    variable = ENVIRONMENT[name]
    text = environ.get(name, variable.default)
    try:
        return variable.parse(text)
    except ValueError as error:
        raise ConfigurationError(
            f"The environment variable {name} is {text!r}: {error}. Unset it, or set it to such a value."
        ) from None


def launched_as() -> tuple[int, int] | None:
    """`(rank, number of processes)` as `torchrun` tells them; None where the process was started alone."""
    rank, size = read_environment("RANK"), read_environment("WORLD_SIZE")
    return (rank, size) if isinstance(rank, int) and isinstance(size, int) else None


def environment_with(**variables: str) -> dict[str, str]:
    """This process's environment with other values for some variables, for a process to be started."""
    return {**os.environ, **variables}


@dataclass
class _Settings:
    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    flash_attention: bool | None = None
    max_epochs: int | None = None
    max_steps_per_epoch: int | None = None
    kernels: str = field(default_factory=lambda: str(read_environment("FASTK_KERNELS")))
    autotune: str = field(default_factory=lambda: str(read_environment("FASTK_AUTOTUNE")))
    autotune_seconds: float = field(default_factory=lambda: float(str(read_environment("FASTK_AUTOTUNE_SECONDS"))))
    float32_precision: str = field(default_factory=lambda: str(read_environment("FASTK_FLOAT32_PRECISION")))


_settings = _Settings()


def _check(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"Unknown `{name}` value: {value!r}. Expected one of {', '.join(map(repr, allowed))}.")
    return value


def floatx() -> str:
    """The default float type of layers and data, as a string: `'float32'` unless set."""
    return _settings.floatx


def set_floatx(value: str) -> None:
    """Sets the default float type: `'bfloat16'`, `'float16'`, `'float32'` or `'float64'`."""
    _settings.floatx = _check("floatx", str(value), FLOAT_TYPES)


def epsilon() -> float:
    """The fuzz factor of losses and metrics (`1e-7` unless set)."""
    return _settings.epsilon


def set_epsilon(value: float) -> None:
    """Sets the fuzz factor."""
    _settings.epsilon = float(value)


def image_data_format() -> str:
    """`'channels_last'` (the default) or `'channels_first'`."""
    return _settings.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Sets the default layout of images."""
    _settings.image_data_format = _check("data_format", str(data_format), DATA_FORMATS)


def standardize_data_format(data_format: str | None) -> str:
    """`data_format` checked, or the default where it is None."""
    if data_format is None:
        return image_data_format()
    return _check("data_format", str(data_format).lower(), DATA_FORMATS)


def max_epochs() -> int | None:
    """The most epochs that `fit` runs, whatever it is asked for; None for no limit."""
    return _settings.max_epochs


def set_max_epochs(max_epochs: int | None) -> None:
    """Limits the epochs of every `fit`, for a quick run of a script; None lifts the limit."""
    _settings.max_epochs = _limit("max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """The most batches that an epoch, an `evaluate` and a `predict` run; None for no limit."""
    return _settings.max_steps_per_epoch


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Limits the batches of every pass over data, for a quick run of a script; None lifts the limit."""
    _settings.max_steps_per_epoch = _limit("max_steps_per_epoch", max_steps_per_epoch)


def _limit(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"`{name}` must be a positive integer, or None for no limit. Received: {value!r}.")
    return value


def backend() -> str:
    """The name of what computes: `'torch'`, so that code which asks takes its branch for torch tensors."""
    return "torch"


def set_backend(backend: str) -> None:
    """Nothing for `'torch'`, which computes already.

    Raises:
        ValueError: another backend.
    """
    if backend != "torch":
        raise ValueError(
            f"fastk computes on torch tensors and has no other backend. Received: set_backend({backend!r}). Remove the "
            "call, or run the program with Keras itself."
        )


def is_nnx_enabled() -> bool:
    """False: NNX is a library of JAX."""
    return False


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks show every line, fastk's own too."""
    return False


def disable_traceback_filtering() -> None:
    """Nothing: tracebacks are not filtered."""


def enable_traceback_filtering() -> None:
    """Warns: tracebacks are not filtered, so that what went wrong inside can be seen too."""
    warn_user(
        "fastk does not filter tracebacks: they show every line, the last one of your own program being the place to "
        "look first. Remove the call of enable_traceback_filtering()."
    )


def enable_flash_attention() -> None:
    """Lets torch take the flash implementation of attention where it can run (the default)."""
    _settings.flash_attention = None


def disable_flash_attention() -> None:
    """Rules the flash implementation of attention out."""
    _settings.flash_attention = False


def is_flash_attention_enabled() -> bool | None:
    """False where the flash implementation of attention is ruled out; None where torch chooses."""
    return _settings.flash_attention


def kernels() -> str:
    """Which implementation of the core ops is asked for: `'auto'`, `'triton'`, `'cupy'` or `'aten'`."""
    return _settings.kernels


def set_kernels(name: str) -> None:
    """Asks for one implementation of the core ops by name; `'auto'` lets dispatch choose."""
    _settings.kernels = _check("kernels", name, IMPLEMENTATIONS)


def float32_precision() -> str:
    """How fastk's GPU kernels multiply float32: `'tf32x3'` (the default), `'tf32'` or `'ieee'`."""
    return _settings.float32_precision


def set_float32_precision(precision: str) -> None:
    """Sets how fastk's GPU kernels multiply float32 matrices.

    `'tf32x3'` adds three products on the tensor cores and keeps the accuracy of float32; `'tf32'` takes one, three
    times as fast, with 10 bits of mantissa; `'ieee'` multiplies without tensor cores.
    """
    _settings.float32_precision = _check("float32_precision", precision, FLOAT32_PRECISIONS)


def autotune() -> str:
    """Which configurations kernels are launched with: `'cached'` (the default), `'on'` or `'off'`."""
    return _settings.autotune


def set_autotune(mode: str) -> None:
    """Sets how GPU kernels are tuned.

    `'cached'` takes configurations that were measured earlier, and never measures; `'on'` measures at the first use of
    a size; `'off'` chooses by sizes alone.
    """
    _settings.autotune = _check("autotune", mode, AUTOTUNE_MODES)


def autotune_seconds() -> float:
    """How many seconds a search for one kernel and size may take."""
    return _settings.autotune_seconds


def set_autotune_seconds(seconds: float) -> None:
    """Sets how many seconds a search for one kernel and size may take."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"`seconds` must be positive and finite. Received: {seconds!r}.")
    _settings.autotune_seconds = float(seconds)


def cache_folder() -> Path:
    """The folder of what fastk keeps between runs: `FASTK_CACHE`, else `fastk` in the user's folder for caches.

    It may not exist yet.
    """
    own = str(read_environment("FASTK_CACHE"))
    if own:
        return Path(own).expanduser()
    return Path(str(read_environment("XDG_CACHE_HOME")) or "~/.cache").expanduser() / "fastk"


def triton_interpreted() -> bool:
    """Whether Triton kernels run in Triton's interpreter, which Triton itself decides by `TRITON_INTERPRET`."""
    return read_environment("TRITON_INTERPRET") in ("1", "true", "on")


def public(function: Callable) -> Callable:
    """A decorator for modules above this one: their setting is reached here too, as `keras.config.<name>`."""
    globals()[function.__name__] = function
    __all__.append(function.__name__)
    return function
