"""Between two logs nothing passes between the host and a GPU, which would wait: shown on a stand-in for the GPU."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import capture, layers
from fastk.scopes import internal
from tests.training.stand_in import DEVICE, Crossings, crossings_in_steps, on_stand_in
from tests.training.step_models import attention, cnn, data, mlp

optimizers = keras.optimizers
schedules = optimizers.schedules

pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")  # LSTM's stand-in has none


def masked_lstm():
    cell = layers.LSTMCell(4, dropout=0.1, recurrent_dropout=0.1)
    parts = [layers.Reshape((6, 2)), layers.Masking(0.0), layers.LSTM(5, return_sequences=True), layers.RNN(cell)]
    return keras.Sequential([keras.Input((12,)), *parts, layers.Dense(3, activation="softmax")])


def noisy():
    parts = [
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.1),
        layers.AlphaDropout(0.1),
        layers.Reshape((4, 3)),
        layers.SpatialDropout1D(0.2),
        layers.Flatten(),
    ]
    return keras.Sequential([keras.Input((12,)), *parts, layers.Dense(3, activation="softmax")])


def crossings(make, optimizer="adam", metrics=("accuracy",), **options):
    model = make()
    model.compile(optimizer, "sparse_categorical_crossentropy", weighted_metrics=list(metrics))
    return crossings_in_steps(model, *data(16), **options)


@pytest.mark.parametrize("make", [mlp, cnn, masked_lstm, attention, noisy])
def test_models(make):
    assert crossings(make) == {}


@pytest.mark.parametrize("make", [mlp, cnn])
def test_float16_with_a_dynamic_scale_of_the_loss(make):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make()
    finally:
        keras.mixed_precision.set_global_policy(before)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    assert crossings_in_steps(model, *data(16)) == {}


OPTIMIZERS = {
    **{
        name: getattr(optimizers, name)
        for name in (
            "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam",
            "RMSprop", "SGD", "ScheduleFreeAdamW",
        )
    },
    "clipped": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=1.0),
    "clipped together": lambda: optimizers.Adam(0.1, global_clipnorm=1.0, weight_decay=0.01),
    "values clipped": lambda: optimizers.RMSprop(0.1, clipvalue=1.0, centered=True),
    "averaged": lambda: optimizers.Adam(0.1, use_ema=True),
    "a fixed scale": lambda: optimizers.Adam(0.1, loss_scale_factor=8.0),
    "accumulating": lambda: optimizers.Adam(0.1, gradient_accumulation_steps=2, clipnorm=1.0, weight_decay=0.01),
    "accumulating, scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1, gradient_accumulation_steps=2)),
    "a dynamic scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(use_ema=True)),
    "exponential": lambda: optimizers.SGD(schedules.ExponentialDecay(0.1, 5, 0.9)),
    "inverse": lambda: optimizers.SGD(schedules.InverseTimeDecay(0.1, 5, 0.9)),
    "pieces": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.2, 0.3])),
    "polynomial": lambda: optimizers.SGD(schedules.PolynomialDecay(0.1, 5)),
    "cosine": lambda: optimizers.SGD(schedules.CosineDecay(0.1, 5, warmup_steps=3, warmup_target=0.2)),
    "restarts": lambda: optimizers.SGD(schedules.CosineDecayRestarts(0.1, 5)),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(optimizer):
    assert crossings(mlp, optimizer(), count=4) == {}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_two_steps_on_a_gpu_are_recorded_alike(optimizer):
    model = mlp()
    model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    batch = *(torch.as_tensor(part).to(DEVICE) for part in data(16)), None
    on_stand_in(model)
    with keras.device(DEVICE), internal():
        step = model._start("train").step
        step(*batch)
        first, second = capture.record(step, *batch), capture.record(step, *batch)
    assert first.refusal is None and first.difference(second) is None
    assert not any(call.is_host_call for call in first.calls)  # which no graph can hold


def test_metrics_of_thresholds_and_weights_of_samples():
    def binary():
        return keras.Sequential([keras.Input((12,)), layers.Dense(1, activation="sigmoid")])

    model = binary()
    metrics = ["accuracy", keras.metrics.AUC(), keras.metrics.Precision(), keras.metrics.F1Score(threshold=0.5)]
    model.compile("sgd", "binary_crossentropy", weighted_metrics=metrics)
    x, y = data(16)
    assert crossings_in_steps(model, x, (y > 1).astype("float32")[:, None], np.ones(16, "float32")) == {}


def test_a_read_would_be_seen():
    x = torch.empty(2, device=DEVICE)
    with Crossings() as crossings:
        torch.add(x, torch.tensor([1.0, 2.0]).to(DEVICE))
    assert {call.split(" of ")[0] for call in crossings.seen} >= {"tensor", "to", "aten._to_copy.default"}
    with pytest.raises((RuntimeError, NotImplementedError)):
        x.sum().item()


class Reads(layers.Layer):
    def call(self, inputs):
        return inputs if float(inputs.sum()) > 0 else -inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_step_that_reads_is_found():
    def make():
        return keras.Sequential([keras.Input((12,)), Reads(), layers.Dense(3, activation="softmax")])

    with pytest.raises((RuntimeError, NotImplementedError)):
        crossings(make)


def test_resident_arrays_cross_once_a_pass():
    from fastk.training.data import make_source

    x, y = data(64)
    with keras.device(DEVICE), internal():
        source = make_source(x, y, batch_size=8, shuffle=True, device=torch.device(DEVICE))
        with Crossings() as crossings:
            batches = list(source.epoch())
    assert len(batches) == 8 and all(part.device.type == DEVICE for part in batches[0][:2])
    moved = [call for call in crossings.seen if "_to_copy" in call]
    assert sum(crossings.seen[call] for call in moved) == 1


def test_the_loop_crosses_no_more_than_its_steps(monkeypatch):
    from fastk.callbacks import CallbackList
    from fastk.training.data import make_source

    model = mlp()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    on_stand_in(model)
    monkeypatch.setattr(model, "_final_logs", lambda logs, *_: {})  # the end of an epoch does read
    with keras.device(DEVICE), internal():
        source = make_source(*data(20 * 8), batch_size=8, shuffle=True, device=torch.device(DEVICE))
        callbacks = CallbackList(None, add_history=True, add_progbar=True, model=model, verbose=2, epochs=1, steps=20)
        step = model._start("train")
        callbacks.on_epoch_begin(0)
        with Crossings() as crossings:
            model._run_epoch(source, callbacks, "train", step)
    moved = {call: count for call, count in crossings.seen.items() if call.startswith("aten._to_copy")}
    assert crossings.calls > 20 * 20 and list(moved.values()) == [1]  # the order of the samples
