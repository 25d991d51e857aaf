"""Limits on registers are tried in turn when a kernel is compiled."""

import types

import pytest
import torch

from fastk.kernels import triton_runtime

BIASES, OUT = torch.zeros(4), torch.zeros(8)


class Kernel:
    """Stands for a `@triton.jit` function: what spills under which limit, what was compiled, what was launched."""

    def __init__(self, spilt):
        self.spilt, self.compiled, self.launched = spilt, [], []

    def warmup(self, *arguments, grid, maxnreg, **options):
        self.compiled.append(maxnreg)
        return types.SimpleNamespace(run=None, n_spills=self.spilt.get(maxnreg, 9))

    def __getitem__(self, grid):
        return lambda *arguments, maxnreg, **options: self.launched.append((grid, arguments, maxnreg, options))


@pytest.fixture(autouse=True)
def compiled_for_sm_90(monkeypatch):
    monkeypatch.setattr(triton_runtime, "INTERPRETED", False)
    monkeypatch.setattr(triton_runtime, "architecture", lambda: 90)
    monkeypatch.setattr(triton_runtime, "_limits", {})


@pytest.mark.parametrize(
    ("spilt", "limit", "compiled"),
    [
        ({None: 0}, None, 1),
        ({None: 2, 168: 0}, 168, triton_runtime.REGISTER_LIMITS.index(168) + 1),
        ({None: 2, 168: 4, 200: 1, 240: 3}, 200, len(triton_runtime.REGISTER_LIMITS)),  # none will do: the least
    ],
)
def test_the_first_limit_without_spills_is_launched_with(spilt, limit, compiled):
    kernel = Kernel(spilt)
    triton_runtime.launch_without_spills(kernel, (2,), OUT, None, 100, num_warps=8)
    assert kernel.launched == [((2,), (OUT, None, 100), limit, {"num_warps": 8})]
    assert kernel.compiled == list(triton_runtime.REGISTER_LIMITS[:compiled])


@pytest.mark.parametrize(
    ("arguments", "warps", "again"),
    [
        ((OUT, None, 100), 8, 0),
        ((OUT, None, 200), 8, 0),
        ((OUT, None, 1), 8, 1),
        ((OUT, None, 96), 8, 1),
        ((OUT, BIASES, 100), 8, 1),
        ((OUT[1:], None, 100), 8, 1),
        ((OUT.half(), None, 100), 8, 1),
        ((OUT, None, 100), 16, 1),
    ],
)
def test_limits_are_tried_for_what_triton_compiles_anew(arguments, warps, again):
    kernel = Kernel({None: 0})
    triton_runtime.launch_without_spills(kernel, (2,), OUT, None, 100, num_warps=8)
    triton_runtime.launch_without_spills(kernel, (2,), *arguments, num_warps=warps)
    assert len(kernel.compiled) == 1 + again and len(kernel.launched) == 2


def test_the_interpreter_has_no_registers(monkeypatch):
    monkeypatch.setattr(triton_runtime, "INTERPRETED", True)
    launched = []
    triton_runtime.launch_without_spills({(2,): lambda *a, **o: launched.append((a, o))}, (2,), OUT, num_warps=8)
    assert launched == [((OUT,), {"num_warps": 8})]


def test_a_limit_that_no_block_could_have_is_not_tried():
    kernel = Kernel({168: 0})
    triton_runtime.launch_without_spills(kernel, (2,), OUT, limits=(None, 168, 120), num_warps=16)
    assert kernel.compiled == [None, 120]
