"""`python kill_saves.py FOLDER TIMES`: kills a process that saves a model again and again, at random moments.

Prints how often the process was in the middle of a save. Fails where what it left is not a whole model.
"""

import itertools
import os
import random
import signal
import sys
import time

import numpy as np

import fastk


def main(folder, times):
    path, weights = os.path.join(folder, "model.keras"), os.path.join(folder, "model.weights.h5")
    model = fastk.Sequential([fastk.Input((100,)), fastk.layers.Dense(400), fastk.layers.Dense(10)])

    def save(value):
        model.set_weights([np.full_like(w, value) for w in model.get_weights()])
        model.save(path)
        model.save_weights(weights)

    save(0.0)
    interrupted = 0
    for _ in range(times):
        child = os.fork()
        if child == 0:
            for number in itertools.count(1.0):
                save(number)
        time.sleep(random.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        assert sorted(set(os.listdir(folder)) - set(left)) == ["model.keras", "model.weights.h5"]
        interrupted += bool(left)
        for name in left:
            os.unlink(os.path.join(folder, name))
        model.load_weights(weights)
        for values in (model.get_weights(), fastk.saving.load_model(path).get_weights()):
            assert len({float(v) for w in values for v in np.unique(w)}) == 1, "parts of two saves"
    print(interrupted)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
