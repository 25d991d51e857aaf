"""`python kill_saves.py FOLDER TIMES`: kills a process that saves a model again and again, at random moments.

Prints how often the process was in the middle of a save. Fails where what it left is not a whole model.
"""

import os
import random
import signal
import sys
import time

import numpy as np

import fastk

folder, times = sys.argv[1], int(sys.argv[2])
path = os.path.join(folder, "model.keras")
weights = os.path.join(folder, "model.weights.h5")
model = fastk.Sequential([fastk.Input((100,)), fastk.layers.Dense(400), fastk.layers.Dense(10)])


def fill(value):
    model.set_weights([np.full_like(w, value) for w in model.get_weights()])


def check():
    """All variables come from the same save."""
    for values in (fastk.saving.load_model(path).get_weights(), reloaded()):
        assert len({float(v) for w in values for v in np.unique(w)}) == 1, "parts of two saves"


def reloaded():
    model.load_weights(weights)
    return model.get_weights()


fill(0.0)
model.save(path)
model.save_weights(weights)
interrupted = 0
for round_ in range(times):
    child = os.fork()
    if child == 0:
        for number in range(1, 10**9):
            fill(float(number))
            model.save(path)
            model.save_weights(weights)
    time.sleep(random.uniform(0.0, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
    assert sorted(set(os.listdir(folder)) - set(left)) == ["model.keras", "model.weights.h5"]
    interrupted += bool(left)
    for name in left:
        os.unlink(os.path.join(folder, name))
    check()
print(interrupted)
