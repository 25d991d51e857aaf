"""What stands between the CuPy launchers and a device: sources, grids, the driver, and the emulator's own checks."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch

from fastk.kernels import cupy_runtime
from fastk.kernels.activation import saves_input
from fastk.kernels.activation.aten import ACTIVATIONS
from fastk.kernels.cupy_runtime import Kernel, line, packed, source, tile, why_not_these
from fastk.kernels.verify.emulator import EmulationError

FAULTS = {  # what a kernel does, and what is said about it
    "reads behind the end": ("out[0] = in[n];", "an access out of bounds"),
    "reads before the start": ("out[0] = in[-1500];", "an access out of bounds"),
    "writes behind the end": ("out[n] = 1;", "an access out of bounds"),
    "writes beside": ("out[-1] = 1;", "wrote beside a tensor"),
    "misaligned": ("float v[8]; load<8>(in + 1, v); out[0] = v[0];", "a misaligned access"),
    "overflows": ("out[0] = static_cast<int>(n) * (1 << 30);", "overflow"),
    "divides by zero": ("out[0] = 5 / static_cast<int>(n - 4);", "undefined operation|division by zero"),
}
INDEX = "int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n)"
PROBE = f"""#include "numeric.cuh"
template <typename T> __global__ void copied(T* out, const T* in, long long n) {{ {INDEX} out[i] = in[i]; }}
template <typename T> __global__ void widened(float* out, const T* in, long long n) {{ {INDEX} out[i] = widen(in[i]); }}
template <typename T> __global__ void narrowed(T* to, const float* in, long long n) {{ {INDEX} narrow(in[i], to[i]); }}
template <typename T> __global__ void fault(T* out, const T* in, long long n, long long which) {{
    switch (which) {{
        {" ".join(f"case {k}: {{ {body} break; }}" for k, (body, _) in enumerate(FAULTS.values()))}
    }}
}}
"""
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """Kernels that are no part of fastk, by name."""
    file = tmp_path_factory.mktemp("probe") / "probe.cu"
    file.write_text(PROBE)
    types = {
        "copied": (torch.float32, torch.bfloat16),
        "fault": (torch.float32,),
        "widened": HALVES,
        "narrowed": HALVES,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "all", [])
        yield {name: Kernel(str(file), name, choices) for name, choices in types.items()}


def test_includes_stand_in_their_places_once():
    text = source("lstm/lstm.cu")
    assert "#include" not in text and text.count("struct bfloat16") == 1
    assert text.index("struct bfloat16") < text.index("enum Activation") < text.index("lstm_forward_step")


def test_activations_are_numbered_as_in_their_header():
    (names,) = re.findall(r"enum Activation \{([^}]*)\}", source("activation/activations.cuh"))
    assert tuple(name.strip().lower() for name in names.split(",")) == cupy_runtime.ACTIVATIONS
    assert set(cupy_runtime.ACTIVATIONS) == set(ACTIVATIONS)
    (inputs,) = re.findall(r"from_input\(int.*?return true", source("activation/activations.cuh"), re.DOTALL)
    assert {name.lower() for name in re.findall(r"case (\w+)", inputs)} == set(filter(saves_input, ACTIVATIONS))


@pytest.mark.parametrize("columns", [1, 2, 3, 31, 125, 256, 257, 100_000])
@pytest.mark.parametrize("rows", [1, 7, 4096, 1_000_000])
def test_a_tile_covers_all_columns_and_its_grid_is_one_that_gpus_take(columns, rows):
    grid, block = tile(columns, rows)
    assert grid[0] * block[0] >= columns > (grid[0] - 1) * block[0]
    assert block[0] * block[1] <= 256 and 1 <= grid[1] <= 2048 and block[1] <= rows
    assert tile(0, rows)[0] == tile(columns, 0)[0] == (0, 0)


def test_a_line_loops():
    assert line(1) == ((1, 1), (256, 1)) and line(0)[0] == (0, 1) and line(10**9)[0] == (2048, 1)


def test_packed_is_contiguous_and_aligned():
    x = torch.arange(40.0)
    assert packed(x) is x
    assert packed(x.view(5, 8).t()).is_contiguous()
    moved = packed(x[1:])
    assert moved.data_ptr() % 16 == 0 and torch.equal(moved, x[1:])


def test_which_tensors_are_refused():
    x = torch.ones(2)
    assert why_not_these(2, x, None, x) is None
    assert why_not_these(2, x, x.double()) == (
        "CuPy kernels take tensors of one type, not torch.float64 beside torch.float32"
    )
    assert "not torch.int64" in str(why_not_these(2, torch.ones(2, dtype=torch.int64)))
    assert "32 bits, and there are 2147483648" in str(why_not_these(2, torch.empty(2**31, device="meta")))
    assert "32 bits" in str(why_not_these(2**31, x))
    with torch.autocast("cpu"):
        assert why_not_these(2, x, x.bfloat16()) is None


def test_cupy_is_asked_for_at_first_use_only(monkeypatch):
    assert cupy_runtime.CupyDriver().why_not("cpu") == "CuPy kernels run on CUDA tensors, and this one is on 'cpu'"
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert str(cupy_runtime.CupyDriver().why_not("cuda")).startswith("CuPy cannot be imported")


def test_launches_by_cupy(monkeypatch, probe):
    """What CuPy is given: a source without includes, addresses and plain numbers, torch's stream."""
    calls = []

    class Module:
        def __init__(self, code, options, name_expressions):
            calls.append((code, options, name_expressions))

        def get_function(self, name):
            return lambda *arguments, **others: calls.append((name, arguments, others))

    fake = SimpleNamespace(RawModule=Module, cuda=SimpleNamespace(ExternalStream=lambda pointer: ("stream", pointer)))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=77))
    copied, x = probe["copied"], torch.ones(3)
    with cupy_runtime.use(cupy_runtime.CupyDriver()):
        for _ in range(2):
            copied((torch.float32,), (4, 1), (32, 1), x, None, 3, 0.5)
        copied((torch.float32,), (0, 1), (32, 1), x, None, 3, 0.5)  # no blocks: no launch
    (code, options, names), first, second = calls
    assert "#include" not in code and options == ("-std=c++17",) and names == ("copied<float>",)
    assert first == ("copied<float>", ((4, 1), (32, 1), (x.data_ptr(), None, 3, 0.5)), {"stream": ("stream", 77)})
    assert second == first


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "float"), (torch.bfloat16, "bfloat16")])
def test_emulation(probe, emulated_cupy, dtype, name):
    x, out = torch.arange(70).to(dtype), torch.zeros(70, dtype=dtype)
    probe["copied"]((dtype,), (3, 1), (32, 1), out, x, 70)
    assert torch.equal(out, x)
    assert emulated_cupy.launches[-1][1:] == (f"copied<{name}>", (3, 1), (32, 1))


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=FAULTS)
def test_the_emulator_catches(probe, emulated_cupy, number):
    message = list(FAULTS.values())[number][1]
    x = torch.arange(1024.0 if "misaligned" in message else 4.0)
    with pytest.raises(EmulationError, match=message):
        probe["fault"]((torch.float32,), (1, 1), (1, 1), torch.zeros(4), x, 4, number)
    out = torch.zeros(4)  # and it lives on
    probe["copied"]((torch.float32,), (1, 1), (4, 1), out, torch.ones(4), 4)
    assert out.tolist() == [1, 1, 1, 1]


