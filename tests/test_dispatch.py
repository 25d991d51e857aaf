import logging
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch

from fastk import autograd, config, dispatch
from fastk.errors import ImplementationUnavailable
from fastk.kernels import cupy_runtime, triton_runtime


def why_not_on(name, device_type):
    return (
        None
        if device_type == "cuda"
        else f"{name.title()} kernels run on CUDA tensors, and this one is on {device_type!r}"
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Dispatch without memory, before and after, on a machine where Triton and CuPy work."""
    monkeypatch.setattr(dispatch, "_settled", {})
    monkeypatch.setattr(dispatch, "_last", {})
    monkeypatch.setattr(dispatch, "_logged", set())
    monkeypatch.setattr(dispatch, "_why_not_on", why_not_on)
    monkeypatch.setattr(dispatch, "_files", {})
    monkeypatch.setattr(dispatch, "_searched", set())


@pytest.fixture
def kernels(monkeypatch):
    """kernels("dense", "triton", dense=f): an implementation's file, as if it were there."""

    def add(folder, implementation, **functions):
        name = f"fastk.kernels.{folder}.{implementation}_kernels"
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
        dispatch._searched.clear()
        dispatch._settled.clear()

    return add


def on_cuda(op, request="auto", arguments=()):
    """What `choose` would say of a CUDA tensor."""
    return dispatch._decide(op, request, "cuda", arguments)


def test_the_cpu_runs_aten():
    choice = dispatch.choose("dense", "auto", torch.ones(1))
    assert (choice.op, choice.implementation) == ("dense", "aten")
    assert choice.reason == "the other kernels run on CUDA, and this is 'cpu'"
    assert dispatch.choose("dense", "auto", torch.ones(1)) is choice
    assert dispatch.choose("dense", "aten", torch.ones(1)).reason == "asked for by name"


def test_an_op_without_kernels_does_not_speak_of_other_ones():
    assert dispatch.choose("simple_rnn", "auto", torch.ones(1)).reason == "there is no other kernel for it yet"


@pytest.mark.parametrize("name", ["triton", "cupy"])
def test_what_is_asked_for_by_name_and_missing_raises(name):
    title = {"triton": "Triton", "cupy": "CuPy"}[name]
    message = (
        f"'{name}' implementation of simple_rnn was asked for by name and cannot be used: there is no {title} kernel"
    )
    with pytest.raises(ImplementationUnavailable, match=message):
        autograd.simple_rnn(torch.ones(1, 3, 1), torch.ones(1, 1), torch.ones(1, 1), None, implementation=name)


def test_the_setting_is_a_name_too(monkeypatch):
    monkeypatch.setattr(config._settings, "kernels", "triton")
    with pytest.raises(ImplementationUnavailable, match="set_kernels"):
        autograd.dense(torch.ones(1, 1), torch.ones(1, 1))
    assert autograd.dense(torch.ones(1, 1), torch.ones(1, 1), implementation="aten").item() == 1
    # Shapes are inferred whatever will run.
    assert autograd.dense(torch.ones(2, 3, device="meta"), torch.ones(3, 4, device="meta")).shape == (2, 4)


def test_a_kernel_that_exists_needs_a_gpu(kernels):
    kernels("simple_rnn", "triton", simple_rnn=lambda *arguments: "triton")
    with pytest.raises(ImplementationUnavailable, match="Triton kernels run on CUDA tensors, and this one is on 'cpu'"):
        dispatch.choose("simple_rnn", "triton", torch.ones(1))
    assert on_cuda("simple_rnn").function() == "triton"
    assert on_cuda("simple_rnn").reason == "the fastest that there is"
    assert on_cuda("simple_rnn", "aten").implementation == "aten"


def test_a_file_need_not_hold_every_op_of_its_folder(kernels):
    kernels("simple_rnn", "triton", simple_rnn=lambda *arguments: None)
    assert on_cuda("simple_rnn").implementation == "triton"
    choice = on_cuda("simple_rnn_cell")
    assert choice.implementation == "aten" and "no Triton kernel for simple_rnn_cell" in choice.reason


def test_a_library_that_is_missing(kernels, monkeypatch):
    kernels("simple_rnn", "triton", simple_rnn=lambda *arguments: None)
    monkeypatch.setattr(
        dispatch, "_why_not_on", lambda name, device: "Triton cannot be imported (No module named 'triton')"
    )
    assert "cannot be imported" in on_cuda("simple_rnn").reason
    with pytest.raises(ImplementationUnavailable, match="Triton cannot be imported"):
        on_cuda("simple_rnn", "triton")


def test_what_cupy_needs(monkeypatch):
    why_not = cupy_runtime.why_not.__wrapped__
    assert why_not("cpu") == "CuPy kernels run on CUDA tensors, and this one is on 'cpu'"
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "CuPy cannot be imported (" in str(why_not("cuda"))
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_not("cuda") == "CuPy needs a CUDA device, and torch sees none"


def test_what_triton_needs(monkeypatch):
    why_not = triton_runtime.why_not.__wrapped__
    monkeypatch.setattr(triton_runtime, "INTERPRETED", False)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "Triton cannot be imported (" in str(why_not("cuda"))
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    assert why_not("cpu") == "Triton kernels run on CUDA tensors, and this one is on 'cpu'"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_not("cuda") == "Triton needs a CUDA device, and torch sees none"
    monkeypatch.setattr(triton_runtime, "INTERPRETED", True)
    assert why_not("cpu") is None
    assert why_not("cuda") == "Triton's interpreter works on the CPU, not on 'cuda'"


def test_support_is_asked_at_every_call(kernels):
    def supports(op, size):
        return None if size % 8 == 0 else f"{op} in Triton takes sizes divisible by 8, not {size}"

    kernels("simple_rnn", "triton", simple_rnn=lambda *arguments: None, supports=supports)
    kernels("simple_rnn", "cupy", simple_rnn=lambda *arguments: None)
    assert on_cuda("simple_rnn", arguments=(8,)).implementation == "triton"
    refused = on_cuda("simple_rnn", arguments=(7,))
    assert (refused.implementation, refused.reason) == (
        "cupy",
        "simple_rnn in Triton takes sizes divisible by 8, not 7",
    )
    assert on_cuda("simple_rnn", arguments=(16,)).implementation == "triton"
    with pytest.raises(ImplementationUnavailable, match="divisible by 8, not 7"):
        on_cuda("simple_rnn", "triton", (7,))
    assert on_cuda("simple_rnn", "triton", (8,)).implementation == "triton"
    assert not dispatch._settled


def test_a_fallback_on_a_gpu_is_logged_once(kernels, caplog):
    with caplog.at_level(logging.INFO, logger="fastk"):
        for _ in range(2):
            on_cuda("simple_rnn")  # without a kernel: for information
            dispatch.choose("gru", "auto", torch.ones(1))  # on the CPU: nothing to say
        kernels("simple_rnn", "triton", simple_rnn=print, supports=lambda *arguments: "too large")
        for _ in range(2):
            on_cuda("simple_rnn")  # with one that is not used: a warning
        kernels("lstm", "triton", lstm=lambda *arguments: None)
        on_cuda("lstm")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "simple_rnn falls back on the GPU: there is no Triton kernel for simple_rnn yet; "
            "there is no CuPy kernel for simple_rnn yet.",
        ),
        ("WARNING", "simple_rnn falls back on the GPU: too large; there is no CuPy kernel for simple_rnn yet."),
    ]


