"""The CuPy kernels as NVRTC compiles them for GPUs, every one with every type: no spills, wide accesses, no calls."""

import importlib

import pytest

pytest.importorskip("triton", reason="its wheel brings the tools that read machine code")
from fastk.kernels.verify import nvrtc
from fastk.kernels.verify.machine_code import calls, traffic

for op in ("conv2d", "dense", "dropout", "lstm", "max_pool2d"):
    importlib.import_module(f"fastk.kernels.{op}.cupy_kernels")

pytestmark = pytest.mark.skipif(nvrtc.why_not() is not None, reason=str(nvrtc.why_not()))
STREAMING = ("epilogue_forward", "epilogue_backward", "im2col", "col2im", "max_pool2d_forward", "max_pool2d_backward")


ARCHITECTURES = [pytest.param(80, marks=pytest.mark.slow), 90, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", nvrtc.files())
def test_resources(file, architecture):
    compiled = nvrtc.compile_file(file, architecture)
    assert compiled.log == ""
    for name, resources in compiled.instances.items():
        assert resources.spill_bytes == 0 and resources.shared_bytes == 0, name
        assert resources.registers <= (255 if "double" in name else 128), name  # 128: two blocks of 256 threads


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", nvrtc.files())
def test_instructions(file, architecture):
    for name, instructions in nvrtc.compile_file(file, architecture).code().items():
        slow = [call for call in calls(instructions) if "f64" not in call and "dbl" not in call]
        assert not slow, f"{name} calls {slow}"
        if name.startswith(STREAMING) and name.endswith(", 8>"):
            found = traffic(instructions)
            narrow = {bits for bits in (*found.loads, *found.stores) if bits < 64}
            assert not narrow and 128 in found.loads and 128 in found.stores, f"{name}: {found}"


def test_a_refused_source_says_why(monkeypatch):
    monkeypatch.setattr(nvrtc, "source", lambda file: "template <typename T> __global__ void dropout(T* x) { y = 1; }")
    with pytest.raises(nvrtc.CompilationError, match='identifier "y" is undefined'):
        nvrtc.compile_file.__wrapped__("dropout/dropout.cu", 90)
