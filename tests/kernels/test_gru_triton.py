"""The forms of the GRU's scan in Triton against ATen in float64, and what is particular to each: what is launched, what
is read and written, how programs wait for each other, which configuration is chosen."""

from typing import Any

import pytest
import torch

pytest.importorskip("triton")

import triton

from fastk import autograd, config
from fastk.kernels import triton_runtime
from fastk.kernels.gru import aten, configurations, triton_cooperative, triton_kernels
from fastk.kernels.gru.configurations import CooperativeConfiguration, SequenceConfiguration
from fastk.kernels.recurrence import as_function
from fastk.kernels.recurrence_configurations import Problem, StepConfiguration
from fastk.kernels.triton_runtime import INTERPRETED

pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
DEVICE = "cpu" if INTERPRETED else "cuda"
WIDE = torch.float64 if INTERPRETED else torch.float32

FORMS = {
    "one launch": SequenceConfiguration(16, 4),
    "programs that wait": CooperativeConfiguration(16, 16, 16, 2),
    "a launch a step": StepConfiguration(16, 16, 16, 4, 2),
}
# Each option of the op at least once, two together where they meet in the code.
OPTIONS = {
    "plain": {},
    "mask, state, zeros": {"mask": True, "state": True, "zero": True, "reverse": True},
    "mask, state, no sequences": {"mask": True, "state": True, "sequences": False},
    "shared dropout": {"mask": True, "dropout": 1, "recurrent": 1},
    "dropout for each gate": {"state": True, "dropout": 3, "recurrent": 3, "bias": False},
    "saved before the activation": {"names": ("mish", "silu"), "state": True},
    "other activations": {"names": ("relu6", "hard_sigmoid"), "mask": True, "reverse": True},
}


class Call:
    """Random arguments of one call, and its results and gradients by ATen in float64 and by a form of the scan."""

    def __init__(self, batch, steps, inputs, units, dtype=WIDE, reset_after=True, **options):
        generator = torch.Generator().manual_seed(3)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)

        def factors(kind, size):
            return None if kind is None else normal(*([3] if kind == 3 else []), batch, size)

        self.x, self.kernel = normal(batch, steps, inputs), normal(inputs, 3 * units)
        self.recurrent_kernel = normal(units, 3 * units) * (2 / units) ** 0.5
        bias = normal(2, 3 * units) if reset_after else normal(3 * units)
        self.bias = bias if options.get("bias", True) else None
        self.state: Any = normal(batch, units) if options.get("state") else None
        keep = torch.rand(batch, steps, generator=generator) < 0.6
        self.mask: Any = keep.to(DEVICE) if options.get("mask") else None
        self.names: Any = options.get("names", ("tanh", "sigmoid"))
        self.reset_after = reset_after
        self.factors: Any = factors(options.get("dropout"), inputs), factors(options.get("recurrent"), units)
        self.flags: Any = options.get("reverse", False), options.get("sequences", True), options.get("zero", False)
        self.grads: Any = normal(batch, steps, units) if self.flags[1] else None, normal(batch, units)

    def by_aten(self):
        """(results, gradients) in float64."""
        given = self.x, self.kernel, self.recurrent_kernel, self.bias, self.state
        leaves: list[Any] = [None if t is None else t.double().clone().requires_grad_() for t in given]
        factors = (None if f is None else f.double() for f in self.factors)
        names = map(as_function, self.names)  # the loop, by autograd
        arguments: Any = *leaves, self.mask, *names, self.reset_after, *factors, *self.flags
        outputs, _, (h,) = aten.gru(*arguments)
        pairs = [(r, g.double()) for r, g in zip((outputs, h), self.grads, strict=True) if r is not None]
        wanted = [leaf for leaf in leaves if leaf is not None]
        gradients = torch.autograd.grad([r for r, _ in pairs], wanted, [g for _, g in pairs])
        return [r.detach() for r, _ in pairs], gradients

    def forward(self, form, save=True):
        """(outputs, h, gates, inner, previous)."""
        tensors = self.x, self.kernel, self.recurrent_kernel, self.bias, self.state, self.mask
        arguments: Any = *tensors, *self.names, self.reset_after, *self.factors, *self.flags, save, form
        return triton_kernels.gru_forward(*arguments)

    def backward(self, form, saved):
        """The gradients of what is given."""
        reverse, _, zero = self.flags
        tensors = self.x, self.kernel, self.recurrent_kernel, self.mask
        needed = [t is not None for t in (self.x, self.kernel, self.recurrent_kernel, self.bias, self.state)]
        options = *self.names, self.reset_after, *self.factors, reverse, zero, self.state is not None, needed, form
        arguments: Any = *self.grads, *tensors, *saved, *options
        found = triton_kernels.gru_backward(*arguments)
        return [gradient for gradient, need in zip(found, needed, strict=True) if need]

    def by(self, form):
        """(results, gradients)."""
        outputs, h, *saved = self.forward(form)
        return ([outputs] if self.flags[1] else []) + [h], self.backward(form, saved)


