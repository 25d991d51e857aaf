"""`STFT`: convolution kernels that compute a short-time Fourier transform."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastk import dtypes
from fastk.initializers.initializer import Initializer
from fastk.tensor import convert_to_tensor, get_device


class STFT(Initializer):
    r"""The real or imaginary part of windowed Fourier coefficients, as a `Conv1D` kernel.

    The value at time t and frequency f is `w[t] / s * cos(-2 pi t f / n)` (`sin` for the imaginary part), where
    `n = 2 * (frequencies - 1)` and s normalises the window w.

    Args:
        side: `"real"` or `"imag"`.
        window: a name of `scipy.signal.get_window`, an array of the frame's length, or None for no window.
        scaling: `"density"` (s is the window's L2 norm), `"spectrum"` (its L1 norm) or None (s = 1).
        periodic: whether a window given by name is periodic rather than symmetric.

    >>> from fastk import initializers
    >>> initializers.STFT("real", window=None)((4, 1, 3)).shape
    torch.Size([4, 1, 3])
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ):
        if side not in ("real", "imag"):
            raise ValueError(f"side should be 'real' or 'imag', not {side}")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(
                f"Scaling is invalid, it must be `None`, 'density' or 'spectrum'. Received scaling={scaling}"
            )
        if isinstance(window, str):
            _window(window, 1, periodic)  # raises ValueError for an unknown name
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, shape: Any, dtype: Any = None) -> torch.Tensor:
        """The kernel of shape `(frame length, 1, frequencies)`."""
        torch_dtype = dtypes.to_torch_dtype(dtype)
        length, _, frequencies = shape
        working = torch.float64  # a phase of thousands of radians has few correct digits left in float32
        time = torch.arange(length, dtype=working, device=get_device()).reshape(length, 1, 1)
        frequency = torch.arange(frequencies, dtype=working, device=get_device()) / (2 * (frequencies - 1))
        phase = -2.0 * math.pi * time * frequency
        kernel = phase.cos() if self.side == "real" else phase.sin()
        if self.window is None:
            return kernel.to(torch_dtype)
        window = _window(self.window, length, self.periodic) if isinstance(self.window, str) else self.window
        window = convert_to_tensor(window, dtype=working)
        if tuple(window.shape) != (length,):
            raise ValueError(
                f"The shape of `window` must be equal to [frame_length], here ({length},). "
                f"Received: window shape={tuple(window.shape)}"
            )
        scale = 1.0
        if self.scaling == "density":
            scale = window.square().sum().sqrt()
        elif self.scaling == "spectrum":
            scale = window.abs().sum()
        return (kernel * window.reshape(length, 1, 1) / scale).to(torch_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"side": self.side, "window": self.window, "periodic": self.periodic, "scaling": self.scaling}


def _window(name: str, length: int, periodic: bool) -> Any:
    try:
        import scipy.signal
    except ImportError as error:
        raise ImportError(
            f"The window {name!r} is computed by SciPy, which is not installed: `pip install scipy`, or pass the "
            "window's values as an array."
        ) from error
    return scipy.signal.get_window(name, length, periodic)
