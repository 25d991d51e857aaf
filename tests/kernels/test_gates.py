"""The reading of machine code and the gates, on code written by hand; `test_compiled.py` has compiled kernels."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from fastk.kernels import triton_runtime
from fastk.kernels.verify import gates, machine_code
from fastk.kernels.verify.case import Case, collect
from fastk.kernels.verify.compiler import compiling_for
from fastk.kernels.verify.machine_code import Instruction, MachineCode, Program, Traffic, blocks_per_multiprocessor

NOTHING = Traffic({}, {}, {}, 0, 0)
CODE = MachineCode(
    registers=100,
    spill_bytes=0,
    shared_bytes=1 << 15,
    warps=8,
    stages=3,
    blocks_per_multiprocessor=2,
    occupancy=0.25,
    instructions=500,
    tensor_cores={"HGMMA": 4},
    traffic=Traffic(loads={128: 2}, copies={128: 12}, stores={128: 8}, tma_loads=0, tma_stores=0),
    loop_instructions=100,
    loop_tensor_cores={"HGMMA": 4},
    loop_traffic=Traffic(loads={}, copies={128: 12}, stores={}, tma_loads=0, tma_stores=0),
    loop_waits=1,
    calls=(),
    warnings=(),
)


def case(**options):
    return Case("kernel", "variant", "bf16", lambda: None, **options)


def failed(code, architecture=90, **options):
    return set(gates.problems(case(tensor_cores=True, **options), architecture, code))


@pytest.mark.parametrize(
    "change, gate",
    [
        ({"spill_bytes": 8}, "no_spills"),
        ({"warnings": ("(C7515) …",)}, "no_warnings"),
        ({"calls": ("__cuda_sm20_div_s64",)}, "no_calls"),
        ({"tensor_cores": {"HMMA": 64}}, "tensor_cores"),
        ({"loop_waits": 2}, "one_wait"),
        ({"loop_traffic": Traffic({}, {128: 8, 32: 16}, {}, 0, 0)}, "wide_loads"),
        ({"traffic": Traffic({}, {}, {16: 64}, 0, 0)}, "wide_stores"),
    ],
)
def test_each_gate_sees_its_fault_and_no_other(change, gate):
    assert failed(CODE) == set()
    assert failed(dataclasses.replace(CODE, **change)) == {gate}


def test_gates_that_a_case_does_not_ask_for_do_not_judge():
    slow = dataclasses.replace(CODE, tensor_cores={}, loop_waits=9, loop_traffic=Traffic({16: 9}, {}, {}, 0, 0))
    assert failed(slow) == {"tensor_cores", "one_wait", "wide_loads"}
    assert gates.problems(case(wide=False), 90, slow) == {}


def test_waits_are_those_of_wgmma_on_sm_90_alone():
    assert failed(dataclasses.replace(CODE, loop_waits=3, tensor_cores={"HMMA": 4}), architecture=80) == set()


@pytest.mark.parametrize(
    "loads, passes",
    [
        ({128: 1, 32: 3}, True),  # few
        ({128: 1, 64: 1, 32: 3}, False),  # few, but less than half is wide
        ({128: 2, 32: 4}, False),  # a float32 vector by elements
        ({128: 1, 16: 8}, False),  # a bf16 vector by elements
        ({128: 16, 32: 16}, True),  # a fifth of the bytes
        ({128: 15, 32: 16}, False),
        ({128: 1, 64: 2}, True),  # half
        ({64: 8}, False),
        ({256: 4}, True),
        ({}, True),
    ],
)
def test_bulk_loads_are_told_from_a_few_scalars(loads, passes):
    code = dataclasses.replace(CODE, loop_traffic=NOTHING, traffic=Traffic(loads, {}, {}, 0, 0))
    assert ("wide_loads" not in failed(code)) == passes


def test_tma_copies_are_bulk_and_scalars_beside_them_are_not():
    tma = Traffic({16: 32}, {}, {16: 32}, tma_loads=2, tma_stores=1)
    assert failed(dataclasses.replace(CODE, traffic=tma, loop_traffic=tma)) == set()


def test_the_innermost_loop_with_tensor_cores_is_found():
    def at(text):
        opcode, _, operands = text.partition(" ")
        return Instruction(opcode, operands)

    inner = ["HGMMA.64x128x16", "WARPGROUP.DEPBAR.LE gsb0", "BRA `(.L_x_1)"]
    lines = ["LDG.E.128", *inner, "IADD3", "BRA `(.L_x_0)", "BRA `(.L_x_9)", "HGMMA.64x128x16"]
    program = Program([at(text) for text in lines], {".L_x_0": 0, ".L_x_1": 1, ".L_x_9": 7})
    assert [instruction.mnemonic for instruction in program.innermost_tensor_core_loop()] == [
        "HGMMA",
        "WARPGROUP",
        "BRA",
    ]
    assert Program([at("BRA `(.L_x_0)")], {".L_x_0": 0}).innermost_tensor_core_loop() == []


def test_disassembly_is_read(monkeypatch):
    text = """
