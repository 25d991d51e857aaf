"""Ways in which files are damaged or made hostile, for `fuzz_files.py`; each takes a random generator."""

from __future__ import annotations

import base64
import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

# A pickle that creates the file CANARY when it is loaded, as a torch module and as bytes would be kept.
CANARY = "executed"
PICKLE = b"cbuiltins\nopen\n(V" + CANARY.encode() + b"\nVw\ntR."
LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wAAAAAAAAAA", None, None]}}
DEEP = "lists in lists in lists"  # stands for so many that Python's encoder gives up
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 1.5, 1e9, 10**9, 10**12, 2**63, 10**30, float("nan"), float("inf"), -0.5,
    "", "x", "relu", "float64", "../x", "/etc/passwd", "os.system", "lambda: 0", "\0", "é" * 300, [], [None], [10**9],
    [1, 10**9, 10**9], {}, {"class_name": "x"}, {"class_name": "x", "config": {}}, [[]] * 3, LAMBDA,
    {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "object"}},
    {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "O"}},
    {"class_name": "function", "config": "system", "module": "os", "registered_name": "function"},
    {"class_name": "function", "config": "eval", "module": "builtins", "registered_name": "function"},
    {"class_name": "Popen", "config": {"args": "id"}, "module": "subprocess", "registered_name": None},
    {"class_name": "TorchModuleWrapper", "config": {"module": base64.b64encode(PICKLE).decode(), "name": "w"},
     "module": "keras.layers", "registered_name": None},
    {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}, "module": "keras.layers",
     "registered_name": None},
    DEEP,
)  # fmt: skip
WORDS = (
    "class_name", "config", "module", "registered_name", "keras.layers", "keras.src.ops.numpy", "os", "builtins",
    "Dense", "Lambda", "Functional", "Sequential", "Embedding", "AUC", "Adam", "MelSpectrogram", "Normalization",
    "RepeatVector", "Orthogonal", "Arange", "TorchModuleWrapper", "TFSMLayer", "get_file", "deserialize",
)  # fmt: skip


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Changed, missing, repeated and moved bytes."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        if not result:
            break
        start = int(rng.integers(len(result)))
        length = int(min(rng.integers(1, 64), len(result) - start))
        match int(rng.integers(7)):
            case 0 | 1:
                result[start] = rng.integers(256)
            case 2:
                result[start] ^= 1 << int(rng.integers(8))
            case 3:
                result[start : start + length] = bytes(int(rng.choice([0, 255])) for _ in range(length))
            case 4:
                result[start:start] = result[start : start + length]
            case 5:
                del result[start : start + length]
            case 6 if rng.random() < 0.3:
                del result[start:]
            case _:
                size = int(rng.choice([4, 8]))
                value = int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
                result[start : start + size] = value.to_bytes(size, "little")
    return bytes(result)


def damaged_json(tree: Any, rng: np.random.Generator) -> Any:
    """A structure with some nodes replaced, removed, repeated, or exchanged with others."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.integers(1, 4)):
        places = list(_places(tree))
        if not places:
            return copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        container, key = places[rng.integers(len(places))]
        other, other_key = places[rng.integers(len(places))]
        match int(rng.integers(8)):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, list):
                container.insert(key, json.loads(json.dumps(container[key])))
            case 2:
                container[key] = json.loads(json.dumps(other[other_key]))
            case 3 if isinstance(container, dict):
                container[WORDS[rng.integers(len(WORDS))]] = container.pop(key)
            case 4 if isinstance(container[key], str):
                container[key] = WORDS[rng.integers(len(WORDS))]
            case 5 if isinstance(container[key], (int, float)) and not isinstance(container[key], bool):
                container[key] = [-1, 0, 10**5, 10**7, 10**9, 10**12, 2**63, 1e30, float("nan")][rng.integers(9)]
            case _:
                container[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return tree


def text_of(tree: Any) -> bytes:
    """A structure as JSON."""
    return json.dumps(tree).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000).encode()


def _places(tree: Any) -> Any:
    stack = [tree]
    while stack:
        value = stack.pop()
        items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        for key, child in items:
            yield value, key
            stack.append(child)


def members_of(data: bytes) -> dict[str, bytes]:
    """The members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archived(members: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Members as an archive, now and then compressed, with names that lead elsewhere, or links."""
    buffer = io.BytesIO()
    compression = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
        if rng.random() < 0.1:
            names = ("../evil", "/tmp/evil", "assets/../../evil", "assets/x/y", "a\\..\\b", "assets/" + "d/" * 50 + "x")
            archive.writestr(str(rng.choice(names)), PICKLE)
        if rng.random() < 0.05:
            link = zipfile.ZipInfo("assets/link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        if rng.random() < 0.05:
            archive.writestr("assets/bomb", bytes(1 << 24), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def damaged_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive whole in itself, with a member that is not."""
    members = members_of(data)
    name = list(members)[rng.integers(len(members))]
    match int(rng.integers(5)):
        case 0:
            members[name] = damaged_bytes(members[name], rng)
        case 1:
            members["model.weights.h5"] = damaged_hdf5(members["model.weights.h5"], rng)
        case 2 if rng.random() < 0.3:
            del members[name]
        case _:
            config = damaged_json(json.loads(members["config.json"]), rng)
            members["config.json"] = text_of(config)
    return archived(members, rng)


# ---------------------------------------------------------------- HDF5


def _huge(parent: Any, name: str) -> None:
    parent.create_dataset(name, (1 << 40,), "float32", chunks=(1 << 20,))


def _large_and_empty(parent: Any, name: str) -> None:
    parent.create_dataset(name, ((1 << 20) - 1,), "float64", chunks=(1 << 10,))


def _bomb(parent: Any, name: str) -> None:
    parent.create_dataset(name, data=np.zeros(1 << 21, "float32"), compression="gzip", chunks=(1 << 20,))


def _virtual(parent: Any, name: str) -> None:
    layout = h5py.VirtualLayout((3, 4), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 4))
    parent.create_virtual_dataset(name, layout)


