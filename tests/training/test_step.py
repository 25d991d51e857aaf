"""The captured step of `fit` and `evaluate`: the same numbers as op by op, and only where it may be replayed."""

import copy
import gc
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.training.step_models import MODELS, data, mlp

OPTIMIZERS = {
    "adam": lambda: "adam",
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=1.0),
    "decaying": lambda: keras.optimizers.AdamW(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)),
    "accumulating": lambda: keras.optimizers.RMSprop(0.01, gradient_accumulation_steps=3),
    "averaging": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=4),
    "a loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


def trained(make, optimizer="adam", eager=False, epochs=3, **options):
    keras.utils.set_random_seed(3)
    model = make()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eager)
    x, y = data()
    history = model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, validation_data=(x, y), **options).history
    return model, history


def steps(model, mode="train"):
    return model._steps[mode]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_replayed_steps_give_the_numbers_of_the_steps_themselves(make):
    model, history = trained(make)
    expected, expected_history = trained(make, eager=True)
    assert steps(model).reasons == steps(model, "test").reasons == []
    assert len(steps(model).programs) == 2  # of whole batches, and of the last
    assert history == expected_history
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_keep_their_counts_and_rates(optimizer):
    model, history = trained(mlp, optimizer())
    expected, expected_history = trained(mlp, optimizer(), eager=True)
    assert steps(model).programs
    assert history == expected_history
    assert int(model.optimizer.iterations) == int(expected.optimizer.iterations)


def test_weights_of_samples_and_classes():
    samples = np.linspace(0, 2, 70)
    assert trained(mlp, sample_weight=samples)[1] == trained(mlp, eager=True, sample_weight=samples)[1]
    classes = {0: 1.0, 1: 3.0, 2: 0.5}
    assert trained(mlp, class_weight=classes)[1] == trained(mlp, eager=True, class_weight=classes)[1]


def test_a_rate_changed_by_a_callback_counts_at_once():
    def halved():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)]

    assert trained(mlp, callbacks=halved())[1] == trained(mlp, eager=True, callbacks=halved())[1]


def test_optimizers_that_the_host_steers_stay_out_of_cuda_graphs():
    from fastk.training.trainer import decides_on_host

    sgd = keras.optimizers.SGD
    plain = [sgd(0.1), sgd(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.9)), sgd(0.1, use_ema=True)]
    assert not any(map(decides_on_host, [*plain, keras.optimizers.LossScaleOptimizer(sgd(0.1))]))
    steered = [
        sgd(lambda: 0.1),
        sgd(0.1, gradient_accumulation_steps=2),
        sgd(0.1, use_ema=True, ema_overwrite_frequency=3),
        keras.optimizers.LossScaleOptimizer(sgd(0.1, gradient_accumulation_steps=2)),
    ]
    assert all(map(decides_on_host, steered))


class Change(keras.callbacks.Callback):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.change(self.model)


def freeze(model):
    model.layers[0].trainable = False


def drop_more(model):
    model.layers[1].rate = 0.6


@pytest.mark.parametrize("change", [freeze, drop_more])
@pytest.mark.filterwarnings("ignore:Gradients do not exist", "ignore:A layer's `trainable`")
def test_a_model_that_changes_between_epochs_is_recorded_anew(change):
    model, history = trained(mlp, epochs=5, callbacks=[Change(change)])
    assert history == trained(mlp, eager=True, epochs=5, callbacks=[Change(change)])[1]
    assert steps(model).programs and not steps(model).reasons


class Counting(layers.Layer):
    calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


class Deciding(layers.Layer):
    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs):
        return inputs * 2 if inputs.sum() > 0 else inputs


class Reading(layers.Layer):
    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs):
        return inputs + float(inputs.detach().numpy().mean())


REFUSED = {
    Counting: "the attribute `calls` of Counting changes with each step",
    Deciding: "reads a value from the device",
    Reading: "Python reads a tensor's values, by Tensor.numpy()",
}


@pytest.mark.parametrize("layer", REFUSED)
def test_steps_that_python_takes_part_in_are_not_replayed(layer):
    def make():
        return keras.Sequential([keras.Input((12,)), layer(), layers.Dense(3, activation="softmax")])

    model, history = trained(make)
    assert any(REFUSED[layer] in reason for reason in steps(model).reasons)
    assert not steps(model).programs
    assert history == trained(make, eager=True)[1]


