"""`python mutate_weights.py FOLDER TIMES`: loads damaged files of weights; fails unless clear errors come of it.

In a process of its own, because the HDF5 library might not survive one.
"""

import os
import pathlib
import sys
import time

import numpy as np

import fastk


def main(folder, times):
    path = os.path.join(folder, "x.weights.h5")
    model = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(4), fastk.layers.Dense(2)])
    model.save_weights(path)
    data = pathlib.Path(path).read_bytes()
    rng = np.random.default_rng(0)
    refused = slowest = 0
    for _ in range(times):
        damaged = bytearray(data)
        for _ in range(rng.integers(1, 20)):
            damaged[rng.integers(len(data))] = rng.integers(256)
        if rng.random() < 0.2:
            del damaged[rng.integers(len(data)) :]
        with open(path, "wb") as file:
            file.write(damaged)
        start = time.perf_counter()
        try:
            model.load_weights(path)
        except ValueError as error:
            assert str(error)
            refused += 1
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 5, slowest
    print(refused)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