.L_x_1:
        /*1a90*/                   DEPBAR.LE SB0, 0x2 ;
        /*1c70*/              @!P5 LDG.E.LTC128B.64.CONSTANT R2, desc[UR4][R2.64] ;
        /*1d00*/                   LDGSTS.E.BYPASS.LTC128B.128 [R10], desc[UR4][R2.64] ;
        /*1d20*/             @!UP0 UTMALDG.2D [UR8], [UR4] ;
        /*2300*/              @!P5 BRA `(.L_x_1) ;
        /*2310*/                   CALL.REL.NOINC `(.L_x_1) ;
        /*2320*/                   CALL.REL.NOINC `($__internal_1_$__cuda_sm10x_tcgen05_guardrail_trap_phase) ;
"""
    monkeypatch.setattr(machine_code, "_run_on_cubin", lambda *_: text)
    program = machine_code.disassemble(b"")
    assert program.labels == {".L_x_1": 0}
    assert [i.mnemonic for i in program.instructions] == [
        "DEPBAR", "LDG", "LDGSTS", "UTMALDG", "BRA", "CALL", "CALL",
    ]  # fmt: skip
    assert machine_code.traffic(program.instructions) == Traffic({64: 1}, {128: 1}, {}, 1, 0)
    assert machine_code.calls(program.instructions) == ()


@pytest.mark.parametrize(
    "registers, shared, warps, blocks",
    [
        (32, 0, 4, 16),  # all 64 warps
        (255, 0, 8, 1),
        (168, 0, 4, 3),  # 3 warps a partition
        (32, 227 << 10, 4, 1),
        (32, 113 << 10, 4, 2),
        (32, 0, 1, 32),
    ],
)
def test_occupancy(registers, shared, warps, blocks):
    assert blocks_per_multiprocessor(90, registers, shared, warps) == blocks


def test_machine_code_survives_json():
    assert MachineCode.from_json(json.loads(json.dumps(dataclasses.asdict(CODE)))) == CODE


def test_cases_are_checked():
    with pytest.raises(ValueError, match=r"one of bf16, .* Received: 'float16'"):
        Case("kernel", "", "float16", lambda: None)
    with pytest.raises(ValueError, match=r"80, 90, 100. Received: \[70\]"):
        case(architectures=(70, 80))
    with pytest.raises(ValueError, match="Two cases of dense are kernel / variant / bf16"):
        collect("dense", lambda: iter([case(), case()]))


def test_compiling_is_refused_where_it_cannot_be_done():
    with pytest.raises(ValueError, match=r"80, 90, 100. Received: 70"), compiling_for(70):
        pass
    if triton_runtime.INTERPRETED:
        with pytest.raises(RuntimeError, match="TRITON_INTERPRET is set"), compiling_for(90):
            pass


def test_the_driver_is_put_back():
    script = """
import sys, torch
from triton.runtime import driver
from fastk.kernels import triton_runtime
from fastk.kernels.verify.compiler import compiling_for
sys.path.insert(0, "tests/kernels")
import faulty_kernels
with compiling_for(90) as outer:
    faulty_kernels.streaming(faulty_kernels.scale, 1024)
    with compiling_for(80) as inner:
        assert triton_runtime.architecture() == 80 and triton_runtime.sm_count() == 108
    faulty_kernels.streaming(faulty_kernels.scale, 1024)
assert driver._active is None and inner == []
assert [launch.grid for launch in outer] == [(1, 1, 1)] * 2 and outer[0].binary == outer[1].binary
assert outer[0].arguments[2:] == (1024, 1024) and ".target sm_90a" in outer[0].binary.ptx
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
