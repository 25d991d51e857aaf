"""Schedules against their formulas in float64."""

import json
import math

import numpy as np
import pytest
import torch

import fastk
from fastk.optimizers import schedules

# A dozen operations in float32, some through a logarithm or a cosine of values up to 2 pi.
TOLERANCE = 64 * float(np.finfo("float32").eps)
STEPS = [0, 1, 2, 3, 5, 7, 10, 11, 29, 30, 31, 100]


def exponential(step, staircase=False):
    time = step / 10
    return 0.1 * 0.9 ** (math.floor(time) if staircase else time)


def inverse(step, staircase=False):
    time = step / 10
    return 0.1 / (1 + 0.5 * (math.floor(time) if staircase else time))


def polynomial(step, cycle=False, power=2.0):
    length = 10 * max(1, math.ceil(step / 10)) if cycle else 10
    return (0.1 - 0.01) * (1 - min(step, length) / length) ** power + 0.01


def cosine(step, top=0.1, length=10, alpha=0.2):
    return top * ((1 - alpha) * 0.5 * (1 + math.cos(math.pi * min(step, length) / length)) + alpha)


def warm_cosine(step):
    return 0.01 + (0.1 - 0.01) * step / 5 if step < 5 else cosine(step - 5)


def restarts(step, t_mul=2.0, m_mul=0.8, alpha=0.2):
    length, top = 10.0, 1.0
    while step >= length:
        step, length, top = step - length, length * t_mul, top * m_mul
    return 0.1 * ((1 - alpha) * 0.5 * top * (1 + math.cos(math.pi * step / length)) + alpha)


def pieces(step):
    return 0.1 if step <= 2 else 0.05 if step <= 10 else 0.01


CASES = [
    (schedules.ExponentialDecay(0.1, 10, 0.9), exponential),
    (schedules.ExponentialDecay(0.1, 10, 0.9, staircase=True), lambda step: exponential(step, True)),
    (schedules.InverseTimeDecay(0.1, 10, 0.5), inverse),
    (schedules.InverseTimeDecay(0.1, 10, 0.5, staircase=True), lambda step: inverse(step, True)),
    (schedules.PolynomialDecay(0.1, 10, 0.01, power=2.0), polynomial),
    (schedules.PolynomialDecay(0.1, 10, 0.01, power=2.0, cycle=True), lambda step: polynomial(step, True)),
    (schedules.CosineDecay(0.1, 10, alpha=0.2), cosine),
    (schedules.CosineDecay(0.01, 10, alpha=0.2, warmup_target=0.1, warmup_steps=5), warm_cosine),
    (schedules.CosineDecay(0.1, 10, alpha=0.2, warmup_target=0.1, warmup_steps=0), cosine),
    (schedules.CosineDecayRestarts(0.1, 10, m_mul=0.8, alpha=0.2), restarts),
    (schedules.CosineDecayRestarts(0.1, 10, 1.0, 0.8, 0.2), lambda step: restarts(step, 1.0)),
    (schedules.PiecewiseConstantDecay([2, 10], [0.1, 0.05, 0.01]), pieces),
]
IDS = [f"{type(schedule).__name__}-{i}" for i, (schedule, _) in enumerate(CASES)]


@pytest.mark.parametrize(("schedule", "formula"), CASES, ids=IDS)
def test_values(schedule, formula):
    for step in STEPS:
        rate = schedule(step)
        assert rate.shape == () and rate.dtype == torch.float32 and isinstance(rate, fastk.Tensor)
        np.testing.assert_allclose(float(rate), formula(step), rtol=TOLERANCE, atol=TOLERANCE * 0.1)
        for same in (torch.tensor(step), fastk.Variable(step, dtype="int32"), np.int64(step), float(step)):
            assert float(schedule(same)) == float(rate)


@pytest.mark.parametrize(("schedule", "formula"), CASES, ids=IDS)
def test_configuration(schedule, formula):
    described = json.loads(json.dumps(schedules.serialize(schedule)))
    assert described["module"] == "keras.optimizers.schedules" and described["registered_name"] is None
    again = schedules.deserialize(described)
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert float(again(7)) == float(schedule(7))


def test_steps_beyond_the_integers_of_float32():
    rate = schedules.PiecewiseConstantDecay([2**24], [1.0, 0.5])
    assert float(rate(torch.tensor(2**24))) == 1.0
    assert float(rate(torch.tensor(2**24 + 1))) == 0.5


def test_whole_numbers_as_rates():
    assert float(schedules.CosineDecay(0, 10, warmup_target=1, warmup_steps=4)(1)) == 0.25


def test_a_rate_that_is_a_variable():
    top = fastk.Variable(0.5)
    rate = schedules.ExponentialDecay(top, 1, 0.5)
    assert float(rate(1)) == 0.25
    top.assign(1.0)
    assert float(rate(1)) == 0.5
    assert rate.get_config()["initial_learning_rate"] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.ExponentialDecay(0.1, 0, 0.9),
        lambda: schedules.InverseTimeDecay(0.1, -1, 0.9),
        lambda: schedules.PolynomialDecay(0.1, 0),
        lambda: schedules.CosineDecay(0.1, 0),
        lambda: schedules.CosineDecayRestarts(0.1, 0),
    ],
)
def test_lengths_are_positive(make):
    with pytest.raises(ValueError, match="must be > 0"):
        make()


def test_pieces_and_boundaries_match():
    with pytest.raises(ValueError, match="length of boundaries should be 1 less"):
        schedules.PiecewiseConstantDecay([1], [0.1])


def test_what_a_schedule_of_ones_own_must_have():
    with pytest.raises(NotImplementedError, match="must override `__call__"):
        schedules.LearningRateSchedule()(0)
    with pytest.raises(NotImplementedError, match="must override `get_config"):
        schedules.LearningRateSchedule().get_config()
