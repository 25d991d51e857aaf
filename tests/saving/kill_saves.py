"""`python kill_saves.py FOLDER TIMES`: kills a process that saves a model again and again, at random moments.

Prints how often the process was in the middle of a save. Fails where what it left is not of one whole save, in any of
the formats, or in what the callbacks write.
"""

import itertools
import os
import random
import shutil
import signal
import sys
import time

import numpy as np

import fastk
from fastk.messages import disable_interactive_logging


def make():
    model = fastk.Sequential([fastk.Input((100,)), fastk.layers.Dense(400), fastk.layers.Dense(10)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def fill(model, number):
    """Gives all weights the value `number`, and lets as many steps have been taken."""
    model.set_weights([np.full_like(w, number) for w in model.get_weights()])
    model.optimizer.iterations.assign(number)


def value_of(model):
    """The value of all weights."""
    found = {float(v) for w in model.get_weights() for v in np.unique(w)}
    assert len(found) == 1, f"parts of two saves: {found}"
    return found.pop()


def callback(cls, model, *arguments, **options):
    made = cls(*arguments, **options)
    made.set_model(model)
    return made


def save_all(model, folder, number, backup, checkpoint):
    fill(model, number)
    model.save(f"{folder}/model.keras")
    model.save(f"{folder}/model.h5")
    model.save_weights(f"{folder}/model.weights.h5")
    model.save_weights(f"{folder}/model.safetensors")
    model.save_weights(f"{folder}/shards.weights.json", max_shard_size=170_000 / 2**30)
    backup.on_epoch_end(int(number))
    checkpoint.on_epoch_end(int(number), {})


def check_all(folder):
    model = make()
    for name in ("model.keras", "model.h5", "checkpoint.keras"):
        value_of(fastk.saving.load_model(f"{folder}/{name}"))
    for name in ("model.weights.h5", "model.safetensors", "shards.weights.json"):
        model.load_weights(f"{folder}/{name}")
        value_of(model)
    backup = callback(fastk.callbacks.BackupAndRestore, model, f"{folder}/backup")
    backup.on_train_begin()
    value = value_of(model)
    assert model._initial_epoch == value + 1 == float(model.optimizer.iterations) + 1, (model._initial_epoch, value)


def clear(folder):
    """Removes what a save that was killed leaves beside the files: returns whether there was anything."""
    left = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names if name.endswith(".tmp")]
    for path in left:
        os.unlink(path)
    return bool(left)


def main(folder, times):
    disable_interactive_logging()
    model = make()
    backup = callback(fastk.callbacks.BackupAndRestore, model, f"{folder}/backup")
    checkpoint = callback(fastk.callbacks.ModelCheckpoint, model, f"{folder}/checkpoint.keras")
    save_all(model, folder, 0.0, backup, checkpoint)
    begun = time.perf_counter()
    save_all(model, folder, 1.0, backup, checkpoint)
    longest = 2 * (time.perf_counter() - begun)
    interrupted = 0
    for round in range(times):
        child = os.fork()
        if child == 0:
            backup.on_train_begin()  # as `fit` calls it in a new process
            for number in itertools.count(2.0 + 1000 * round):
                save_all(model, folder, number, backup, checkpoint)
        time.sleep(random.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += clear(folder)
        check_all(folder)
    shutil.rmtree(folder)
    print(interrupted)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
