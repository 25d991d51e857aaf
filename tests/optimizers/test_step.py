"""What surrounds the update: clipping, decay, averages, accumulation, constraints, and which variables take part."""

import warnings

import numpy as np
import pytest
import torch

import fastk
from fastk import optimizers, scopes

EPS = float(np.finfo("float32").eps)


def variables(*values):
    return [fastk.Variable(np.asarray(value, "float32"), name=f"v{i}") for i, value in enumerate(values)]


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float32) for value in values]


def after_one_step(gradients, values=None, **options):
    """How far plain gradient descent of rate 1 went down."""
    values = values or [np.zeros_like(g) for g in gradients]
    made = variables(*values)
    optimizers.SGD(learning_rate=1.0, **options).apply(tensors(*gradients), made)
    return [np.asarray(before) - v.numpy() for v, before in zip(made, values, strict=True)]


# ---------------------------------------------------------------- clipping


def test_clipnorm_is_by_variable():
    taken = after_one_step([[3.0, 4.0], [0.3, 0.4]], clipnorm=1.0)
    np.testing.assert_allclose(taken[0], [0.6, 0.8], rtol=4 * EPS)
    np.testing.assert_allclose(taken[1], [0.3, 0.4], rtol=4 * EPS)


def test_global_clipnorm_is_by_all():
    taken = after_one_step([[3.0], [4.0]], global_clipnorm=1.0)
    np.testing.assert_allclose(np.concatenate(taken), [0.6, 0.8], rtol=4 * EPS)
    np.testing.assert_allclose(after_one_step([[0.3], [0.4]], global_clipnorm=1.0), [[0.3], [0.4]], rtol=4 * EPS)


def test_global_clipnorm_of_an_overflow_is_nan():
    taken = after_one_step([[np.inf], [1.0]], global_clipnorm=1.0)
    assert np.isnan(np.concatenate(taken)).all()


def test_zero_gradients_are_clipped_to_zero():
    for option in ("clipnorm", "global_clipnorm", "clipvalue"):
        np.testing.assert_array_equal(after_one_step([[0.0, 0.0]], **{option: 1.0}), [[0.0, 0.0]])


def test_clipvalue_is_by_element():
    np.testing.assert_array_equal(after_one_step([[3.0, -4.0, 0.5]], clipvalue=1.0), [[1.0, -1.0, 0.5]])


def test_the_callers_gradients_stay_as_they_are():
    options: dict
    for options in (
        {"clipnorm": 0.1},
        {"global_clipnorm": 0.1},
        {"clipvalue": 0.1},
        {"loss_scale_factor": 4.0},
        {"gradient_accumulation_steps": 2},
    ):
        gradients = tensors([3.0, 4.0])
        kept = list(gradients)
        made = variables([1.0, 2.0])
        optimizer = optimizers.Adam(**options)
        for _ in range(2):
            optimizer.apply(gradients, made)
        assert gradients[0] is kept[0]
        np.testing.assert_array_equal(gradients[0].numpy(), [3.0, 4.0])


# ---------------------------------------------------------------- weight decay


def test_weight_decay_shrinks_before_the_step():
    (taken,) = after_one_step([[0.5]], [[2.0]], weight_decay=0.25)
    np.testing.assert_allclose(taken, [0.25 * 2.0 + 0.5], rtol=4 * EPS)


def test_exclusions_by_name_and_by_variable():
    kernel, bias, gamma = made = [fastk.Variable([1.0], name=name) for name in ("kernel", "bias", "gamma_1")]
    optimizer = optimizers.SGD(learning_rate=1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[bias], var_names=["gam+a"])
    optimizer.apply(tensors([0.0], [0.0], [0.0]), made)
    assert [float(v.numpy()[0]) for v in (kernel, bias, gamma)] == [0.5, 1.0, 1.0]


def test_exclusions_after_the_first_step():
    made = variables([1.0])
    optimizer = optimizers.SGD(learning_rate=1.0, weight_decay=0.5)
    optimizer.apply(tensors([0.0]), made)
    optimizer.exclude_from_weight_decay(var_names=["v"])
    optimizer.apply(tensors([0.0]), made)
    np.testing.assert_array_equal(made[0].numpy(), [0.5])


def test_muon_has_two_weight_decays():
    matrix, vector, table = made = [
        fastk.Variable(np.ones(shape, "float32"), name=name)
        for shape, name in [((2, 2), "kernel"), ((2,), "bias"), ((2, 2), "embeddings")]
    ]
    optimizer = optimizers.Muon(learning_rate=1.0, weight_decay=0.5, adam_weight_decay=0.25)
    optimizer.apply([torch.zeros(v.shape) for v in made], made)
    assert [float(v.numpy().mean()) for v in (matrix, vector, table)] == [0.5, 0.75, 0.75]


