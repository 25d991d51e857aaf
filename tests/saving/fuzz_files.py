"""`python fuzz_files.py FOLDER TIMES [SEED]`: loads damaged and hostile files of all formats.

Fails unless each is loaded or refused with a clear error, in bounded time and memory, without running anything, and
without opening files that are not its own. In a process of its own, whose address space is limited: libraries might not
survive a file, and the memory might not suffice.

Prints, as JSON, how many were refused by format, and the most memory that one took.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import resource
import sys
import time
import traceback
import warnings

import fuzz_mutations as mutations
import numpy as np

import fastk
from fastk import lambdas
from fastk.messages import disable_interactive_logging
from fastk.saving import KerasFileEditor

ROOM = 2 << 30  # bytes of address space beyond what the process has when it begins
SLOWEST = 10.0  # seconds of the processor for one file
EXPECTED = (ValueError, TypeError, FileNotFoundError, NotImplementedError, ImportError)
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect")
_violations: list[str] = []
_watched = False


def watch(event, arguments):
    """Notes what no loading of a file may do."""
    reads = event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/etc/")
    if _watched and (reads or event in FORBIDDEN):
        _violations.append(f"{event} {arguments!r:.200}")


def no_code(*arguments):
    _violations.append("code of a file was loaded")
    raise ValueError("code")


def make():
    """A model of several kinds of layers, with an optimizer, metrics, and a file of words."""
    layers = fastk.layers
    word, image = fastk.Input((2,), dtype="string", name="word"), fastk.Input((6, 6, 2), name="image")
    lookup = layers.StringLookup(name="words")
    lookup.adapt(["red", "green", "blue"])
    x = layers.LSTM(3)(layers.Embedding(8, 4)(lookup(word)))
    y = layers.Conv2D(3, 2, activation="relu", kernel_regularizer="l2")(
        layers.Normalization(mean=1.0, variance=2.0)(image)
    )
    y = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(y))
    h = layers.Dropout(0.2, seed=1)(layers.Concatenate()([x, y * 2.0]))
    outs = fastk.Sequential([fastk.Input((6,)), layers.Dense(4, kernel_initializer="orthogonal"), layers.Dense(1)])(h)
    model = fastk.Model({"word": word, "image": image}, outs)
    rate = fastk.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    model.compile(fastk.optimizers.Adam(rate), "mse", metrics=[fastk.metrics.AUC(num_thresholds=20), "mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def prepare(folder):
    """`(model, {name of a file: its bytes})`."""
    model = make()
    plain = fastk.Sequential([fastk.Input((3,)), fastk.layers.Dense(4, activation="relu"), fastk.layers.GRU(2)][:2])
    plain.compile("rmsprop", "mse", metrics=["mae"])
    plain.optimizer.build(plain.trainable_variables)
    model.save(folder / "a.keras")
    plain.save(folder / "b.keras")
    model.save_weights(folder / "a.weights.h5")
    plain.save(folder / "b.h5")
    model.save_weights(folder / "a.safetensors")
    model.save_weights(folder / "a.weights.json", max_shard_size=1000 / 2**30)
    return model, plain, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def damaged(name, data, rng):
    """The bytes of one file, damaged in one of the ways that its format has."""
    if rng.random() < 0.35:
        return mutations.damaged_bytes(data, rng)
    if name.endswith(".keras"):
        return mutations.damaged_archive(data, rng)
    if name.endswith(".json"):
        return mutations.text_of(mutations.damaged_json(json.loads(data), rng))
    if name.endswith(".safetensors"):
        return mutations.damaged_safetensors(data, rng)
    return mutations.damaged_hdf5(data, rng)


def load(path, model, plain, rng):
    if path.name.endswith((".keras", "b.h5")) and rng.random() < 0.85:
        loaded = fastk.saving.load_model(path)
        assert hasattr(loaded, "weights"), loaded
    elif path.name.endswith((".keras", ".weights.h5")) and rng.random() < 0.3:
        KerasFileEditor(path)
    else:
        of = plain if path.name.startswith("b") else model
        of.load_weights("a.weights.json" if "_0" in path.name else path, skip_mismatch=bool(rng.random() < 0.3))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder, times, seed=0):
    global _watched
    os.chdir(folder)
    warnings.simplefilter("ignore")
    disable_interactive_logging()
    folder = pathlib.Path.cwd()
    model, plain, files = prepare(folder)
    for name in files:  # so that what is imported when it is first needed is there
        load(folder / name, model, plain, np.random.default_rng(0))
    lambdas.load = no_code
    sys.addaudithook(watch)
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    start, begin = peak(), time.process_time()
    counts, refused, problems, slowest = collections.Counter(), collections.Counter(), [], 0.0
    names = [*(name for name in files if "_0" not in name), "a.keras", "a.keras", "a_00001.weights.h5"]
    for number in range(times):
        rng = np.random.default_rng([seed, number])
        name = names[rng.integers(len(names))]
        counts[name] += 1
        data = damaged(name, files[name], rng)
        (folder / name).write_bytes(data)
        fastk.utils.clear_session(free_memory=False)
        before, begun, _watched = peak(), time.process_time(), True
        try:
            load(folder / name, model, plain, rng)
        except EXPECTED as error:
            refused[name] += 1
            if not str(error):
                problems.append(f"{number} {name}: an error without words")
        except BaseException:
            problems.append(f"{number} {name}: {traceback.format_exc()[-1500:]}")
        _watched = False
        took = time.process_time() - begun
        slowest = max(slowest, took)
        if _violations or took > SLOWEST or peak() - before > ROOM / 4:
            problems.append(f"{number} {name}: {_violations} {took:.1f} s, {(peak() - before) >> 20} MiB more")
            _violations.clear()
        (folder / name).write_bytes(files[name])
    strange = sorted(set(os.listdir(folder)) - set(files))
    if strange:
        problems.append(f"files were written: {strange}")
    for problem in problems:
        print(problem, file=sys.stderr)
    told = {
        "files": dict(counts),
        "refused": dict(refused),
        "problems": len(problems),
        "slowest": round(slowest, 2),
        "MiB": (peak() - start) >> 20,
        "seconds": round(time.process_time() - begin),
    }
    print(json.dumps(told))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))
