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
from fastk.kernels.verify import gates, machine_code, report
from fastk.kernels.verify.accesses import Place, places
from fastk.kernels.verify.case import Case, collect
from fastk.kernels.verify.compiler import compiling_for
from fastk.kernels.verify.machine_code import Instruction, MachineCode, Program, Traffic, blocks_per_multiprocessor

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
    loop_waits=1,
    places=(Place("load", "k.py:5", 512, {128: 12}), Place("store", "k.py:9", 1024, {128: 8})),
    calls=(),
    warnings=(),
    fuses=True,
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
        ({"fuses": False}, "fused_rounding"),
        ({"tensor_cores": {"HMMA": 64}}, "tensor_cores"),
        ({"loop_waits": 2}, "one_wait"),
        ({"places": (Place("load", "k.py:5", 512, {128: 8, 32: 16}),)}, "wide_loads"),
        ({"places": (Place("load", "k.py:5", 512, {128: 8}), Place("store", "k.py:9", 128, {16: 8}))}, "wide_stores"),
    ],
)
def test_each_gate_sees_its_fault_and_no_other(change, gate):
    assert failed(CODE) == set()
    assert failed(dataclasses.replace(CODE, **change)) == {gate}


def test_gates_that_a_case_does_not_ask_for_do_not_judge():
    slow = dataclasses.replace(CODE, tensor_cores={}, loop_waits=9, places=(Place("load", "k.py:5", 256, {16: 9}),))
    assert failed(slow) == {"tensor_cores", "one_wait", "wide_loads"}
    assert gates.problems(case(wide=False), 90, slow) == {}


def test_waits_are_those_of_wgmma_on_sm_90_alone():
    assert failed(dataclasses.replace(CODE, loop_waits=3, tensor_cores={"HMMA": 4}), architecture=80) == set()


def test_tf32x3_may_wait_for_each_of_its_three_products():
    exact = Case("kernel", "variant", "tf32x3", lambda: None, tensor_cores=True)
    assert gates.problems(exact, 90, dataclasses.replace(CODE, loop_waits=3)) == {}
    assert gates.problems(exact, 90, dataclasses.replace(CODE, loop_waits=4)).keys() == {"one_wait"}


@pytest.mark.parametrize(
    "places, gates_failed",
    [
        ([("load", 128, {128: 1}), ("load", 2, {32: 4}), ("store", 1, {32: 1})], set()),  # a row's statistics
        ([("load", 128, {128: 1}), ("load", 128, {32: 4})], {"wide_loads"}),  # a float32 vector by elements
        ([("load", 128, {128: 1}), ("load", 128, {16: 8})], {"wide_loads"}),  # a bf16 vector by elements
        ([("load", 128, {128: 1}), ("load", 128, {64: 2})], {"wide_loads"}),
        ([("load", 128, {128: 1}), ("load", 64, {64: 4})], set()),  # bytes, as many as there are bf16
        ([("load", 64, {64: 1}), ("store", 64, {64: 1})], {"wide_loads"}),  # too few elements a thread
        ([("store", 64, {64: 1})], {"wide_stores"}),
        ([("load", 256, {256: 1}), ("store", 128, {16: 8})], {"wide_stores"}),
        ([], set()),
    ],
)
def test_blocks_that_are_moved_in_pieces_are_told_from_a_few_numbers(places, gates_failed):
    code = dataclasses.replace(CODE, places=tuple(Place(kind, "k.py:5", *place) for kind, *place in places))
    assert failed(code) == gates_failed


def test_beside_tma_copies_a_few_numbers_are_no_fault():
    tma = Traffic({32: 1}, {}, {}, tma_loads=2, tma_stores=1)
    assert failed(dataclasses.replace(CODE, traffic=tma, places=(Place("load", "k.py:5", 32, {32: 1}),))) == set()


