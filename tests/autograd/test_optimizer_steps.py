"""adam_, sgd_ and rmsprop_ over five steps against their equations in numpy."""

import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.autograd import StepOptions
from fastk.errors import ImplementationUnavailable
from fastk.kernels.adam import aten as adam_aten
from fastk.kernels.sgd import aten as sgd_aten

# Rows, one element, none, a prime, a block of the kernels and one more.
SHAPES = [(5, 3), (1,), (0, 2), (17,), (1025,)]
STEPS = 5
RATES = [0.1, 0.05, 0.05, 0.2, 0.01]  # a schedule: the learning rate must enter where the equation has it


NAMES = ("param", "gradient", "state")
STEP_FUNCTIONS = {
    "adam": lambda p, g, s, **rest: autograd.adam_(p, g, s, [t.clone() for t in s], None, 1, 0.1, **rest),
    "sgd": lambda p, g, s, **rest: autograd.sgd_(p, g, None, 0.1, **rest),
    "momentum": lambda p, g, s, **rest: autograd.sgd_(p, g, s, 0.1, 0.9, **rest),
    "nesterov": lambda p, g, s, **rest: autograd.sgd_(p, g, s, 0.1, 0.9, True, **rest),
    "rmsprop": lambda p, g, s, **rest: autograd.rmsprop_(p, g, s, None, None, 0.1, **rest),
}


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request, implementation):
    """The types of which five steps follow the equations closely."""
    if request.param == torch.float64 and implementation != "aten":
        pytest.skip("the kernels take float32 and the half types")
    return request.param


@pytest.fixture(autouse=True)
def only_where_there_is_a_kernel(request):
    if "implementation" in request.fixturenames and request.getfixturevalue("implementation") == "cupy":
        pytest.skip("there is no CuPy kernel for the steps")


def lists(normal, dtype):
    params = [normal(*shape, dtype=dtype) for shape in SHAPES]
    grads = [[normal(*shape, dtype=dtype) for shape in SHAPES] for _ in range(STEPS)]
    return params, grads, lambda: [torch.zeros_like(p) for p in params]


def arrays(tensors):
    return [tensor.double().cpu().numpy().copy() for tensor in tensors]


def agree(close, *pairs):
    for tensors, expected in pairs:
        for tensor, array in zip(tensors, expected, strict=True):
            close(tensor, array, terms=10 * STEPS)


def as_given(kind, value, device):
    """A scalar as a number, as a tensor that the host reads, or as one that only the device reads."""
    if kind == "number":
        return value
    number = torch.float64 if isinstance(value, float) else torch.int32
    return torch.tensor(value, dtype=number, device=device if kind == "device tensor" else "cpu")


