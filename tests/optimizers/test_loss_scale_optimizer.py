"""Dynamic loss scaling."""

import numpy as np
import pytest
import torch

import fastk
from fastk import optimizers
from fastk.optimizers import LossScaleOptimizer
from fastk.optimizers.plan import tensor_of

INFINITE = [torch.tensor([np.inf, 1.0])]


def made(inner=None, **options):
    optimizer = LossScaleOptimizer(inner or optimizers.SGD(learning_rate=0.5), **options)
    variables = [fastk.Variable([1.0, 2.0], name="w")]
    optimizer.build(variables)
    return optimizer, variables


def test_gradients_are_unscaled():
    optimizer, variables = made(initial_scale=8.0)
    optimizer.apply([torch.tensor([8.0, 16.0])])
    np.testing.assert_array_equal(variables[0].numpy(), [0.5, 1.0])
    assert float(optimizer.scale_loss(2.0)) == 16.0


def test_the_scale_before_building():
    optimizer = LossScaleOptimizer(optimizers.SGD(), initial_scale=4.0)
    assert float(optimizer.scale_loss(torch.tensor(2.0))) == 8.0
    optimizer.apply([torch.tensor([4.0])], [fastk.Variable([1.0])])
    assert optimizer.built and int(optimizer.iterations) == 1


def test_a_bad_step_halves_and_changes_nothing():
    optimizer, variables = made(optimizers.Adam(), initial_scale=8.0)
    optimizer.apply([torch.tensor([1.0, 1.0])])
    before = [v.numpy() for v in [*variables, *optimizer.inner_optimizer.variables]]
    for value in (np.inf, -np.inf, np.nan):
        optimizer.apply([torch.tensor([value, 1.0])])
    for v, old in zip([*variables, *optimizer.inner_optimizer.variables], before, strict=True):
        np.testing.assert_array_equal(v.numpy(), old)
    assert float(optimizer.dynamic_scale) == 1.0 and int(optimizer.step_counter) == 0
    assert int(optimizer.iterations) == 1


def test_large_finite_gradients_are_finite():
    optimizer, _ = made()
    assert bool(optimizer.check_finite([torch.full((4,), 3e38), None, torch.zeros(0)]))
    assert not bool(optimizer.check_finite([torch.zeros(3), torch.tensor([1.0, np.nan])]))


def test_growth():
    optimizer, _ = made(initial_scale=2.0, dynamic_growth_steps=2)
    seen = []
    for gradients in [[torch.ones(2)]] * 3 + [INFINITE] + [[torch.ones(2)]] * 3:
        optimizer.apply(gradients)
        seen.append((float(optimizer.dynamic_scale), int(optimizer.step_counter)))
    assert seen == [(2, 1), (4, 0), (4, 1), (2, 0), (2, 1), (4, 0), (4, 1)]