def test_the_last_choices_are_kept():
    assert dispatch.last_choices() == {}
    autograd.dense(torch.ones(1, 1), torch.ones(1, 1))
    autograd.conv1d(torch.ones(1, 3, 1), torch.ones(1, 1, 1))
    choices = dispatch.last_choices()
    assert {op: choice.implementation for op, choice in choices.items()} == {"dense": "aten", "conv2d": "aten"}
    choices.clear()
    assert dispatch.last_choices()


def test_availability(kernels):
    kernels("simple_rnn", "triton", simple_rnn=lambda *arguments: None)
    assert dispatch.availability("simple_rnn", "cuda") == {
        "triton": None,
        "cupy": "there is no CuPy kernel for simple_rnn yet",
        "aten": None,
    }
    assert (
        dispatch.availability("simple_rnn", "cpu")["triton"]
        == "Triton kernels run on CUDA tensors, and this one is on 'cpu'"
    )


def test_unknown_names():
    with pytest.raises(
        ValueError, match=r"Unknown `implementation` of dense: 'cuda'. Expected one of 'auto', 'triton'"
    ):
        dispatch.choose("dense", "cuda", torch.ones(1))
    for request in ("auto", "aten"):
        with pytest.raises(ValueError, match="Unknown op: 'dance'"):
            dispatch.choose("dance", request, torch.ones(1))
        with pytest.raises(ValueError, match="Unknown op: 'dense_cell'"):
            dispatch.choose("dense_cell", request, torch.ones(1))


def test_every_op_has_its_folder_and_aten():
    ops = [name for name in autograd.__all__ if name not in ("conv1d", "max_pool1d", "average_pool1d", "StepOptions")]
    for op in ops:
        assert dispatch.availability(op, "cpu")["aten"] is None
        assert callable(dispatch.choose(op, "aten", torch.ones(1)).function)


def test_importing_touches_no_device_and_no_kernel_library():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    code = (
        "import sys, torch, fastk.autograd, fastk.dispatch\n"
        "fastk.autograd.dense(torch.ones(1, 1), torch.ones(1, 1))\n"
        "print(sorted({'triton', 'cupy'} & set(sys.modules)), torch.cuda.is_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["[]", "False"]
