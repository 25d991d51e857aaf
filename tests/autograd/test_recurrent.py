"""LSTM, GRU and simple RNN against their equations, step by step in numpy; the same cases for all three."""

import itertools

import numpy as np
import pytest
import torch

from fastk import autograd, config

B, T, I, H = 3, 5, 2, 4  # noqa: E741 - the sizes as the contracts name them


@pytest.fixture(autouse=True)
def chosen(implementation):
    """Each implementation runs each test."""
    before = config.kernels()
    config.set_kernels(implementation)
    yield
    config.set_kernels(before)


@pytest.fixture
def normal(normal, implementation, device):
    """As elsewhere, in float32 where Triton kernels run on a GPU: float64 they take in the interpreter alone."""
    if implementation != "triton" or device.type == "cpu":
        return normal
    return lambda *shape, dtype=torch.float32, **options: normal(*shape, dtype=dtype, **options)


@pytest.fixture
def gradcheck(implementation):
    """The derivative by every tensor, or along one direction of each where every evaluation takes milliseconds."""

    def check(function, *tensors):
        if tensors[0].dtype != torch.float64:
            pytest.skip("central differences need float64")
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        fast = implementation != "aten"
        options = {"fast_mode": fast, "check_undefined_grad": not fast}
        assert torch.autograd.gradcheck(function, inputs, atol=1e-7, rtol=1e-5, **options)

    return check


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(x + 3, 0, 6) / 6


FUNCTIONS = {"tanh": np.tanh, "sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid, "relu": lambda x: np.maximum(x, 0)}


def product(x, kernel, factors, gate, gates):
    """(x factors) of one gate's columns of the kernel; factors None, [B, K] or [gates, B, K]."""
    columns = kernel[:, gate * kernel.shape[1] // gates :][:, : kernel.shape[1] // gates]
    factors = 1 if factors is None else factors[gate] if factors.ndim == 3 else factors
    return (x * factors) @ columns


def lstm_step(x, states, w, act, rec, dropout, recurrent_dropout):
    h, c = states
    bias = np.zeros(4 * H) if w["bias"] is None else w["bias"]
    z = [
        product(x, w["kernel"], dropout, k, 4)
        + product(h, w["recurrent_kernel"], recurrent_dropout, k, 4)
        + bias[k * H : (k + 1) * H]
        for k in range(4)
    ]
    c = rec(z[1]) * c + rec(z[0]) * act(z[2])
    return rec(z[3]) * act(c), c


def gru_step(x, states, w, act, rec, dropout, recurrent_dropout, reset_after=True):
    (h,) = states
    bias = np.zeros((2, 3 * H))
    if w["bias"] is not None:
        bias[: 2 if reset_after else 1] = w["bias"]
    outer = [product(x, w["kernel"], dropout, k, 3) + bias[0][k * H : (k + 1) * H] for k in range(3)]
    inner = [
        product(h, w["recurrent_kernel"], recurrent_dropout, k, 3) + bias[1][k * H : (k + 1) * H] for k in range(3)
    ]
    z, r = rec(outer[0] + inner[0]), rec(outer[1] + inner[1])
    recurrent = r * inner[2] if reset_after else product(r * h, w["recurrent_kernel"], recurrent_dropout, 2, 3)
    n = act(outer[2] + recurrent)
    return (z * h + (1 - z) * n,)


def simple_rnn_step(x, states, w, act, rec, dropout, recurrent_dropout):
    bias = 0 if w["bias"] is None else w["bias"]
    outer = product(x, w["kernel"], dropout, 0, 1)
    return (act(outer + product(states[0], w["recurrent_kernel"], recurrent_dropout, 0, 1) + bias),)


def gru_before_step(*arguments):
    return gru_step(*arguments, reset_after=False)


# name: (op, its keyword arguments, the oracle's step, gates, states, shape of the bias)
KINDS = {
    "lstm": (autograd.lstm, {}, lstm_step, 4, 2, (4 * H,)),
    "gru": (autograd.gru, {}, gru_step, 3, 1, (2, 3 * H)),
    "gru, reset before": (autograd.gru, {"reset_after": False}, gru_before_step, 3, 1, (3 * H,)),
    "simple_rnn": (autograd.simple_rnn, {}, simple_rnn_step, 1, 1, (H,)),
}
MASKS = {
    "none": None,
    "all": np.ones((B, T), bool),
    "at the end, at the start, holes": np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]], bool),
    "a row without any": np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 0]], bool),
}


