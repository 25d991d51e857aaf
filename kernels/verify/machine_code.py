"""What a compiled kernel is made of: registers, memory, occupancy and the instructions that decide its speed.

The cubin is read with the tools that come in the Triton wheel: `cuobjdump` (registers, stack), `nvdisasm`
(instructions) and `ptxas`, which is run once more on the PTX because Triton throws its warnings away.

wgmma instructions that the assembler had to serialise look like any others in a count of instructions, but each is
followed by a wait, and ptxas says so (C7510, C7511, C7515): the main loop's waits are counted, and the warnings kept.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from triton import knobs
from triton.backends.nvidia import compiler as backend

from fastk.kernels.verify import accesses
from fastk.kernels.verify.accesses import Place


@dataclass(frozen=True)
class Device:
    """The limits of an architecture (CUDA C++ Programming Guide, compute capabilities), memory in bytes."""

    multiprocessors: int  # of the largest product: A100, H100 and H200, B200
    shared_per_block: int
    shared_per_multiprocessor: int
    registers_per_multiprocessor: int = 65536
    warps_per_multiprocessor: int = 64
    blocks_per_multiprocessor: int = 32


DEVICES = {
    80: Device(108, 163 << 10, 164 << 10),
    90: Device(132, 227 << 10, 228 << 10),
    100: Device(148, 227 << 10, 228 << 10),
}

# What multiplies matrices, by the first part of its mnemonic. UTC… is tcgen05 of sm_100.
TENSOR_CORES = ("HGMMA", "IGMMA", "QGMMA", "HMMA", "IMMA", "QMMA", "DMMA", "UTCHMMA", "UTCIMMA", "UTCQMMA", "UTCOMMA")
_REGISTER_ALLOCATION = "--regAllocOptLevel=2"  # newer Tritons pass it to ptxas, whose warnings may depend on it
_BITS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}


@dataclass(frozen=True)
class Binary:
    """A kernel as Triton compiled it."""

    name: str
    architecture: int
    cubin: bytes = field(repr=False)
    ptx: str = field(repr=False)
    ttgir: str = field(repr=False)
    warps: int
    stages: int
    shared_bytes: int
    fuses: bool  # a multiplication and the addition after it are one instruction, with one rounding


class Instruction(NamedTuple):
    """One line of SASS: `LDG.E.128` and what follows it."""

    opcode: str
    operands: str

    @property
    def mnemonic(self) -> str:
        """The opcode without its modifiers."""
        return self.opcode.partition(".")[0]


@dataclass(frozen=True)
class Traffic:
    """Instructions of a stretch of code that access global memory, counted by the bits that a thread moves with each.

    `copies` go from global to shared memory (LDGSTS), `tma` are bulk copies of whole tiles, in either direction.
    """

    loads: dict[int, int]
    copies: dict[int, int]
    stores: dict[int, int]
    tma_loads: int
    tma_stores: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Traffic:
        """From what `json` made of `dataclasses.asdict(traffic)`."""
        loads, copies, stores = (
            {int(bits): count for bits, count in data[name].items()} for name in ("loads", "copies", "stores")
        )
        return cls(loads, copies, stores, data["tma_loads"], data["tma_stores"])


@dataclass(frozen=True)
class MachineCode:
    """What `analyse` finds in a binary; all of it counts instructions of the program, not their executions."""

    registers: int
    spill_bytes: int  # of a thread: stack and local memory
    shared_bytes: int
    warps: int
    stages: int
    blocks_per_multiprocessor: int
    occupancy: float  # resident warps over the most that there can be
    instructions: int
    tensor_cores: dict[str, int]  # by mnemonic
    traffic: Traffic
    loop_instructions: int  # of the innermost loop with tensor-core instructions; 0 without one
    loop_tensor_cores: dict[str, int]
    loop_waits: int  # for wgmma, on sm_90
    places: tuple[Place, ...]  # where blocks are loaded and stored
    calls: tuple[str, ...]
    warnings: tuple[str, ...]
    fuses: bool  # see Binary

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MachineCode:
        """From what `json` made of `dataclasses.asdict(code)`: it knows no tuples and no keys that are numbers."""
        return cls(
            **{
                **data,
                "traffic": Traffic.from_json(data["traffic"]),
                "places": tuple(map(Place.from_json, data["places"])),
                "calls": tuple(data["calls"]),
                "warnings": tuple(data["warnings"]),
            }
        )


def analyse(binary: Binary) -> MachineCode:
    """The resources and the decisive instructions of a compiled kernel."""
    registers, spill_bytes = resource_usage(binary.cubin)
    program = disassemble(binary.cubin)
    loop = program.innermost_tensor_core_loop()
    blocks = blocks_per_multiprocessor(binary.architecture, registers, binary.shared_bytes, binary.warps)
    return MachineCode(
        registers=registers,
        spill_bytes=spill_bytes,
        shared_bytes=binary.shared_bytes,
        warps=binary.warps,
        stages=binary.stages,
        blocks_per_multiprocessor=blocks,
        occupancy=blocks * binary.warps / DEVICES[binary.architecture].warps_per_multiprocessor,
        instructions=len(program.instructions),
        tensor_cores=tensor_core_instructions(program.instructions),
        traffic=traffic(program.instructions),
        loop_instructions=len(loop),
        loop_tensor_cores=tensor_core_instructions(loop),
        loop_waits=sum(instruction.opcode.startswith("WARPGROUP.DEPBAR") for instruction in loop),
        places=accesses.places(binary.ptx, binary.ttgir, 32 * binary.warps),
        calls=calls(program.instructions),
        warnings=assembler_warnings(binary),
        fuses=binary.fuses,
    )


@lru_cache
def resource_usage(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack and local memory that a thread takes."""
    text = run_on_cubin("cuobjdump", cubin, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump -res-usage printed no resources: {text!r}")
    registers, stack, local = map(int, found.groups())
    return registers, stack + local


def blocks_per_multiprocessor(architecture: int, registers: int, shared_bytes: int, warps: int) -> int:
    """How many blocks fit on a multiprocessor at once.

    A warp's registers are allotted in steps of 256 in one of four partitions; a block's shared memory in steps of 128
    bytes, and the system takes 1 KiB more.

    >>> blocks_per_multiprocessor(90, registers=168, shared_bytes=100_000, warps=4)
    2
    """
    device = DEVICES[architecture]
    by_registers = device.registers_per_multiprocessor // 4 // _round_up(registers * 32, 256) * 4 // warps
    by_shared = device.shared_per_multiprocessor // (_round_up(shared_bytes, 128) + 1024)
    by_warps = device.warps_per_multiprocessor // warps
    return min(by_registers, by_shared, by_warps, device.blocks_per_multiprocessor)


class Program(NamedTuple):
    """Disassembled code; `labels` are positions in `instructions`."""

    instructions: list[Instruction]
    labels: dict[str, int]

    def innermost_tensor_core_loop(self) -> list[Instruction]:
        """The shortest stretch from a backward branch's target to the branch that holds a tensor-core instruction."""
        best: list[Instruction] = []
        for end, instruction in enumerate(self.instructions):
            target = re.search(r"\((\.L_\w+)\)", instruction.operands) if instruction.mnemonic == "BRA" else None
            start = self.labels.get(target[1], end + 1) if target else end + 1
            body = self.instructions[start : end + 1]
            if (not best or len(body) < len(best)) and tensor_core_instructions(body):
                best = body
        return best


_LABEL = re.compile(r"\s*(\.L_\w+):")
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*)")


