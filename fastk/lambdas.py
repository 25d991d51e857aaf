"""Python functions as text and back, for `Lambda` layers in files.

The format is Keras's: the function's byte code marshalled and base64-encoded, its defaults and its closure.
`load` runs nothing by itself, but calling the result runs the code: only trusted files should get here.
"""

from __future__ import annotations

import base64
import marshal
import types
from typing import Any


def dump(function: types.FunctionType) -> tuple[str, tuple | None, tuple | None]:
    """The code, defaults and closure values of `function`."""
    code = base64.encodebytes(marshal.dumps(function.__code__)).decode("ascii")
    closure = tuple(cell.cell_contents for cell in function.__closure__) if function.__closure__ else None
    return code, function.__defaults__, closure


def load(value: Any, global_names: dict[str, Any] | None = None) -> types.FunctionType:
    """The function that `dump` described, as its triple or as a dict of the three by name."""
    parts = value if isinstance(value, dict) else dict(zip(("code", "defaults", "closure"), value, strict=True))
    code = marshal.loads(base64.decodebytes(parts["code"].encode("ascii")))
    defaults = tuple(parts["defaults"]) if parts["defaults"] else None
    closure = tuple(types.CellType(item) for item in parts["closure"]) if parts["closure"] else None
    names = {"__builtins__": __builtins__} if global_names is None else global_names
    return types.FunctionType(code, names, code.co_name, defaults, closure)
