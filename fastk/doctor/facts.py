"""What there is: packages, devices, kernels, settings, caches. Looking changes nothing and raises nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastk import autograd, config, dispatch, kernels
from fastk.bench.about import cores, cpu_model, nvidia_driver, version
from fastk.device import get_device
from fastk.errors import ConfigurationError

PACKAGES = ("torch", "triton", "numpy", "h5py", "keras", "jax", "tensorflow")
CUPY = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
OTHERS = (  # variables of what fastk stands on, beside those of `config.ENVIRONMENT`
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_HOME",
        "CUDA_PATH",
        "TRITON_CACHE_DIR",
        "CUPY_CACHE_DIR",
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "NVIDIA_TF32_OVERRIDE", "KERAS_BACKEND"),
)
BEST_FIRST = ("triton", "cupy", "aten")
OPTIONAL = ("triton", "cupy")


@dataclass
class Facts:
    """What was seen; the fields are as `fastk doctor --json` shows them."""

    fastk: str = ""
    folder: str = ""
    python: str = ""
    system: str = ""
    cpu: str = ""
    cores: int = 0
    packages: dict[str, str | None] = field(default_factory=dict)
    broken_imports: dict[str, str] = field(default_factory=dict)
    torch_cuda: str | None = None
    cuda_available: bool = False
    gpus: list[str] = field(default_factory=list)
    capabilities: list[int] = field(default_factory=list)
    driver: str | None = None
    driver_cuda: str | None = None
    device: str | None = None
    device_type: str = "cpu"
    device_error: str | None = None
    kernels: str = "auto"
    interpreted: bool = False
    compilers: dict[str, str | None] = field(default_factory=dict)
    ops: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    caches: list[dict[str, Any]] = field(default_factory=list)
    self_test: dict[str, str] = field(default_factory=dict)


def look() -> Facts:
    """All that is to be seen here."""
    found = Facts(
        fastk=version("fastk") or "(a checkout)",
        folder=str(Path(config.__file__).parent),
        python=platform.python_version(),
        system=platform.platform(),
        cpu=cpu_model(),
        cores=len(cores()),
        packages=packages(),
        broken_imports={name: why for name in OPTIONAL if (why := broken_import(name))},
        torch_cuda=torch.version.cuda,
        cuda_available=torch.cuda.is_available(),
        gpus=gpus(),
        driver=nvidia_driver(),
        driver_cuda=driver_cuda(),
        kernels=config.kernels(),
        interpreted=config.triton_interpreted(),
        compilers={"C++": shutil.which(str(config.read_environment("CXX"))), "C": c_compiler()},
        environment=environment(),
        caches=caches(),
    )
    if found.cuda_available:
        found.capabilities = [10 * a + b for a, b in map(torch.cuda.get_device_capability, _gpu_numbers())]
    try:
        device = get_device()
        found.device, found.device_type = str(device), device.type
    except ConfigurationError as error:
        found.device_error = str(error)
    found.ops = ops(found.device_type, found.kernels)
    found.self_test = self_test(found.device_type)
    return found


def packages() -> dict[str, str | None]:
    """Versions; None of what is not installed. CuPy goes by another name for each CUDA."""
    found = {name: version(name) for name in PACKAGES}
    if found["tensorflow"] is None:
        found["tensorflow"] = version("tensorflow-cpu")
    cupy = {name: installed for name in CUPY if (installed := version(name))}
    return found | (dict(cupy) or {"cupy": None})


def broken_import(name: str) -> str | None:
    """Why an installed package cannot be imported, or None."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return None if error.name == name else f"{type(error).__name__}: {error}"
    except Exception as error:  # a package that fails on import is what this command is asked about
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def gpus() -> list[str]:
    """The names of NVIDIA's GPUs, from the driver, and from torch where `nvidia-smi` is missing."""
    named = nvidia_smi("--query-gpu=name,memory.total", "--format=csv,noheader")
    if named:
        return [line.strip() for line in named.splitlines() if line.strip()]
    return [torch.cuda.get_device_name(number) for number in _gpu_numbers()] if torch.cuda.is_available() else []


def driver_cuda() -> str | None:
    """The newest CUDA that the driver runs, as `nvidia-smi` says in its head."""
    words = (nvidia_smi() or "").split("CUDA Version:")
    return words[1].split()[0] if len(words) > 1 and words[1].split() else None


def nvidia_smi(*arguments: str) -> str | None:
    """What `nvidia-smi` prints, or None where it is missing or fails."""
    try:
        found = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None


