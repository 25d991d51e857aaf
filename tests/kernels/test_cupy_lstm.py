"""The CuPy LSTM against ATen's in float64, for every combination of what changes the path through its kernels."""

import itertools

import pytest
import torch

from fastk import autograd

pytestmark = pytest.mark.usefixtures("emulated_cupy")
B, T, I, H = 3, 5, 2, 4  # noqa: E741 - the sizes as the contract names them
MASKS = {
    "no mask": None,
    "at the end, at the start, holes": torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]]).bool(),
    "a row without any": torch.tensor([[0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 0]]).bool(),
}
FACTORS = {"none": (), "one": (1,), "one for each gate": (4,)}
ACTIVATIONS = {"standard": ("tanh", "sigmoid"), "derivative of the input": ("gelu", "hard_sigmoid")}


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape, dtype=torch.float64: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def run(implementation, inputs, options, seeds, dtype=torch.float64):
    """(outputs, h, c) and the gradients of the inputs."""
    inputs = {name: tensor.to(dtype).requires_grad_() for name, tensor in inputs.items()}
    states = (inputs["h"], inputs["c"]) if "h" in inputs else None
    weights = {name: inputs[name] for name in ("x", "kernel", "recurrent_kernel", "bias")}
    outputs, _, (h, c) = autograd.lstm(**weights, initial_state=states, **options, implementation=implementation)
    results = [outputs, h, c]
    loss = sum((result * seed.to(dtype)).sum() for result, seed in zip(results, seeds, strict=True))
    gradients = torch.autograd.grad(loss, list(inputs.values()))  # type: ignore[arg-type]
    return [result.detach() for result in results] + list(gradients)


def arguments(draw, with_states):
    inputs = {"x": draw(B, T, I), "kernel": draw(I, 4 * H), "recurrent_kernel": draw(H, 4 * H), "bias": draw(4 * H)}
    if with_states:
        inputs |= {"h": draw(B, H), "c": draw(B, H)}
    return inputs, [draw(B, T, H), draw(B, H), draw(B, H)]


@pytest.mark.parametrize("acts", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("with_states", [False, True], ids=["from 0", "from states"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks_directions_and_dropout(mask, with_states, acts, draw):
    inputs, seeds = arguments(draw, with_states)
    for gates, recurrent_gates in itertools.product(FACTORS.values(), repeat=2):
        for reverse, zero in itertools.product([False, True], repeat=2):
            options = {
                "mask": mask,
                "activation": acts[0],
                "recurrent_activation": acts[1],
                "dropout_mask": draw(*(g for g in gates if g > 1), B, I) if gates else None,
                "recurrent_dropout_mask": draw(*(g for g in recurrent_gates if g > 1), B, H)
                if recurrent_gates
                else None,
                "reverse": reverse,
                "zero_output_for_mask": zero,
            }
            found, expected = run("cupy", inputs, options, seeds), run("aten", inputs, options, seeds)
            for actual, value in zip(found, expected, strict=True):
                # torch's derivative of hard_sigmoid holds 1 / 6 in float32
                torch.testing.assert_close(actual, value, rtol=0, atol=1e-6 * value.abs().max().item() + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types(dtype, draw):
    inputs, seeds = arguments(draw, True)
    inputs = {name: tensor.to(dtype) for name, tensor in inputs.items()}
    found = run("cupy", inputs, {}, seeds, dtype)
    expected = run("aten", inputs, {}, [seed.to(dtype) for seed in seeds])
    for actual, value in zip(found, expected, strict=True):
        scale = 4 * max(1.0, value.abs().max().item())  # rounding errors grow from step to step
        bound = 4 * torch.finfo(dtype).eps * (T * H) ** 0.5 * scale
        torch.testing.assert_close(actual.double(), value, rtol=0, atol=bound)


def test_a_step_is_a_product_and_a_kernel(emulated_cupy, draw):
    inputs, _ = arguments(draw, False)
    x, kernel, recurrent_kernel, bias = (tensor.requires_grad_() for tensor in inputs.values())
    outputs, last, _ = autograd.lstm(x, kernel, recurrent_kernel, bias, implementation="cupy")
    assert outputs is not None
    (outputs.sum() + last.sum()).backward()
    names = [launch.expression.partition("<")[0] for launch in emulated_cupy.launches]
    sums = ["epilogue_backward", "column_sums"]  # of the bias's gradient
    assert names == ["lstm_forward_step"] * T + ["lstm_backward_step"] * T + sums