@pytest.mark.parametrize("kind", ["number", "tensor", "device tensor"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(kind, amsgrad, dtype, implementation, device, normal, close):
    params, grads, zeros = lists(normal, dtype)
    m, v, vhat = zeros(), zeros(), zeros() if amsgrad else None
    p_, m_, v_, h_ = arrays(params), arrays(m), arrays(v), arrays(m)
    b1, b2, eps = 0.8, 0.95, 1e-3
    for t in range(1, STEPS + 1):
        step, rate = as_given(kind, t, device), as_given(kind, RATES[t - 1], device)
        if kind == "device tensor" and implementation == "aten":  # what runs where the host cannot read the step
            with torch.no_grad():
                adam_aten._multi_tensor(params, grads[t - 1], m, v, vhat, step, rate, b1, b2, eps)
        else:
            autograd.adam_(
                params, grads[t - 1], m, v, vhat, step, rate, b1, b2, eps, implementation=implementation
            )  # fmt: skip
        alpha = RATES[t - 1] * np.sqrt(1 - b2**t) / (1 - b1**t)
        for i, g in enumerate(arrays(grads[t - 1])):
            m_[i] += (1 - b1) * (g - m_[i])
            v_[i] += (1 - b2) * (g**2 - v_[i])
            h_[i] = np.maximum(h_[i], v_[i])
            p_[i] -= alpha * m_[i] / (np.sqrt(h_[i] if amsgrad else v_[i]) + eps)
    agree(close, (params, p_), (m, m_), (v, v_), *([(vhat, h_)] if amsgrad else []))


@pytest.mark.parametrize("kind", ["number", "tensor", "device tensor"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.0, True), (0.9, False), (0.9, True)])
def test_sgd(kind, momentum, nesterov, dtype, implementation, device, normal, close):
    params, grads, zeros = lists(normal, dtype)
    momenta = zeros() if momentum else None
    p_, m_ = arrays(params), arrays(zeros())
    for t in range(STEPS):
        rate = as_given(kind, RATES[t], device)
        if kind == "device tensor" and implementation == "aten":
            with torch.no_grad():
                sgd_aten._multi_tensor(
                    params, grads[t], momenta, torch.as_tensor(rate, dtype=dtype), momentum, nesterov
                )
        else:
            autograd.sgd_(params, grads[t], momenta, rate, momentum, nesterov, implementation=implementation)
        for i, g in enumerate(arrays(grads[t])):
            m_[i] = momentum * m_[i] - RATES[t] * g
            p_[i] += momentum * m_[i] - RATES[t] * g if nesterov else m_[i]
    agree(close, (params, p_), *([] if momenta is None else [(momenta, m_)]))


@pytest.mark.parametrize("kind", ["number", "tensor"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(kind, momentum, centered, dtype, implementation, device, normal, close):
    params, grads, zeros = lists(normal, dtype)
    velocities, momenta, averages = zeros(), zeros() if momentum else None, zeros() if centered else None
    p_, v_, m_, a_ = (arrays(tensors) for tensors in (params, velocities, velocities, velocities))
    rho, eps = 0.8, 1e-3
    for t in range(STEPS):
        rate, scalars = as_given(kind, RATES[t], device), (rho, momentum, eps, centered)
        autograd.rmsprop_(
            params, grads[t], velocities, momenta, averages, rate, *scalars, implementation=implementation
        )  # fmt: skip
        for i, g in enumerate(arrays(grads[t])):
            v_[i] = rho * v_[i] + (1 - rho) * g**2
            a_[i] = rho * a_[i] + (1 - rho) * g
            increment = RATES[t] * g / np.sqrt(v_[i] - (a_[i] ** 2 if centered else 0) + eps)
            m_[i] = momentum * m_[i] + increment
            p_[i] -= m_[i]
    agree(close, (params, p_), (velocities, v_))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("step", STEP_FUNCTIONS)
def test_half_types_are_rounded_once(step, half, implementation, normal, close):
    if implementation == "aten":
        pytest.skip("torch's multi-tensor ops round after each of several")
    params, grads, _ = lists(normal, half)
    state = [normal(*shape, dtype=half).square() for shape in SHAPES]
    wide = [[t.float() for t in tensors] for tensors in (params, grads[0], state)]
    STEP_FUNCTIONS[step](params, grads[0], state, implementation=implementation)
    STEP_FUNCTIONS[step](*wide, implementation="aten")
    for result, expected in ((params, wide[0]), (state, wide[2])):
        for one, other in zip(result, expected, strict=True):
            close(one, other.cpu().numpy())


CLIPS = {
    "by value": {"clipvalue": 0.5},
    "by norm": {"clipnorm": 2.0},
    "by global norm": {"global_clipnorm": 3.0},
    "not reached": {"global_clipnorm": 1e6},
    "not at all": {},
}


def clipped(grads, scale, clipvalue=None, clipnorm=None, global_clipnorm=None):
    grads = [g / scale for g in grads]
    if clipvalue:
        return [np.clip(g, -clipvalue, clipvalue) for g in grads]
    norms = [np.sqrt((g**2).sum()) for g in grads]
    if clipnorm:
        return [g * min(1, clipnorm / norm) if norm else g for g, norm in zip(grads, norms, strict=True)]
    if global_clipnorm:
        return [g * min(1, global_clipnorm / np.sqrt(sum(norm**2 for norm in norms))) for g in grads]
    return grads


@pytest.mark.parametrize("step", STEP_FUNCTIONS)
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("scale", [None, 4.0, "tensor"])
def test_options(step, clip, scale, implementation, device, normal, close):
    """A step with options is the step of gradients and params that were prepared for it by numpy."""
    params, grads, zeros = lists(normal, torch.float32)
    decayed = [True, False, True, False, True]
    number = 4.0 if scale == "tensor" else scale
    ready = clipped(arrays(grads[0]), number or 1.0, **CLIPS[clip])
    shrunk = [p * (1 - 0.1 * 0.3 * chosen) for p, chosen in zip(arrays(params), decayed, strict=True)]
    expected = [[torch.tensor(a, device=device) for a in each] for each in (shrunk, ready, arrays(zeros()))]
    STEP_FUNCTIONS[step](*expected, implementation="aten")
    scale = torch.tensor(number, device=device) if scale == "tensor" else scale
    options = StepOptions(0.3, decayed, **CLIPS[clip], gradient_scale=scale)
    state = zeros()
    STEP_FUNCTIONS[step](params, grads[0], state, options=options, implementation=implementation)
    for one, other in zip((*params, *state), (*expected[0], *expected[2]), strict=True):
        close(one, other.cpu().numpy(), terms=10)


@pytest.mark.parametrize("step", STEP_FUNCTIONS)
def test_every_param_decays_by_default(step, implementation, normal, close):
    params, _, zeros = lists(normal, torch.float32)
    expected = [p * (1 - 0.1 * 0.5) for p in arrays(params)]
    STEP_FUNCTIONS[step](params, zeros(), zeros(), options=StepOptions(0.5), implementation=implementation)
    agree(close, (params, expected))


@pytest.mark.parametrize("step", STEP_FUNCTIONS)
def test_nothing_changes_where_a_gradient_is_infinite(step, implementation, device, normal):
    params, grads, zeros = lists(normal, torch.float32)
    state = zeros()
    before = [t.clone() for t in (*params, *state)]
    for found_inf in (torch.tensor(1.0, device=device), torch.tensor(True, device=device)):
        options = StepOptions(0.5, found_inf=found_inf)
        STEP_FUNCTIONS[step](params, grads[0], state, options=options, implementation=implementation)
        assert all(torch.equal(t, old) for t, old in zip((*params, *state), before, strict=True))
        options = StepOptions(found_inf=torch.zeros_like(found_inf))
    STEP_FUNCTIONS[step](params, grads[0], state, options=options, implementation=implementation)
    assert not torch.equal(params[0], before[0])


@pytest.mark.parametrize("limit", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_clipping_makes_of_infinity(limit, value, implementation, normal):
    """A gradient that overflowed must not pass for a large finite one: of a global norm, nothing is left."""
    params, grads = [normal(3, dtype=torch.float32), normal(2, dtype=torch.float32)], [torch.ones(3), torch.ones(2)]
    grads = [g.to(params[0].device) for g in grads]
    grads[0][1] = value
    options = StepOptions()._replace(**{limit: 1.0})
    autograd.sgd_(params, grads, None, 0.1, options=options, implementation=implementation)
    assert params[0][1].isnan()
    assert params[1].isnan().all() if limit == "global_clipnorm" else params[1].isfinite().all()


def test_variables_that_require_gradients(implementation, normal):
    for step in STEP_FUNCTIONS.values():
        param = normal(3, dtype=torch.float32).requires_grad_()
        before, version = param.detach().clone(), param._version
        step([param], [torch.ones_like(before)], [torch.zeros_like(before)], implementation=implementation)
        assert param.is_leaf and param.requires_grad and (param < before).all()
        assert implementation == "aten" or param._version > version


def test_gradients_are_left_alone(implementation, normal):
    grads = [normal(4, dtype=torch.float32)]
    copy = grads[0].clone()
    for step in STEP_FUNCTIONS.values():
        param, state = normal(4, dtype=torch.float32), torch.zeros_like(copy)
        step([param], grads, [state], options=StepOptions(clipnorm=0.1), implementation=implementation)
    assert torch.equal(grads[0], copy)


@pytest.mark.parametrize("step", STEP_FUNCTIONS.values(), ids=STEP_FUNCTIONS)
@pytest.mark.parametrize("transposed", NAMES)
def test_memory_may_lie_in_any_order(transposed, step, normal, close):
    plain = [normal(3, 4), normal(3, 4), torch.zeros_like(normal(3, 4))]
    other = [t.t().contiguous().t() if name == transposed else t.clone() for name, t in zip(NAMES, plain, strict=True)]
    for param, gradient, state in (plain, other):
        step([param], [gradient], [state])
    close(other[0], plain[0].cpu().numpy())
    close(other[2], plain[2].cpu().numpy())


@pytest.mark.parametrize("step", STEP_FUNCTIONS.values(), ids=STEP_FUNCTIONS)
def test_kernels_take_one_order_of_memory(step, implementation, normal, close):
    if implementation == "aten":
        pytest.skip("any order will do")
    plain = [normal(3, 4, dtype=torch.float32) for _ in range(2)] + [normal(3, 4, dtype=torch.float32).square()]
    turned = [t.t().contiguous().t() for t in plain]
    step([turned[0]], [turned[1]], [turned[2]], implementation=implementation)
    with pytest.raises(ImplementationUnavailable, match="lie in memory in different orders"):
        step([plain[0]], [turned[1]], [plain[2]], implementation=implementation)
    step([plain[0]], [plain[1]], [plain[2]], implementation="aten")
    close(turned[0], plain[0].cpu().numpy(), terms=4)
    gapped = normal(3, 8, dtype=torch.float32)[:, ::2]
    with pytest.raises(ImplementationUnavailable, match="lie in memory in different orders"):
        step([gapped], [gapped], [gapped], implementation=implementation)


def test_addresses_that_no_vector_fits(implementation, normal, close):
    """Params that start anywhere in a larger tensor, as slices of a flat buffer do."""
    flat, grad = normal(100, dtype=torch.float32), normal(100, dtype=torch.float32)
    expected = flat[3:50].clone() - 0.1 * grad[1:48]
    autograd.sgd_([flat[3:50]], [grad[1:48]], None, 0.1, implementation=implementation)
    close(flat[3:50], expected.cpu().numpy())


def test_other_tensors_at_the_same_addresses(implementation, device, close):
    """The table of addresses is kept between calls; it must not be taken for that of other sizes or other decays."""
    values, grads = torch.ones(8, device=device), torch.ones(8, device=device)
    expected = np.ones(8)
    for size, decays in ((8, True), (3, True), (3, False), (8, True)):
        options = StepOptions(2.0, [decays])
        autograd.sgd_([values[:size]], [grads[:size]], None, 0.1, options=options, implementation=implementation)
        expected[:size] = expected[:size] * (0.8 if decays else 1.0) - 0.1
        close(values, expected, terms=4)


def test_nothing_to_do():
    autograd.adam_([], [], [], [], None, 1, 0.1)
    autograd.sgd_([], [], None, 0.1)
    autograd.rmsprop_([], [], [], None, None, 0.1)


def test_empty_params(implementation, device):
    empty = [torch.zeros(0, device=device)]
    for step in STEP_FUNCTIONS.values():
        step(empty, empty, empty, options=StepOptions(clipnorm=1.0), implementation=implementation)


def test_the_ops_of_a_trace(implementation, device, normal):
    """Under torch.compile the steps are ops that say what they write; as such they do what they do without."""
    if implementation == "aten":
        pytest.skip("torch traces its own ops")
    found_inf, scale, step = (torch.tensor(value, device=device) for value in (0.0, 2.0, 3))
    options = StepOptions(0.1, [True, False], clipnorm=1.0, gradient_scale=scale, found_inf=found_inf)

    def run(how):
        generator = torch.Generator().manual_seed(1)
        draw = [[torch.randn(4, generator=generator).to(device) for _ in range(2)] for _ in range(7)]
        params, grads, m, v, momenta, velocities, averages = draw
        v, velocities = ([t.square() + 20 for t in each] for each in (v, velocities))

        def steps():
            autograd.adam_(params, grads, m, v, None, step, 0.1, options=options, implementation=implementation)
            autograd.sgd_(params, grads, momenta, 0.1, 0.9, implementation=implementation)
            autograd.rmsprop_(
                params, grads, velocities, None, averages, 0.1, centered=True, implementation=implementation
            )  # fmt: skip

        how(steps)()
        return [t for each in draw for t in each] + v + velocities

    compiled = run(lambda steps: torch.compile(steps, backend="aot_eager", fullgraph=True))
    assert all(torch.equal(one, other) for one, other in zip(run(lambda steps: steps), compiled, strict=True))


def test_errors():
    one = [torch.ones(1)]
    with pytest.raises(ValueError, match="adam_ got 1 params, but `v` holds 0"):
        autograd.adam_(one, one, one, [], None, 1, 0.1)
    for momenta, momentum in ((None, 0.9), (one, 0.0)):
        with pytest.raises(ValueError, match="sgd_ takes `momenta` where momentum is not 0"):
            autograd.sgd_(one, one, momenta, 0.1, momentum)
        with pytest.raises(ValueError, match="rmsprop_ takes `momenta` where momentum is not 0"):
            autograd.rmsprop_(one, one, one, momenta, None, 0.1, momentum=momentum)
    with pytest.raises(ValueError, match="takes `average_grads` with centered=True"):
        autograd.rmsprop_(one, one, one, None, None, 0.1, centered=True)
    with pytest.raises(ValueError, match="clips by one of clipvalue, clipnorm and global_clipnorm"):
        autograd.sgd_(one, one, None, 0.1, options=StepOptions(clipvalue=1.0, clipnorm=1.0))
    with pytest.raises(ValueError, match="got 1 params, but `decayed` holds 2"):
        autograd.sgd_(one, one, None, 0.1, options=StepOptions(0.1, [True, False]))
