"""Ours against the vendor's: what dispatch takes, says and measures. Kernels are interpreted, times are planted."""

import pytest
import torch

from fastk import autograd, autotune, config, contest, dispatch
from fastk.autotune import database, shipped, tuner
from fastk.autotune.accuracy import tensors_of
from fastk.contest import Contest, describe
from fastk.kernels import triton_runtime

pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with a GPU where Triton works, an empty database, and dispatch without memory."""
    for name, empty in {"_settled": {}, "_last": {}, "_logged": set(), "_files": {}, "_searched": set()}.items():
        monkeypatch.setattr(dispatch, name, empty)
    refusals = {"triton": None, "cupy": "CuPy is not there"}
    monkeypatch.setattr(dispatch, "_why_not_on", lambda name, device_type: refusals[name])
    monkeypatch.setenv("FASTK_CACHE", str(tmp_path))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(tuner, "device_name", lambda: "NVIDIA Test GPU")
    monkeypatch.setattr(tuner.torch.cuda, "is_current_stream_capturing", lambda: False)
    before = config.autotune()
    autotune.forget()
    yield
    config.set_autotune(before)
    autotune.forget()
    database._database.cache_clear()


@pytest.fixture
def times(monkeypatch):
    """times["aten"] = 31.0: what a call takes by each implementation; `ran` lists what was run."""
    planted = {"triton": 40.0, "aten": 31.0}
    ran = []
    run = Contest.run

    timing = []

    def noted(self, arguments, configuration, **options):
        ran.append(configuration.name)
        return None if timing else run(self, arguments, configuration, **options)

    class Timer:
        def now(self):
            return 0.0

        def round(self, runs):
            found = []
            for each in runs:
                timing.append(True)  # what was run before to be compared need not be interpreted once more
                each()
                timing.clear()
                found.append(planted[ran[-1]])
            return found

    found = tuner._search

    def implementations_alone(tunable, problem, *others):
        """Kernels inside a trial would be tuned too, before it is timed: here they run by their defaults."""
        if isinstance(tunable, Contest):
            return found(tunable, problem, *others)
        return autotune.Decision(tunable.default(problem), "default")

    monkeypatch.setattr(tuner, "_search", implementations_alone)
    monkeypatch.setattr(Contest, "run", noted)
    monkeypatch.setattr(tuner, "new_timer", Timer)
    return {"planted": planted, "ran": ran}


def dense_arguments(rows=8):
    x, kernel = torch.randn(rows, 16, requires_grad=True), torch.randn(16, 8, requires_grad=True)
    return x, kernel, torch.randn(8), "relu", 0.0, None


def chosen(op, arguments):
    return dispatch._decide(op, "auto", "cuda", arguments)


def test_the_vendor_is_taken_where_it_was_measured_faster(times):
    config.set_autotune("on")
    choice = chosen("dense", dense_arguments())
    assert (choice.implementation, choice.reason) == (
        "aten",
        "measured faster: 31 us against 40 us of the Triton kernel",
    )
    assert choice.function is dispatch._candidates("dense", "cuda")["aten"].function


def test_ours_is_taken_where_it_was_measured_faster(times):
    times["planted"]["aten"] = 55.0
    config.set_autotune("on")
    choice = chosen("dense", dense_arguments())
    assert (choice.implementation, choice.reason) == ("triton", "measured faster: 40 us against 55 us of ATen")


def test_each_size_has_its_own_contest(times):
    config.set_autotune("on")
    assert chosen("dense", dense_arguments()).implementation == "aten"
    times["planted"]["aten"] = 55.0
    assert chosen("dense", dense_arguments(300)).implementation == "triton"
    assert chosen("dense", dense_arguments()).implementation == "aten"


def test_it_is_measured_once(times):
    config.set_autotune("on")
    chosen("dense", dense_arguments())
    count = len(times["ran"])
    assert count > 4
    chosen("dense", dense_arguments())
    assert len(times["ran"]) == count


def test_what_was_measured_is_used_later_without_measuring(times):
    config.set_autotune("on")
    chosen("dense", dense_arguments())
    times["ran"].clear()
    config.set_autotune("cached")
    assert chosen("dense", dense_arguments()).implementation == "aten"
    assert chosen("dense", dense_arguments(300)).reason == "the fastest that there is"
    assert not times["ran"]
    config.set_autotune("off")
    assert chosen("dense", dense_arguments()).implementation == "triton"


def test_without_a_database_nothing_is_asked(monkeypatch):
    config.set_autotune("cached")
    monkeypatch.setattr(contest, "call_of", None)
    assert chosen("dense", dense_arguments()).reason == "the fastest that there is"


def test_choices_of_another_mode_are_not_kept():
    class OnGpu:
        is_cpu = False
        device = torch.device("cuda")

    dispatch._settled["dense", "auto", "cuda"] = marker = chosen("dense", dense_arguments())
    config.set_autotune("cached")
    dispatch._settled_mode = "cached"
    assert dispatch.choose("dense", "auto", OnGpu()) is marker  # type: ignore[arg-type]
    config.set_autotune("off")
    assert dispatch.choose("dense", "auto", OnGpu(), dense_arguments()) is not marker  # type: ignore[arg-type]


def test_a_vendor_that_is_wrong_here_is_no_rival(times, monkeypatch):
    aten = dispatch._module("dense", "aten")
    monkeypatch.setattr(aten, "dense", lambda x, kernel, bias, *others: x @ kernel)
    dispatch._files.clear()
    dispatch._searched.clear()
    config.set_autotune("on")
    choice = chosen("dense", dense_arguments())
    assert choice.implementation == "triton"
    assert choice.reason == "measured: 40 us; ATen is no rival here (inaccurate)"


def test_under_a_mode_of_torch_nothing_is_measured(times):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    config.set_autotune("on")
    with Mode():
        assert chosen("dense", dense_arguments()).implementation == "triton"
    assert not times["ran"]


def test_asked_for_by_name_nothing_is_measured(times):
    config.set_autotune("on")
    assert dispatch._decide("dense", "triton", "cuda", dense_arguments()).reason == "asked for by name"
    assert not times["ran"]


def seed():
    return torch.tensor([1, 2])


X = torch.randn(4, 6, 6, 8, requires_grad=True)
CALLS = {
    "activation": (X, "gelu"),
    "batch_norm": (X, torch.ones(8), torch.zeros(8), None, None, 3, 1e-3, True, None, None),
    "conv2d": (X, torch.randn(3, 3, 8, 8), None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1, "relu"),
    "depthwise_conv2d": (X, torch.randn(3, 3, 8, 1), None, (1, 1), ((1, 1), (1, 1)), (1, 1), None),
    "dropout": (X, 0.5, seed(), None),
    "layer_norm": (X, torch.ones(8), torch.zeros(8), (3,), 1e-3),
    "lstm": (torch.randn(2, 3, 4), torch.randn(4, 64), torch.randn(16, 64), None, None, None, "tanh", "sigmoid", None,
             None, False, True, False),
    "gru": (torch.randn(2, 3, 4), torch.randn(4, 48), torch.randn(16, 48), None, None, None, "tanh", "sigmoid", True,
            None, None, False, True, False),
    "max_pool2d": (X, (2, 2), (2, 2), ((0, 0), (0, 0))),
    "average_pool2d": (X, (2, 2), (2, 2), ((0, 0), (0, 0))),
    "softmax_cross_entropy": (torch.randn(8, 10, requires_grad=True), torch.arange(8), True, 0.0, None),
    "softmax_cross_entropy_with_gradient": (torch.randn(8, 10), torch.arange(8), torch.ones(8), True, 0.0, None),
    "adam_": ([torch.ones(9)], [torch.ones(9)], [torch.ones(9)], [torch.ones(9)], None, 1, 0.1, 0.9, 0.99, 1e-7, None),
    "sgd_": ([torch.ones(9)], [torch.ones(9)], None, 0.1, 0.0, False, None),
    "rmsprop_": ([torch.ones(9)], [torch.ones(9)], [torch.ones(9)], None, None, 0.1, 0.9, 0.0, 1e-7, None),
}  # fmt: skip


@pytest.mark.parametrize("op", CALLS)
def test_every_op_can_be_measured(op, times):
    """Each op's trial takes what its dispatch is asked with, and both implementations agree."""
    config.set_autotune("on")
    before = [t.detach().clone() for t in tensors_of(CALLS[op])]
    choice = chosen(op, CALLS[op])
    assert choice.implementation == "aten" and choice.reason.startswith("measured faster: 31 us against 40 us")
    after = tensors_of(CALLS[op])
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_all_ops_with_a_rival_are_in_the_contest():
    assert set(CALLS) | {"dense"} == set(contest._contests)


