"""What only several processes do; each function is called by all of them and returns what it found."""

from __future__ import annotations

import os

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import fastk
from fastk.saving import keras_file
from tests.distribution.scenarios import layers, mlp, regression


def rank():
    return dist.get_rank()


def message_of(call):
    """The message of the error that a call ends with."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def captured_steps():
    """Steps are replayed here as well: why not, by the reasons that the steps give."""
    fastk.utils.set_random_seed(7)
    model = fastk.Sequential(
        [fastk.Input((5,)), layers.Dense(4), layers.BatchNormalization(synchronized=True), layers.Masking(),
         layers.Dense(2)]
    )  # fmt: skip
    model.compile("adam", fastk.losses.MeanSquaredError(reduction="sum"))
    x, y = regression(40)
    model.fit(x, y, batch_size=8, epochs=3, verbose=0)
    step = model._steps["train"]
    return {"reasons": step.reasons, "replayed": len(step.programs)}


def first_weights_and_seeds():
    """Processes that begin with other weights go on with the same, and drop out units of their own."""
    fastk.utils.set_random_seed(100 + rank())
    seen = []

    class Noted(layers.Layer):
        def call(self, x):
            seen.append((x == 0).float().mean(1).detach().numpy().copy() if not x.is_meta else None)
            return x

    def build():
        fastk.utils.set_random_seed(100 + rank())
        return fastk.Sequential([fastk.Input((5,)), layers.Dense(16), layers.Dropout(0.5), Noted(), layers.Dense(2)])

    found = {}
    x, y = regression(8)
    for name in ("first", "again"):
        model = build()
        model.compile("sgd", "mse", run_eagerly=True)
        found[f"{name} before"] = model.get_weights()[0]
        seen.clear()
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        found[name] = model.get_weights()[0]
        found[f"{name} dropped"] = np.concatenate([one for one in seen if one is not None])
        found[f"{name} seeds"] = model.layers[1].seed_generator.state.numpy()
    return found


def one_wants_to_stop():
    """A callback of one process stops all of them, in the middle of an epoch and at its end."""

    class Stop(fastk.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if rank() == 1 and batch == 2:
                self.model.stop_training = True

    class StopAtEnd(fastk.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = rank() == 1 and epoch == 1

    x, y = regression(24)
    model = mlp()
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, epochs=3, callbacks=[Stop()], verbose=0)
    steps = int(model.optimizer.iterations)
    history = model.fit(x, y, batch_size=12, epochs=9, callbacks=[StopAtEnd()], verbose=0)
    return {"steps": steps, "epochs": len(history.epoch)}


def logs_of_batches():
    """Callbacks that read the logs of a batch get those of all data so far, and reading changes nothing."""
    losses = []

    class Read(fastk.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append((logs or {})["loss"])

    x, y = regression(24)
    model = mlp()
    model.compile("sgd", "mse")
    history = model.fit(x, y, batch_size=8, epochs=2, callbacks=[Read()], verbose=0, shuffle=False)
    return {"losses": np.array(losses), "epochs": np.array(history.history["loss"])}


def files():
    """Files are written by the first process; the others find them."""
    x, y = regression(16)
    model = mlp()
    model.compile("adam", "mse")
    callbacks = [
        fastk.callbacks.ModelCheckpoint("{epoch}.keras"),
        fastk.callbacks.ModelCheckpoint("best.weights.h5", monitor="loss", save_best_only=True, save_weights_only=True),
        fastk.callbacks.CSVLogger("log.csv"),
        fastk.callbacks.TensorBoard("board", update_freq="batch"),
    ]
    writes = []
    real = keras_file._write_archive
    keras_file._write_archive = lambda *args, **kw: (writes.append(rank()), real(*args, **kw))
    try:
        model.fit(x, y, batch_size=8, epochs=2, callbacks=callbacks, verbose=0)
        model.save("model.keras")
    finally:
        keras_file._write_archive = real
    loaded = fastk.saving.load_model("model.keras")
    same = all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    if rank() == 0:
        model.save_weights("alone.weights.h5")  # nobody is waited for
    refused = message_of(lambda: model.save("no/such/folder.keras"))
    return {"writes": writes, "same": same, "refused": refused, "there": sorted(os.listdir("."))}


def refusals():
    """What would let the processes go separate ways is an error on all of them."""
    x, y = regression(16)
    model = mlp()
    model.compile("sgd", "mse")
    epochs = message_of(lambda: model.fit(x, y, epochs=1 + rank(), verbose=0))
    other = mlp(1 + rank())
    other.compile("sgd", "mse")
    shapes = message_of(lambda: other.fit(x, y[:, : 1 + rank()], verbose=0))

    class Own(fastk.metrics.Metric):
        def __init__(self):
            super().__init__(name="own")
            self.seen = fastk.Variable(0.0, trainable=False)

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen.assign_add(1.0)

        def result(self):
            return self.seen.value

    model.compile("sgd", "mse", metrics=[Own()])
    metric = message_of(lambda: model.fit(x, y, verbose=0))

    def generate():
        yield x[: 4 + 2 * rank()], y[: 4 + 2 * rank()]

    model.compile("sgd", "mse")
    sizes = message_of(lambda: model.fit(generate(), verbose=0))
    return {"epochs": epochs, "shapes": shapes, "metric": metric, "sizes": sizes}


def data_of_their_own():
    """Data that is cut already: by torch's sampler, and by the user."""
    x, y = regression(24)
    data = TensorDataset(torch.tensor(x), torch.tensor(y))
    found = {}
    model = mlp()
    model.compile("sgd", "mse")
    sampler = DistributedSampler(data, shuffle=False)
    model.fit(DataLoader(data, batch_size=4, sampler=sampler), epochs=2, verbose=0)
    found["sampler"] = model.get_weights()
    found["epoch of the sampler"] = sampler.epoch

    own = fastk.distribution.DataParallel(auto_shard_dataset=False)
    with own.scope():
        mine = slice(0, 18) if rank() == 0 else slice(18, 24)
        model = mlp()
        model.compile("sgd", "mse")
        history = model.fit(x[mine], y[mine], batch_size=18 if rank() == 0 else 6, epochs=2, shuffle=False, verbose=0)
        found["own"] = model.get_weights()
        found["loss"] = history.history["loss"]
        found["predicted"] = len(model.predict(x[mine], batch_size=4, verbose=0))
    return found


