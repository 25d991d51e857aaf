"""Which lines of a kernel's source load and store, and how wide: from its PTX, where Triton notes the line of each.

Counting widths over the whole program says little: a kernel that loads a matrix with one 128-bit instruction may well
have ten narrow ones for scalars, tails and pointers. Here each access is assigned to its place in the source, scalars
are left out, and of a kernel that multiplies matrices the loads of the main loop alone are taken.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Place:
    """A `tl.load` or `tl.store` of a block.

    Args:
        kind: `"load"` or `"store"`; an asynchronous copy to shared memory is a load.
        where: `"triton_kernels.py:57"`, the innermost of inlined functions.
        widths: how many instructions a thread has for it, by the bits that each moves.
    """

    kind: str
    where: str
    widths: dict[int, int]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Place:
        """From what `json` made of `dataclasses.asdict(place)`: it knows no keys that are numbers."""
        return cls(data["kind"], data["where"], {int(bits): count for bits, count in data["widths"].items()})

    @property
    def narrow_bits(self) -> int:
        """What a thread moves there by instructions of less than 128 bits."""
        return sum(bits * count for bits, count in self.widths.items() if bits < 128)


class _Access(NamedTuple):
    position: int
    kind: str
    bits: int
    location: str


_LOCATION = re.compile(r"\s*\.loc\s.*//\s*(\S.*)")
_PLAIN = re.compile(r"\b(ld|st)\.global(?:\.[\w:]+?)*?(?:\.v(\d))?\.[bf](\d+)\b")
_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global\S* [^,]*,[^,]*, (0x\w+|\d+)")
_LABEL = re.compile(r"(\$L\w+):")
_BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$L\w+)")
_PRODUCT = re.compile(r"\b(wgmma\.mma_async|mma\.sync|tcgen05\.mma)\b")


def places(ptx: str, ttgir: str) -> tuple[Place, ...]:
    """The loads and stores of blocks, in the order of the program.

    Args:
        ptx: of the kernel, with line information.
        ttgir: Triton's own form of it, which tells a block from a scalar.
    """
    lines = ptx.splitlines()
    found = _accesses(lines)
    first, last = _product_loop(lines)
    inner = [access for access in found if access.kind == "load" and first <= access.position <= last]
    if inner:
        found = inner + [access for access in found if access.kind == "store"]
    scalars = scalar_locations(ttgir)
    widths: dict[tuple[str, str], Counter[int]] = {}
    for access in found:
        if access.location.split(" ")[0] not in scalars:
            widths.setdefault((access.kind, access.location), Counter())[access.bits] += 1
    return tuple(
        Place(kind, location.split(" ")[0].rpartition(":")[0], dict(counts))
        for (kind, location), counts in widths.items()
    )


def scalar_locations(ttgir: str) -> set[str]:
    """Where scalars are loaded and stored, as `file:line:column`.

    >>> sorted(scalar_locations('''
    ...   %0 = tt.load %a : !tt.ptr<i32> loc(#loc3)
    ...   %1 = tt.load %b, %m : tensor<64x!tt.ptr<bf16>, #blocked> loc(#loc1)
    ... #loc1 = loc("/a/k.py":7:20)
    ... #loc2 = loc("x"(#loc1))
    ... #loc3 = loc(callsite(#loc4 at #loc2))
    ... #loc4 = loc("/a/k.py":9:24)'''))
    ['k.py:9:24']
    """
    definitions = dict(re.findall(r"^(#loc\d*) = loc\((.*)\)$", ttgir, re.MULTILINE))
    scalars = re.findall(r"\btt\.(?:load|store) [^\n]*: !tt\.ptr<\w+> loc\((#loc\d*)\)", ttgir)
    return {_leaf(reference, definitions) for reference in scalars}


def _leaf(reference: str, definitions: dict[str, str]) -> str:
    """The place itself that a location, its name or the calls it was inlined through refer to."""
    while (found := re.search(r"#loc\d*", definitions.get(reference, ""))) is not None:
        reference = found[0]
    place = re.match(r'"(?:.*/)?([^"/]*)":(\d+):(\d+)', definitions.get(reference, ""))
    return ":".join(place.groups()) if place else ""


def _accesses(lines: list[str]) -> list[_Access]:
    accesses = []
    location = ""
    for position, line in enumerate(lines):
        if found := _LOCATION.match(line):
            location = found[1]
        elif found := _PLAIN.search(line):
            kind = "load" if found[1] == "ld" else "store"
            accesses.append(_Access(position, kind, int(found[2] or 1) * int(found[3]), location))
        elif found := _COPY.search(line):
            accesses.append(_Access(position, "load", int(found[1], 0) * 8, location))
    return accesses


def _product_loop(lines: list[str]) -> tuple[int, int]:
    """First and last line of the shortest loop that multiplies on the tensor cores; (0, -1) without one."""
    labels = {found[1]: position for position, line in enumerate(lines) if (found := _LABEL.match(line))}
    products = [position for position, line in enumerate(lines) if _PRODUCT.search(line)]
    loops = [
        (labels[found[1]], position)
        for position, line in enumerate(lines)
        if (found := _BRANCH.search(line)) and labels.get(found[1], position) < position
    ]
    multiplying = [(start, end) for start, end in loops if any(start < position < end for position in products)]
    return min(multiplying, key=lambda loop: loop[1] - loop[0], default=(0, -1))
