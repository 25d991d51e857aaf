"""Each optimizer moves the weights of an accelerated model as Keras's does, with the options that they share."""

import importlib
from typing import Any

import pytest

keras: Any = importlib.import_module("keras")

O = keras.optimizers  # noqa: E741 - keras.optimizers
RATE = O.schedules.ExponentialDecay(0.05, 2, 0.8)


OPTIMIZERS = {
    "adadelta": lambda: O.Adadelta(0.5), "adafactor": lambda: O.Adafactor(0.1), "adagrad": lambda: O.Adagrad(0.1),
    "adam": lambda: O.Adam(amsgrad=True), "adamw": lambda: O.AdamW(0.01), "adamax": O.Adamax, "ftrl": O.Ftrl,
    "lamb": O.Lamb, "lion": O.Lion, "muon": O.Muon, "nadam": O.Nadam, "rmsprop": lambda: O.RMSprop(centered=True),
    "sgd": lambda: O.SGD(0.1, momentum=0.9, nesterov=True), "schedule_free": O.ScheduleFreeAdamW,
    "clipped": lambda: O.SGD(0.1, clipnorm=0.05), "clipped as one": lambda: O.Adam(global_clipnorm=0.1),
    "clipped values": lambda: O.SGD(0.1, clipvalue=0.01), "accumulating": lambda: O.Adam(gradient_accumulation_steps=3),
    "averaged": lambda: O.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "scheduled": lambda: O.Adam(RATE), "scaled": lambda: O.LossScaleOptimizer(O.Adam(0.01), dynamic_growth_steps=3),
    "scaled by a number": lambda: O.SGD(0.1, loss_scale_factor=16.0),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, pair, model_of, data):
    two, (x, y) = pair(lambda: model_of(OPTIMIZERS[name]())), data((6,))
    two.fit(x, y, batch_size=5, shuffle=False)
    plain, own = (model.optimizer for model in two.models)
    assert int(plain.iterations) == int(own.iterations)
    assert float(plain.learning_rate) == float(own.learning_rate)
    two.replayed("train")
    kept = two.handle.session.keeps_optimizer
    assert (kept is None) == (name != "schedule_free")


def test_an_optimizer_and_a_schedule_of_the_users(pair, model_of, data):
    class Signs(O.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * keras.ops.sign(gradient))

    class Halving(O.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 * 0.5 ** keras.ops.cast(step, "float32")

    x, y = data((6,))
    two = pair(lambda: model_of(Signs(learning_rate=0.001)))
    two.fit(x, y, batch_size=8, epochs=2)
    two.replayed("train")
    assert "Signs is the user's own" in str(two.handle.explain())
    two = pair(lambda: model_of(O.SGD(Halving())))
    two.fit(x, y, batch_size=8, epochs=2)
    two.replayed("train")


def test_weights_left_out_of_weight_decay(pair, model_of, data):
    def make():
        optimizer = O.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return model_of(optimizer)

    two, (x, y) = pair(make), data((6,))
    two.fit(x, y, batch_size=8, epochs=2)
