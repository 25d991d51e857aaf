"""Every optimizer against its equations in float64, over several steps and shapes."""

import numpy as np
import pytest
import torch

import fastk
from fastk import optimizers
from tests.optimizers import oracles

FTRL = {
    "l1_regularization_strength": 0.01,
    "l2_regularization_strength": 0.1,
    "l2_shrinkage_regularization_strength": 0.05,
    "beta": 0.2,
}
PLAIN = {"weight_decay": None, "adam_weight_decay": None}
BETAS = {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 0.1}
CASES = [
    # (class, its arguments, the oracle, the oracle's arguments)
    ("SGD", {}, oracles.sgd, {}),
    ("SGD", {"momentum": 0.9}, oracles.sgd, {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}, oracles.sgd, {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"nesterov": True}, oracles.sgd, {}),
    ("RMSprop", {}, oracles.rmsprop, {}),
    ("RMSprop", {"rho": 0.8, "momentum": 0.5}, oracles.rmsprop, {"rho": 0.8, "momentum": 0.5}),
    ("RMSprop", {"centered": True}, oracles.rmsprop, {"centered": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True}, oracles.rmsprop, {"momentum": 0.5, "centered": True}),
    ("Adam", {}, oracles.adam, {}),
    ("Adam", BETAS, oracles.adam, BETAS),
    ("Adam", {"amsgrad": True}, oracles.adam, {"amsgrad": True}),
    ("Adagrad", {}, oracles.adagrad, {}),
    ("Adadelta", {}, oracles.adadelta, {}),
    ("Adamax", {}, oracles.adamax, {}),
    ("Nadam", {}, oracles.nadam, {}),
    ("Lion", {}, oracles.lion, {}),
    ("Lamb", {}, oracles.lamb, {}),
    ("Ftrl", {}, oracles.ftrl, {}),
    ("Ftrl", FTRL, oracles.ftrl, {"l1": 0.01, "l2": 0.1, "shrinkage": 0.05, "beta": 0.2}),
    ("ScheduleFreeAdamW", {}, oracles.schedule_free_adamw, {}),
    ("ScheduleFreeAdamW", {"warmup_steps": 3}, oracles.schedule_free_adamw, {"warmup": 3}),
    ("Muon", PLAIN, oracles.muon, {}),
    ("Muon", {"nesterov": False, "rms_rate": None, "adam_lr_ratio": 0.5, **PLAIN}, oracles.muon,
     {"nesterov": False, "rms_rate": None, "ratio": 0.5}),
    ("Adafactor", {}, oracles.adafactor, {}),
    ("Adafactor", {"clip_threshold": 0.5}, oracles.adafactor, {"threshold": 0.5}),
]  # fmt: skip
IDS = [f"{name}-{'-'.join(arguments)}" for name, arguments, _, _ in CASES]
# A scalar, a vector, a matrix, a row, and a tensor of three axes: Adafactor tells them apart.
SHAPES = [(), (5,), (4, 3), (1, 7), (2, 3, 4)]
RATE = 0.125  # exact in float32, which learning rates are kept in
STEPS = 5


def draws(rng, dtype):
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize(("name", "arguments", "oracle", "constants"), CASES, ids=IDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equations(name, arguments, oracle, constants, dtype, rng):
    weights = draws(rng, dtype)
    weights[1][:] = 0  # LAMB's ratio has a case for it
    variables = [fastk.Variable(w) for w in weights]
    optimizer = getattr(optimizers, name)(learning_rate=RATE, **arguments)
    states = [{} for _ in weights]
    for step in range(1, STEPS + 1):
        gradients = draws(rng, dtype)
        optimizer.apply([torch.tensor(g) for g in gradients], variables)
        for i, g in enumerate(gradients):
            weights[i] = oracle(np.float64(weights[i]), np.float64(g), states[i], step, RATE, **constants)
    # Each step rounds a handful of times, relative to a step or a weight of order 1; `1 - beta_2^t` and centred
    # variances lose up to three digits to cancellation.
    tolerance = 1e3 * STEPS * np.finfo(dtype).eps
    for variable, expected in zip(variables, weights, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "arguments", "oracle", "constants"), CASES, ids=IDS)
def test_scalars_on_the_device(name, arguments, oracle, constants, rng, monkeypatch):
    """The learning rate and the step as tensors, as they are on a GPU, make the same steps."""
    weights = draws(rng, "float32")
    gradients = [[torch.tensor(g) for g in draws(rng, "float32")] for _ in range(3)]
    results = []
    for on_device in (False, True):
        variables = [fastk.Variable(w) for w in weights]
        optimizer = getattr(optimizers, name)(
            **{"learning_rate": RATE, "weight_decay": 0.1, "use_ema": True, **arguments}
        )
        if on_device:
            monkeypatch.setattr(type(optimizer), "_current_rate", lambda self: torch.tensor(RATE))
            monkeypatch.setattr(type(optimizer), "_step", lambda self: self._iterations.value.detach() + 1)
        for each in gradients:
            optimizer.apply(each, variables)
        results.append([v.numpy() for v in [*variables, *optimizer._model_variables_moving_average]])
    # Powers of beta are taken in float32 there: 1 - 0.999 has a relative error of eps / 0.001.
    for host, device in zip(*results, strict=True):
        np.testing.assert_allclose(device, host, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "arguments", "oracle", "constants"), CASES, ids=IDS)
def test_one_variable_at_a_time(name, arguments, oracle, constants, rng):
    """`update_step` of a built-in optimizer, which a user's subclass may call, makes the same step."""
    base = getattr(optimizers, name)
    custom = type("Custom", (base,), {"update_step": lambda self, *step: base.update_step(self, *step)})
    assert custom._per_variable and not base._per_variable
    weights, gradients = draws(rng, "float32"), [torch.tensor(g) for g in draws(rng, "float32")]
    results = []
    for cls in (base, custom):
        variables = [fastk.Variable(w) for w in weights]
        optimizer = cls(learning_rate=RATE, **arguments)
        for _ in range(2):
            optimizer.apply(gradients, variables)
        results.append([v.numpy() for v in variables])
    for together, alone in zip(*results, strict=True):
        np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6)


def test_adamw_decays_then_steps(rng):
    w, g = rng.normal(size=(2, 4)).astype("float32")
    variable = fastk.Variable(w)
    optimizers.AdamW(learning_rate=RATE, weight_decay=0.5).apply([torch.tensor(g)], [variable])
    expected = oracles.adam(np.float64(w) * (1 - 0.5 * RATE), np.float64(g), {}, 1, RATE)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, rng):
    w, g = rng.normal(size=(2, 6)).astype("float32")
    variable = fastk.Variable(w, dtype=dtype)
    optimizers.SGD(learning_rate=RATE, momentum=0.5).apply([torch.tensor(g)], [variable])
    eps = torch.finfo(getattr(torch, dtype)).eps
    np.testing.assert_allclose(variable.numpy().astype("float32"), w - RATE * g, atol=4 * eps)
