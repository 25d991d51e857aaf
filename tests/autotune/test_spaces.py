"""The spaces of all ops: valid defaults, configurations that are written down and read, and equal results.

Launches are interpreted, so problems are small; that every candidate compiles is for the search to find out.
"""

import importlib
import importlib.util
import json
import math
import pkgutil
from dataclasses import replace

import pytest
import torch

from fastk import config, kernels
from fastk.autotune import space
from fastk.autotune.accuracy import copied, tensors_of, why_inaccurate
from fastk.autotune.search import predicted, ranked
from fastk.autotune.space import problem_from_data, problem_to_data, to_data
from fastk.kernels.gemm_configurations import GemmConfiguration
from fastk.kernels.tuning import as_called

pytest.importorskip("triton")

bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
DEVICE = (90, 4)
RECURRENT = (3, 2, 16)  # sequences, steps, units

# Problems of each tunable, small enough to be interpreted.
PROBLEMS = {
    "activation.forward": [(1000, f32, "gelu", *DEVICE), (77, bf16, "relu", *DEVICE)],
    "activation.backward": [(1000, f32, "relu", *DEVICE), (77, bf16, "gelu", *DEVICE)],
    "adam.step": [(3000, 3, 4, f32, *DEVICE), (1000, 1, 5, bf16, *DEVICE)],
    "average_pool2d.forward": [(30, 16, f32, (2, 2), (2, 2), *DEVICE), (20, 5, bf16, (3, 3), (1, 1), *DEVICE)],
    "average_pool2d.backward": [(30, 16, f32, (2, 2), (2, 2), *DEVICE), (20, 5, bf16, (3, 3), (1, 1), *DEVICE)],
    "batch_norm.forward": [
        (100, 24, f32, True, False, "relu", *DEVICE),
        (600, 8, bf16, True, True, None, *DEVICE),
        (50, 24, f32, False, False, None, *DEVICE),
    ],
    "batch_norm.backward": [(100, 24, f32, True, False, "relu", *DEVICE), (600, 8, bf16, True, True, None, *DEVICE)],
    "conv2d.correlation": [
        (30, 24, 16, 1, (3, 3), (1, 1), (1, 1), f32, "ieee", True, "relu", False, False, *DEVICE),
        (16, 8, 8, 2, (3, 3), (2, 2), (1, 1), bf16, "half", False, None, False, True, *DEVICE),
        (30, 24, 16, 1, (3, 3), (1, 1), (1, 1), f32, "tf32x3", False, "gelu", True, False, *DEVICE),
    ],
    "conv2d.kernel_gradient": [
        (72, 8, 40, 1, (3, 3), (1, 1), (1, 1), f32, "ieee", *DEVICE),
        (72, 8, 30, 2, (3, 3), (2, 2), (1, 1), bf16, "half", *DEVICE),
    ],
    "dense.gemm": [
        (40, 48, 64, f32, "ieee", False, False, True, "relu", False, True, *DEVICE),
        (40, 48, 264, bf16, "half", True, False, False, None, False, True, *DEVICE),
        (40, 33, 64, f32, "tf32x3", False, True, False, None, False, False, *DEVICE),
        (40, 48, 64, f16, "half", False, False, True, "gelu", True, True, *DEVICE),
    ],
    "depthwise_conv2d.kernel_gradient": [(2, 5, 6, 8, 1, f32, (3, 3), (1, 1), (1, 1), None, False, *DEVICE)],
    "depthwise_conv2d.stencil": [
        (2, 5, 6, 8, 1, f32, (3, 3), (1, 1), (1, 1), "relu", False, *DEVICE),
        (2, 4, 6, 8, 1, bf16, (3, 3), (2, 2), (1, 1), None, True, *DEVICE),
        (1, 6, 6, 8, 1, bf16, (5, 5), (3, 3), (1, 1), None, True, *DEVICE),
    ],
    "dropout.mask": [(1003, f32, True, *DEVICE), (200, bf16, False, *DEVICE)],
    "gru.backward": [(*RECURRENT, 3, f32, "ieee", 0, *DEVICE)],
    "gru.forward": [(*RECURRENT, 3, f32, "ieee", 0, *DEVICE), (*RECURRENT, 3, bf16, None, 1, *DEVICE)],
    "layer_norm.backward": [(50, 24, f32, *DEVICE)],
    "layer_norm.forward": [(50, 24, f32, *DEVICE), (5, 300, bf16, *DEVICE)],
    "lstm.backward": [(*RECURRENT, 4, f32, "ieee", 0, *DEVICE)],
    "lstm.forward": [(*RECURRENT, 4, f32, "ieee", 0, *DEVICE), (*RECURRENT, 4, bf16, None, 4, *DEVICE)],
    "max_pool2d.backward": [(30, 16, f32, (2, 2), (2, 2), *DEVICE), (20, 5, bf16, (3, 3), (1, 1), *DEVICE)],
    "max_pool2d.forward": [(30, 16, f32, (2, 2), (2, 2), *DEVICE), (20, 5, bf16, (3, 3), (1, 1), *DEVICE)],
    "rmsprop.step": [(3000, 3, 3, f32, *DEVICE), (1000, 1, 5, bf16, *DEVICE)],
    "sgd.step": [(3000, 3, 2, f32, *DEVICE), (1000, 1, 3, bf16, *DEVICE)],
    "softmax_cross_entropy.backward": [(30, 10, f32, True, *DEVICE), (5, 300, bf16, False, *DEVICE)],
    "softmax_cross_entropy.forward": [(30, 10, f32, True, *DEVICE), (5, 300, bf16, False, *DEVICE)],
    "softmax_cross_entropy.with_gradient": [(30, 10, f32, True, *DEVICE), (5, 300, bf16, False, *DEVICE)],
}
CASES = [(name, values) for name, problems in PROBLEMS.items() for values in problems]