def test_dispatch_is_asked_with_such_arguments(monkeypatch):
    """The calls above have the form that `fastk.autograd` gives them."""
    asked = {}
    choose = dispatch.choose

    def note(op, implementation, tensor, arguments=()):
        asked[op] = arguments
        return choose(op, implementation, tensor, arguments)

    for name in ("dense", "conv2d", "lstm", "gru"):
        monkeypatch.setattr(__import__(f"fastk.autograd.{name}", fromlist=["choose"]), "choose", note)
    autograd.conv2d(X, torch.randn(3, 3, 8, 8), None, 1, "same", activation="relu")
    autograd.lstm(*CALLS["lstm"][:3])
    autograd.gru(*CALLS["gru"][:3])
    for op in ("conv2d", "lstm", "gru"):
        assert describe(asked[op]) == describe(CALLS[op])


def test_what_a_problem_keeps():
    call = contest.call_of("dense", "triton", dense_arguments(100))
    assert call.training and call.arguments[0] == (torch.float32, (128, 16), True)
    assert call.architecture == triton_runtime.architecture()
    with torch.no_grad():
        assert not contest.call_of("dense", "triton", dense_arguments()).training
    with torch.autocast("cpu", torch.bfloat16):
        assert contest.call_of("dense", "triton", dense_arguments()).autocast == "torch.bfloat16"
    assert describe(([torch.ones(3), torch.ones(30)], (1, 2), 0.0, True)) == (
        (2, 48, torch.float32),
        (1, 2),
        False,
        True,
    )