def test_the_emulator_checks_arguments(probe, emulated_cupy):
    with pytest.raises(EmulationError, match="takes 3 arguments"):
        probe["copied"]((torch.float32,), (1, 1), (1, 1), torch.zeros(4))
    with pytest.raises(EmulationError, match="No GPU takes"):
        probe["copied"]((torch.float32,), (1, 1), (2048, 1), torch.zeros(4), torch.ones(4), 4)


def test_the_emulator_refuses_arguments_of_other_sizes(tmp_path, monkeypatch, emulated_cupy):
    file = tmp_path / "narrow.cu"
    file.write_text("template <typename T> __global__ void narrow(T* out, int n) {}\n")
    monkeypatch.setattr(Kernel, "all", [])
    with pytest.raises(EmulationError, match="an argument is a pointer, a long long or a double"):
        Kernel(str(file), "narrow", (torch.float32,))((torch.float32,), (1, 1), (1, 1), torch.zeros(4), 4)


@pytest.mark.parametrize("dtype", HALVES)
def test_conversions_are_those_of_torch(probe, emulated_cupy, dtype):
    """Every value of 16 bits, and floats around every limit of rounding."""
    halves = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)
    floats = torch.zeros(2**16)
    probe["widened"]((dtype,), (256, 1), (256, 1), floats, halves, 2**16)
    torch.testing.assert_close(floats, halves.float(), rtol=0, atol=0, equal_nan=True)

    exact = halves[halves.isfinite()].float().sort().values
    middle = (exact[1:] + exact[:-1]) / 2
    ends = torch.tensor([3.4e38, 65519.99, 65520, torch.inf, -torch.inf, 0.0, -0.0, torch.nan])
    near = torch.cat([middle, middle.nextafter(middle + 1), middle.nextafter(middle - 1), ends])
    found = torch.zeros(len(near), dtype=dtype)
    probe["narrowed"]((dtype,), (-(-len(near) // 256), 1), (256, 1), found, near, len(near))
    assert found[-1].isnan()
    assert torch.equal(found[:-1].view(torch.int16), near[:-1].to(dtype).view(torch.int16))