def assert_close(call, form, eps):
    steps, terms = call.x.shape[1], call.recurrent_kernel.size(0) + call.x.size(2)
    for found, expected in zip(call.by(form), call.by_aten(), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == call.x.dtype and one.shape == other.shape
            # Rounding errors grow from step to step; a gradient of a weight sums over steps and sequences too.
            scale = 4 * max(1.0, float(other.abs().max()))
            difference = float((one.double() - other).abs().max()) if other.numel() else 0.0
            assert difference <= 4 * eps * (steps * terms) ** 0.5 * scale


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(form, options, reset_after):
    # 17 units are one more than a tile, 5 are less; 17 rows stand in the tests below.
    sizes = (3, 3, 2, 5) if isinstance(form, SequenceConfiguration) else (2, 3, 2, 17)
    call = Call(*sizes, reset_after=reset_after, **options)
    assert_close(call, form, 1e-7 if INTERPRETED else torch.finfo(WIDE).eps)  # constants are float32's
    for saving, plain in zip(call.forward(form)[:2], call.forward(form, save=False)[:2], strict=True):
        assert torch.equal(saving, plain)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_half_types(form, dtype, reset_after):
    call = Call(3, 4, 2, 17, dtype, reset_after, mask=True, state=True)
    assert_close(call, form, torch.finfo(dtype).eps)


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


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_nan_in_masked_steps_goes_nowhere(form, reset_after):
    call = Call(3, 4, 2, 5, reset_after=reset_after, mask=True, state=True)
    call.x[~call.mask] = torch.nan
    results, gradients = call.by(form)
    assert all(tensor.isfinite().all() for tensor in (*results, *gradients))
    assert not gradients[0][~call.mask].any()


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter counts the launches")
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_launches(form, reset_after):
    from fastk.kernels.verify import interpreter

    call, steps = Call(3, 5, 2, 17, reset_after=reset_after), 5
    expected = 1 if form != "a launch a step" else steps if reset_after else 2 * steps
    with interpreter.trace() as launches:
        saved = call.forward(FORMS[form])[2:]
    assert len(launches) == expected
    with interpreter.trace() as launches:
        call.backward(FORMS[form], saved)
    assert len(launches) == expected


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter sees every access")
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_program_order_and_races(form, reset_after):
    from fastk.kernels.verify import interpreter

    call = Call(17, 2, 2, 5 if isinstance(form, SequenceConfiguration) else 20, torch.float32, reset_after, mask=True)

    def run():
        results, gradients = call.by(form)
        unsaved = call.forward(form, save=False)[:2]
        return (*results, *unsaved, *gradients)

    with interpreter.poison(), interpreter.trace() as launches:
        expected = run()
        assert not any(launch.races for launch in launches)
    with interpreter.poison(), interpreter.trace(program_order_seed=1) as launches:
        assert all(map(torch.equal, run(), expected))
        assert not any(launch.races for launch in launches)


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter sees every access")
@pytest.mark.parametrize("reset_after", [True, False])
def test_two_slots_are_enough(reset_after):
    from fastk.kernels.verify import interpreter

    # Without what backward needs, h is exchanged in two slots by turns. One tile of rows: the races of reads are
    # counted for barriers over the whole grid.
    call = Call(3, 5, 2, 20, torch.float32, reset_after)
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


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter sees every access")
@pytest.mark.parametrize(("reset_after", "number"), [(True, 1), (False, 1), (False, 2)])
def test_every_barrier_is_needed(reset_after, number, monkeypatch):
    from fastk.kernels.verify import interpreter

    barriers = 1 if reset_after else 2  # of a step
    original = triton_cooperative.wait

    def wait(counter_ptr, target):
        arrivals = int(target.handle.data.item()) // 2  # of each of 2 programs
        if (arrivals - number) % barriers:
            original(counter_ptr, target)

    call = Call(3, 3, 2, 20, torch.float32, reset_after)
    saved = call.forward(FORMS["programs that wait"])[2:]
    monkeypatch.setattr(triton_cooperative, "wait", wait)
    with interpreter.trace() as launches:
        call.forward(FORMS["programs that wait"])
        call.backward(FORMS["programs that wait"], saved)
    assert all(launch.races for launch in launches)


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter counts the bytes")
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("form", ["one launch", "programs that wait"])
def test_bytes_of_one_launch(form, reset_after):
    from fastk.kernels.verify import interpreter

    batch, steps, units, size = 16, 4, 32, 2
    call = Call(batch, steps, 3, units, torch.bfloat16, reset_after, bias=False)
    rows, weights, state = batch * steps * units * size, 3 * units * units * size, batch * units * size
    readers = 0 if form == "one launch" else 2  # of what programs exchange
    inner = 1 if reset_after else 0
    with interpreter.trace() as launches:
        saved = call.forward(FORMS[form])[2:]
    assert launches[0].loads.requested == 3 * rows + weights + readers * (2 - inner) * rows
    assert launches[0].stores.requested == (3 + 3) * rows + state
    with interpreter.trace() as launches:
        call.backward(FORMS[form], saved)
    assert launches[0].loads.requested == (5 + inner) * rows + weights + state + readers * 3 * rows
    assert launches[0].stores.requested == (3 + inner) * rows


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter tells which kernels were launched")
@pytest.mark.parametrize("reset_after", [True, False])
def test_more_units_than_one_program_holds(reset_after):
    from fastk.kernels.verify import interpreter

    call = Call(2, 2, 3, 129, torch.bfloat16, reset_after)
    with interpreter.trace(check=False) as launches, triton_runtime.pretend_multiprocessors(9):
        assert_close(call, None, torch.finfo(torch.bfloat16).eps)
    assert [launch.kernel for launch in launches] == [
        "gru_cooperative_forward_kernel",
        "gru_cooperative_backward_kernel",
    ]
    assert launches[0].grid == (1, 9, 1)


def problem(units, batch=64, dtype=torch.bfloat16, precision=None, architecture=90, sm_count=132, steps=50, factors=0):
    return Problem(batch, steps, units, 3, dtype, precision, factors, architecture, sm_count)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (problem(20), SequenceConfiguration(16, 4)),
        (problem(128), SequenceConfiguration(16, 8)),
        (problem(128, architecture=80), SequenceConfiguration(16, 8)),
        (problem(128, architecture=89, sm_count=80), StepConfiguration(64, 32, 64, 4, 3)),
        (problem(64, dtype=torch.float32, precision="tf32x3"), SequenceConfiguration(16, 8)),
        (problem(128, dtype=torch.float32, precision="tf32x3"), CooperativeConfiguration(16, 16, 16, 8)),
        (problem(512, 65, torch.float32, "tf32x3"), StepConfiguration(32, 32, 16, 4, 3)),
        (problem(512, 16, torch.float32, "tf32x3"), CooperativeConfiguration(16, 16, 16, 8)),
        (problem(512, 16, torch.float32, "tf32x3", 80, 108), StepConfiguration(16, 32, 32, 4, 3)),
        (problem(512, 128, torch.float32, "tf32"), CooperativeConfiguration(32, 16, 16, 8)),
        (problem(513, 16, torch.float32, "tf32"), StepConfiguration(16, 32, 32, 4, 3)),
        (problem(256, dtype=torch.float32, precision="ieee"), StepConfiguration(32, 32, 16, 4, 3)),
        (problem(129), CooperativeConfiguration(16, 16, 32, 8)),
        (problem(1024, batch=16), CooperativeConfiguration(16, 16, 32, 8)),
        (problem(1024), CooperativeConfiguration(32, 16, 32, 8)),
        (problem(1024, factors=3), CooperativeConfiguration(32, 16, 32, 8)),
        (problem(1024, batch=65), StepConfiguration(64, 32, 64, 4, 3)),
        (problem(512, batch=128), CooperativeConfiguration(32, 16, 32, 8)),
        (problem(512, batch=129), StepConfiguration(64, 32, 64, 4, 3)),
        (problem(1025), StepConfiguration(64, 32, 64, 4, 3)),
        (problem(2048, batch=17), StepConfiguration(32, 32, 64, 4, 3)),
        (problem(64, steps=1), StepConfiguration(64, 32, 64, 4, 3)),
    ],
)
def test_choice(asked, expected):
    assert configurations.choose_configuration(asked) == expected