def test_counts_and_seeds_are_no_other_call():
    adam = CALLS["adam_"]
    assert contest.call_of("adam_", "triton", adam) == contest.call_of("adam_", "triton", (*adam[:5], 7, *adam[6:]))
    for op, position in (("dense", 5), ("dropout", 2)):
        calls = []
        for seeds in ((1, 2), (3, 4)):
            arguments = list(CALLS.get(op, dense_arguments()))
            arguments[position] = seeds
            calls.append(contest.call_of(op, "triton", tuple(arguments)))
        assert calls[0] == calls[1]


def test_sizes_of_a_problem():
    def sizes(*shape):
        return describe(torch.empty(shape))[1]

    assert sizes(100, 50, 7) == sizes(128, 64, 7) == (128, 64, 7)
    assert sizes(100, 50, 7) != sizes(100, 50, 8)
    assert sizes(100) == (128,) and sizes() == (1,)


@pytest.mark.parametrize("mode", ["cached", "on"])
def test_torch_compile_traces_a_choice(mode, times):
    """Without a graph break, and without a measurement."""
    config.set_autotune(mode)

    class OnGpu:
        device = torch.device("cuda")

    def function(x, kernel):
        dispatch._other_device(OnGpu())  # type: ignore[arg-type]
        choice = dispatch._decide("dense", "auto", "cuda", (x, kernel, None, None, 0.0, None))
        return x * 2 if choice.implementation == "triton" else x * 3

    x = torch.ones(8, 16)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, torch.ones(16, 8)), x * 2) and not times["ran"]
