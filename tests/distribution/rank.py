"""One of several processes that train together: `python -m tests.distribution.rank RANK SIZE FOLDER STRATEGY:NAME...`.

NAME is a function of one of the modules below.
"""

import os
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

import fastk
from fastk.device import get_device
from tests.distribution import dying, gpus, scenarios, sharded, together


def function_of(strategy, name):
    """`together` and `sharded` have functions of the same names."""
    modules = (scenarios, sharded if strategy == "FullySharded" else together, dying, gpus)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def main():
    rank, size, folder, *names = sys.argv[1:]
    torch.set_num_threads(1)
    os.chdir(folder)
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, init_method=f"file://{folder}/found", rank=int(rank), world_size=int(size))
    found = {}
    for each in names:
        strategy, _, name = each.partition(":")
        fastk.utils.clear_session()
        fastk.distribution.set_distribution(getattr(fastk.distribution, strategy)())
        found[each] = function_of(strategy, name)()
    Path(f"results_{rank}").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
