"""Configurations, variables and their order, saving, copying, and steps without state."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import fastk
from fastk import optimizers, serialization
from fastk.optimizers import schedules

COMMON = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
BUILT_IN = [
    name
    for name, value in vars(optimizers).items()
    if isinstance(value, type) and hasattr(value, "hyperparameters") and value.hyperparameters
]


def model_variables():
    with fastk.name_scope("mlp"), fastk.name_scope("dense"):
        return [fastk.Variable(np.ones((2, 3), "float32"), name="kernel"), fastk.Variable(np.ones(3), name="bias")]


def ones_like(variables):
    return [torch.ones(v.shape) for v in variables]


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("optimizer", "own"),
    [
        (
            lambda: optimizers.Adam(learning_rate=0.01),
            {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07, "amsgrad": False},
        ),
        (lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True), {"momentum": 0.9, "nesterov": True}),
        (
            lambda: optimizers.RMSprop(learning_rate=0.01),
            {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-07, "centered": False},
        ),
    ],
)
def test_configuration_as_keras_writes_it(optimizer, own):
    config = optimizer().get_config()
    expected = {"name": config["name"], "learning_rate": 0.009999999776482582, **COMMON, **own}
    assert list(config.items()) == list(expected.items())
    assert {type(value) for value in config.values()} <= {str, float, bool, type(None)}
    assert json.loads(json.dumps(config)) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_configuration_round_trip(name):
    cls = getattr(optimizers, name)
    optimizer = cls(
        learning_rate=0.25, weight_decay=0.5, clipvalue=1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3,
        loss_scale_factor=2.0, gradient_accumulation_steps=4, name="mine",
    )  # fmt: skip
    described = json.loads(json.dumps(optimizers.serialize(optimizer)))
    assert (described["module"], described["class_name"], described["registered_name"]) == (
        "keras.optimizers",
        name,
        None,
    )
    again = optimizers.deserialize(described)
    assert type(again) is cls and again.get_config() == optimizer.get_config()
    assert again.name == "mine" and float(again.learning_rate) == 0.25


def test_configuration_of_a_schedule():
    rate = schedules.ExponentialDecay(0.01, decay_steps=2, decay_rate=0.9)
    config = optimizers.Adam(learning_rate=rate).get_config()
    assert config["learning_rate"] == {
        "module": "keras.optimizers.schedules",
        "class_name": "ExponentialDecay",
        "config": {
            "initial_learning_rate": 0.01,
            "decay_steps": 2,
            "decay_rate": 0.9,
            "staircase": False,
            "name": "ExponentialDecay",
        },
        "registered_name": None,
    }
    again = optimizers.Adam.from_config(config)
    assert isinstance(again._learning_rate, schedules.ExponentialDecay) and again.get_config() == config
    assert isinstance(config["learning_rate"], dict)  # from_config leaves the caller's dictionary as it is


@pytest.mark.parametrize("name", BUILT_IN)
def test_get(name):
    for identifier in (name, name.lower(), name.upper(), {"class_name": name, "config": {}}):
        assert type(optimizers.get(identifier)) is getattr(optimizers, name)
    instance = getattr(optimizers, name)()
    assert optimizers.get(instance) is instance


def test_get_what_is_none():
    assert optimizers.get(None) is None
    for identifier in ("typo", 3, {"class_name": "typo", "config": {}}):
        with pytest.raises((ValueError, TypeError)):
            optimizers.get(identifier)


def test_private_modules_of_keras_files():
    described = {
        "module": "keras.src.backend.torch.optimizers.torch_adam",
        "class_name": "Adam",
        "config": {"name": "adam", "learning_rate": 0.0010000000474974513, **COMMON, "beta_1": 0.8},
        "registered_name": "Adam",
    }
    for optimizer in (optimizers.deserialize(described), serialization.deserialize_keras_object(described)):
        assert type(optimizer) is optimizers.Adam and optimizer.beta_1 == 0.8


def test_names():
    assert [cls().name for cls in (optimizers.Adam, optimizers.Adam, optimizers.AdamW, optimizers.RMSprop)] == [
        "adam", "adam_1", "adam_w", "rm_sprop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 1}, "should be float, or an instance of LearningRateSchedule"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "Only one of"),
        ({"clipnorm": 1.0, "global_clipnorm": 1.0}, "Only one of"),
        ({"gradient_accumulation_steps": 1}, "must be an integer >= 2"),
        ({"use_ema": True, "ema_momentum": 1.5}, r"in the range \[0, 1\]"),
        ({"use_ema": True, "ema_overwrite_frequency": 0.5}, "integer >= 1 or None"),
        ({"momentum": 1.5}, "`momentum` must be a float between"),
        ({"momentum": 1}, "`momentum` must be a float between"),
        ({"colour": 3}, "not recognized: {'colour': 3}"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizers.SGD(**arguments)


def test_bad_arguments_of_others():
    wrong: Any = None
    with pytest.raises(ValueError, match="`weight_decay` must be a float"):
        optimizers.AdamW(weight_decay=wrong)
    with pytest.raises(ValueError, match="`beta_1` must be in"):
        optimizers.Lion(beta_1=0.0)
    with pytest.raises(ValueError, match="`learning_rate_power` needs to be negative"):
        optimizers.Ftrl(learning_rate_power=0.5)
    with pytest.raises(ValueError, match="`l1_regularization_strength` needs to be positive"):
        optimizers.Ftrl(l1_regularization_strength=-1.0)
    sgd: Any = optimizers.SGD
    with pytest.raises(ValueError, match="`layout` must be None"):
        sgd().add_variable((1,), layout="x")
    with pytest.warns(UserWarning, match="`decay` is no longer supported") as record:
        sgd(decay=0.1)
    assert record[0].filename == __file__


# ---------------------------------------------------------------- the learning rate and other hyperparameters


def test_hyperparameters_are_read_as_keras_users_do():
    sgd: Any = optimizers.SGD(learning_rate=0.01, momentum=0.9)
    assert f"{sgd.learning_rate.numpy()}, momentum: {sgd.momentum.numpy()}" == "0.01, momentum: 0.9"
    assert f"{sgd.learning_rate.numpy():.3e}" == "1.000e-02"
    assert sgd.momentum == 0.9 and isinstance(sgd.momentum, float)
    sgd.momentum = 0.5
    assert vars(sgd)["momentum"].numpy() == 0.5
    assert type(sgd.get_config()["momentum"]) is float
    assert sgd.learning_rate.numpy().dtype == np.float32 and sgd.learning_rate.numpy().shape == ()


def test_setting_the_learning_rate():
    variables = [fastk.Variable([1.0])]
    optimizer: Any = optimizers.SGD(learning_rate=0.5)
    optimizer.apply([torch.ones(1)], variables)
    for value in (0.25, np.float32(0.25), torch.tensor(0.25), fastk.Variable(0.25)):
        optimizer.learning_rate = value
        assert float(optimizer.learning_rate) == 0.25
    optimizer.variables[1].assign(0.125)
    optimizer.apply([torch.ones(1)], variables)
    np.testing.assert_array_equal(variables[0].numpy(), [0.375])


def test_schedules_and_callables_as_learning_rate():
    variables = [fastk.Variable([1.0])]
    optimizer = optimizers.SGD(learning_rate=schedules.PiecewiseConstantDecay([0], [0.5, 0.25]))
    for _ in range(2):
        optimizer.apply([torch.ones(1)], variables)
    np.testing.assert_array_equal(variables[0].numpy(), [0.25])
    assert len(optimizer.variables) == 1 and float(optimizer.learning_rate) == 0.25
    with pytest.raises(TypeError, match="not settable"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = lambda: 0.125
    optimizer.apply([torch.ones(1)], variables)
    np.testing.assert_array_equal(variables[0].numpy(), [0.125])


def test_the_learning_rates_variable_goes_with_it():
    optimizer = optimizers.Adam()
    assert len(optimizer.variables) == 2
    optimizer.learning_rate = schedules.PolynomialDecay(optimizer.learning_rate, 4)
    assert [v.name for v in optimizer.variables] == ["iteration"]
    assert optimizer._learning_rate.get_config()["initial_learning_rate"] == float(np.float32(0.001))


# ---------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("SGD", {}, ""),
        ("SGD", {"momentum": 0.5}, "K_momentum B_momentum"),
        ("Adam", {}, "K_momentum K_velocity B_momentum B_velocity"),
        ("Adam", {"amsgrad": True}, "K_momentum K_velocity B_momentum B_velocity K_velocity_hat B_velocity_hat"),
        ("RMSprop", {"momentum": 0.5, "centered": True},
         "K_velocity B_velocity K_momentum B_momentum K_average_gradient B_average_gradient"),
        ("RMSprop", {"centered": True}, "K_velocity B_velocity K_average_gradient B_average_gradient"),
        ("AdamW", {"use_ema": True}, "K_average B_average K_momentum K_velocity B_momentum B_velocity"),
        ("SGD", {"gradient_accumulation_steps": 2}, "K_gradient_accumulator B_gradient_accumulator"),
        ("Adagrad", {}, "K_accumulator B_accumulator"),
        ("Adadelta", {}, "K_accumulated_grad K_accumulated_delta_var B_accumulated_grad B_accumulated_delta_var"),
        ("Adamax", {}, "K_momentum K_norm B_momentum B_norm"),
        ("Nadam", {}, "K_momentum K_velocity B_momentum B_velocity u_product"),
        ("Ftrl", {}, "K_accumulator K_linear B_accumulator B_linear"),
        ("Adafactor", {}, "kernel kernel K_velocity bias bias B_velocity"),
        ("Muon", {}, "K_momentum B_momentum B_velocity"),
        ("ScheduleFreeAdamW", {}, "K_momentum K_velocity B_momentum B_velocity"),
    ],
)  # fmt: skip
def test_order_and_names(name, options, expected):
    optimizer = getattr(optimizers, name)(**options)
    with fastk.name_scope(optimizer.name, caller=optimizer):
        optimizer.build(model_variables_in_root())
    expected = expected.replace("K_", "mlp_dense_kernel_").replace("B_", "mlp_dense_bias_").split()
    paths = [v.path for v in optimizer.variables]
    assert paths == [f"{optimizer.name}/{last}" for last in ["iteration", "learning_rate", *expected]]
    assert [v.dtype for v in optimizer.variables[:2]] == ["int32", "float32"]
    assert not any(v.trainable for v in optimizer.variables)


def model_variables_in_root():
    with fastk.name_scope("mlp", override_parent=""), fastk.name_scope("dense"):
        return [fastk.Variable(np.ones((2, 3), "float32"), name="kernel"), fastk.Variable(np.ones(3), name="bias")]


def test_building_twice_does_nothing():
    variables = model_variables()
    optimizer = optimizers.Adam()
    optimizer.build(variables)
    before = optimizer.variables
    optimizer.build(variables)
    assert all(a is b for a, b in zip(optimizer.variables, before, strict=True))


def test_saving_and_loading():
    variables = model_variables()
    store: dict[str, Any] = {}
    first, second = optimizers.Adam(learning_rate=0.5), optimizers.Adam()
    for _ in range(2):
        first.apply(ones_like(variables), variables)
    first.save_own_variables(store)
    assert list(store) == [str(i) for i in range(6)]
    assert store["0"].dtype == np.int32 and store["0"] == 2
    second.build(variables)
    second.load_own_variables(store)
    for a, b in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    third = optimizers.Adam()
    third.build(variables)
    third.set_weights(first.variables)
    np.testing.assert_array_equal(third.variables[2].numpy(), first.variables[2].numpy())


def test_loading_another_number_of_variables_warns():
    optimizer = optimizers.Adam()
    with pytest.warns(UserWarning, match="has 2 variables whereas the saved optimizer has 1 .*not been called/built"):
        optimizer.load_own_variables({"0": np.int32(3)})
    assert int(optimizer.iterations) == 0


def test_set_weights_checks():
    optimizer = optimizers.SGD()
    with pytest.raises(ValueError, match="not yet been built"):
        optimizer.set_weights([])
    optimizer.build(model_variables())
    with pytest.raises(ValueError, match=r"shape \(\) not compatible with provided weight shape \(2,\)"):
        optimizer.set_weights([np.zeros(2), np.zeros(())])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_step_alone(copied):
    variables = model_variables()
    optimizer = optimizers.Adam(gradient_accumulation_steps=2, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=variables[1:])
    optimizer.apply(ones_like(variables), variables)
    twin, its = copied((optimizer, variables))
    assert twin.get_config() == optimizer.get_config()
    for _ in range(3):
        optimizer.apply(ones_like(variables), variables)
    assert int(twin._iterations) == 1
    for _ in range(3):
        twin.apply(ones_like(its), its)
    for a, b in zip([*variables, *optimizer.variables], [*its, *twin.variables], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.value.data_ptr() != b.value.data_ptr()


# ---------------------------------------------------------------- steps without state


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2, "use_ema": True}])
def test_stateless_apply(options):
    variables = model_variables()
    optimizer, reference = optimizers.Adam(**options), optimizers.Adam(**options)
    optimizer.build(variables)
    twins = [fastk.Variable(v.numpy()) for v in variables]
    reference.build(twins)
    own, values = [v.value for v in optimizer.variables], [v.value for v in variables]
    for _ in range(4):
        values, own = optimizer.stateless_apply(own, ones_like(variables), values)
        reference.apply(ones_like(twins))
    for new, old, twin in zip(values, variables, twins, strict=True):
        np.testing.assert_array_equal(new.numpy(), twin.numpy())
        np.testing.assert_array_equal(old.numpy(), np.ones(old.shape))
    for new, old, twin in zip(own, optimizer.variables, reference.variables, strict=True):
        np.testing.assert_array_equal(new.numpy(), twin.numpy())
        assert int(optimizer._iterations) == 0 and old.value is not new
    optimizer.apply(ones_like(variables))  # the variables are their own again
    assert int(optimizer._iterations) == 1


def test_stateless_apply_checks():
    variables = model_variables()
    optimizer = optimizers.SGD()
    with pytest.raises(ValueError, match="must be built"):
        optimizer.stateless_apply([], ones_like(variables), variables)
    optimizer.build(variables)
    with pytest.raises(ValueError, match="`optimizer_variables` must be a list of tensors"):
        optimizer.stateless_apply([], ones_like(variables), variables)
    with pytest.raises(ValueError, match="`trainable_variables` must be a list of tensors"):
        optimizer.stateless_apply(optimizer.variables, ones_like(variables), variables[:1])


def test_a_step_in_a_stateless_scope_is_recorded():
    variables = [fastk.Variable([1.0])]
    optimizer = optimizers.SGD(learning_rate=0.5)
    with pytest.raises(ValueError, match="before the scope is opened"), fastk.StatelessScope():
        optimizer.apply([torch.ones(1)], variables)
    optimizer.build(variables)
    with fastk.StatelessScope([(variables[0], torch.tensor([3.0]))]) as scope:
        for _ in range(2):
            optimizer.apply([torch.ones(1)])
    recorded: list[Any] = [scope.get_current_value(v) for v in (variables[0], optimizer.iterations)]
    assert float(recorded[0]) == 2.0 and int(recorded[1]) == 2
    assert float(variables[0].numpy()[0]) == 1.0 and int(optimizer.iterations) == 0