# ---------------------------------------------------------------- moving averages


@pytest.mark.parametrize("steps", [None, 2])
def test_averages(steps):
    momentum, rate = 0.75, 0.5
    made = variables([1.0, 2.0])
    options = {"gradient_accumulation_steps": steps} if steps else {}
    optimizer = optimizers.SGD(learning_rate=rate, use_ema=True, ema_momentum=momentum, **options)
    value, average = np.array([1.0, 2.0]), np.zeros(2)
    for step in range(6):
        optimizer.apply(tensors([1.0, -1.0]), made)
        if not steps or step % steps == steps - 1:
            value = value - rate * np.array([1.0, -1.0])
        first = step // (steps or 1) == 0
        average = value if first else momentum * average + (1 - momentum) * value
    np.testing.assert_allclose(made[0].numpy(), value, rtol=8 * EPS)
    (kept,) = optimizer._model_variables_moving_average
    assert kept is not None
    np.testing.assert_allclose(kept.numpy(), average, rtol=64 * EPS)
    optimizer.finalize_variable_values(made)
    np.testing.assert_allclose(made[0].numpy(), average, rtol=64 * EPS)


def test_averages_overwrite_every_few_steps():
    made = variables([0.0])
    optimizer = optimizers.SGD(learning_rate=1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    seen = []
    for _ in range(4):
        optimizer.apply(tensors([-1.0]), made)
        seen.append(float(made[0].numpy()[0]))
    # 1; 2 averaged with 1; 2.5; 3.5 averaged with the average of 1.5 and 2.5.
    assert seen == [1.0, 1.5, 2.5, 2.75]


def test_finalize_wants_the_variables_of_the_optimizer():
    made = variables([0.0], [0.0])
    optimizer = optimizers.SGD(use_ema=True)
    optimizer.build(made)
    with pytest.raises(ValueError, match="does not match the length"):
        optimizer.finalize_variable_values(made[:1])


# ---------------------------------------------------------------- accumulation and loss scale


def test_accumulation_steps_with_the_mean():
    made = variables([1.0])
    optimizer = optimizers.SGD(learning_rate=1.0, gradient_accumulation_steps=3, clipvalue=2.0)
    seen = []
    for gradient in (1.0, 2.0, 6.0, 10.0, 0.0, -1.0):
        optimizer.apply(tensors([gradient]), made)
        seen.append((float(made[0].numpy()[0]), float(optimizer._accumulated_gradients[0].numpy()[0])))
    # The mean 3 is clipped to 2, then the mean is 3 again.
    assert seen == [(1.0, 1.0), (1.0, 3.0), (-1.0, 0.0), (-1.0, 10.0), (-1.0, 10.0), (-3.0, 0.0)]
    assert int(optimizer.iterations) == 2
    assert int(optimizer._iterations) == 6


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop"])
@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.5}, {"use_ema": True, "ema_momentum": 0.5}])
def test_accumulation_that_a_device_tells_the_turn_of_is_that_of_the_host(monkeypatch, name, options):
    def trained():
        made = variables([1.0, -2.0], [3.0])
        optimizer = getattr(optimizers, name)(learning_rate=0.1, gradient_accumulation_steps=3, **options)
        seen = []
        for gradient in (1.0, 2.0, np.inf, 10.0, 0.5, -1.0, 4.0):
            optimizer.apply(tensors([gradient, 1.0], [gradient]), made)
            seen += [v.numpy() for v in (*made, *optimizer.variables)]
            if gradient == np.inf:  # the step that it spoilt is over, and the next one starts from zeros
                for variable in (*made, *(v for v in optimizer.variables if v.dtype == "float32")):
                    variable.assign(np.nan_to_num(variable.numpy(), nan=0.5, posinf=0.5, neginf=0.5))
        return seen

    expected = trained()
    base = optimizers.Optimizer
    used = []

    def accumulates_on_device(self, plan):
        used.append(self._is_one_pass(plan))
        return used[-1]

    monkeypatch.setattr(base, "_accumulates_on_device", accumulates_on_device)
    for ours, theirs in zip(trained(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert used == [True] * 7


def test_the_host_notices_a_counter_that_was_set():
    made = variables([1.0])
    optimizer = optimizers.SGD(learning_rate=1.0, gradient_accumulation_steps=2)
    optimizer.apply(tensors([1.0]), made)
    optimizer._iterations.assign(0)
    optimizer.apply(tensors([1.0]), made)
    np.testing.assert_array_equal(made[0].numpy(), [1.0])
    optimizer.apply(tensors([1.0]), made)
    np.testing.assert_array_equal(made[0].numpy(), [-0.5])  # (1 + 1) accumulated, and 1, over 2


def test_loss_scale_factor():
    (taken,) = after_one_step([[8.0]], loss_scale_factor=4.0)
    np.testing.assert_array_equal(taken, [2.0])
    optimizer = optimizers.SGD(loss_scale_factor=4.0)
    assert optimizer.scale_loss(3.0) == 12.0
    assert optimizers.SGD().scale_loss(3.0) == 3.0


# ---------------------------------------------------------------- which variables, which gradients


def test_missing_gradients_are_left_alone():
    made = variables([1.0], [2.0], [3.0])
    optimizer = optimizers.Adam(learning_rate=0.5)
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['v1'\]") as record:
        optimizer.apply([*tensors([1.0]), None, *tensors([1.0])], made)
    assert record[0].filename == __file__
    np.testing.assert_allclose([v.numpy()[0] for v in made], [0.5, 2.0, 2.5], rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.apply(tensors([1.0], [1.0], [1.0]), made)
    assert made[1].numpy()[0] != 2.0


def test_no_gradient_at_all():
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        optimizers.SGD().apply([None], variables([1.0]))
    optimizer = optimizers.SGD()
    optimizer.apply([])
    assert int(optimizer.iterations) == 0


def test_unknown_variables():
    optimizer = optimizers.SGD()
    optimizer.build(variables([1.0]))
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply(tensors([1.0]), variables([1.0]))


def test_gradients_without_variables_before_building():
    with pytest.raises(ValueError, match=r"Call `optimizer.build\(trainable_variables\)` first"):
        optimizers.SGD().apply(tensors([1.0]))
    optimizer = optimizers.SGD()
    optimizer.build(variables([1.0], [1.0]))
    with pytest.raises(ValueError, match="a list of 1 gradients, but the optimizer is tracking 2"):
        optimizer.apply(tensors([1.0]))
    with pytest.raises(ValueError, match="Received 2 gradients for 1 variables"):
        optimizer.apply(tensors([1.0], [1.0]), optimizer._trainable_variables[:1])


def test_wrong_shapes_never_reach_a_kernel():
    made = variables([[1.0, 2.0]])
    optimizer = optimizers.SGD()
    optimizer.build(made)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'v0' has shape \(2, 1\), but the variable has shape \(1, 2\)"):
            optimizer.apply(tensors([[1.0], [2.0]]))
        optimizer.apply(tensors([[0.0, 0.0]]))


def test_some_of_the_variables_in_another_order():
    made = variables([1.0], [2.0], [3.0])
    optimizer = optimizers.SGD(learning_rate=1.0, momentum=0.5)
    optimizer.build(made)
    optimizer.apply_gradients(zip(tensors([2.0], [1.0]), [made[2], made[0]], strict=True))
    assert [v.numpy()[0] for v in made] == [0.0, 2.0, 1.0]
    assert [m.numpy()[0] for m in optimizer.momentums] == [-1.0, 0.0, -2.0]


def test_gradients_of_other_kinds():
    """Arrays, other dtypes and fastk's tensors are converted; float64 and float32 variables go in one step."""
    single, double = fastk.Variable([1.0, 1.0]), fastk.Variable(np.ones(2), dtype="float64")
    optimizer = optimizers.Adam(learning_rate=0.5)
    for gradients in (
        [np.ones(2), torch.ones(2)],
        [fastk.ops.convert_to_tensor([1.0, 1.0]).as_subclass(fastk.Tensor), [1.0, 1.0]],
        [torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float64)],
    ):
        optimizer.apply(gradients, [single, double])
    np.testing.assert_allclose(double.numpy(), [-0.5, -0.5], rtol=1e-5)
    np.testing.assert_allclose(single.numpy(), [-0.5, -0.5], rtol=1e-4)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_layout_of_gradients(name, rng):
    """A transposed gradient is read by its indices, not by its memory."""
    value, gradient = rng.normal(size=(2, 3, 5)).astype("float32")
    results = []
    for g in (torch.tensor(gradient), torch.tensor(gradient.T.copy()).T):
        variable = fastk.Variable(value)
        optimizer = getattr(optimizers, name)(learning_rate=0.5)
        for _ in range(3):
            optimizer.apply([g], [variable])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


def test_layout_of_parameters(rng):
    """State has its parameter's layout: kernels walk through the memory of both."""
    value, gradient = rng.normal(size=(2, 3, 5)).astype("float32")
    plain = fastk.Variable(value)
    transposed = fastk.Variable(torch.nn.Parameter(torch.tensor(value.T.copy()).T))
    assert transposed.value.stride() == (1, 3)
    for variable in (plain, transposed):
        optimizer = optimizers.Adam(learning_rate=0.5)
        for scale in (1.0, -2.0):
            optimizer.apply([torch.tensor(scale * gradient)], [variable])
        np.testing.assert_allclose(optimizer._momentums[0].numpy(), (0.1 * 0.9 - 0.2) * gradient, rtol=1e-5)
    # Two ways of the same arithmetic: a few roundings apart.
    np.testing.assert_allclose(plain.numpy(), transposed.numpy(), rtol=8 * float(np.finfo("float32").eps))


def test_empty_variables():
    made = variables(np.ones((0, 3)), [1.0])
    optimizers.SGD(learning_rate=1.0, clipnorm=1.0).apply(tensors(np.ones((0, 3)), [0.5]), made)
    np.testing.assert_array_equal(made[1].numpy(), [0.5])


def test_constraints_come_last():
    (variable,) = made = variables([1.0, -1.0])
    variable.constraint = lambda value: torch.clamp(value, min=0.0)
    optimizers.SGD(learning_rate=1.0).apply(tensors([2.0, -4.0]), made)
    np.testing.assert_array_equal(variable.numpy(), [0.0, 3.0])


def test_overwrite_with_gradient():
    plain, special = made = variables([1.0], [5.0])
    special.overwrite_with_gradient = True
    optimizer = optimizers.Adam(learning_rate=0.5, use_ema=True, clipvalue=0.1, loss_scale_factor=2.0, weight_decay=0.0)
    optimizer.apply(tensors([4.0], [7.0]), made)
    np.testing.assert_allclose(plain.numpy(), [0.5], rtol=1e-4)
    np.testing.assert_array_equal(special.numpy(), [7.0])
    assert optimizer._momentums[1] is None and optimizer._model_variables_moving_average[1] is None
    assert len(optimizer.variables) == 2 + 1 + 2


def test_overwrite_with_gradient_accumulates_the_largest():
    (special,) = made = variables([5.0])
    special.overwrite_with_gradient = True
    optimizer = optimizers.SGD(gradient_accumulation_steps=2)
    optimizer.apply(tensors([3.0]), made)
    np.testing.assert_array_equal(special.numpy(), [5.0])
    optimizer.apply(tensors([2.0]), made)
    np.testing.assert_array_equal(special.numpy(), [3.0])
    np.testing.assert_array_equal(optimizer._accumulated_gradients[0].numpy(), [0.0])


# ---------------------------------------------------------------- optimizers of one's own


class Momentum(optimizers.Optimizer):
    """Keras's guide to custom optimizers, by `update_step`."""

    def __init__(self, learning_rate=0.1, momentum=0.9, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum
        self.steps = fastk.Variable(0, name="steps", trainable=False)

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        self.momentums = []
        for variable in var_list:
            self.momentums.append(self.add_variable_from_reference(reference_variable=variable, name="momentum"))

    def update_step(self, gradient, variable, learning_rate):
        m = self.momentums[self._get_variable_index(variable)]
        self.assign(m, m * self.momentum - gradient * learning_rate)
        self.assign_add(variable, m)
        self.assign_sub(self.steps, -1)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


def test_an_optimizer_of_ones_own():
    own, built_in = variables([1.0, 2.0], [3.0]), variables([1.0, 2.0], [3.0])
    custom, sgd = Momentum(weight_decay=0.1, clipnorm=1.0), optimizers.SGD(0.1, 0.9, weight_decay=0.1, clipnorm=1.0)
    for step in range(3):
        gradients = tensors([1.0 + step, -1.0], [0.5])
        custom.apply(gradients, own)
        sgd.apply(gradients, built_in)
    for a, b in zip(own, built_in, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=8 * EPS)
    assert int(custom.steps) == 6
    assert [v.name for v in custom.variables] == ["iteration", "learning_rate", "steps", "v0_momentum", "v1_momentum"]
    again = Momentum.from_config(custom.get_config())
    assert again.get_config() == custom.get_config()


def test_an_optimizer_without_an_update():
    with pytest.raises(NotImplementedError, match="override `update_step"):
        optimizers.Optimizer(learning_rate=0.1).apply(tensors([1.0]), variables([1.0]))


def test_super_init_comes_first():
    class Late(optimizers.SGD):
        def __init__(self):
            self.extra = 1
            super().__init__()

    with pytest.raises(RuntimeError, match="forgot to call `super"):
        Late()


def test_a_step_in_mixed_precision_scopes(rng):
    """Variables read in a compute dtype elsewhere are stepped in their own."""
    (variable,) = made = variables([1.0])
    with scopes.AutocastScope("float16"):
        optimizers.SGD(learning_rate=1e-4).apply(tensors([1.0]), made)
    np.testing.assert_array_equal(variable.numpy(), [np.float32(1.0) - np.float32(1e-4)])