def numpy_of(value):
    return value.detach().double().cpu().numpy() if isinstance(value, torch.Tensor) else value


def oracle(kind, x, weights, states, mask, options):
    """(outputs, last output, final states) from the definition of masked steps."""
    step = KINDS[kind][2]
    act, rec = FUNCTIONS[options.get("activation", "tanh")], FUNCTIONS[options.get("recurrent_activation", "sigmoid")]
    options = {name: numpy_of(value) for name, value in options.items()}
    x, weights = numpy_of(x), {name: numpy_of(value) for name, value in weights.items()}
    states = [np.zeros((len(x), H)) for _ in range(KINDS[kind][4])] if states is None else list(map(numpy_of, states))
    mask = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask)
    if options.get("reverse"):
        x, mask = x[:, ::-1], mask[:, ::-1]
    factors = options.get("dropout_mask"), options.get("recurrent_dropout_mask")
    output, outputs = np.zeros((len(x), H)), []
    for t in range(x.shape[1]):
        keep = mask[:, t, None]
        new = step(x[:, t], states, weights, act, rec, *factors)
        output = np.where(keep, new[0], 0 if options.get("zero_output_for_mask") else output)
        states = [np.where(keep, n, s) for n, s in zip(new, states, strict=True)]
        outputs.append(output)
    return np.stack(outputs, 1), output, states


def weights_of(kind, normal, with_bias=True, dtype=torch.float64):
    _, _, _, gates, _, bias = KINDS[kind]
    return {
        "kernel": normal(I, gates * H, dtype=dtype),
        "recurrent_kernel": normal(H, gates * H, dtype=dtype),
        "bias": normal(*bias, dtype=dtype) if with_bias else None,
    }


def given(kind, states):
    """States as the op takes them: the LSTM's are two."""
    return states if states is None or KINDS[kind][4] == 2 else states[0]


def run(kind, x, weights, states, mask, options):
    op, fixed = KINDS[kind][:2]
    mask = None if mask is None else torch.as_tensor(mask)
    return op(x, **weights, initial_state=given(kind, states), mask=mask, **fixed, **options)


def compare(kind, x, weights, states, mask, options, close):
    outputs, last, final = run(kind, x, weights, states, mask, options)
    expected = oracle(kind, x, weights, states, mask, options)
    scale = 4 * max(1.0, np.abs(expected[0]).max())  # rounding errors grow from step to step
    close(outputs, expected[0], terms=T * H, scale=scale)
    close(last, expected[1], terms=T * H, scale=scale)
    assert len(final) == len(expected[2])
    for state, value in zip(final, expected[2], strict=True):
        close(state, value, terms=T * H, scale=scale)
    no_outputs, same_last, _ = run(kind, x, weights, states, mask, options | {"return_sequences": False})
    assert no_outputs is None and torch.equal(same_last, last)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])  # torch's fused LSTM on the CPU is float32 alone
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_masks_states_and_direction(kind, mask, with_states, dtype, normal, close, implementation):
    x, weights = normal(B, T, I, dtype=dtype), weights_of(kind, normal, dtype=dtype)
    states = [normal(B, H, dtype=dtype) for _ in range(KINDS[kind][4])] if with_states else None
    both = itertools.product([False, True], repeat=2)
    for reverse, zero in both if implementation == "aten" else [(with_states, dtype == torch.float32)]:
        compare(kind, x, weights, states, mask, {"reverse": reverse, "zero_output_for_mask": zero}, close)


