"""Which lines of a kernel's source load and store, and how wide: from its PTX, where Triton notes the line of each.

Counting widths over the whole program says little: a kernel that loads a matrix with one 128-bit instruction may well
have ten narrow ones for scalars, tails, row statistics and pointers. Here each access is assigned to its place in the
source, and Triton's own form of the kernel (TTGIR) says how large the block is that is moved there. Of a kernel that
multiplies matrices, the loads of the main loop alone are taken.
"""

from __future__ import annotations

import math
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
        share: the bits of the block over the number of threads.
        widths: how many instructions a thread has for it, by the bits that each moves.
    """

    kind: str
    where: str
    share: int
    widths: dict[int, int]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Place:
        """From what `json` made of `dataclasses.asdict(place)`: it knows no keys that are numbers."""
        widths = {int(bits): count for bits, count in data["widths"].items()}
        return cls(data["kind"], data["where"], data["share"], widths)

    @property
    def is_narrow(self) -> bool:
        """Whether a thread takes less than 128 bits at a time of a block that has as many for each."""
        return self.share >= 128 and min(self.widths) < 128


class _Access(NamedTuple):
    position: int
    kind: str
    bits: int
    location: str


_FILE = re.compile(r'\s*\.file\s+(\d+) (?:"[^"]*" )?"(?:[^"]*/)?([^"/]*)"')
_LOCATION = re.compile(r"\s*\.loc\s(?:.*inlined_at (\d+) (\d+) (\d+).*)?.*// *(\S+)(?: @\[ (\S+))?")
_PLAIN = re.compile(r"\b(ld|st)\.global(?:\.[\w:]+?)*?(?:\.v(\d))?\.[bf](\d+)\b")
_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global\S* [^,]*,[^,]*, (0x\w+|\d+)")
_LABEL = re.compile(r"(\$L\w+):")
_BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$L\w+)")
_PRODUCT = re.compile(r"\b(wgmma\.mma_async|mma\.sync|tcgen05\.mma)\b")
_BLOCK = re.compile(
    r"\b(?:tt\.load|tt\.store|ttg\.async_copy_global_to_local) .*: tensor<((?:\d+x)+)!tt\.ptr<[a-z]*(\d+)\w*>.*"
    r" loc\((#loc\d*)\)$",
    re.MULTILINE,
)


def places(ptx: str, ttgir: str, threads: int) -> tuple[Place, ...]:
    """The loads and stores of blocks, in the order of the program.

    Args:
        ptx: of the kernel, with line information.
        ttgir: of the kernel; says how large blocks are, and what is none.
        threads: of a block.
    """
    lines = ptx.splitlines()
    found = _accesses(lines)
    first, last = _product_loop(lines)
    inner = [access for access in found if access.kind == "load" and first <= access.position <= last]
    if inner:
        found = inner + [access for access in found if access.kind == "store"]
    sizes = block_bits(ttgir)
    widths: dict[tuple[str, str], Counter[int]] = {}
    for access in found:
        if access.location in sizes:
            widths.setdefault((access.kind, access.location), Counter())[access.bits] += 1
    return tuple(
        Place(kind, location.split(" ")[0].rpartition(":")[0], sizes[location] // threads, dict(counts))
        for (kind, location), counts in widths.items()
    )


def block_bits(ttgir: str) -> dict[str, int]:
    """The bits of each block that is loaded or stored, by its location: `file:line:column`, and after it the caller's.

    Of several blocks in one place, the smallest counts.

    >>> block_bits('''
    ...   %0 = tt.load %a : !tt.ptr<i32> loc(#loc1)
    ...   %1 = tt.load %b, %m : tensor<64x8x!tt.ptr<bf16>, #blocked> loc(#loc3)
    ... #loc1 = loc("/a/k.py":7:20)
    ... #loc2 = loc("x"(#loc1))
    ... #loc3 = loc(callsite(#loc4 at #loc2))
    ... #loc4 = loc("/a/helper.py":9:24)''')
    {'helper.py:9:24 k.py:7:20': 8192}
    """
    definitions = dict(re.findall(r"^(#loc\d*) = loc\((.*)\)$", ttgir, re.MULTILINE))
    bits: dict[str, int] = {}
    for shape, width, reference in _BLOCK.findall(ttgir):
        location = " ".join(_callers(reference, definitions)[:2])
        size = math.prod(map(int, shape.split("x")[:-1])) * max(8, int(width))
        bits[location] = min(size, bits.get(location, size))
    return bits


def _callers(reference: str, definitions: dict[str, str]) -> list[str]:
    """The place that a location or its name refers to, and those of the calls that it was inlined through."""
    definition = definitions.get(reference, "")
    if place := re.match(r'"(?:[^"]*/)?([^"/]*)":(\d+):(\d+)', definition):
        return [":".join(place.groups())]
    return [place for inner in re.findall(r"#loc\d*", definition) for place in _callers(inner, definitions)]


def _accesses(lines: list[str]) -> list[_Access]:
    accesses = []
    files: dict[str, str] = {found[1]: found[2] for line in lines if (found := _FILE.match(line))}
    location = ""
    inside = False  # inline assembly, whose own lines newer versions of LLVM count too
    for position, line in enumerate(lines):
        if "inline asm" in line:
            inside = "begin" in line
        elif found := _LOCATION.match(line):
            file, *place, leaf, caller = found.groups()
            caller = caller or (":".join((files[file], *place)) if file else "")
            location = location if inside else f"{leaf} {caller}".strip()
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
