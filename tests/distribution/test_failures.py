"""A process that dies ends the job with a message; training goes on from the last epoch, with any number of them."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.distribution import dying
from tests.distribution.launching import SECONDS, Together, environment


def torchrun(folder, size, **variables):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}",
         dying.__file__, str(folder)],
        env=environment(**variables), capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


def says_what_happened(output):
    assert "of the others, but at least one of them ended" in output
    assert "BackupAndRestore" in output


def test_a_killed_process_ends_the_others_and_one_process_goes_on(tmp_path, monkeypatch):
    """At most the epoch that was under way is lost: the third one (2) is begun again."""
    (first, code), (_, killed) = Together(2, tmp_path, "DataParallel:train", DIES="2 killed").ended()
    assert code not in (0, None) and killed == -9
    says_what_happened(first)
    monkeypatch.chdir(tmp_path)
    assert dying.train()["epochs"] == [2, 3, 4]


def test_torchrun(tmp_path):
    """An ordinary program under `torchrun`: one process fails; three others go on where the two were."""
    failed = torchrun(tmp_path, 2, DIES="2 raised")
    assert failed.returncode != 0
    assert "This sample is broken." in failed.stderr
    assert failed.stdout.count("fastk trains data-parallel on 2 processes") == 1
    assert failed.stdout.count("Epoch 1/5") == 1  # one process speaks
    resumed = torchrun(tmp_path, 3)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    saved = [np.load(tmp_path / f"rank_{rank}.npz") for rank in range(3)]
    assert saved[0]["epochs"].tolist() == [2, 3, 4]
    for other in saved[1:]:
        for name in saved[0]:
            np.testing.assert_array_equal(saved[0][name], other[name])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["left", "raised"])
def test_other_ends(tmp_path, how):
    (first, code), (_, other) = Together(2, tmp_path, "DataParallel:train", DIES=f"1 {how}").ended()
    assert code not in (0, None) and other not in (0, None)
    says_what_happened(first)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_resumed_training_ends_where_it_would_have(tmp_path, size, monkeypatch):
    """With as many processes after the failure as before."""
    whole = Together(size, tmp_path / "whole", "DataParallel:train").results()[0]["DataParallel:train"]["weights"]
    Together(size, tmp_path / "broken", "DataParallel:train", DIES="3 killed").ended()
    (tmp_path / "broken" / "found").unlink(missing_ok=True)
    resumed = Together(size, tmp_path / "broken", "DataParallel:train").results()
    for one in resumed:
        assert one["DataParallel:train"]["epochs"] == [3, 4]
        for a, b in zip(one["DataParallel:train"]["weights"], whole, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_parts_of_a_model_are_put_together_again(tmp_path, monkeypatch):
    """A backup of two processes with half of a model each, for three with a third of it, and for one with all."""
    Together(2, tmp_path, "FullySharded:train", DIES="2 killed").ended()
    (tmp_path / "found").unlink(missing_ok=True)
    resumed = Together(3, tmp_path, "FullySharded:train", DIES="3 killed").ended()
    says_what_happened(resumed[0][0])
    monkeypatch.chdir(tmp_path)
    assert dying.train()["epochs"] == [3, 4]


@pytest.mark.slow
def test_one_that_hangs(tmp_path):
    """The others give up after the time that they are told."""
    failed = torchrun(tmp_path, 2, DIES="1 hangs", FASTK_COLLECTIVE_SECONDS="5")
    assert failed.returncode != 0
    says_what_happened(failed.stderr)
    assert "FASTK_COLLECTIVE_SECONDS is 5" in failed.stderr


@pytest.mark.slow
def test_processes_that_something_else_starts(tmp_path):
    """They find each other by an address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = """if True:
        import sys
        import fastk
        from tests.distribution.scenarios import mlp, regression
        fastk.distribution.initialize("127.0.0.1:" + sys.argv[1], 2, int(sys.argv[2]))
        fastk.distribution.set_distribution(fastk.distribution.DataParallel())
        model = mlp()
        model.compile("sgd", "mse")
        print(model.fit(*regression(8), epochs=1, verbose=0).history["loss"])
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(port), str(rank)],
            env=environment(), cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    ended = [process.communicate(timeout=SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert ended[0][0] == ended[1][0] and ended[0][0].startswith("[")
