"""The replay of a step on a GPU: a CUDA graph of everything that it launches.

What torch asks of a capture (its notes on CUDA graphs), and where it is seen to:

- Warm-up on another stream than the default one: `Space.record`; recorded steps run there.
- Inputs that stay where they are: the step's buffers, which are filled before each replay.
- State on the device: learning rates, counts of steps, seeds and metrics are tensors there, written in place; an
  optimizer that the host steers is not captured (`fastk.training.trainer`).
- Random numbers: fastk draws from seeds on the device; torch's default generator of the device is registered by
  `torch.cuda.graph`, and others would be read by the host, which a recording refuses.
- Memory of its own: all graphs of one step share a pool. A graph reads nothing that another one left in the pool: what
  lasts is state, which lies outside, or an output, which is kept. So they may be replayed in any order, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fastk import tree
from fastk.capture.recorder import Recording, record

_kept: list[Any] | None = None


def keep_for_replays(x: Any) -> bool:
    """Keeps `x` for as long as the graph that is being captured; False where none of fastk's is.

    For what a kernel reads by an address that the graph holds, and that nobody else is sure to keep.
    """
    if _kept is None:
        return False
    _kept.append(x)
    return True


@contextmanager
def keeping() -> Iterator[list[Any]]:
    """Collects what `keep_for_replays` is given."""
    global _kept
    before, _kept = _kept, []
    try:
        yield _kept
    finally:
        _kept = before


class Space:
    """Where the graphs of a step are captured: a stream beside the current one, and memory that they share.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def record(self, step: Callable[..., Any], *inputs: Any) -> Recording:
        """Records a step that runs on the stream of the captures, so that what libraries set up for a stream is there.

        The current stream's work comes before, and what it is given next after.
        """
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            recording = record(step, *inputs)
        current.wait_stream(self.stream)
        for x in tree.flatten(recording.result):
            if isinstance(x, torch.Tensor) and x.is_cuda:
                x.record_stream(current)  # its memory is the other stream's
        return recording


class CudaGraph:
    """A step captured as a CUDA graph; `run` launches it.

    Args:
        space: where it is captured.
        step: the step; it has run before in this space, on the same shapes, so that nothing is set up for the first
            time.
        inputs: its arguments, which stay where they lie.

    Raises:
        RuntimeError: the step did what cannot be captured, such as waiting for the device.
    """

    def __init__(self, space: Space, step: Callable[..., Any], *inputs: Any):
        self._space = space
        self._graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream(space.device)
        try:
            # "relaxed": other threads go on feeding data, and tables of addresses are copied on a stream beside the
            # captured one. That nothing waits for the captured stream, the recordings have shown.
            with (
                keeping() as self._kept,
                torch.cuda.graph(self._graph, pool=space.pool, stream=space.stream, capture_error_mode="relaxed"),
            ):  # nothing runs yet
                self._outputs = tree.map_structure(_without_gradient, step(*inputs))
        except BaseException:
            torch.cuda.set_stream(before)  # torch leaves the stream of a capture that fails the current one
            raise

    def run(self) -> Any:
        """Does the step once more and returns what it returned."""
        self._graph.replay()
        if self._outputs is None:
            return None
        return tree.map_structure(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, self._outputs)

    run_again = run  # one graph, in which nothing is left out


def _without_gradient(x: Any) -> Any:
    return x.detach() if isinstance(x, torch.Tensor) else x
