"""Programs that wait for each other: they run, what they order is no race, and a wait without end is seen."""

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402


@triton.jit
def wait_for_all(counter_ptr, target, SEM: tl.constexpr):
    tl.atomic_add(counter_ptr, 1, sem=SEM)
    while tl.atomic_add(counter_ptr, 0, sem=SEM) < target:
        pass


@triton.jit
def ring_kernel(x_ptr, counter_ptr, STEPS, EXPECTED, SEM: tl.constexpr, BARRIER: tl.constexpr):
    """Each step, program p writes its left neighbour's last value plus 1: x_t[p] = x_{t-1}[p - 1] + 1."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    for step in range(1, STEPS + 1):
        left = tl.load(x_ptr + (step - 1) % 2 * programs + (program + programs - 1) % programs)
        tl.store(x_ptr + step % 2 * programs + program, left + 1.0)
        if BARRIER:
            wait_for_all(counter_ptr, step * EXPECTED, SEM)


def ring(steps=5, programs=6, expected=None, sem="acq_rel", barrier=True, cooperative=True):
    x, counter = torch.zeros(2, programs), torch.zeros(1, dtype=torch.int32)
    x[0] = torch.arange(programs)
    ring_kernel[(programs,)](x, counter, steps, expected or programs, sem, barrier, launch_cooperative_grid=cooperative)
    return x[steps % 2]


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_programs_wait_at_a_barrier_of_the_grid(interpreter, seed):
    with interpreter.trace(program_order_seed=seed) as launches:
        result = ring()
    assert torch.equal(result, torch.arange(6.0).roll(5) + 5)
    assert launches[0].races == 0
    assert launches[0].atomics.unique == 4


@pytest.mark.parametrize(
    ("sem", "barrier"), [("relaxed", True), ("release", True), ("acquire", True), ("acq_rel", False)]
)
def test_without_the_order_of_a_barrier_programs_race(interpreter, sem, barrier):
    with interpreter.trace() as launches:
        ring(sem=sem, barrier=barrier)
    assert launches[0].read_after_write > 0 and launches[0].write_after_read > 0


def test_a_barrier_that_expects_too_many_is_a_livelock(interpreter):
    with pytest.raises(interpreter.LivelockError, match="6 programs wait and none changes memory"):
        ring(expected=7)
    assert torch.equal(ring(), torch.arange(6.0).roll(5) + 5)  # what comes after is not harmed


def test_waiting_in_a_launch_that_is_not_cooperative_is_a_livelock(interpreter):
    with pytest.raises(interpreter.LivelockError, match="not launched with launch_cooperative_grid=True"):
        ring(cooperative=False)


def test_an_error_in_one_program_ends_the_launch(interpreter):
    with pytest.raises(interpreter.OutOfBoundsError, match="ring_kernel"):
        x, counter = torch.zeros(8), torch.zeros(1, dtype=torch.int32)
        ring_kernel[(6,)](x, counter, 5, 6, "acq_rel", True, launch_cooperative_grid=True)


@triton.jit
def volatile_kernel(flag_ptr, y_ptr):
    if tl.program_id(0) == 0:
        while tl.load(flag_ptr, volatile=True) == 0:
            pass
        tl.store(y_ptr, 1.0)
    else:
        tl.store(flag_ptr, 1)


def test_a_volatile_load_hands_on(interpreter):
    flag, y = torch.zeros(1, dtype=torch.int32), torch.zeros(1)
    with interpreter.trace() as launches:
        volatile_kernel[(2,)](flag, y, launch_cooperative_grid=True)
    assert y == 1
    assert launches[0].read_after_write == 1  # and orders nothing


@triton.jit
def split_kernel(y_ptr, partial_ptr, counter_ptr, x_ptr, SIZE: tl.constexpr, SEM: tl.constexpr):
    program, programs = tl.program_id(0), tl.num_programs(0)
    tl.store(partial_ptr + program, tl.sum(tl.load(x_ptr + program * SIZE + tl.arange(0, SIZE))))
    if tl.atomic_add(counter_ptr, 1, sem=SEM) == programs - 1:  # the last to arrive adds what all have written
        total = 0.0
        for other in range(programs):
            total += tl.load(partial_ptr + other)
        tl.store(y_ptr, total)
        tl.store(counter_ptr, 0)


@pytest.mark.parametrize(("sem", "ordered"), [("acq_rel", True), ("relaxed", False)])
def test_the_last_to_arrive_may_read_what_the_others_wrote(interpreter, sem, ordered):
    x, y, partial = torch.arange(32.0), torch.empty(1), torch.empty(4)
    counter = torch.zeros(1, dtype=torch.int32)
    with interpreter.trace(program_order_seed=3) as launches:
        split_kernel[(4,)](y, partial, counter, x, 8, sem)
    assert y == x.sum() and counter == 0
    assert (launches[0].races == 0) == ordered


@triton.jit
def lock_kernel(total_ptr, lock_ptr):
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    tl.store(total_ptr, tl.load(total_ptr) + 1.0)
    tl.atomic_xchg(lock_ptr, 0)


def test_a_lock_orders_plain_accesses(interpreter):
    total, lock = torch.zeros(1), torch.zeros(1, dtype=torch.int32)
    with interpreter.trace() as launches:
        lock_kernel[(5,)](total, lock, launch_cooperative_grid=True)
    assert total == 5 and launches[0].races == 0
    with pytest.raises(interpreter.LivelockError):
        lock_kernel[(5,)](total, torch.ones_like(lock), launch_cooperative_grid=True)
