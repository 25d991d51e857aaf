"""`fastk doctor`: what it says of machines where something is missing or wrong, and of this one."""

import json
import re
import subprocess
import sys

import pytest
import torch

from fastk import cli, config, dispatch, doctor
from fastk.device import default_device
from fastk.doctor import facts as seen
from fastk.doctor.facts import Facts
from fastk.doctor.findings import diagnose
from fastk.errors import ConfigurationError

H200 = "NVIDIA H200, 143771 MiB"


def machine(**others):
    """A machine with a GPU on which all is well."""
    well = {
        "packages": {"torch": "2.11.0", "triton": "3.6.0", "cupy-cuda13x": "14.0.1"},
        "torch_cuda": "13.0",
        "cuda_available": True,
        "gpus": [H200],
        "capabilities": [90],
        "driver": "580.1",
        "driver_cuda": "13.0",
        "device": "cuda:0",
        "device_type": "cuda",
        "compilers": {"C++": "/usr/bin/g++", "C": "/usr/bin/gcc"},
        "ops": {"dense": {"runs": "triton", "why": "the fastest that there is"}},
        "caches": [{"name": "Triton", "variable": "TRITON_CACHE_DIR", "path": "/c", "exists": True, "writable": True,
                    "megabytes": 1.0}],
        "self_test": {"triton": "passed", "aten": "passed"},
    }  # fmt: skip
    return Facts(**(well | others))


def test_nothing_is_said_of_a_machine_where_all_is_well():
    assert diagnose(machine()) == []
    assert list(doctor.text(machine(), []))[-1] == "fastk works here."