def disassemble(cubin: bytes) -> Program:
    """The instructions of a cubin, in order."""
    return parse(run_on_cubin("nvdisasm", cubin, "-c"))


def parse(listing: str) -> Program:
    """The instructions that nvdisasm listed, in order."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if found := _INSTRUCTION.match(line):
            instructions.append(Instruction(*found.groups()))
        elif found := _LABEL.match(line):
            labels[found[1]] = len(instructions)
    return Program(instructions, labels)


def tensor_core_instructions(instructions: Iterable[Instruction]) -> dict[str, int]:
    """How many tensor-core instructions there are, by mnemonic."""
    return dict(Counter(i.mnemonic for i in instructions if i.mnemonic in TENSOR_CORES))


def traffic(instructions: Sequence[Instruction]) -> Traffic:
    """Accesses to global memory, by the bits that an instruction's modifiers name; 32 without any.

    >>> traffic([Instruction("LDG.E.128.CONSTANT", ""), Instruction("LDG.E.U16", ""), Instruction("STG.E", "")]).loads
    {128: 1, 16: 1}
    """
    counts: dict[str, Counter[int]] = {kind: Counter() for kind in ("LDG", "LDGSTS", "STG", "UTMALDG", "UTMASTG")}
    for instruction in instructions:
        if instruction.mnemonic in counts:
            modifiers = instruction.opcode.split(".")
            counts[instruction.mnemonic][next((_BITS[m] for m in modifiers if m in _BITS), 32)] += 1
    return Traffic(
        loads=dict(counts["LDG"]),
        copies=dict(counts["LDGSTS"]),
        stores=dict(counts["STG"]),
        tma_loads=counts["UTMALDG"].total(),
        tma_stores=counts["UTMASTG"].total(),
    )


def calls(instructions: Iterable[Instruction]) -> tuple[str, ...]:
    """The subroutines that are called: 64-bit division, IEEE division and square root, assertions.

    Left out are those that ptxas adds on sm_100 to stop a program that mistakes its tensor memory, and the calls by
    which it leaves a loop on sm_80: their target is a place in the kernel itself, from which nothing returns.

    >>> calls([Instruction("CALL.REL.NOINC", " `($__internal_0_$__cuda_sm20_div_s64) ")])
    ('__cuda_sm20_div_s64',)
    """
    targets = (i.operands.strip(" `()") for i in instructions if i.mnemonic == "CALL")
    names = (re.sub(r"^\$__internal_\d+_\$", "", target) for target in targets if not target.startswith(".L_"))
    return tuple(sorted(name for name in names if "tcgen05_guardrail" not in name))


def assembler_warnings(binary: Binary) -> tuple[str, ...]:
    """The performance warnings of ptxas (C75xx): serialised wgmma, ignored register hints."""
    flags = ["-v", f"--gpu-name={backend.sm_arch_from_capability(binary.architecture)}"]
    if _REGISTER_ALLOCATION in inspect.getsource(backend.CUDABackend.make_cubin):
        flags.append(_REGISTER_ALLOCATION)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(binary.ptx)
        file.flush()
        command = [backend.get_ptxas(binary.architecture).path, *flags, file.name, "-o", "/dev/null"]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return tuple(sorted({line.strip() for line in log.splitlines() if re.search(r"\bC75\d\d\b", line)}))


def run_on_cubin(tool: str, cubin: bytes, *options: str) -> str:
    """What a tool of the Triton wheel prints about a cubin."""
    path = getattr(knobs.nvidia, tool).path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([path, *options, file.name], capture_output=True, text=True, check=True).stdout


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