def c_compiler() -> str | None:
    """The C compiler that Triton finds: `CC`, else gcc or clang."""
    asked = config.environment_with().get("CC")
    return shutil.which(asked) if asked else shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")


def environment() -> dict[str, str]:
    """Those variables that are set, of fastk's and of what it stands on."""
    here = config.environment_with()
    return {name: here[name] for name in (*config.ENVIRONMENT, *OTHERS) if name in here}


def caches() -> list[dict[str, Any]]:
    """Where what was compiled and tuned is kept: path, size, and whether they can be written to."""
    here, home = config.environment_with(), Path.home()
    user = here.get("USER", "") or here.get("LOGNAME", "") or "root"
    places = {
        "Triton": ("TRITON_CACHE_DIR", home / ".triton" / "cache"),
        "CuPy": ("CUPY_CACHE_DIR", home / ".cupy" / "kernel_cache"),
        "torch.compile": ("TORCHINDUCTOR_CACHE_DIR", Path(tempfile.gettempdir()) / f"torchinductor_{user}"),
    }
    found = [_cache(name, variable, Path(here.get(variable) or place)) for name, (variable, place) in places.items()]
    return [_cache("fastk", "FASTK_CACHE", config.cache_folder()), *found]


def _cache(name: str, variable: str, path: Path) -> dict[str, Any]:
    existing = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return {
        "name": name,
        "variable": variable,
        "path": str(path),
        "exists": path.is_dir(),
        "writable": os.access(existing, os.W_OK),
        "megabytes": round(_size(path) / 1e6, 1),
    }


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, of those that can be read."""
    total = 0
    for place, _, files in os.walk(folder):  # which passes over folders that it may not read
        for file in files:
            try:
                total += (Path(place) / file).lstat().st_size
            except OSError:  # gone since, or not ours
                continue
    return total


def ops(device_type: str, request: str) -> dict[str, dict[str, str]]:
    """For each op of the kernels what dispatch takes on such a device, and why nothing better; or that it raises."""
    found = {}
    for folder in (module.name for module in pkgutil.iter_modules(kernels.__path__) if module.ispkg):
        refusals = next((r for op in (folder, f"{folder}_") if (r := _refusals(op, device_type))["aten"] is None), None)
        if refusals is None:
            continue  # no op: tools
        if request != "auto":
            why = refusals[request]
            found[folder] = {"runs": "raises" if why else request, "why": why or "asked for by FASTK_KERNELS"}
            continue
        if device_type != "cuda":
            found[folder] = {"runs": "aten", "why": f"the other kernels run on CUDA, and this is {device_type!r}"}
            continue
        runs = next(name for name in BEST_FIRST if refusals[name] is None)
        better = [refusals[name] for name in BEST_FIRST[: BEST_FIRST.index(runs)]]
        found[folder] = {"runs": runs, "why": "; ".join(filter(None, better)) or "the fastest that there is"}
    return found


def _refusals(op: str, device_type: str) -> dict[str, str | None]:
    return dispatch.availability(op, device_type)


def self_test(device_type: str) -> dict[str, str]:
    """What comes of a dense layer, forward and backward, by each implementation that claims to run here."""
    if device_type not in ("cpu", "cuda"):
        return {}
    outcomes = {}
    for name, why in _refusals("dense", device_type).items():
        if why is None:
            try:
                outcomes[name] = _dense_error(name, device_type)
            except Exception as error:  # whatever stops a kernel is what this command is asked about
                outcomes[name] = f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return outcomes


def _dense_error(implementation: str, device_type: str) -> str:
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((64, 48), (48, 32), (32,))]
    single = [value.float().to(device_type).requires_grad_() for value in exact]
    exact = [value.float().double().requires_grad_() for value in exact]
    y = autograd.dense(single[0], single[1], single[2], "relu", implementation=implementation)
    expected = torch.relu(exact[0] @ exact[1] + exact[2])
    pairs = [(y, expected)]
    pairs += zip(torch.autograd.grad(y.sum(), single), torch.autograd.grad(expected.sum(), exact), strict=True)
    worst = max(float((a.detach().double().cpu() - b.detach()).abs().max() / b.detach().abs().max()) for a, b in pairs)
    return "passed" if worst < 1e-4 else f"failed: off by {worst:.1e} of the largest number"


def _gpu_numbers() -> range:
    return range(torch.cuda.device_count())