def test_what_is_refused():
    x, kernel, recurrent_kernel = torch.ones(1, 2, 3), torch.ones(3, 6), torch.ones(2, 6)
    rest = (None, None, None, "tanh", "sigmoid", True, None, None, False, True, False)
    assert triton_kernels.supports("gru", x, kernel, recurrent_kernel, *rest) is None
    factors = (*rest[:6], torch.ones(1, 3, requires_grad=True), *rest[7:])
    refusal = triton_kernels.supports("gru", x, kernel, recurrent_kernel, *factors)
    assert refusal is not None and "no derivative by a dropout mask" in refusal
    cell = x[:, 0], torch.ones(1, 2), kernel, recurrent_kernel, None, "tanh", torch.sigmoid, True, None, None
    refusal = triton_kernels.supports("gru_cell", *cell)
    assert refusal is not None and "one is a function" in refusal


@pytest.mark.skipif(not INTERPRETED, reason="opcheck runs the op many times")
@pytest.mark.parametrize("sequences", [True, False])
def test_op_is_registered_as_torch_wants_it(sequences):
    call = Call(2, 1, 1, 2, torch.float32, reset_after=sequences, mask=True, state=True)
    given: Any = call.x, call.kernel, call.recurrent_kernel, call.bias, call.state
    weights = [t.requires_grad_(sequences) for t in given]
    flags = (False, sequences, False, sequences, "triton")
    torch.library.opcheck(
        torch.ops.fastk.gru_forward.default, (*weights, call.mask, "tanh", "sigmoid", sequences, None, None, *flags)
    )