PTX = """
	.loc	1 10 20                         // k.py:10:20
	@%p1 ld.global.b32 { %r1 }, [ %rd1 + 0 ];
	.loc	1 11 20                         // k.py:11:20
	// begin inline asm
	mov.u32 %r1, 0x0;
	.loc	1 12 20                         // k.py:12:20
	ld.global.L1::evict_last.v4.b32 { %r2, %r3, %r4, %r5 }, [ %rd2 + 0 ];
	// end inline asm
	.loc	2 5 9                           // helper.py:5:9 @[ k.py:13:8 @[ k.py:14:8 ] ]
	ld.global.v2.b64 { %rd5, %rd6 }, [ %rd2 + 0 ];
	.loc	2 5 9, function_name $L__info_string0, inlined_at 1 15 8 // helper.py:5:9
	ld.global.b16 { %rs5 }, [ %rd2 + 0 ];
$L__BB0_1:                              // =>This Inner Loop Header: Depth=1
	.loc	1 20 4                          // k.py:20:4
	cp.async.cg.shared.global [ %r6 + 0 ], [ %rd3 + 0 ], 0x10, %r7;
	cp.async.ca.shared.global.L2::cache_hint [ %r6 + 0 ], [ %rd3 + 0 ], 0x4, %r7, %rd9;
	PRODUCT
	@%p2 bra 	$L__BB0_1;
	.loc	1 30 4                          // k.py:30:4
	@%p3 st.global.v8.b32 [ %rd4 + 0 ], { %r8 };
	st.global.b16 [ %rd4 + 0 ], { %rs1 };
	.file	1 "/somewhere" "k.py"
	.file	2 "/somewhere/helper.py"
"""
TTGIR = """
    %0 = tt.load %a : !tt.ptr<f32> loc(#loc2)
    %1 = tt.load %b, %m : tensor<128x!tt.ptr<f32>, #blocked> loc(#loc3)
    %2 = tt.load %b, %m : tensor<64x32x!tt.ptr<i1>, #blocked> loc(#loc9)
    %3 = tt.load %b, %m : tensor<128x!tt.ptr<bf16>, #blocked> loc(#loc10)
    %4 = ttg.async_copy_global_to_local %b, %5 mask %m : tensor<64x32x!tt.ptr<f8E4M3FN>, #blocked> -> <64x32> loc(#loc4)
    tt.store %c, %6 : tensor<128x16x!tt.ptr<f16>, #blocked> loc(#loc5)
#loc1 = loc("/somewhere/k.py":10:20)
#loc2 = loc("scale"(#loc1))
#loc3 = loc("/somewhere/k.py":11:20)
#loc4 = loc("/somewhere/k.py":20:4)
#loc5 = loc("/somewhere/k.py":30:4)
#loc6 = loc("/somewhere/helper.py":5:9)
#loc7 = loc("/somewhere/k.py":13:8)
#loc8 = loc(callsite(#loc6 at #loc7))
#loc9 = loc(callsite(#loc8 at #loc1))
#loc10 = loc(callsite(#loc6 at #loc11))
#loc11 = loc("/somewhere/k.py":15:8)
"""


def test_accesses_are_assigned_to_their_places_in_the_source():
    copy, store = Place("load", "k.py:20", 128, {128: 1, 32: 1}), Place("store", "k.py:30", 256, {256: 1, 16: 1})
    assert places(PTX, TTGIR, threads=128) == (
        Place("load", "k.py:11", 32, {128: 1}),
        Place("load", "helper.py:5", 128, {128: 1}),
        Place("load", "helper.py:5", 16, {16: 1}),
        copy,
        store,
    )
    multiplying = PTX.replace("PRODUCT", "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%r9}, %rd7, %rd8;")
    assert places(multiplying, TTGIR, threads=128) == (copy, store)


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
    monkeypatch.setattr(machine_code, "run_on_cubin", lambda *_: text)
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


def test_quick_tasks_are_those_for_sm_90_and_one_of_each_kernel_for_the_others(monkeypatch):
    def quick_case(kernel, dtype, **options):
        return Case(kernel, "", dtype, lambda: None, quick=True, **options)

    cases = [
        quick_case("a", "bf16"),
        quick_case("a", "fp16"),
        Case("a", "", "fp32", lambda: None),
        quick_case("b", "bf16", architectures=(90, 100)),
        quick_case("b", "tf32", architectures=(80,)),
    ]
    monkeypatch.setattr(report, "cases_in", lambda source: {case.key: case for case in cases})

    def compiled(architectures, quick):
        tasks = report.tasks_for(["dense"], architectures, quick)
        return [(task.key[0], task.key[2], task.architecture) for task in tasks]

    assert compiled((80, 90, 100), quick=True) == [
        ("a", "bf16", 80), ("a", "bf16", 90), ("a", "bf16", 100), ("a", "fp16", 90),
        ("b", "bf16", 90), ("b", "bf16", 100), ("b", "tf32", 80),
    ]  # fmt: skip
    assert compiled((80,), quick=True) == [("a", "bf16", 80), ("b", "tf32", 80)]
    assert len(compiled((80, 90, 100), quick=False)) == 12


def test_compiling_is_refused_where_it_cannot_be_done():
    with pytest.raises(ValueError, match=r"80, 90, 100. Received: 70"), compiling_for(70):
        pass
    if triton_runtime.INTERPRETED:
        with pytest.raises(RuntimeError, match="TRITON_INTERPRET is set"), compiling_for(90):
            pass


def test_the_driver_is_put_back():
    script = """
import sys
from triton.runtime import driver
from fastk import config
from fastk.kernels import triton_runtime
from fastk.kernels.verify.compiler import compiling_for
sys.path.insert(0, "tests/kernels")
import faulty_kernels

def launch(kernel=faulty_kernels.scale):
    faulty_kernels.streaming(kernel, 1024)

with compiling_for(90) as outer:
    launch()
    with compiling_for(80) as inner:
        assert config.autotune() == "off"
        assert triton_runtime.architecture() == 80 and triton_runtime.sm_count() == 108
    launch()
    launch(faulty_kernels.gather)
assert driver._active is None and inner == [] and config.autotune() == "cached"
assert [launch.binary.name for launch in outer] == ["scale", "scale", "gather"]
assert outer[0].grid == (1, 1, 1) and outer[0].arguments[2:] == (1024, 1024)
assert all(".target sm_90a" in launch.binary.ptx for launch in outer)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