@pytest.mark.parametrize("inner", ["SGD", "Adam", "Nadam", "Adafactor"])
def test_undoing_a_step_without_knowing(inner):
    """What a GPU does, where the host does not learn whether gradients are finite, ends in the same place."""
    results = []
    for on_device in (False, True):
        fastk.utils.clear_session(free_memory=False)
        optimizer, variables = made(getattr(optimizers, inner)(learning_rate=0.5, use_ema=True))
        for gradients in ([torch.tensor([2.0, 3.0])], INFINITE, [torch.tensor([-1.0, 1.0])]):
            if on_device:
                with torch.no_grad():
                    finite = optimizer.check_finite(gradients)
                    optimizer._apply_and_undo(optimizer._unscaled(gradients, variables), variables, finite)
                    optimizer._adapt(finite)
            else:
                optimizer.apply(gradients)
        results.append([v.numpy() for v in [*variables, *optimizer.variables]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_and_overwriting_gradients():
    special, plain, idle = variables = [fastk.Variable([float(i)]) for i in range(3)]
    special.overwrite_with_gradient = True
    optimizer = LossScaleOptimizer(optimizers.SGD(learning_rate=1.0), initial_scale=2.0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([torch.tensor([6.0]), torch.tensor([6.0]), None], variables)
    assert [float(v.numpy()[0]) for v in (special, plain, idle)] == [6.0, -2.0, 2.0]
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply([None, None, None])
    with pytest.raises(ValueError, match="built on a list of variables"):
        LossScaleOptimizer(optimizers.SGD()).apply([torch.ones(1)])


def test_variables_as_in_keras_files():
    optimizer, _ = made(optimizers.Adam())
    assert [v.path for v in optimizer.variables] == [
        "loss_scale_optimizer/iteration",
        "loss_scale_optimizer/learning_rate",
        "loss_scale_optimizer/step_counter",
        "loss_scale_optimizer/dynamic_scale",
        "adam/iteration",
        "adam/learning_rate",
        "adam/w_momentum",
        "adam/w_velocity",
    ]
    assert [v.dtype for v in optimizer.variables[:4]] == ["int32", "float32", "int32", "float32"]


def test_the_inner_optimizer_shows_through():
    optimizer, variables = made(
        optimizers.SGD(0.5, weight_decay=0.5, use_ema=True, ema_momentum=0.5, loss_scale_factor=9.0)
    )
    assert optimizer.inner_optimizer.loss_scale_factor is None
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == float(optimizer.learning_rate) == 0.25
    optimizer.exclude_from_weight_decay(var_names=["w"])
    optimizer.apply([torch.zeros(2)])
    np.testing.assert_array_equal(variables[0].numpy(), [1.0, 2.0])
    variables[0].assign([9.0, 9.0])
    optimizer.finalize_variable_values(variables)
    np.testing.assert_array_equal(variables[0].numpy(), [1.0, 2.0])


def test_configuration():
    optimizer = LossScaleOptimizer(
        optimizers.SGD(0.5, momentum=0.25), initial_scale=3.0, dynamic_growth_steps=2, name="x"
    )
    described = optimizers.serialize(optimizer)
    assert list(described["config"]) == ["name", "inner_optimizer", "initial_scale", "dynamic_growth_steps"]
    again = optimizers.deserialize(described)
    assert again.get_config() == optimizer.get_config() and again.inner_optimizer.momentum == 0.25
    old = {**described["config"], "weight_decay": None, "use_ema": False, "ema_momentum": 0.99}
    assert LossScaleOptimizer.from_config(old).initial_scale == 3.0


def test_stateless():
    optimizer, variables = made(initial_scale=2.0, dynamic_growth_steps=1)
    own, values = [v.value for v in optimizer.variables], [v.value for v in variables]
    for gradients in ([torch.tensor([2.0, 2.0])], INFINITE):
        values, own = optimizer.stateless_apply(own, gradients, values)
    np.testing.assert_array_equal(values[0].numpy(), [0.5, 1.5])
    assert float(own[3]) == 2.0 and int(own[4]) == 1
    np.testing.assert_array_equal(variables[0].numpy(), [1.0, 2.0])


def test_bad_arguments():
    inner = optimizers.SGD()
    with pytest.raises(ValueError, match="set `loss_scale_factor`"):
        LossScaleOptimizer(inner, dynamic=False)
    with pytest.raises(ValueError, match="set `clipnorm` on the `inner_optimizer`"):
        LossScaleOptimizer(inner, clipnorm=1.0)
    with pytest.raises(ValueError, match="arguments: `foo`, `bar`"):
        LossScaleOptimizer(inner, foo=1, bar=2)


@pytest.mark.parametrize(
    ("inner", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("Adam", {"weight_decay": 0.1, "clipnorm": 1.0}),
        ("AdamW", {"global_clipnorm": 1.0}),
        ("RMSprop", {"clipvalue": 0.1}),
    ],
)
def test_leaving_out_a_step_in_the_pass_that_makes_it(inner, options):
    """Where the update divides by the scale and looks at `finite` itself, it ends in the same place."""
    results = []
    for in_one_pass in (False, True):
        fastk.utils.clear_session(free_memory=False)
        optimizer, variables = made(getattr(optimizers, inner)(learning_rate=0.5, **options), initial_scale=4.0)
        for gradients in ([torch.tensor([2.0, 3.0])], INFINITE, [torch.tensor([-1.0, 1.0])]):
            if in_one_pass:
                with torch.no_grad():
                    finite = optimizer.check_finite(gradients)
                    scale = tensor_of(optimizer.dynamic_scale)
                    assert optimizer.inner_optimizer._apply_scaled(gradients, variables, scale, finite)
                    optimizer._adapt(finite)
            else:
                optimizer.apply(gradients, variables)
        results.append([v.numpy() for v in [*variables, *optimizer.variables]])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("inner", [optimizers.Nadam(), optimizers.SGD(use_ema=True), optimizers.SGD(weight_decay=0.1)])
def test_what_takes_more_than_one_pass(inner):
    """A step that does more than the update is undone instead; nothing has happened before that is known."""
    optimizer, variables = made(inner)
    if inner.weight_decay:
        variables[0].constraint = fastk.constraints.NonNeg()
    before = variables[0].numpy()
    finite = torch.tensor(True)
    assert not inner._apply_scaled([torch.ones(2)], variables, tensor_of(optimizer.dynamic_scale), finite)
    np.testing.assert_array_equal(variables[0].numpy(), before)