PACKAGES = machine().packages
READ_ONLY = [machine().caches[0] | {"writable": False}]
FAULTS = {
    "a build of torch for CPUs": (
        machine(torch_cuda=None, cuda_available=False), "warning", "is a build for CPUs", "CUDA 13.0 or older",
    ),
    "a driver that is too old": (
        machine(cuda_available=False, driver_cuda="12.4"), "warning", "CUDA up to 12.4", "a newer driver",
    ),
    "a hidden GPU": (
        machine(cuda_available=False, environment={"CUDA_VISIBLE_DEVICES": ""}), "warning", "hides", "unset CUDA_VIS",
    ),
    "no Triton": (machine(packages=PACKAGES | {"triton": None}), "warning", "CuPy's kernels run", "pip install triton"),
    "neither Triton nor CuPy": (
        machine(packages={"torch": "2.11.0", "triton": None, "cupy": None}), "warning", "every op runs torch's own",
        "pip install triton",
    ),
    "an old Triton": (machine(packages=PACKAGES | {"triton": "3.2.0"}), "warning", "older than the 3.6", "torch 2.11"),
    "a Triton that does not import": (
        machine(broken_imports={"triton": "OSError: libcuda"}), "warning", "cannot be imported: OSError",
        "pip install -U",
    ),
    "CuPy for another CUDA": (
        machine(packages={"torch": "2.11.0", "triton": "3.6.0", "cupy-cuda12x": "14"}), "warning", "another CUDA",
        "pip install cupy-cuda13x",
    ),
    "two CuPys": (
        machine(packages=PACKAGES | {"cupy-cuda12x": "14"}), "warning", "overwrite each other", "pip uninstall -y cupy",
    ),
    "the interpreter": (machine(interpreted=True), "warning", "TRITON_INTERPRET is set", "unset TRITON_INTERPRET"),
    "no C compiler": (
        machine(compilers={"C++": "g++", "C": None}), "error", "needs a C compiler", "apt install gcc",
    ),
    "no C++ compiler": (machine(compilers={"C++": None, "C": "gcc"}), "note", "torch.compile", "apt install g++"),
    "a cache that is read-only": (machine(caches=READ_ONLY), "warning", "cannot be written", "export TRITON_CACHE_DIR"),
    "an old GPU": (machine(capabilities=[75]), "note", "7.5 is older than 8.0", "FASTK_KERNELS=aten"),
    "a device that is not there": (machine(device_error="FASTK_DEVICE is 'cuda'"), "error", "FASTK_DEVICE", "Unset"),
    "kernels that are not there": (
        machine(kernels="cupy", ops={"gru": {"runs": "raises", "why": "no kernel"}}), "error", "FASTK_KERNELS asks",
        "unset FASTK_KERNELS",
    ),
    "kernels that fail": (
        machine(self_test={"triton": "failed: OSError: x", "aten": "passed"}), "error", "self-test of the triton",
        "FASTK_KERNELS=aten",
    ),
    "other kernels that fail": (
        machine(self_test={"triton": "passed", "cupy": "failed: x"}), "warning", "self-test of the cupy", "report",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone_with_what_mends_it(fault):
    facts, level, what, mend = FAULTS[fault]
    (finding,) = diagnose(facts)
    assert (finding.level, what in finding.what, mend in finding.mend) == (level, True, True), finding
    last = list(doctor.text(facts, [finding]))[-1]
    ends = {"error": "does not work here.", "warning": "slower than it could.", "note": "fastk works here."}
    assert last.endswith(ends[level])


def test_the_worst_comes_first():
    both = machine(compilers={"C++": None, "C": None}, interpreted=True)
    assert [finding.level for finding in diagnose(both)] == ["error", "warning", "note"]


def test_a_machine_without_a_gpu_has_nothing_to_mend():
    facts = machine(
        gpus=[], torch_cuda=None, cuda_available=False, driver=None, driver_cuda=None, device="cpu", device_type="cpu",
        packages={"torch": "2.11.0+cpu", "triton": None, "cupy": None}, capabilities=[],
    )  # fmt: skip
    assert diagnose(facts) == []


def test_this_machine(capsys):
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"torch +{re.escape(torch.__version__)}", printed) and "Self-test" in printed
    assert "aten           passed" in printed and "dense" in printed


def test_as_json(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is True
    assert set(found["facts"]["ops"]) >= {"dense", "conv2d", "adam", "lstm"} and "verify" not in found["facts"]["ops"]
    assert found["facts"]["self_test"]["aten"] == "passed"


def test_nothing_missing_is_a_traceback(monkeypatch, capsys):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", "/no/such/folder")
    monkeypatch.setattr(seen, "version", lambda name: None)
    monkeypatch.setattr(seen.importlib, "import_module", absent)
    monkeypatch.setattr(seen, "self_test", lambda device: {})
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not installed") >= 8 and "No C++ compiler was found" in printed


def test_a_package_that_fails_on_import_is_told_of(monkeypatch):
    def broken(name):
        raise OSError("libcuda.so.1: cannot open\nmore")

    monkeypatch.setattr(seen.importlib, "import_module", broken)
    assert seen.broken_import("triton") == "OSError: libcuda.so.1: cannot open"


def test_a_device_that_cannot_be_had(monkeypatch, capsys):
    def refuse():
        raise ConfigurationError("FASTK_DEVICE is 'cuda', but torch sees no CUDA device.")

    monkeypatch.setattr(seen, "get_device", refuse)
    assert cli.main(["doctor"]) == 1
    assert "✗ FASTK_DEVICE is 'cuda'" in capsys.readouterr().out


def test_a_device_whose_name_is_none(monkeypatch, capsys):
    monkeypatch.setenv("FASTK_DEVICE", "gpuu")
    monkeypatch.setattr(seen, "get_device", default_device.__wrapped__)
    assert cli.main(["doctor"]) == 1
    assert "✗ The environment variable FASTK_DEVICE is 'gpuu': expected 'auto'" in capsys.readouterr().out


def test_kernels_asked_for_by_name_that_are_not_here(monkeypatch, capsys):
    before = config.kernels()
    config.set_kernels("cupy")
    try:
        assert cli.main(["doctor"]) == 1
    finally:
        config.set_kernels(before)
    assert "✗ FASTK_KERNELS asks for 'cupy', which" in capsys.readouterr().out


def test_why_aten_on_a_cpu():
    found = seen.ops("cpu", "auto")
    assert found["dense"] == {"runs": "aten", "why": "the other kernels run on CUDA, and this is 'cpu'"}
    assert found["simple_rnn"] == {"runs": "aten", "why": "there is no other kernel for it yet"}


def test_why_not_a_better_kernel(monkeypatch):
    refusals = {"triton": "Triton cannot be imported", "cupy": None, "aten": None}
    monkeypatch.setattr(dispatch, "availability", lambda op, device: refusals)
    assert seen.ops("cuda", "auto")["dense"] == {"runs": "cupy", "why": "Triton cannot be imported"}
    refusals["cupy"] = "no CuPy"
    assert seen.ops("cuda", "auto")["dense"] == {"runs": "aten", "why": "Triton cannot be imported; no CuPy"}
    refusals["triton"] = None
    assert seen.ops("cuda", "auto")["dense"] == {"runs": "triton", "why": "the fastest that there is"}


def test_a_kernel_that_is_wrong_fails_its_test(monkeypatch):
    right = seen.autograd.dense
    monkeypatch.setattr(seen.autograd, "dense", lambda *a, **k: right(*a, **k) * 1.01)
    assert seen.self_test("cpu")["aten"].startswith("failed: off by")


@pytest.mark.parametrize(
    "head", ["| NVIDIA-SMI 580.1   Driver Version: 580.1   CUDA Version: 13.0 |", "no such thing", None]
)
def test_the_drivers_cuda(monkeypatch, head):
    monkeypatch.setattr(seen, "nvidia_smi", lambda *arguments: head)
    assert seen.driver_cuda() == ("13.0" if head and "CUDA" in head else None)


def test_sizes_of_caches(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "kernel").write_bytes(bytes(2_000_000))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("FASTK_CACHE", str(tmp_path / "inner"))
    own, triton, cupy, _ = seen.caches()
    assert (own["name"], own["megabytes"], own["variable"]) == ("fastk", 2.0, "FASTK_CACHE")
    assert (triton["megabytes"], triton["exists"], triton["writable"]) == (2.0, True, True)
    assert (cupy["megabytes"], cupy["exists"], cupy["writable"]) == (0.0, False, True)


def test_as_a_new_user_types_it():
    done = subprocess.run([sys.executable, "-m", "fastk", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr and done.stdout.startswith("fastk ")
