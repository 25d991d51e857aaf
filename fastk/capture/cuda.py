"""The replay of a step on a GPU: a CUDA graph of everything that it launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import tree


class CudaGraph:
    """A step captured as a CUDA graph; `run` launches it.

    Args:
        step: the step; it has run before, on the same shapes, so that nothing is set up for the first time.
        inputs: its arguments, which stay where they lie.

    Raises:
        RuntimeError: the step did what cannot be captured, such as waiting for the device.
    """

    def __init__(self, step: Callable[..., Any], *inputs: Any):
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):  # nothing runs yet
            self._outputs = step(*inputs)

    def run(self) -> Any:
        """Does the step once more and returns what it returned."""
        self._graph.replay()
        return tree.map_structure(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, self._outputs)

    run_again = run  # one graph, in which nothing is left out
