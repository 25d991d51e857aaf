"""What the interpreter sees of memory: each detector with the fault and without it; counts exactly."""

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402


@triton.jit
def copy_kernel(y_ptr, x_ptr, n, shift, SIZE: tl.constexpr):
    offs = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    mask = offs < n
    tl.store(y_ptr + offs, tl.load(x_ptr + offs + shift, mask=mask), mask=mask)


def copy(x, y, n=None, shift=0, size=16):
    n = x.numel() if n is None else n
    copy_kernel[(triton.cdiv(n, size),)](y, x, n, shift, size)


def test_counts_are_exact(interpreter):
    x, y = torch.arange(37.0), torch.empty(37)
    with interpreter.trace() as launches:
        copy(x, y)
        copy(x, y, 8)
    first, second = launches
    assert torch.equal(x, y)
    assert (first.kernel, first.grid, second.grid) == ("copy_kernel", (3, 1, 1), (1, 1, 1))
    assert first.loads == interpreter.Traffic(requested=148, unique=148, sectors=5, instructions=3)
    assert first.stores == first.loads
    assert second.requested == 64 and second.stores.sectors == 1
    assert first.atomics.requested == first.dot_flops == first.races == 0 and first.seconds > 0


@triton.jit
def strided_kernel(y_ptr, x_ptr, STEP: tl.constexpr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    tl.store(y_ptr + offs, tl.load(x_ptr + offs * STEP) + tl.load(x_ptr + offs * 0))


def test_sectors_and_repeated_bytes(interpreter):
    x, y = torch.ones(256), torch.empty(32)
    with interpreter.trace() as launches:
        strided_kernel[(1,)](y, x, 8, 32)
    assert launches[0].loads == interpreter.Traffic(requested=256, unique=128, sectors=33, instructions=2)
    assert launches[0].stores.sectors == 4


@triton.jit
def dots_kernel(y_ptr, x_ptr, STEPS, SIZE: tl.constexpr, PRECISION: tl.constexpr):
    offs = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for _ in range(STEPS):
        x = tl.load(x_ptr + offs)
        total = tl.dot(x, x, total, input_precision=PRECISION)
    tl.store(y_ptr + offs, total)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_operations_of_dots(interpreter, precision):
    x, y = torch.ones(16, 16), torch.empty(16, 16)
    with interpreter.trace() as launches:
        dots_kernel[(2,)](y, x, 3, 16, precision)
    assert launches[0].dot_flops == 2 * 3 * 2 * 16**3
    assert launches[0].write_after_write == 256  # both programs write the same


@pytest.mark.parametrize(("n", "shift", "count"), [(40, 0, 3), (37, 1, 1), (5, -2, 2)])
@pytest.mark.parametrize("traced", [True, False])
def test_loads_out_of_bounds_raise(interpreter, n, shift, count, traced):
    x, y = torch.ones(37), torch.ones(64)
    message = rf"copy_kernel, program \({(n - 1) // 16}, 0, 0\): {count} loads out of bounds of x_ptr.*Mask the access"
    with pytest.raises(interpreter.OutOfBoundsError, match=message):
        if traced:
            with interpreter.trace():
                copy(x, y, n, shift)
        else:
            copy(x, y, n, shift)


def test_stores_out_of_bounds_raise(interpreter):
    with pytest.raises(interpreter.OutOfBoundsError, match="2 stores out of bounds of y_ptr"):
        copy(torch.ones(37), torch.ones(35))


def test_an_index_that_runs_into_another_argument_is_out_of_bounds(interpreter):
    both = torch.ones(32)  # one allocation: a plain interpreter, and a GPU, would read the neighbour
    with pytest.raises(interpreter.OutOfBoundsError, match="x_ptr"):
        copy(both[:16], both[16:], 16, shift=4)


def test_a_view_is_narrower_than_its_storage(interpreter):
    with pytest.raises(interpreter.OutOfBoundsError, match="x_ptr"):
        copy(torch.ones(64)[8:40], torch.ones(64), 33)
    copy(torch.ones(64)[8:40], torch.ones(64))


@triton.jit
def choose_kernel(y_ptr, a_ptr, b_ptr, n, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    source = tl.where(offs % 2 == 0, a_ptr + offs, b_ptr + offs)
    tl.store(y_ptr + offs, tl.load(source, mask=offs < n, other=0.0))


def test_pointers_into_two_tensors_in_one_load(interpreter):
    a, b, y = torch.zeros(8), torch.ones(7), torch.empty(8)
    with interpreter.trace() as launches:
        choose_kernel[(1,)](y, a, b, 7, 8)
    assert y.tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    assert launches[0].loads.unique == launches[0].loads.requested == 28
    with pytest.raises(interpreter.OutOfBoundsError, match="1 loads out of bounds of b_ptr"):
        choose_kernel[(1,)](y, a, b, 8, 8)


@triton.jit
def addressed_kernel(addresses_ptr, n, SIZE: tl.constexpr):
    pointer = tl.load(addresses_ptr + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    offs = tl.arange(0, SIZE)
    tl.store(pointer + offs, tl.load(pointer + offs, mask=offs < n) + 1.0, mask=offs < n)


def test_tensors_reached_through_addresses(interpreter):
    parameters = [torch.zeros(8), torch.zeros(8)]
    addresses = torch.tensor([parameter.data_ptr() for parameter in parameters])
    with interpreter.trace(reachable=parameters) as launches:
        addressed_kernel[(2,)](addresses, 8, 8)
    assert all(parameter.eq(1).all() for parameter in parameters)
    assert launches[0].loads.unique == 2 * 8 + 64 and launches[0].stores.unique == 64 and launches[0].races == 0
    unknown = pytest.raises(interpreter.OutOfBoundsError, match=r"8 loads out of bounds of every tensor.*reachable")
    with unknown, interpreter.trace(reachable=parameters[:1]):
        addressed_kernel[(2,)](addresses, 8, 8)
    addressed_kernel[(2,)](addresses, 8, 8)  # unknown tensors are not refused where no trace was asked for
    assert parameters[1].eq(2).all()


@triton.jit
def neighbour_kernel(x_ptr, STEP: tl.constexpr, READS: tl.constexpr):
    program = tl.program_id(0)
    value = tl.load(x_ptr + program + STEP) if READS else 1.0
    tl.store(x_ptr + program, value)


RACES = ("read_after_write", "write_after_write", "write_after_read")


def races(launch):
    return {kind: getattr(launch, kind) for kind in RACES if getattr(launch, kind)}


def test_a_race_of_reads_and_writes_is_seen_in_either_order(interpreter):
    with interpreter.trace() as launches:
        neighbour_kernel[(4,)](torch.zeros(8), 1, True)  # reads what the next program writes later
        neighbour_kernel[(4,)](torch.zeros(8), 4, True)  # reads what none writes
        neighbour_kernel[(4,)](torch.zeros(8), 0, True)  # reads what it writes itself
    assert [races(launch) for launch in launches] == [{"write_after_read": 3}, {}, {}]
    with interpreter.trace(program_order_seed=1) as launches:
        neighbour_kernel[(4,)](torch.zeros(8), 1, True)
    assert launches[0].races == 3 and launches[0].read_after_write > 0


def test_two_programs_that_write_the_same_element(interpreter):
    with interpreter.trace() as launches:
        repeated_kernel[(4,)](torch.zeros(2), 2)
        neighbour_kernel[(4,)](torch.zeros(8), 0, False)
    assert [races(launch) for launch in launches] == [{"write_after_write": 2}, {}]
    with interpreter.trace(check=False) as launches:
        repeated_kernel[(4,)](torch.zeros(2), 2)
    assert launches[0].races == 0 and launches[0].stores.unique == 8


@triton.jit
def repeated_kernel(x_ptr, n):
    program = tl.program_id(0)
    tl.store(x_ptr + program % n, program.to(tl.float32))


def test_two_views_of_one_tensor_race(interpreter):
    x = torch.zeros(32)
    with interpreter.trace() as launches:
        copy(x[:16], x[4:], size=4)
    assert launches[0].read_after_write == 12


def test_a_result_that_depends_on_the_order(interpreter):
    def last_wins():
        x = torch.zeros(2)
        repeated_kernel[(8,)](x, 2)
        return x

    def doubled():
        x, y = torch.arange(37.0), torch.empty(37)
        copy(x, y, size=4)
        return y, None

    with pytest.raises(interpreter.OrderDependenceError, match=r"Result 0 changes .* elements differ"):
        interpreter.check_program_order(last_wins)
    y, _ = interpreter.check_program_order(doubled)
    assert y[36] == 36


@triton.jit
def accumulate_kernel(total_ptr, x_ptr, SIZE: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * SIZE + tl.arange(0, SIZE))
    tl.atomic_add(total_ptr + tl.arange(0, SIZE), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bfloat16])
def test_atomics_do_not_race_with_each_other(interpreter, dtype):
    x, total = torch.arange(32).to(dtype), torch.zeros(8, dtype=dtype)
    with interpreter.trace() as launches:
        accumulate_kernel[(4,)](total, x, 8)
    assert torch.equal(total, x.view(4, 8).sum(0))
    launch = launches[0]
    assert launch.races == 0
    assert launch.atomics.requested == 4 * total.nbytes and launch.atomics.unique == total.nbytes


@triton.jit
def mixed_kernel(total_ptr):
    tl.atomic_add(total_ptr, 1.0)
    tl.store(total_ptr + 1, tl.load(total_ptr))


def test_an_atomic_races_with_a_plain_load(interpreter):
    with interpreter.trace() as launches:
        mixed_kernel[(2,)](torch.zeros(2))
    # The second atomic saw the first, hence what came before it; not the load and the store that came after it.
    assert races(launches[0]) == {"write_after_write": 1, "write_after_read": 1}


@pytest.mark.parametrize("step", [4, 6, -4, 0])
@pytest.mark.parametrize("masked", [True, False])
def test_many_elements_move_as_triton_moves_them(step, masked):
    from triton._C.libtriton import interpreter as native

    from fastk.kernels.verify import transfer

    memory, other = np.arange(600, dtype=np.float32), np.full((2, 150), -1, np.float32)
    start = memory.ctypes.data + (memory.nbytes - 4 if step < 0 else 0)
    addresses = (start + step * np.arange(300)).astype(np.uint64).reshape(2, 150) & np.uint64(2**64 - 1)
    mask = np.arange(300).reshape(2, 150) % 2 == 0 if masked else np.ones((2, 150), bool)
    assert np.array_equal(
        transfer.read(addresses, mask, other), native.load(addresses, mask, other, other.dtype), equal_nan=True
    )
    values = np.arange(300, dtype=np.float32).reshape(2, 150)
    transfer.write(addresses, mask, values)
    ours = memory.copy()
    memory[:] = np.arange(600)
    native.store(addresses, values, mask)
    assert np.array_equal(ours, memory, equal_nan=True)