def orders_of_streams(alone=False):
    """Loaders and datasets that are shuffled without a seed have the first process's orders on all."""
    x, y = regression(20)
    model = mlp()
    if not alone and rank() == 1:
        fastk.utils.set_random_seed(99)
    model.compile("sgd", "mse")
    loader = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=8, shuffle=True)
    model.fit(loader, epochs=2, verbose=0)
    data = fastk.utils.Dataset.from_tensor_slices((x, y)).shuffle(20).batch(8)
    model.fit(data, epochs=2, verbose=0)
    return {"weights": model.get_weights()}


def moving_averages():
    """Without `synchronized`, moving averages are the means of those of the processes."""
    fastk.utils.set_random_seed(7)
    model = fastk.Sequential([fastk.Input((5,)), layers.BatchNormalization(momentum=0.0), layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = regression(8)
    model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    return {"mean": model.layers[0].moving_mean.numpy(), "variance": model.layers[0].moving_variance.numpy()}


def gradients_that_some_lack():
    """A variable that takes part on one process alone is trained on all; one that takes part nowhere is left alone."""
    a, b, c = (fastk.Variable([1.0], name=name) for name in "abc")
    optimizer = fastk.optimizers.SGD(1.0)
    mine = [torch.tensor([2.0 * rank()]), torch.tensor([4.0]) if rank() == 1 else None, None]
    optimizer.apply(mine, [a, b, c])
    return {"values": [float(v.numpy()[0]) for v in (a, b, c)]}


def overflow():
    """Where one process finds an infinite gradient, all leave the step out."""
    v = fastk.Variable([1.0])
    optimizer = fastk.optimizers.LossScaleOptimizer(fastk.optimizers.SGD(1.0), initial_scale=4.0)
    optimizer.apply([torch.tensor([float("inf") if rank() == 1 else 1.0])], [v])
    skipped = float(v.numpy()[0])
    optimizer.apply([torch.tensor([2.0 + 2.0 * rank()])], [v])
    return {"skipped": skipped, "value": float(v.numpy()[0]), "scale": float(optimizer.dynamic_scale.numpy())}


def torch_ddp():
    """A model in torch's own DistributedDataParallel, in a loop of torch's."""
    fastk.distribution.set_distribution(None)
    x, y = regression(16)
    model = mlp()
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    mine = slice(0, 8) if rank() == 0 else slice(8, 16)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(wrapped(torch.tensor(x[mine])), torch.tensor(y[mine])).backward()
        optimizer.step()
    fastk.distribution.set_distribution(fastk.distribution.DataParallel())
    return {"weights": model.get_weights()}


def loops_of_the_users():
    """`optimizer.apply` in a loop of the user's own averages what each process found."""
    v = fastk.Variable([0.0])
    optimizer = fastk.optimizers.SGD(1.0)
    optimizer.apply_gradients([(torch.tensor([1.0 + 2.0 * rank()]), v)])
    return {"value": float(v.numpy()[0])}


ALL = [
    captured_steps,
    first_weights_and_seeds,
    one_wants_to_stop,
    logs_of_batches,
    files,
    refusals,
    data_of_their_own,
    orders_of_streams,
    moving_averages,
    gradients_that_some_lack,
    overflow,
    torch_ddp,
    loops_of_the_users,
]
