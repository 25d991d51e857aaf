"""Batches sent ahead of their use, and results that are shown when they have arrived."""

import gc
import weakref

import numpy as np
import pytest
import torch

from fastk.training.data.prefetch import AHEAD, ahead_of, to_device
from fastk.training.logs import Results


def test_batches_are_sent_ahead_in_order():
    log = []

    def send(batch):
        log.append(f"send {batch}")
        return batch

    for batch in ahead_of(iter(range(5)), send, lambda batch: batch, ahead=2):
        log.append(f"use {batch}")
    assert log == [
        "send 0", "send 1", "send 2", "use 0", "send 3", "use 1", "send 4", "use 2", "use 3", "use 4",
    ]  # fmt: skip


def test_an_exception_comes_after_the_batches_before_it():
    def batches():
        yield from range(2)
        raise OSError("the disk")

    seen = []
    with pytest.raises(OSError, match="the disk"):
        for batch in ahead_of(batches(), lambda b: b, lambda b: b, ahead=2):
            seen.append(batch)
    assert seen == [0, 1]


def test_leaving_early_takes_no_more_and_closes_what_makes_the_batches():
    taken, closed = [], []

    def batches():
        try:
            for i in range(100):
                taken.append(i)
                yield i
        finally:
            closed.append(True)

    ahead = ahead_of(batches(), lambda b: b, lambda b: b, ahead=2)
    assert next(ahead) == 0
    del ahead
    gc.collect()
    assert taken == [0, 1, 2] and closed == [True]


def test_batches_that_were_used_are_not_kept():
    alive = []

    def batches():
        for _ in range(10):
            batch = np.zeros(3)
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    most = 0
    for batch in ahead_of(batches(), lambda b: b, lambda b: b, AHEAD):
        del batch
        most = max(most, sum(ref() is not None for ref in alive))
    assert most <= AHEAD


@pytest.mark.gpu
def test_batches_arrive_whole_on_a_gpu():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(1 << 20).astype("float32") for _ in range(12)]
    device = torch.device("cuda", torch.cuda.current_device())
    busy = torch.ones(4096, 4096, device=device)
    for array, (got, none) in zip(
        arrays, to_device(((torch.from_numpy(a), None) for a in arrays), device), strict=True
    ):
        busy = busy @ busy.mul(1e-4)  # the stream that uses the batches is behind
        assert none is None and got.device == device
        np.testing.assert_array_equal((got + 0).cpu().numpy(), array)


class Slow:
    """A device that sends what it is asked for when `arrives` is set."""

    def __init__(self):
        self.arrives = False
        self.sent = 0

    def __call__(self, values):
        self.sent += 1
        return (lambda: self.arrives), values.clone()


def test_results_are_shown_when_they_have_arrived():
    device, loss = Slow(), torch.tensor(1.0)
    results = Results(lambda: {"loss": float(loss)}, lambda: {"loss": loss, "all": torch.ones(2)}, device)
    assert results.finished() == {} and device.sent == 1
    loss.fill_(2.0)
    assert results.finished() == {} and device.sent == 1  # nobody waits, and one copy is under way at a time
    device.arrives = True
    assert results.finished() == {"loss": 1.0} and device.sent == 2
    assert results.finished() == {"loss": 2.0}
    assert results() == {"loss": 2.0}


def test_a_progress_bar_takes_what_is_finished_and_other_callbacks_what_is_true():
    from fastk.callbacks import Callback, CallbackList, ProgbarLogger

    seen = {}

    class Bar(ProgbarLogger):
        def on_train_batch_end(self, batch, logs=None):
            assert callable(logs)
            seen["bar"] = logs()

    class Reads(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["reads"] = (logs or {})["loss"]

    results = Results(lambda: {"loss": 3.0}, lambda: {"loss": torch.tensor(3.0)}, Slow())
    callbacks = CallbackList([Bar(), Reads()])
    assert callbacks.follows_batches("train") and not callbacks.follows_batches("test")
    callbacks.on_train_batch_end(0, results)
    assert seen == {"bar": {}, "reads": 3.0}


@pytest.mark.gpu
def test_results_come_from_a_gpu():
    from fastk.training.logs import results_of

    loss = torch.ones((), device="cuda")
    results = results_of(lambda: {}, lambda: {"loss": loss}, loss.device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "item", None)
        results.finished()
        loss.fill_(2.0)
        torch.cuda.synchronize()
        assert results.finished() == {"loss": 1.0}


@pytest.mark.parametrize("kind", ["generator", "loader"])
def test_predict_keeps_the_outputs_of_a_stream_alone(kind):
    import fastk as keras

    alive = []

    def batches():
        for i in range(12):
            batch = np.full((4, 256), i, "float32")
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self):
            return batches()

    most = 0

    class Count(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            nonlocal most
            most = max(most, sum(ref() is not None for ref in alive))

    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(1, kernel_initializer="ones")])
    stream = batches() if kind == "generator" else torch.utils.data.DataLoader(Rows(), batch_size=None)
    outputs = model.predict(stream, verbose=0, callbacks=[Count()])
    np.testing.assert_array_equal(outputs[::4, 0], 256.0 * np.arange(12))
    assert len(alive) == 12 and most <= 3
    assert model._steps["predict"].programs
