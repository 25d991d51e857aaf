"""Several optimizers, each for some of the variables."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch

import fastk
from fastk import optimizers
from fastk.optimizers import MultiOptimizer, OptimizerMap


def made(**options):
    slow, fast = optimizers.SGD(0.25, momentum=0.5), optimizers.SGD(1.0)
    variables = [fastk.Variable([1.0], name=name) for name in ("kernel", "bias", "scale")]
    optimizer = MultiOptimizer(OptimizerMap(slow, {"b.*": fast}), **options)
    optimizer.build(variables)
    return optimizer, variables


def ones(variables):
    return [torch.ones(1) for _ in variables]


def values(variables):
    return [float(v.numpy()[0]) for v in variables]


def test_each_variable_has_its_optimizer():
    optimizer, variables = made()
    optimizer.apply(ones(variables), variables)
    assert values(variables) == [0.75, 0.0, 0.75]
    optimizer.apply_gradients(zip(ones(variables), variables[::-1], strict=True))
    assert values(variables) == [0.375, -1.0, 0.375]
    fast, slow = optimizer.optimizers
    assert (int(fast.iterations), int(slow.iterations), int(optimizer.iterations)) == (2, 2, 2)
    assert [v.path for v in optimizer.variables] == [
        "multi_optimizer/iteration",
        "multi_optimizer/learning_rate",
        "sgd_1/iteration",
        "sgd_1/learning_rate",
        "sgd/iteration",
        "sgd/learning_rate",
        "sgd/kernel_momentum",
        "sgd/scale_momentum",
    ]


def test_a_callable_as_map():
    first, second = optimizers.SGD(0.5), optimizers.SGD(1.0)
    variables = [fastk.Variable([1.0], name=name) for name in ("a", "b")]
    optimizer = MultiOptimizer(lambda variable: first if variable.name == "a" else second)
    optimizer.apply(ones(variables), variables)
    assert values(variables) == [0.5, 0.0] and optimizer.optimizers == [first, second]


def test_the_loss_scale_is_everybodys():
    optimizer, variables = made(loss_scale_factor=4.0)
    assert optimizer.scale_loss(2.0) == 8.0
    optimizer.apply([4 * g for g in ones(variables)])
    assert values(variables) == [0.75, 0.0, 0.75]
    optimizer.loss_scale_factor = None
    assert [inner.loss_scale_factor for inner in optimizer.optimizers] == [None, None]


def test_stateless():
    optimizer, variables = made()
    new, own = optimizer.stateless_apply(optimizer.variables, ones(variables), variables)
    assert [float(v) for v in new] == [0.75, 0.0, 0.75] and values(variables) == [1.0, 1.0, 1.0]
    assert [int(own[i]) for i in (0, 2, 4)] == [1, 1, 1] and int(optimizer.iterations) == 0


def test_averages_and_exclusions():
    inner = optimizers.SGD(1.0, weight_decay=0.5, use_ema=True, ema_momentum=0.5)
    variables = [fastk.Variable([1.0], name="w")]
    optimizer = MultiOptimizer(OptimizerMap(inner))
    optimizer.exclude_from_weight_decay(var_names=["w"])
    for _ in range(2):
        optimizer.apply([torch.full((1,), 0.5)], variables)
    assert values(variables) == [0.0]
    optimizer.finalize_variable_values(variables)
    assert values(variables) == [0.25]


def test_configuration_and_copies():
    optimizer, variables = made(loss_scale_factor=2.0)
    described = json.loads(json.dumps(optimizers.serialize(optimizer)))
    again = optimizers.deserialize(described)
    assert again.get_config() == optimizer.get_config()
    assert float(again.optimizers[0].learning_rate) == 1.0
    twin, its = copy.deepcopy((optimizer, variables))
    for each, own in ((optimizer, variables), (twin, its)):
        each.apply([2 * g for g in ones(own)])
    assert values(its) == values(variables) == [0.75, 0.0, 0.75]


def test_bad_maps():
    sgd: Any = optimizers.SGD()
    wrong: Any = "sgd"
    with pytest.raises(TypeError, match="default_optimizer must be a Keras Optimizer"):
        OptimizerMap(wrong)
    with pytest.raises(TypeError, match="optimizer_map must be a dictionary"):
        OptimizerMap(sgd, wrong)
    choice = OptimizerMap(sgd)
    choice["a.*"] = sgd
    choice[".*b"] = sgd
    with pytest.raises(ValueError, match="Multiple optimizers assigned to variable ab"):
        choice["ab"]
    with pytest.raises(ValueError, match="already exists"):
        choice["a.*"] = sgd
    with pytest.raises(ValueError, match="must be a Keras Optimizer instance"):
        choice["c"] = wrong
    with pytest.raises(ValueError, match="cannot be LossScaleOptimizer"):
        choice["c"] = optimizers.LossScaleOptimizer(sgd)
    with pytest.raises(ValueError, match="cannot be MultiOptimizer"):
        MultiOptimizer(lambda v: MultiOptimizer(choice)).build([fastk.Variable(1.0)])
    del choice["a.*"]
    assert list(choice) == [".*b"] and len(choice) == 1


def test_bad_calls():
    optimizer, variables = made()
    for access in (lambda: optimizer.learning_rate, lambda: setattr(optimizer, "learning_rate", 0.1)):
        with pytest.raises(AttributeError, match="on the individual sub-optimizers"):
            access()
    with pytest.raises(ValueError, match="Received 1 gradients and 3 variables"):
        optimizer.apply(ones(variables[:1]), variables)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([torch.ones(1)], [fastk.Variable(np.ones(1))])