@pytest.mark.parametrize("layer", REFUSED)
def test_who_asks_for_captured_steps_is_told_once_why_there_are_none(layer):
    model = keras.Sequential([keras.Input((12,)), layer(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=True)
    x, y = data()
    with pytest.warns(UserWarning) as said:
        model.fit(x, y, batch_size=8, epochs=3, verbose=0)
    assert [REFUSED[layer] in str(warning.message) for warning in said] == [True]
    assert "run op by op, to the same numbers" in str(said[0].message)


def test_who_asks_for_captured_steps_is_told_of_a_step_of_their_own():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((12,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=True)
    with pytest.warns(UserWarning, match=r"`train_step\(\)` is the user's own") as said:
        model.fit(*data(), epochs=2, verbose=0)
    assert len(said) == 1


def test_an_explanation_says_how_steps_ran():
    model, _ = trained(mlp)
    assert model.explain().as_dict()["steps"] == [
        "train: replayed, as recorded for batches of 2 shapes",
        "test: replayed, as recorded for batches of 2 shapes",
    ]
    refused = keras.Sequential([keras.Input((12,)), Counting(), layers.Dense(3, activation="softmax")])
    refused.compile("sgd", "sparse_categorical_crossentropy")
    assert "Steps" not in str(refused.explain())
    refused.fit(*data(), batch_size=8, verbose=0)
    assert "train: run op by op, since the attribute `calls` of Counting changes with each step" in str(
        refused.explain()
    )


def test_torch_hooks_run_at_each_step():
    seen = []

    def make():
        model = mlp()
        model.layers[0].register_forward_hook(lambda *_: seen.append(1))
        return model

    model, _ = trained(make, epochs=1)
    assert len(seen) == 18
    assert steps(model).reasons == ["a torch hook is registered on Dense"]


def test_batches_of_many_shapes_share_no_more_than_some_recordings():
    from fastk.training.step import MOST_SHAPES

    model = keras.Sequential([layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile("sgd", "mse")

    def batches():
        for _ in range(5):
            for length in range(1, 13):
                yield np.ones((2, length, 3), "float32"), np.ones((2, 1), "float32")

    model.fit(batches(), verbose=0)
    assert len(steps(model).programs) == MOST_SHAPES


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_model_has_steps_of_its_own(copied):
    model, _ = trained(mlp)
    x, y = data(8)
    outputs = [model.predict_on_batch(x) for _ in range(4)][-1]
    [model.train_on_batch(x, y) for _ in range(4)]
    weights, after = model.get_weights(), model.predict_on_batch(x)
    other = copied(model)
    other.set_weights([np.zeros_like(w) for w in weights])
    np.testing.assert_allclose(other.predict_on_batch(x), 1 / 3, rtol=1e-6)
    other.train_on_batch(x, y)
    for ours, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, before)
    np.testing.assert_array_equal(model.predict_on_batch(x), after)
    assert not np.array_equal(outputs, after)


def alive():
    """How many tensors there are, and how many bytes Python has allocated."""
    gc.collect()
    return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects()), tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("compiled_anew", [False, True])
def test_fifty_fits_take_no_more_memory_than_ten(compiled_anew):
    model = keras.Sequential([keras.Input((12,)), layers.Dropout(0.2), layers.Dense(3, activation="softmax")])
    x, y = data(40)

    def fit():
        if compiled_anew or not model.compiled:
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=8, verbose=0)

    tracemalloc.start()
    try:
        for _ in range(10):
            fit()
        tensors, size = alive()
        for _ in range(40):
            fit()
        after, size_after = alive()
    finally:
        tracemalloc.stop()
    assert steps(model).programs
    assert after == tensors
    assert size_after - size < 2**18  # a recording that stayed would be 50 KB a fit; bits drawn ahead come and go


def test_a_deleted_model_takes_its_captured_steps_with_it():
    model, _ = trained(mlp)
    x, _ = data()
    model.predict(x, verbose=0)
    model.train_on_batch(*data(8))
    kept = [weakref.ref(model), *(weakref.ref(step) for step in model._steps.values())]
    before = alive()[0]
    del model
    after = alive()[0]
    assert [ref() for ref in kept] == [None] * len(kept)
    assert after < before - 50
