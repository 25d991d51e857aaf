"""One of several processes that train together: `python -m tests.distribution.rank RANK SIZE FOLDER MODULE NAME...`."""

import importlib
import os
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

import fastk


def main():
    rank, size, folder, module, *names = sys.argv[1:]
    torch.set_num_threads(1)
    os.chdir(folder)
    dist.init_process_group("gloo", init_method=f"file://{folder}/found", rank=int(rank), world_size=int(size))
    strategy = getattr(fastk.distribution, os.environ.get("STRATEGY", "DataParallel"))
    fastk.distribution.set_distribution(strategy())
    functions = importlib.import_module(f"tests.distribution.{module}")
    found = {}
    for name in names:
        fastk.utils.clear_session()
        found[name] = getattr(functions, name)()
    Path(f"results_{rank}").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
