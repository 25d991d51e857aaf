"""What compiled code has to be like. A gate answers None, or a sentence that says what is wrong, with the numbers.

    problems(case, 90, analyse(binary))      # {"no_calls": "Calls __cuda_sm20_div_s64 (2 times)."}

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


def fused_rounding(case: Case, architecture: int, code: MachineCode) -> str | None:
    """The launch lets a product and the sum after it be rounded once; left open, the release of Triton decides."""
    return None if code.fuses else "The launch does not pass enable_fp_fusion=True."


def tensor_cores(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Products run on the tensor cores, by the instructions of their generation."""
    wanted = _TENSOR_CORES[architecture]
    if not case.tensor_cores or any(code.tensor_cores.get(name) for name in wanted):
        return None
    found = ", ".join(f"{count} {name}" for name, count in code.tensor_cores.items()) or "no tensor-core instruction"
    return f"No {' or '.join(wanted)}, but {found}."


def one_wait(case: Case, architecture: int, code: MachineCode) -> str | None:
    """The main loop waits for wgmma once a k-step: more waits leave the tensor cores idle between the products.

    tf32x3 is three products a k-step, each with a wait.
    """
    most = 3 if case.dtype == "tf32x3" else 1
    if not case.tensor_cores or architecture != 90 or code.loop_waits <= most:
        return None
    products = code.loop_tensor_cores.get("HGMMA", 0)
    return f"The main loop waits {code.loop_waits} times for its {products} HGMMA; {most} would do."


def wide_loads(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Blocks are loaded 128 bits at a time: those of the main loop, or all where that loads none."""
    return _narrow(code, "load") if case.wide else None


def wide_stores(case: Case, architecture: int, code: MachineCode) -> str | None:
    """Blocks are stored 128 bits at a time."""
    return _narrow(code, "store") if case.wide else None


GATES: dict[str, Callable[[Case, int, MachineCode], str | None]] = {
    gate.__name__: gate
    for gate in (no_spills, no_warnings, no_calls, fused_rounding, tensor_cores, one_wait, wide_loads, wide_stores)
}


def problems(case: Case, architecture: int, code: MachineCode) -> dict[str, str]:
    """The sentences of the gates that the code does not pass, by the gates' names."""
    answers = {name: gate(case, architecture, code) for name, gate in GATES.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _narrow(code: MachineCode, kind: str) -> str | None:
    """What is wrong with the loads or with the stores."""
    places = [place for place in code.places if place.kind == kind]
    slow = [place for place in places if place.is_narrow]
    if slow:
        listed = ", ".join(f"{place.where} ({by_width(place.widths)})" for place in slow)
        return f"A thread {kind}s in pieces what 128-bit accesses could take: {listed}."
    widest = max((bits for place in code.places for bits in place.widths), default=128)
    tma = code.traffic.tma_loads + code.traffic.tma_stores
    if widest >= 128 or tma or not places or (kind == "store" and len(places) < len(code.places)):
        return None  # stores alone may be the few results of a reduction
    return f"Nothing moves 128 bits at a time: a thread has {widest} at most."


def by_width(counts: dict[int, int]) -> str:
    """Counts by bits as text, the widest first.

    >>> by_width({16: 3, 128: 2})
    '2 of 128 bits, 3 of 16 bits'
    """
    return ", ".join(f"{counts[bits]} of {bits} bits" for bits in sorted(counts, reverse=True))