def tunables():
    """All tunables of the kernels, by name."""
    for folder in pkgutil.iter_modules(kernels.__path__):
        if folder.ispkg and importlib.util.find_spec(f"fastk.kernels.{folder.name}.configurations"):
            importlib.import_module(f"fastk.kernels.{folder.name}.configurations")
    return {name: tunable for name, tunable in space.TUNABLES.items() if tunable.module.startswith("fastk.kernels.")}


@pytest.fixture(autouse=True)
def off():
    before = config.autotune()
    config.set_autotune("off")
    yield
    config.set_autotune(before)


def case(name, values):
    tunable = tunables()[name]
    return tunable, tunable.problem(*values)


def test_every_space_is_tested():
    assert set(PROBLEMS) == {name for name in tunables() if not name.endswith(".implementation")}


@pytest.mark.parametrize(("name", "values"), CASES)
def test_space(name, values):
    tunable, problem = case(name, values)
    valid = tunable.valid(problem)
    assert valid[0] == tunable.default(problem)
    assert len(valid) > 1
    for configuration in valid:
        data = json.loads(json.dumps(to_data(configuration)))
        assert tunable.configuration_from(data) == configuration
    order = ranked(tunable, problem)
    assert len(order) == len(valid)
    assert all(math.isfinite(cost) and cost > 0 for cost, _ in order)
    assert len({cost for cost, _ in order}) > 1
    assert problem_from_data(tunable, json.loads(json.dumps(problem_to_data(problem)))) == problem
    assert tunable.bucket(tunable.bucket(problem)) == tunable.bucket(problem)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_candidates_compute_what_the_default_does(name, values):
    tunable, problem = case(name, values)
    valid = tunable.valid(problem)

    def outcome(configuration):
        arguments = copied(tunable.example(problem, "cpu"))
        results = tunable.run(arguments, configuration)
        return arguments if tunable.in_place else results

    with as_called(problem):
        reference = outcome(valid[0])
        untouched = list(tensors_of(tunable.example(problem, "cpu")))
        found = list(tensors_of(reference))
        assert not tunable.in_place or not all(torch.equal(*pair) for pair in zip(found, untouched, strict=True))
        for configuration in (valid[1], valid[len(valid) // 2], valid[-1]):
            said = why_inaccurate(outcome(configuration), reference, tunable.accuracy(problem))
            assert said is None, (configuration, said)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_the_launcher_asks_with_this_problem(name, values, monkeypatch):
    """What `example` makes of a problem is a call of that problem, but for sizes that are rounded to an image."""
    tunable, problem = case(name, values)
    asked = []

    def note(of, what, arguments):
        asked.append((of, what))
        return of.default(what)

    for module in [tunable.module, "fastk.kernels.triton_multi_tensor"]:
        loaded = importlib.import_module(module)
        if hasattr(loaded, "configuration_for"):
            monkeypatch.setattr(loaded, "configuration_for", note)
    arguments = copied(tunable.example(problem, "cpu"))
    with as_called(problem):
        if tunable.launcher.endswith((":scan_forward", ":scan_backward")):
            return  # what calls it asks: `test_recurrent_layers_ask`
        space.resolve(tunable.launcher)(*arguments)
    (of, what), *_ = asked
    assert of is tunable
    free = {"pixels", "rows", "R"}
    assert {k: v for k, v in what._asdict().items() if k not in free} == {
        k: v for k, v in problem._asdict().items() if k not in free
    }


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_recurrent_layers_ask(op, monkeypatch):
    from fastk import autograd

    launcher = importlib.import_module(f"fastk.kernels.{op}.triton_kernels")
    asked = []

    def note(of, what, arguments):
        asked.append((of.name, what.batch, what.steps, what.units))
        return of.default(what)

    monkeypatch.setattr(launcher, "configuration_for", note)
    gates = 4 if op == "lstm" else 3
    x = torch.randn(3, 2, 5, requires_grad=True)
    result = getattr(autograd, op)(x, torch.randn(5, gates * 16), torch.randn(16, gates * 16), implementation="triton")
    next(tensors_of(result)).sum().backward()
    assert asked == [(f"{op}.forward", 3, 2, 16), (f"{op}.backward", 3, 2, 16)]


def test_a_split_product():
    """More programs a tile than the default, fewer, and one."""
    tunable, problem = case("dense.gemm", PROBLEMS["dense.gemm"][1])
    arguments = tunable.example(problem, "cpu")
    tile = GemmConfiguration(64, 32, 32, 4, 2)
    right = tunable.run(arguments, replace(tile, splits=1))
    for splits in (2, 3, 8):
        found = tunable.run(arguments, replace(tile, splits=splits))
        assert why_inaccurate(found, right, tunable.accuracy(problem)) is None
    assert "cannot be split" in str(tunable.why_invalid(replace(tile, splits=16), problem))
    biased = problem._replace(has_bias=True)
    assert "cannot be split" in str(tunable.why_invalid(replace(tile, splits=2), biased))


@pytest.mark.parametrize(
    ("name", "values", "configuration", "words"),
    [
        ("dense.gemm", 3, dict(block_m=128, block_n=128, block_k=64, num_warps=4, num_stages=9), "shared memory"),
        ("dense.gemm", 3, dict(block_m=256, block_n=256, block_k=64, num_warps=4, num_stages=2), "accumulators"),
        (
            "dense.gemm",
            2,
            dict(block_m=128, block_n=128, block_k=32, num_warps=8, num_stages=2, descriptors=True),
            "multiples of 16 bytes",
        ),
        (
            "conv2d.correlation",
            0,
            dict(block_m=64, block_n=32, block_k=16, num_warps=4, num_stages=2, descriptors=True),
            "through pointers",
        ),
    ],
)
def test_invalid_configurations_say_why(name, values, configuration, words):
    tunable, problem = case(name, PROBLEMS[name][values])
    assert words in tunable.why_invalid(GemmConfiguration(**configuration), problem)


@pytest.mark.parametrize("device", [(80, 108), (86, 84), (89, 128), (90, 132), (100, 148)])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_default_is_valid_on_every_device(name, device):
    """Also for problems that take the largest tiles."""
    tunable = tunables()[name]
    for values in PROBLEMS[name]:
        small = tunable.problem(*values)._replace(architecture=device[0], sm_count=device[1])
        growing = {"M", "N", "R", "batch", "pixels", "columns", "depth", "patch"} & set(small._fields)
        for problem in (small, small._replace(**dict.fromkeys(growing, 4096))):
            assert tunable.why_invalid(tunable.default(problem), problem) is None, problem


def test_kernels_of_other_ops_are_part_of_the_source():
    found = space._kernel_modules("fastk.kernels.dense.triton_gemm")
    ends = ("activation.triton_kernels", "dropout.triton_kernels", "triton_reduction", "triton_runtime")
    assert {f"fastk.kernels.{end}" for end in ends} < found
    assert not any("configurations" in name for name in found)
    assert "fastk.kernels.gru.triton_step" in space._kernel_modules("fastk.kernels.gru.triton_kernels")


def test_predictions_of_products():
    """The model prefers what is plainly better: no waste, more programs for a small product, a split for a deep one."""
    tunable = tunables()["dense.gemm"]

    def cost(sizes, *tile, **options):
        problem = tunable.problem(*sizes, bf16, "half", False, False, False, None, False, True, 90, 132)
        return predicted(tunable, problem, GemmConfiguration(*tile, **options))

    large, small = (128, 256, 64, 8, 3, True, 4), (64, 64, 64, 4, 3)
    assert cost((8192, 8192, 8192), *large) < cost((8192, 8192, 8192), *small)
    assert cost((128, 128, 8192), *small) < cost((128, 128, 8192), *large)
    assert cost((128, 128, 65536), *small, splits=32) < cost((128, 128, 65536), *small, splits=1)
