"""Processes that train together, started from a test."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300


def environment(**variables):
    """That of a process to be started, with one thread, and no launcher's variables but those given."""
    cleared = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**cleared, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FASTK_DEVICE": "cpu", **variables}


class Together:
    """Processes that call functions one after the other, each in the same order: `names` are `STRATEGY:FUNCTION`.

    They find each other by a file in `folder`, so that no port has to be free.
    """

    def __init__(self, size, folder, *names, **variables):
        folder.mkdir(exist_ok=True)
        self.folder, self.size = folder, size
        command = [sys.executable, "-W", "ignore", "-m", "tests.distribution.rank"]
        self.processes = []
        for rank in range(size):
            own = environment(LOCAL_RANK=str(rank), **variables)
            arguments = [*command, str(rank), str(size), str(folder), *names]
            pipe, to_it = subprocess.PIPE, subprocess.STDOUT
            process = subprocess.Popen(arguments, cwd=ROOT, env=own, text=True, stdout=pipe, stderr=to_it)
            self.processes.append(process)

    def ended(self):
        """What each process wrote, and how it ended."""
        try:
            outputs = [process.communicate(timeout=SECONDS)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return list(zip(outputs, [process.returncode for process in self.processes], strict=True))

    def results(self):
        """What the functions returned, by name, for each process."""
        for rank, (output, code) in enumerate(self.ended()):
            assert code == 0, f"process {rank} of {self.size} ended with {code}:\n{output[-4000:]}"
        return [pickle.loads((self.folder / f"results_{rank}").read_bytes()) for rank in range(self.size)]
