"""Steps, losses and metrics of the user's own."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.training.small import close, dense, linear, mae, mse, regression


class Net(keras.Model):
    """A dense layer, the base of the models below."""

    def __init__(self, **options):
        super().__init__()
        self.dense = layers.Dense(1, **options)

    def call(self, x):
        return self.dense(x)


def compiled(cls, *arguments, **options):
    model = cls()
    model.build((None, 3))
    model.compile(*arguments or (keras.optimizers.SGD(0.1), "mse"), **options)
    return model


class OwnTrainStep(Net):
    """As in Keras's guide to steps of one's own, for torch."""

    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        self.zero_grad()
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in self.trainable_weights], self.trainable_weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


def test_a_train_step_of_ones_own_trains_as_fastks():
    x, y = regression(12)
    own, usual = compiled(OwnTrainStep, metrics=["mae"]), compiled(Net, metrics=["mae"])
    own.set_weights(usual.get_weights())
    histories = [model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history for model in (own, usual)]
    assert list(histories[0]) == ["loss", "mae"]
    for name in histories[0]:
        close(histories[0][name], histories[1][name])
    for a, b in zip(own.get_weights(), usual.get_weights(), strict=True):
        close(a, b)


def test_what_a_step_reports_is_shown_and_kept():
    class Reports(Net):
        def train_step(self, data):
            return super().train_step(data) | {"constant": 10.0, "tensor": torch.tensor(2.5)}

        def test_step(self, data):
            return super().test_step(data) | {"constant": 5.0}

    x, y = regression(8)
    model = compiled(Reports, metrics=["mae"])
    history = model.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0).history
    assert history["constant"] == [10.0] and history["tensor"] == [2.5] and history["val_constant"] == [5.0]
    assert set(history) == {"loss", "mae", "constant", "tensor", "val_loss", "val_mae", "val_constant"}
    # As in Keras: metrics in their order, then what else there is by name.
    assert model.evaluate(x, y, verbose=0)[2] == 5.0
    assert model.train_on_batch(x, y, return_dict=True)["constant"] == 10.0


def test_a_step_that_reports_a_loss_of_its_own_is_believed():
    class OwnLoss(Net):
        def train_step(self, data):
            x, y = data
            loss = ((self(x) - y) ** 2).sum()
            gradients = torch.autograd.grad(loss, [v.value for v in self.trainable_variables])
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    x, y = regression(8)
    model = compiled(OwnLoss, keras.optimizers.SGD(0.0))
    close(model.fit(x, y, batch_size=8, verbose=0).history["loss"], 8 * mse(y, dense(model.dense, x)))


def test_a_step_must_return_logs():
    class Silent(Net):
        def train_step(self, data):
            return 3.0

    with pytest.raises(TypeError, match=r"must return a dict of logs by name. Received: 3.0"):
        compiled(Silent).fit(*regression(4), verbose=0)


def test_own_predict_and_test_steps():
    class Doubled(Net):
        def predict_step(self, data):
            return super().predict_step(data) * 2

        def test_step(self, data):
            x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            return {"mean": self(x).mean(), "weighted": sample_weight is not None}

    x, y = regression(8)
    model = compiled(Doubled)
    close(model.predict(x, verbose=0), 2 * dense(model.dense, x))
    close(model.predict_on_batch(x), 2 * dense(model.dense, x))
    results = model.evaluate(x, y, sample_weight=np.ones(8), verbose=0, return_dict=True)
    close(results["mean"], dense(model.dense, x).mean())
    assert results["weighted"] is True


def test_own_losses_know_whether_this_is_training():
    class OwnLoss(Net):
        def __init__(self):
            super().__init__(kernel_regularizer="l2")
            self.seen = keras.metrics.Mean(name="seen")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = ((y_pred - y).abs() * sample_weight[:, None]).mean() + sum(self.losses)
            self.seen.update_state(1.0 if training else 0.0)
            return loss

    x, y = regression(8)
    weight = np.arange(8.0)
    model = compiled(OwnLoss, keras.optimizers.SGD(0.0))
    history = model.fit(x, y, sample_weight=weight, validation_data=(x, y, weight), verbose=0).history
    expected = mae(y, dense(model.dense, x), weight) + 0.01 * (model.dense.kernel.numpy() ** 2).sum()
    close(history["loss"] + history["val_loss"], [expected] * 2)
    assert history["seen"] == [1.0] and history["val_seen"] == [0.0]


def test_own_losses_written_before_training_was_passed_to_them():
    class Older(Net):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return super().compute_loss(x, y, y_pred, sample_weight) * 4

    x, y = regression(8)
    model = compiled(Older)
    close(model.evaluate(x, y, verbose=0), 4 * mse(y, dense(model.dense, x)))


def test_own_metrics_of_the_whole_model():
    class OwnMetrics(Net):
        def __init__(self):
            super().__init__()
            self.size = keras.metrics.Sum(name="size")

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            self.size.update_state(x[:, 0] * 0 + 1)
            return results | {"size": self.size.result(), "half": self.size.result() / 2}

    x, y = regression(8)
    model = compiled(OwnMetrics, metrics=["mae"])
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    assert history["size"] == [8.0, 8.0] and history["half"] == [4.0, 4.0]
    assert set(history) == {"loss", "mae", "size", "half"}


def test_metrics_of_layers_are_updated_reset_and_shown():
    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.rows = keras.metrics.Sum(name="rows")

        def call(self, x):
            if not x.is_meta:
                self.rows.update_state(float(x.shape[0]))
            return x

    x, y = regression(10)
    model = keras.Sequential([layers.Input((3,)), Counting(), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert model.metrics_names == ["rows"]
    history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x[:5], y[:5]), verbose=0).history
    assert history["rows"] == [10.0, 10.0] and history["val_rows"] == [5.0, 5.0]


def test_a_model_inside_keeps_its_metrics_to_itself():
    inner = linear(outputs=2)
    inner.compile("sgd", "mse", metrics=["mae"])
    inner.tracker = keras.metrics.Mean(name="inner")
    outer = keras.Sequential([layers.Input((3,)), inner, layers.Dense(1)])
    outer.compile("sgd", "mse", metrics=["mse"])
    assert outer.metrics_names == ["mse"]
    assert list(outer.evaluate(*regression(4), verbose=0, return_dict=True)) == ["loss", "mse"]


class Adversaries(keras.Model):
    """Two models, two optimizers, as in Keras's GAN example."""

    def __init__(self):
        super().__init__()
        self.generator = linear(features=2, outputs=3)
        self.critic = linear(features=3, outputs=1, kernel_regularizer=keras.regularizers.L2(0.5))
        self.g_loss, self.d_loss = keras.metrics.Mean(name="g_loss"), keras.metrics.Mean(name="d_loss")

    def compile(self, g_optimizer, d_optimizer, loss_fn):
        super().compile()
        self.g_optimizer, self.d_optimizer, self.loss_fn = g_optimizer, d_optimizer, loss_fn

    @property
    def metrics(self):
        return [self.g_loss, self.d_loss]

    def train_step(self, real):
        noise = torch.ones(len(real), 2)
        labels = torch.cat([torch.ones(len(real), 1), torch.zeros(len(real), 1)])
        self.critic.zero_grad()
        both = torch.cat([self.generator(noise).detach(), real])
        d_loss = self.loss_fn(labels, self.critic(both)) + sum(self.critic.losses)
        d_loss.backward()
        with torch.no_grad():
            self.d_optimizer.apply([v.value.grad for v in self.critic.trainable_weights], self.critic.trainable_weights)
        self.generator.zero_grad()
        g_loss = self.loss_fn(torch.zeros(len(real), 1), self.critic(self.generator(noise)))
        g_loss.backward()
        with torch.no_grad():
            weights = self.generator.trainable_weights
            self.g_optimizer.apply([v.value.grad for v in weights], weights)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def test_two_optimizers_train_two_models():
    x, _ = regression(16)
    gan = Adversaries()
    before = [w.copy() for w in gan.get_weights()]
    optimizers = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01)
    gan.compile(*optimizers, keras.losses.BinaryCrossentropy(from_logits=True))
    history = gan.fit(x, batch_size=8, epochs=2, verbose=0).history
    assert list(history) == ["d_loss", "g_loss"] and np.isfinite(list(history.values())).all()
    assert int(gan.g_optimizer.iterations) == int(gan.d_optimizer.iterations) == 4
    assert all((a != b).any() for a, b in zip(before, gan.get_weights(), strict=True))