def _cycle(parent: Any, name: str) -> None:
    parent[name] = parent.file["/"]


def _deep(parent: Any, name: str) -> None:
    for _ in range(300):
        parent = parent.create_group(name)
        name = "vars"


REPLACEMENTS: tuple[Callable[[Any, str], Any], ...] = (
    _huge, _large_and_empty, _bomb, _virtual, _cycle, _deep,
    lambda parent, name: parent.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
    lambda parent, name: parent.__setitem__(name, h5py.SoftLink("/")),
    lambda parent, name: parent.create_dataset(name, (3,), "float32", external=[("/etc/passwd", 0, 12)]),
    lambda parent, name: parent.create_dataset(name, data=["a", "b"], dtype=h5py.string_dtype()),
    lambda parent, name: parent.create_dataset(name, (3, 4), np.dtype([("a", "f4"), ("b", "V8")])),
    lambda parent, name: parent.create_dataset(name, data=np.array([parent.ref] * 3, object), dtype=h5py.ref_dtype),
    lambda parent, name: parent.create_dataset(name, data=np.full((3, 4), np.nan, "float32")),
    lambda parent, name: parent.create_dataset(name, data=np.zeros((0, 4), "float32")),
    lambda parent, name: parent.create_dataset(name, data=np.zeros((3, 4), "complex64")),
    lambda parent, name: parent.create_dataset(name, data=h5py.Empty("float32")),
    lambda parent, name: parent.create_group(name),
    lambda parent, name: None,
)  # fmt: skip


def damaged_hdf5(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole HDF5 file with other things in the place of some, or other attributes."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.integers(1, 3)):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                break
            name = str(rng.choice(names))
            if rng.random() < 0.25:
                _damage_attributes(file if rng.random() < 0.5 else file[name], rng)
                continue
            parent, _, last = name.rpartition("/")
            del file[name]
            REPLACEMENTS[rng.integers(len(REPLACEMENTS))](file[parent or "/"], last)
    return buffer.getvalue()


def _damage_attributes(item: Any, rng: np.random.Generator) -> None:
    keys = list(item.attrs) or ["weight_names", "layer_names", "dtype", "model_config"]
    key = str(rng.choice(keys))
    value = item.attrs.get(key)
    if isinstance(value, str) and value.startswith("{") and len(value) < 100_000 and rng.random() < 0.8:
        item.attrs[key] = text_of(damaged_json(json.loads(value), rng))
        return
    values = (b"x", [b"../x"] * 3, 7, np.zeros(100), b"\xff\xfe", "bfloat16", h5py.Empty("f4"), [b"a/b/c"] * 50)
    item.attrs[key] = values[rng.integers(len(values))]


def damaged_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """A file whose header is JSON, and says other things."""
    (length,) = struct.unpack("<Q", data[:8])
    header = damaged_json(json.loads(data[8 : 8 + length]), rng)
    text = text_of(header)
    declared = len(text) if rng.random() < 0.9 else int(rng.choice([0, 2**20, 2**40, 2**62]))
    return struct.pack("<Q", declared) + text + data[8 + length :]
