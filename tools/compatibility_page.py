"""Writes `docs/compatibility.md`: which public names of Keras fastk has, compared with the Keras that is installed.

python tools/compatibility_page.py            # writes the page
python tools/compatibility_page.py --check    # exit status 1 where the page is not current

Every package under `keras` whose name does not start with `keras.src` is public, and so are the names in it. Of a
function the parameters are compared: their names, their order and their defaults. Of a class the same for `__init__`
and for every public method; attributes and properties have to be there.
"""

# ruff: noqa: E402 - what comes before the imports says what Keras imports itself

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_HOME"] = tempfile.gettempdir()
sys.modules["tensorflow"] = sys.modules["jax"] = None  # type: ignore[assignment] - importing them takes seconds

import keras

del sys.modules["tensorflow"], sys.modules["jax"]

import fastk

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
TESTS = Path(__file__).with_name("keras_tests.json")  # how many of Keras's tests passed when they were last run
PARAMETER = inspect.Parameter
BY_POSITION = (PARAMETER.POSITIONAL_ONLY, PARAMETER.POSITIONAL_OR_KEYWORD)
VARIADIC = (PARAMETER.VAR_POSITIONAL, PARAMETER.VAR_KEYWORD)
# Classes that others on the page are built on: what they lack is written once, with them.
BASES = (
    "Layer",
    "Model",
    "Metric",
    "Loss",
    "Optimizer",
    "Callback",
    "Operation",
    "Function",
    "Initializer",
    "Variable",
)

# What a comparison of names cannot see, and why what is missing is missing: by hand, by the longest prefix that fits.
NOTES = {
    "keras.Model": "steps are changed by `train_step` and its like",
    "keras.Sequential": "as of `Model`",
    "keras.Variable": "dense values on one device; `layout` must be None",
    "keras.KerasTensor": "no sparse and no ragged tensors",
    "keras.backend": "the backend is always torch; `keras.backend.backend()` says so",
    "keras.callbacks.OrbaxCheckpoint": "of JAX's arrays; `ModelCheckpoint` and `BackupAndRestore` store these",
    "keras.config.enable_traceback_filtering": "warns: tracebacks are never filtered",
    "keras.config.set_backend": "`'torch'` alone",
    "keras.distillation": "not written yet",
    "keras.distribution": "one device a process, started by `torchrun`; `ModelParallel` describes and does not train",
    "keras.dtype_policies": "maps of policies are not supported; layers refuse policies of quantization",
    "keras.export.ExportArchive": "raises: archives are TensorFlow's; `model.export` writes torch's programs and ONNX",
    "keras.layers.JaxLayer": "computes with JAX",
    "keras.layers.FlaxLayer": "computes with JAX",
    "keras.layers.TFSMLayer": "computes with TensorFlow",
    "keras.optimizers": "the options that all optimizers share (`weight_decay`, `clipnorm`, ...) by keyword only",
    "keras.optimizers.legacy": "of Keras 2: they raise, as in Keras 3",
    "keras.quantizers": "arithmetic alone: layers are not quantized, `quantize()` raises and says what to do instead",
    "keras.visualization": "not written yet",
}
GEOMETRIC = ("RandomShear", "RandomTranslation", "RandomZoom")
# Members that Keras has and that mean nothing here, or raise and say so; their absence is no difference.
IGNORED = {
    # parts of how Keras quantizes, loops, draws and multiplies
    "*": {
        "get_quantization_layer_structure",
        "variable_serialization_spec",
        "inner_loop",
        "normalized_weights",
        "transpose_last_axis",
    },
    "TensorBoard": {"summary"},
    "RandomElasticTransform": {"get_elastic_transform_params"},
    **{name: {"get_shifted_bbox", "get_transformed_x_y", "get_clipped_bbox"} for name in GEOMETRIC},
    "Operation": {"quantized_call", "rematerialized_call"},  # of layers, which have them
    "Function": {"quantized_call", "rematerialized_call"},
}


@dataclass
class Finding:
    """What the comparison of one name found: nothing, or sentences about what is missing in it."""

    path: str
    missing: bool = False
    differences: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return "missing" if self.missing else "partly" if self.differences else "supported"