@pytest.mark.parametrize("reset_after", [True, False])
def test_second_derivative(reset_after):
    call = Call(2, 2, 2, 3, reset_after=reset_after)
    x = call.x.requires_grad_()

    def gradient(implementation, names):
        tensors = x, call.kernel, call.recurrent_kernel, call.bias, None, None
        arguments: Any = *tensors, *names, reset_after
        outputs, _, _ = autograd.gru(*arguments, implementation=implementation)
        assert outputs is not None
        (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    expected = gradient("aten", (torch.tanh, torch.sigmoid))
    torch.testing.assert_close(gradient("triton", ("tanh", "sigmoid")), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["aten", "triton"])
def test_autocast(implementation):
    call = Call(1, 2, 3, 2, torch.float32, bias=False, state=True, recurrent=1)
    weights, options = (call.x, call.kernel, call.recurrent_kernel, None, call.state), {}
    options["recurrent_dropout_mask"], options["implementation"] = call.factors[1], implementation
    with torch.autocast(DEVICE, torch.bfloat16):
        outputs, _, _ = autograd.gru(*weights, **options)
        cell, _ = autograd.gru_cell(call.x[:, 0], call.state, *weights[1:4], **options)
    assert outputs is not None and outputs.dtype == cell.dtype == torch.bfloat16
    torch.testing.assert_close(cell, outputs[:, 0])
