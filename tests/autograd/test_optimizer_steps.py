"""adam_, sgd_ and rmsprop_ over five steps against their equations in numpy."""

import numpy as np
import pytest
import torch

from fastk import autograd
from fastk.kernels.adam import aten as adam_aten
from fastk.kernels.sgd import aten as sgd_aten

SHAPES = [(5, 3), (1,), (0, 2), (17,)]
STEPS = 5
RATES = [0.1, 0.05, 0.05, 0.2, 0.01]  # a schedule: the learning rate must enter where the equation has it


NAMES = ("param", "gradient", "state")
STEP_FUNCTIONS = {
    "adam": lambda p, g, s: autograd.adam_(p, g, s, [t.clone() for t in s], None, 1, 0.1),
    "sgd": lambda p, g, s: autograd.sgd_(p, g, None, 0.1),
    "momentum": lambda p, g, s: autograd.sgd_(p, g, s, 0.1, 0.9),
    "nesterov": lambda p, g, s: autograd.sgd_(p, g, s, 0.1, 0.9, True),
    "rmsprop": lambda p, g, s: autograd.rmsprop_(p, g, s, None, None, 0.1),
}


def lists(normal, dtype):
    params = [normal(*shape, dtype=dtype) for shape in SHAPES]
    grads = [[normal(*shape, dtype=dtype) for shape in SHAPES] for _ in range(STEPS)]
    return params, grads, lambda: [torch.zeros_like(p) for p in params]


def arrays(tensors):
    return [tensor.double().numpy().copy() for tensor in tensors]


def agree(close, *pairs):
    for tensors, expected in pairs:
        for tensor, array in zip(tensors, expected, strict=True):
            close(tensor, array, terms=10 * STEPS)


def as_given(kind, value):
    return torch.tensor(value, dtype=torch.float64) if kind == "tensor" else value


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["number", "tensor", "device tensor"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(kind, amsgrad, dtype, normal, close):
    params, grads, zeros = lists(normal, dtype)
    m, v, vhat = zeros(), zeros(), zeros() if amsgrad else None
    p_, m_, v_, h_ = arrays(params), arrays(m), arrays(v), arrays(m)
    b1, b2, eps = 0.8, 0.95, 1e-3
    for t in range(1, STEPS + 1):
        step, rate = torch.tensor(t) if kind == "tensor" else t, as_given(kind, RATES[t - 1])
        if kind == "device tensor":  # what runs where the host cannot read the step
            with torch.no_grad():
                step, rate = torch.tensor(t), torch.tensor(RATES[t - 1], dtype=dtype)
                adam_aten._multi_tensor(params, grads[t - 1], m, v, vhat, step, rate, b1, b2, eps)
        else:
            autograd.adam_(params, grads[t - 1], m, v, vhat, step, rate, b1, b2, eps)
        alpha = RATES[t - 1] * np.sqrt(1 - b2**t) / (1 - b1**t)
        for i, g in enumerate(arrays(grads[t - 1])):
            m_[i] += (1 - b1) * (g - m_[i])
            v_[i] += (1 - b2) * (g**2 - v_[i])
            h_[i] = np.maximum(h_[i], v_[i])
            p_[i] -= alpha * m_[i] / (np.sqrt(h_[i] if amsgrad else v_[i]) + eps)
    agree(close, (params, p_), (m, m_), (v, v_), *([(vhat, h_)] if amsgrad else []))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["number", "tensor", "device tensor"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.0, True), (0.9, False), (0.9, True)])
def test_sgd(kind, momentum, nesterov, dtype, normal, close):
    params, grads, zeros = lists(normal, dtype)
    momenta = zeros() if momentum else None
    p_, m_ = arrays(params), arrays(zeros())
    for t in range(STEPS):
        if kind == "device tensor":
            with torch.no_grad():
                rate = torch.tensor(RATES[t], dtype=dtype)
                sgd_aten._multi_tensor(params, grads[t], momenta, rate, momentum, nesterov)
        else:
            autograd.sgd_(params, grads[t], momenta, as_given(kind, RATES[t]), momentum, nesterov)
        for i, g in enumerate(arrays(grads[t])):
            m_[i] = momentum * m_[i] - RATES[t] * g
            p_[i] += momentum * m_[i] - RATES[t] * g if nesterov else m_[i]
    agree(close, (params, p_), *([] if momenta is None else [(momenta, m_)]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["number", "tensor"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(kind, momentum, centered, dtype, normal, close):
    params, grads, zeros = lists(normal, dtype)
    velocities, momenta, averages = zeros(), zeros() if momentum else None, zeros() if centered else None
    p_, v_, m_, a_ = (arrays(tensors) for tensors in (params, velocities, velocities, velocities))
    rho, eps = 0.8, 1e-3
    for t in range(STEPS):
        rate = as_given(kind, RATES[t])
        autograd.rmsprop_(params, grads[t], velocities, momenta, averages, rate, rho, momentum, eps, centered)
        for i, g in enumerate(arrays(grads[t])):
            v_[i] = rho * v_[i] + (1 - rho) * g**2
            a_[i] = rho * a_[i] + (1 - rho) * g
            increment = RATES[t] * g / np.sqrt(v_[i] - (a_[i] ** 2 if centered else 0) + eps)
            m_[i] = momentum * m_[i] + increment
            p_[i] -= m_[i]
    agree(close, (params, p_), (velocities, v_))


def test_variables_that_require_gradients(normal):
    for step in STEP_FUNCTIONS.values():
        param = normal(3).requires_grad_()
        before = param.detach().clone()
        step([param], [torch.ones_like(before)], [torch.zeros_like(before)])
        assert param.is_leaf and param.requires_grad and (param < before).all()


def test_gradients_are_left_alone(normal):
    grads = [normal(4)]
    copy = grads[0].clone()
    state = [torch.zeros(4, dtype=torch.float64)]
    autograd.adam_([normal(4)], grads, state, state, None, 1, 0.1)
    autograd.sgd_([normal(4)], grads, state, 0.1, 0.9, True)
    autograd.rmsprop_([normal(4)], grads, state, None, None, 0.1)
    assert torch.equal(grads[0], copy)


@pytest.mark.parametrize("step", STEP_FUNCTIONS.values(), ids=STEP_FUNCTIONS)
@pytest.mark.parametrize("transposed", NAMES)
def test_memory_may_lie_in_any_order(transposed, step, normal, close):
    plain = [normal(3, 4), normal(3, 4), torch.zeros(3, 4, dtype=torch.float64)]
    other = [t.t().contiguous().t() if name == transposed else t.clone() for name, t in zip(NAMES, plain, strict=True)]
    for param, gradient, state in (plain, other):
        step([param], [gradient], [state])
    close(other[0], plain[0].numpy())
    close(other[2], plain[2].numpy())


def test_nothing_to_do():
    autograd.adam_([], [], [], [], None, 1, 0.1)
    autograd.sgd_([], [], None, 0.1)
    autograd.rmsprop_([], [], [], None, None, 0.1)


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