def test_losses_of_parts_called_one_by_one_are_found():
    class Parts(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = linear(outputs=2, activity_regularizer=keras.regularizers.L1(1.0))
            self.decoder = linear(features=2, outputs=3)

        def train_step(self, x):
            out = self.decoder(self.encoder(x))
            return {"total": self.compute_loss(x, x, out)}

    x, _ = regression(8)
    model = Parts()
    model.compile("sgd", "mse")
    for _ in range(2):  # also when a fit has gone before
        total = model.fit(x, batch_size=8, verbose=0).history["total"]
        code = dense(model.encoder.layers[0], x)
        close(total, mse(x, dense(model.decoder.layers[0], code)) + np.abs(code).sum() / 8)


def test_steps_can_be_called_from_a_loop_of_ones_own():
    x, y = (torch.from_numpy(v) for v in regression(8))
    usual, loop = compiled(Net), compiled(Net)
    loop.set_weights(usual.get_weights())
    usual.fit(x, y, shuffle=False, epochs=2, verbose=0)
    for _ in range(2):
        logs = loop.train_step((x, y))
        loop.reset_metrics()
    assert set(logs) == {"loss"}
    for a, b in zip(usual.get_weights(), loop.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_of_unbuilt_parts_without_a_call_says_which():
    class Parts(keras.Model):
        def __init__(self):
            super().__init__()
            self.part = layers.Dense(1, name="part")

        def train_step(self, x):
            return {"size": self.part(x).mean()}

    x, _ = regression(4)
    model = Parts()
    model.compile("sgd")
    with pytest.raises(RuntimeError, match=r"has no `call\(\)`.*\['part'\] must be built before"):
        model.fit(x, verbose=0)
    model.part.build((None, 3))
    assert list(model.fit(x, verbose=0).history) == ["size"]