@pytest.mark.parametrize("mask", [MASKS["none"], MASKS["a row without any"]], ids=["unmasked", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_options(kind, mask, normal, close):
    gates = KINDS[kind][3]
    x, weights, states = normal(B, T, I), weights_of(kind, normal), [normal(B, H) for _ in range(KINDS[kind][4])]
    per_gate = [{"dropout_mask": normal(gates, B, I)}, {"recurrent_dropout_mask": normal(gates, B, H)}]
    cases = [
        {"activation": "relu"},
        {"dropout_mask": normal(B, I)},
        {"recurrent_dropout_mask": normal(B, H)},
        *(per_gate if gates > 1 else []),
        *([{"recurrent_activation": "hard_sigmoid"}] if gates > 1 else []),
    ]
    for options in cases:
        compare(kind, x, weights, states, mask, options, close)
    compare(kind, x, weights_of(kind, normal, with_bias=False), None, mask, {}, close)


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_is_as_good_as_a_name(kind, normal, implementation):
    if implementation != "aten":
        config.set_kernels("auto")  # kernels know names only
    x, weights = normal(B, T, I), weights_of(kind, normal)
    named = run(kind, x, weights, None, None, {"activation": "tanh"})[0]
    torch.testing.assert_close(run(kind, x, weights, None, None, {"activation": torch.tanh})[0], named)
    linear = run(kind, x, weights, None, None, {"activation": "linear"})[0]
    assert torch.equal(run(kind, x, weights, None, None, {"activation": None})[0], linear)


@pytest.mark.parametrize("mask", [MASKS["none"], *list(MASKS.values())[2:]], ids=["none", "mixed", "empty row"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind, mask, normal, gradcheck, implementation):
    count = KINDS[kind][4]
    weights = weights_of(kind, normal)
    rows, steps = (B, T) if implementation == "aten" else (2, 3)  # an evaluation takes milliseconds
    mask = None if mask is None else mask[:rows, :steps]

    def everything(x, kernel, recurrent_kernel, bias, *states):
        tensors = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
        outputs, last, final = run(kind, x, tensors, states, mask, {})
        return outputs, last, *final

    gradcheck(everything, normal(rows, steps, I), *weights.values(), *(normal(rows, H) for _ in range(count)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_with_recurrent_dropout(kind, normal, gradcheck):
    weights = weights_of(kind, normal)
    factors = normal(KINDS[kind][3], B, H) if KINDS[kind][3] > 1 else normal(B, H)

    def last(x, kernel, recurrent_kernel, bias):
        tensors = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
        return run(kind, x, tensors, None, None, {"recurrent_dropout_mask": factors, "return_sequences": False})[1]

    gradcheck(last, normal(B, T, I), *weights.values())


@pytest.mark.parametrize("mask", [MASKS["none"], MASKS["a row without any"]], ids=["unmasked", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_gradients_follow_float64(kind, mask, normal, close):
    x, weights = normal(B, T, I), weights_of(kind, normal)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        tensors = {name: w.to(dtype).requires_grad_() for name, w in weights.items()}
        inputs = x.to(dtype).requires_grad_()
        outputs, _, final = run(kind, inputs, tensors, None, mask, {})
        (outputs.square().sum() + sum(state.sum() for state in final)).backward()
        gradients.append([inputs.grad, *(w.grad for w in tensors.values())])
    for narrow, wide in zip(*gradients, strict=True):
        close(narrow, wide, terms=B * T * H)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_types(kind, dtype, normal, close):
    x, weights = normal(B, T, I, dtype=dtype), weights_of(kind, normal, dtype=dtype)
    outputs, last, final = run(kind, x, weights, None, None, {})
    assert {tensor.dtype for tensor in (outputs, last, *final)} == {dtype}
    close(outputs, oracle(kind, x, weights, None, None, {})[0], terms=T * H, scale=4)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_masked_steps_goes_nowhere(kind, normal):
    mask = torch.as_tensor(MASKS["at the end, at the start, holes"])
    x, weights = normal(B, T, I), {name: w.requires_grad_() for name, w in weights_of(kind, normal).items()}
    x[~mask] = torch.nan
    x.requires_grad_()
    outputs, _, final = run(kind, x, weights, None, mask, {})
    (outputs.sum() + sum(state.sum() for state in final)).backward()
    assert all(tensor.isfinite().all() for tensor in (outputs, *final, *(w.grad for w in weights.values())))
    assert not x.grad[~mask].any() and x.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_saturated_gates_are_finite(kind, normal):
    x, weights = normal(B, T, I), {name: w * 50 for name, w in weights_of(kind, normal).items()}
    for tensor in (x, *weights.values()):
        tensor.requires_grad_()
    outputs, _, _ = run(kind, x, weights, None, None, {})
    outputs.sum().backward()
    assert outputs.isfinite().all() and all(t.grad.isfinite().all() for t in (x, *weights.values()))


@pytest.mark.parametrize("shape", [(0, 3, 2), (1, 1, 2), (5, 7, 2)])  # no rows, one step of one row, primes
@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind, shape, normal, close):
    x, weights = normal(*shape), weights_of(kind, normal)
    outputs, last, final = run(kind, x, weights, None, None, {})
    close(outputs, oracle(kind, x, weights, None, None, {})[0], terms=shape[1] * H)
    assert last.shape == final[0].shape == (shape[0], H)
    mask = np.zeros(shape[:2], bool)
    assert not run(kind, x, weights, None, mask, {})[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_non_contiguous(kind, normal, close):
    x = normal(I, T, B).permute(2, 1, 0)
    weights = weights_of(kind, normal)
    weights["kernel"] = weights["kernel"].t().contiguous().t()
    compare(kind, x, weights, None, None, {}, close)


@pytest.mark.parametrize("kind", KINDS)
def test_cell_is_one_step(kind, normal, gradcheck):
    op, fixed, _, gates, count, _ = KINDS[kind]
    cell = getattr(autograd, f"{op.__name__}_cell")
    weights, states = weights_of(kind, normal), [normal(B, H) for _ in range(count)]
    x = normal(B, I)
    factors = {"dropout_mask": normal(gates, B, I), "recurrent_dropout_mask": normal(gates, B, H)} if gates > 1 else {}
    for options in ({}, factors):
        output, new = cell(x, given(kind, states), **weights, **fixed, **options)
        _, last, final = run(kind, x.unsqueeze(1), weights, states, None, options)
        torch.testing.assert_close(output, last)
        torch.testing.assert_close(new, final)
    tensors = list(weights.values())
    gradcheck(lambda x, *w: cell(x, given(kind, states), *w, **fixed)[0], x, *tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_errors(kind, normal):
    op, fixed, _, gates, count, _ = KINDS[kind]
    x, weights = normal(B, T, I), weights_of(kind, normal)
    cases = [
        ({"x": normal(B, I)}, r"expects `x` of shape \[B, T, I\]. Received shape \(3, 2\)"),
        ({"x": normal(B, 0, I)}, "at least one step"),
        ({"x": normal(B, T, I + 1)}, r"Received kernel of shape \(2, .*for x of shape \(3, 5, 3\)"),
        ({"recurrent_kernel": normal(H)}, r"recurrent_kernel \[H, "),
        ({"bias": normal(5)}, r"expects `bias` of shape .* Received shape \(5,\)"),
        ({"mask": torch.ones(B, T)}, "dtype torch.bool"),
        ({"mask": torch.ones(B, T - 1, dtype=torch.bool)}, r"`mask` of shape \[B, T\].*Received shape \(3, 4\)"),
        ({"initial_state": given(kind, [normal(B, H + 1)] * count)}, r"states of shape \(3, 4\)"),
        ({"dropout_mask": normal(B, H)}, r"`dropout_mask` of shape \(3, 2\)"),
        ({"recurrent_dropout_mask": normal(gates + 1, B, H)}, r"`recurrent_dropout_mask` of shape \(3, 4\)"),
        ({"activation": "softmax"}, "Unknown activation of"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            op(**({"x": x} | weights | fixed | change))


def test_lstm_has_two_states(normal):
    with pytest.raises(ValueError, match="two states"):
        autograd.lstm(normal(B, T, I), **weights_of("lstm", normal), initial_state=[normal(B, H)])


@pytest.mark.parametrize("wanted", ["sequence", "last", "both"])
def test_grus_own_derivative_is_that_of_the_loop(wanted):
    """By name the loop has a derivative of its own, by function autograd's."""
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 5, 4), (4, 18), (6, 18), (2, 18), (3, 6)
    found = []
    for activation in ("tanh", torch.tanh):
        generator.manual_seed(0)
        given = [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]
        sequence, last, _ = autograd.gru(*given, activation=activation, implementation="aten")
        assert sequence is not None
        loss = torch.zeros((), dtype=torch.float64)
        if wanted != "last":
            loss = loss + (sequence * torch.linspace(-1, 1, sequence.numel()).view(sequence.shape)).sum()
        if wanted != "sequence":
            loss = loss + (last * torch.linspace(1, 2, last.numel()).view(last.shape)).sum()
        found.append(torch.autograd.grad(loss, given))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2.0**-52 * 64 * 20)  # sums of up to 60 terms below 20
