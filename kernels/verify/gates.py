"""What compiled code has to be like. A gate answers None, or a sentence that says what is wrong, with the numbers.

    problems(case, 90, analyse(binary))      # {"no_spills": "A thread keeps 96 bytes in local memory."}

Limits that a launch must keep (shared memory, threads, tensor memory) are not here: past them Triton itself refuses,
and the report shows its message under `compiles`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fastk.kernels.verify.case import Case
from fastk.kernels.verify.machine_code import MachineCode

# What Triton makes of tl.dot on each architecture at its best: mma.sync, wgmma, tcgen05.
_TENSOR_CORES = {80: ("HMMA",), 90: ("HGMMA",), 100: ("UTCHMMA", "UTCOMMA")}
# A few narrow accesses are a row's mean or a seed; one bf16 vector loaded by elements makes eight, a float32 one four.
_FEW = 3
# Beyond a few they may carry this part of the bytes: a bias, where the rest is two matrices.
_NARROW_PART = 0.2


def no_spills(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Everything a thread works on is in registers."""
    if code.spill_bytes == 0:
        return None
    return f"A thread keeps {code.spill_bytes} bytes in local memory ({code.registers} registers, {code.warps} warps)."


def no_warnings(case: Case, architecture: int, code: MachineCode) -> str | None:
    """ptxas has no performance warning: with C7510 or C7515 it has serialised the wgmma instructions."""
    return " ".join(code.warnings) or None


def no_calls(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Nothing is so slow that it is a subroutine: 64-bit division, IEEE division, assertions."""
    called = ", ".join(f"{name} ({count} times)" for name, count in Counter(code.calls).items())
    return f"Calls {called}." if called else None


def tensor_cores(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Products run on the tensor cores, by the instructions of their generation."""
    wanted = _TENSOR_CORES[architecture]
    if not case.tensor_cores or any(code.tensor_cores.get(name) for name in wanted):
        return None
    found = ", ".join(f"{count} {name}" for name, count in code.tensor_cores.items()) or "no tensor-core instruction"
    return f"No {' or '.join(wanted)}, but {found}."


def one_wait(case: Case, architecture: int, code: MachineCode) -> str | None:
    """The main loop waits for wgmma once a k-step: more waits leave the tensor cores idle between the products."""
    if not case.tensor_cores or architecture != 90 or code.loop_waits <= 1:
        return None
    products = code.loop_tensor_cores.get("HGMMA", 0)
    return f"The main loop waits {code.loop_waits} times for its {products} HGMMA; once would do."


def wide_loads(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Bulk loads are 128-bit: those of the main loop if there is one that loads, else those of the whole kernel."""
    if not case.wide:
        return None
    loop = code.loop_traffic
    traffic = loop if loop.loads or loop.copies or loop.tma_loads else code.traffic
    return _narrow_copies(traffic.copies) or _mostly_narrow(traffic.loads, traffic.copies, traffic.tma_loads, "load")


def wide_stores(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Bulk stores are 128-bit."""
    return _mostly_narrow(code.traffic.stores, {}, code.traffic.tma_stores, "store") if case.wide else None


GATES: dict[str, Callable[[Case, int, MachineCode], str | None]] = {
    gate.__name__: gate for gate in (no_spills, no_warnings, no_calls, tensor_cores, one_wait, wide_loads, wide_stores)
}


def problems(case: Case, architecture: int, code: MachineCode) -> dict[str, str]:
    """The sentences of the gates that the code does not pass, by the gates' names."""
    answers = {name: gate(case, architecture, code) for name, gate in GATES.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _narrow_copies(copies: dict[int, int]) -> str | None:
    """Copies to shared memory are tiles of a matrix, never a few scalars."""
    narrow = sum(count for bits, count in copies.items() if bits < 128)
    return f"Copies to shared memory are narrow: {by_width(copies)}." if narrow else None


def _mostly_narrow(plain: dict[int, int], copies: dict[int, int], tma: int, verb: str) -> str | None:
    counts = Counter(plain) + Counter(copies)
    total = sum(bits * count for bits, count in counts.items())
    wide = sum(bits * count for bits, count in counts.items() if bits >= 128)
    narrow = {bits: count for bits, count in counts.items() if bits < 64}
    narrow_part = sum(bits * count for bits, count in narrow.items()) / max(1, total)
    if tma or ((sum(narrow.values()) <= _FEW or narrow_part <= _NARROW_PART) and wide >= total / 2):
        return None
    return f"Of the bytes that a thread's {verb}s move, {wide / total:.0%} are in 128-bit ones: {by_width(counts)}."


def by_width(counts: dict[int, int]) -> str:
    """Counts by bits as text, the widest first.

    >>> by_width({16: 3, 128: 2})
    '2 of 128 bits, 3 of 16 bits'
    """
    return ", ".join(f"{counts[bits]} of {bits} bits" for bits in sorted(counts, reverse=True))
