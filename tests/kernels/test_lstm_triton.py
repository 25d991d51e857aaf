"""The forms of the LSTM's scan in Triton against ATen in float64, and what is particular to each: what is launched, how
programs wait for each other, which configuration is chosen."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton")

import triton

from fastk import autograd, config
from fastk.kernels.lstm import aten, configurations, triton_cooperative, triton_kernels
from fastk.kernels.lstm.configurations import (
    CooperativeConfiguration,
    Problem,
    SequenceConfiguration,
    StepConfiguration,
)
from fastk.kernels.triton_runtime import INTERPRETED

pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
DEVICE = "cpu" if INTERPRETED else "cuda"
WIDE = torch.float64 if INTERPRETED else torch.float32

FORMS = {
    "one launch": SequenceConfiguration(16, 4),
    "programs that wait": CooperativeConfiguration(16, 16, 16, 4),
    "a launch a step": StepConfiguration(16, 16, 16, 4, 2),
}
# Each option of the op at least once, two together where they meet in the code.
OPTIONS = {
    "plain": {},
    "mask, state, zeros": {"mask": True, "state": True, "zero": True, "reverse": True},
    "mask, state, no sequences": {"mask": True, "state": True, "sequences": False},
    "shared dropout": {"mask": True, "dropout": 1, "recurrent": 1},
    "dropout for each gate": {"state": True, "dropout": 4, "recurrent": 4, "bias": False},
    "saved before the activation": {"names": ("mish", "silu"), "state": True},
    "other activations": {"names": ("relu6", "hard_sigmoid"), "mask": True, "reverse": True},
}


class Call:
    """Random arguments of one call, and its results and gradients by ATen in float64 and by a form of the scan."""

    def __init__(self, batch, steps, inputs, units, dtype=WIDE, **options):
        generator = torch.Generator().manual_seed(3)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)

        def factors(kind, size):
            return None if kind is None else normal(*([4] if kind == 4 else []), batch, size)

        self.x, self.kernel = normal(batch, steps, inputs), normal(inputs, 4 * units)
        self.recurrent_kernel = normal(units, 4 * units) * (2 / units) ** 0.5
        self.bias = normal(4 * units) if options.get("bias", True) else None
        self.states: Any = (normal(batch, units), normal(batch, units)) if options.get("state") else (None, None)
        keep = torch.rand(batch, steps, generator=generator) < 0.6
        self.mask = keep.to(DEVICE) if options.get("mask") else None
        self.names: Any = options.get("names", ("tanh", "sigmoid"))
        self.factors: Any = factors(options.get("dropout"), inputs), factors(options.get("recurrent"), units)
        self.flags: Any = options.get("reverse", False), options.get("sequences", True), options.get("zero", False)
        shapes = ((batch, steps, units), (batch, units), (batch, units))
        self.grads: Any = [normal(*shape) if i or self.flags[1] else None for i, shape in enumerate(shapes)]

    def by_aten(self):
        """(results, gradients) in float64."""
        given = self.x, self.kernel, self.recurrent_kernel, self.bias, *self.states
        leaves: list[Any] = [None if t is None else t.double().clone().requires_grad_() for t in given]
        x, kernel, recurrent_kernel, bias, h, c = leaves
        factors = (None if f is None else f.double() for f in self.factors)
        states = None if h is None else (h, c)
        outputs, _, final = aten.lstm(
            x, kernel, recurrent_kernel, bias, states, self.mask, *self.names, *factors, *self.flags
        )
        results: Any = outputs, *final
        pairs = [(r, g.double()) for r, g in zip(results, self.grads, strict=True) if r is not None]
        wanted = [leaf for leaf in leaves if leaf is not None]
        gradients = torch.autograd.grad([r for r, _ in pairs], wanted, [g for _, g in pairs])
        return [r.detach() for r, _ in pairs], gradients

    def forward(self, form, save=True):
        """(outputs, h, c, gates, cells, previous)."""
        tensors = self.x, self.kernel, self.recurrent_kernel, self.bias, *self.states, self.mask
        arguments: Any = *tensors, *self.names, *self.factors, *self.flags, save, form
        return triton_kernels.lstm_forward(*arguments)

    def backward(self, form, saved):
        """The gradients of what is given."""
        reverse, _, zero = self.flags
        tensors = self.x, self.kernel, self.recurrent_kernel, self.states[1], self.mask
        needed = [t is not None for t in (self.x, self.kernel, self.recurrent_kernel, self.bias, *self.states)]
        options = *self.names, *self.factors, reverse, zero, needed, form
        arguments: Any = *self.grads, *tensors, *saved, *options
        found = triton_kernels.lstm_backward(*arguments)
        return [gradient for gradient, need in zip(found, needed, strict=True) if need]

    def by(self, form):
        """(results, gradients)."""
        outputs, h, c, *saved = self.forward(form)
        return ([outputs] if self.flags[1] else []) + [h, c], self.backward(form, saved)


def assert_close(call, form, eps):
    steps, terms = call.x.shape[1], call.recurrent_kernel.size(0) + call.x.size(2)
    for found, expected in zip(call.by(form), call.by_aten(), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == call.x.dtype and one.shape == other.shape
            # Rounding errors grow from step to step; a gradient of a weight sums over steps and sequences too.
            scale = 4 * max(1.0, float(other.abs().max()))
            difference = float((one.double() - other).abs().max()) if other.numel() else 0.0
            assert difference <= 4 * eps * (steps * terms) ** 0.5 * scale


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(form, options):
    # 17 units are one more than a tile, 5 are less; 17 rows stand in the tests below.
    call = Call(*((3, 3, 2, 5) if isinstance(form, SequenceConfiguration) else (2, 3, 2, 17)), **options)
    assert_close(call, form, 1e-7 if INTERPRETED else torch.finfo(WIDE).eps)  # constants are float32's
    for saving, plain in zip(call.forward(form)[:3], call.forward(form, save=False)[:3], strict=True):
        assert torch.equal(saving, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_half_types(form, dtype):
    assert_close(Call(3, 4, 2, 17, dtype, mask=True, state=True), form, torch.finfo(dtype).eps)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3", "tf32"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_float32(form, precision):
    before = config.float32_precision()
    config.set_float32_precision(precision)
    try:
        eps = 2**-10 if precision == "tf32" else torch.finfo(torch.float32).eps
        assert_close(Call(3, 4, 2, 17, torch.float32), form, eps)
    finally:
        config.set_float32_precision(before)


class Counter(TorchDispatchMode):
    """Counts the ops of torch that start a kernel."""

    FREE = (
        "empty",
        "view",
        "t",
        "chunk",
        "split",
        "detach",
        "flatten",
        "unsqueeze",
        "new_empty",
        "alias",
        "as_strided",
    )

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if not name.startswith(("empty", "new_empty")) and name not in self.FREE:
            self.ops.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter counts the launches")
@pytest.mark.parametrize(
    ("form", "forward", "backward"),
    [
        ("one launch", (1, ["addmm"]), (1, ["sum", "mm", "mm", "mm"])),
        ("programs that wait", (1, ["addmm", "new_zeros"]), (1, ["new_zeros", "sum", "mm", "mm", "mm"])),
        ("a launch a step", (5, None), (5, None)),
    ],
)
def test_launches(form, forward, backward):
    from fastk.kernels.verify import interpreter

    call, form = Call(3, 5, 2, 17), FORMS[form]
    with interpreter.trace() as launches, Counter() as counter:
        *_, gates, cells, previous = call.forward(form)
    assert len(launches) == forward[0]
    assert forward[1] is None or sorted(counter.ops) == forward[1]
    with interpreter.trace() as launches, Counter() as counter:
        call.backward(form, (gates, cells, previous))
    assert len(launches) == backward[0]
    assert backward[1] is None or sorted(counter.ops) == sorted(backward[1])


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter sees every access")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_program_order_and_races(form):
    from fastk.kernels.verify import interpreter

    call = Call(17, 2, 2, 5 if isinstance(form, SequenceConfiguration) else 20, torch.float32, mask=True)

    def run():
        results, gradients = call.by(form)
        return (*results, *gradients)

    with interpreter.poison(), interpreter.trace() as launches:
        expected = run()
        assert not any(launch.races for launch in launches)
    with interpreter.poison(), interpreter.trace(program_order_seed=1) as launches:
        assert all(map(torch.equal, run(), expected))
        assert not any(launch.races for launch in launches)


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter sees every access")
def test_two_slots_are_enough():
    from fastk.kernels.verify import interpreter

    # Without what backward needs, h is exchanged in two slots by turns. One tile of rows: the races of reads are
    # counted for barriers over the whole grid.
    call = Call(3, 5, 2, 20, torch.float32)
    for seed in (None, 1):
        with interpreter.trace(program_order_seed=seed) as launches:
            call.forward(FORMS["programs that wait"], save=False)
        assert launches[0].races == 0


@pytest.mark.skipif(not INTERPRETED, reason="on a GPU it would hang")
def test_a_barrier_that_nobody_reaches_is_found(monkeypatch):
    from fastk.kernels.verify.interpreter import LivelockError

    @triton.jit
    def arrive(counter_ptr):
        pass

    monkeypatch.setattr(triton_cooperative, "arrive", arrive)
    with pytest.raises(LivelockError):
        Call(3, 2, 2, 20).forward(FORMS["programs that wait"])


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter counts the bytes")
def test_bytes_of_one_launch():
    from fastk.kernels.verify import interpreter

    batch, steps, units, size = 16, 4, 16, 2
    call = Call(batch, steps, 3, units, torch.bfloat16)
    rows, weights = batch * steps * units * size, 4 * units * units * size
    with interpreter.trace() as launches:
        *_, gates, cells, previous = call.forward(FORMS["one launch"])
    assert launches[0].loads.requested == 4 * rows + weights
    assert launches[0].stores.requested == (4 + 3) * rows + 2 * batch * units * size
    with interpreter.trace() as launches:
        call.backward(FORMS["one launch"], (gates, cells, previous))
    assert launches[0].loads.requested == (4 + 2) * rows + weights + 2 * batch * units * size
    assert launches[0].stores.requested == 4 * rows


def problem(units, batch=64, dtype=torch.bfloat16, precision=None, architecture=90, sm_count=132, steps=50, factors=0):
    return Problem(batch, steps, units, 4, dtype, precision, factors, architecture, sm_count)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (problem(20), SequenceConfiguration(16, 4)),
        (problem(128), SequenceConfiguration(16, 8)),
        (problem(128, architecture=80), SequenceConfiguration(16, 8)),
        (problem(128, architecture=89, sm_count=80), CooperativeConfiguration(16, 16, 32, 8)),
        (problem(64, dtype=torch.float32, precision="tf32x3"), SequenceConfiguration(16, 8)),
        (problem(129), CooperativeConfiguration(16, 16, 32, 8)),
        (problem(512), CooperativeConfiguration(16, 16, 32, 8)),
        (problem(1024), CooperativeConfiguration(32, 16, 32, 8)),
        (problem(512, batch=256), CooperativeConfiguration(64, 16, 16, 8)),
        (problem(1024, batch=65), StepConfiguration(64, 32, 64, 8, 3)),
        (problem(1024, batch=65, factors=4), StepConfiguration(32, 32, 64, 4, 3)),
        (problem(1025), StepConfiguration(64, 32, 64, 8, 3)),
        (problem(2048, batch=16), StepConfiguration(16, 32, 64, 4, 3)),
        (problem(256, dtype=torch.float32, precision="ieee"), StepConfiguration(32, 32, 32, 4, 3)),
        (problem(64, steps=1), StepConfiguration(64, 32, 64, 8, 3)),
    ],
)
def test_choice(asked, expected):
    assert configurations.choose_configuration(asked) == expected


def test_what_is_refused():
    x, kernel, recurrent_kernel = torch.ones(1, 2, 3), torch.ones(3, 8), torch.ones(2, 8)
    rest = (None, None, None, "tanh", "sigmoid", None, None, False, True, False)
    assert triton_kernels.supports("lstm", x, kernel, recurrent_kernel, *rest) is None
    mixed = triton_kernels.supports("lstm", x, kernel.bfloat16(), recurrent_kernel, *rest)
    assert mixed is not None and "of one dtype" in mixed
    with_function = (None, None, None, torch.tanh, *rest[4:])
    refusal = triton_kernels.supports("lstm", x, kernel, recurrent_kernel, *with_function)
    assert refusal is not None and "one is a function" in refusal
    factors = (*rest[:5], torch.ones(1, 3, requires_grad=True), *rest[6:])
    refusal = triton_kernels.supports("lstm", x, kernel, recurrent_kernel, *factors)
    assert refusal is not None and "no derivative by a dropout mask" in refusal


@pytest.mark.skipif(not INTERPRETED, reason="opcheck runs the op many times")
@pytest.mark.parametrize("sequences", [True, False])
def test_op_is_registered_as_torch_wants_it(sequences):
    call = Call(2, 1, 1, 2, torch.float32, mask=True, state=True)
    given: Any = call.x, call.kernel, call.recurrent_kernel, call.bias, *call.states
    weights = [t.requires_grad_(sequences) for t in given]
    flags = (False, sequences, False, sequences, "triton")
    torch.library.opcheck(
        torch.ops.fastk.lstm_forward.default, (*weights, call.mask, "tanh", "sigmoid", None, None, *flags)
    )


def test_autocast():
    x, kernel, recurrent_kernel = (t.to(DEVICE) for t in (torch.ones(1, 2, 3), torch.ones(3, 8), torch.ones(2, 8)))
    with torch.autocast(DEVICE, torch.bfloat16):
        outputs, _, _ = autograd.lstm(x, kernel, recurrent_kernel, implementation="triton")
    assert outputs is not None and outputs.dtype == torch.bfloat16