def public_packages(package: types.ModuleType = keras, path: str = "keras") -> Iterator[tuple[str, types.ModuleType]]:
    """(name, package) of every public package of Keras, from the outermost."""
    yield path, package
    for name, value in sorted(vars(package).items()):
        inner = isinstance(value, types.ModuleType) and value.__name__ == f"{path}.{name}"
        if inner and not name.startswith("_") and name != "src":
            yield from public_packages(value, value.__name__)


def public_names(package: types.ModuleType) -> dict[str, object]:
    return {
        name: value
        for name, value in sorted(vars(package).items())
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def resolve(path: str) -> object:
    """fastk's object of a public path of Keras; None where it has none."""
    found: object = fastk
    done = "fastk"
    for part in path.split(".")[1:]:
        done += f".{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = __import__(done, fromlist=["_"])
            except ModuleNotFoundError:
                return None
    return found


def compare(path: str, theirs: object, ours: object) -> Finding:
    finding = Finding(path, missing=ours is None)
    if inspect.isclass(theirs) and ours is not None:
        finding.differences += compare_classes(theirs, ours)
    elif callable(theirs) and ours is not None:
        finding.differences += compare_parameters(theirs, ours)
    return finding


def compare_classes(theirs: type, ours: object) -> list[str]:
    found = compare_parameters(theirs.__init__, getattr(ours, "__init__", ours), "__init__")
    ignored = IGNORED["*"] | IGNORED.get(theirs.__name__, set())
    for name, value in sorted(inspect.getmembers_static(theirs)):
        owner = next((base for base in theirs.__mro__ if name in vars(base)), object)
        inherited = owner is not theirs and any(base.__name__ in BASES for base in owner.__mro__)
        foreign = not owner.__module__.startswith("keras.") or owner.__name__ in ("TorchLayer", "KerasSaveable")
        if name.startswith("_") or name in ignored or foreign or (inherited and owner.__name__ != "Trainer"):
            continue
        if not has(ours, name):
            found.append(f"no `{name}`")
        elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
            given = getattr(ours, name)
            # A method may have the names of the parameters that the base gives it.
            versions = [getattr(base, name) for base in theirs.__mro__ if name in vars(base)]
            found += min((compare_parameters(v, given, name) for v in versions), key=len)
    return found


def has(cls: object, name: str) -> bool:
    """Whether instances have the member: one of the class, or one that is annotated or assigned."""
    if hasattr(cls, name):
        return True
    bases = getattr(cls, "__mro__", ())
    if any(name in vars(base).get("__annotations__", {}) for base in bases):
        return True
    sources = [inspect.getsource(base) for base in bases if base.__module__.startswith("fastk")]
    return any(f"self.{name} = " in source or f"self.{name}: " in source for source in sources)


def parameters(function: object) -> list[inspect.Parameter]:
    try:
        return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []


def compare_parameters(theirs: object, ours: object, name: str = "") -> list[str]:
    """What of their parameters ours lacks, takes in another place or with another default."""
    wanted, given = parameters(theirs), parameters(ours)
    by_name = {p.name: p for p in given}
    prefix = f"`{name}`: " if name else ""
    open_positions = any(p.kind is PARAMETER.VAR_POSITIONAL for p in given)
    open_names = any(p.kind is PARAMETER.VAR_KEYWORD for p in given)
    positions = [p.name for p in given if p.kind in BY_POSITION]
    found = []
    for place, p in enumerate(p for p in wanted if p.kind is not PARAMETER.VAR_KEYWORD):
        mine = by_name.get(p.name)
        if p.kind is PARAMETER.VAR_POSITIONAL:
            found += [] if open_positions else [f"{prefix}no `*{p.name}`"]
        elif mine is None:
            known = open_names or (open_positions and p.kind is not PARAMETER.KEYWORD_ONLY)
            found += [] if known else [f"{prefix}no `{p.name}`"]
        else:
            fits = open_positions or positions[place : place + 1] == [p.name] or mine.kind is PARAMETER.KEYWORD_ONLY
            if p.kind is PARAMETER.POSITIONAL_OR_KEYWORD and not fits:
                found.append(f"{prefix}`{p.name}` is in another place")
            if p.default is not PARAMETER.empty and plain(p.default) != plain(mine.default):
                shown = "required" if mine.default is PARAMETER.empty else f"{mine.default!r} by default"
                found.append(f"{prefix}`{p.name}` is {shown}, not {p.default!r}")
    known = {p.name for p in wanted}
    needed = [p.name for p in given if p.default is PARAMETER.empty and p.kind not in VARIADIC and p.name not in known]
    if not any(p.kind in VARIADIC for p in wanted):
        found += [f"{prefix}needs `{n}` too" for n in needed]
    return found


def plain(default: object) -> str:
    """A default to compare: `(1, 1)` says what 1 says."""
    if isinstance(default, tuple) and default and all(item == default[0] for item in default):
        return repr(default[0])
    return repr(default)


def findings() -> dict[str, list[Finding]]:
    """What was found for each public name, by package."""
    return {
        path: [compare(f"{path}.{n}", theirs, resolve(f"{path}.{n}")) for n, theirs in public_names(package).items()]
        for path, package in public_packages()
    }


def note(path: str) -> str:
    """The note on the name or on the package around it."""
    while path not in NOTES and "." in path:
        path = path.rpartition(".")[0]
    return NOTES.get(path, "")


def short(path: str) -> str:
    return path.rpartition(".")[2]


def of_tests() -> list[str]:
    """The table of Keras's own tests."""
    areas = json.loads(TESTS.read_text(encoding="utf-8"))
    passed, counted = (sum(area[key] for area in areas.values()) for key in ("passed", "counted"))
    rows = [f"| {name} | {area['passed']} | {area['counted']} |" for name, area in areas.items()]
    return [
        "",
        "## Keras's own tests",
        "",
        "The unit tests in the wheel of Keras 3.15.1, with each import of `keras` served by the public names of fastk.",
        "Those count that pass on Keras itself (torch, CPU) by public names alone; left out are quantization, export,",
        f"distribution and TensorFlow's graphs. {passed} of {counted} pass ({passed / counted:.1%}); of the others",
        "a third asks for sparse or ragged tensors.",
        "",
        "| area | passed | of |",
        "|---|---|---|",
        *rows,
    ]


def render() -> str:
    """The whole page."""
    found = findings()
    flat = [finding for rows in found.values() for finding in rows]
    counts = {kind: sum(f.kind == kind for f in flat) for kind in ("supported", "partly", "missing")}
    lines = [
        f"# What of Keras {keras.__version__} fastk has",
        "",
        "Written by `tools/compatibility_page.py`, which compares fastk with the installed Keras: the parameters of",
        "every public function by name, order and default, `__init__` and the public methods of every class.",
        f"Of {len(flat)} public names {counts['supported']} are supported, {counts['partly']} partly, and "
        f"{counts['missing']} are missing. A name may be in several packages.",
        "",
        "Everywhere: tensors are torch tensors, dense, on one device a process; names under `keras.src`, Keras's",
        "inside, are not served by `fastk run`; `~/.keras/keras.json` is not read.",
        "",
        "| package | supported | partly | missing | note |",
        "|---|---|---|---|---|",
    ]
    for path, rows in found.items():
        if rows:
            number = {kind: sum(f.kind == kind for f in rows) or "" for kind in counts}
            cells = [f"`{path}`", *(str(number[kind]) for kind in counts), NOTES.get(path, "")]
            lines.append(f"| {' | '.join(cells)} |")
    for title, kind in (("Partly", "partly"), ("Missing", "missing")):
        lines += ["", f"## {title}", ""]
        for path, rows in found.items():
            chosen = [f for f in rows if f.kind == kind]
            if kind == "partly":
                lines += [f"- `{f.path}`: {'; '.join(f.differences)}{_remark(f.path)}" for f in chosen]
            elif chosen:
                lines += [f"- `{path}`: {', '.join(f'`{short(f.path)}`{_remark(f.path)}' for f in chosen)}"]
    return "\n".join(lines + of_tests()) + "\n"


def _remark(path: str) -> str:
    return f" ({NOTES[path]})" if path in NOTES else ""


if __name__ == "__main__":
    page = render()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page else f"{PAGE} is not current: python {sys.argv[0]}")
    PAGE.write_text(page, encoding="utf-8")
