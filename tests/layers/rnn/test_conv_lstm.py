"""ConvLSTM1D, 2D and 3D, against a loop over windows in NumPy."""

import itertools

import numpy as np
import pytest

import fastk
from tests.layers.rnn import oracle

layers = fastk.layers

FILTERS = 2


def convolve(x, kernel, strides, dilation, same):
    """One example (..., C) with a kernel (..., C, F), element by element."""
    rank = kernel.ndim - 2
    sizes = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    if same:
        out = [-(-n // s) for n, s in zip(x.shape, strides, strict=False)]
        total = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(out, strides, sizes, x.shape, strict=False)]
        x = np.pad(x, [(p // 2, p - p // 2) for p in total] + [(0, 0)])
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape, sizes, strides, strict=False)]
    result = np.zeros((*out, kernel.shape[-1]))
    for position in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, kernel.shape[:rank])):
            at = tuple(p * s + k * d for p, s, k, d in zip(position, strides, tap, dilation, strict=True))
            result[position] += x[at] @ kernel[tap]
    return result


def conv_lstm_step(rank, strides, dilation, same):
    ones = (1,) * rank

    def step(x, states, weights, x_masks=(1,) * 4, h_masks=(1,) * 4):
        h, c = states
        kernel, recurrent, bias = weights
        gates = [slice(k * FILTERS, (k + 1) * FILTERS) for k in range(4)]
        i, f, g, o = (
            convolve(x * x_masks[k], kernel[..., gate], strides, dilation, same)
            + convolve(h * h_masks[k], recurrent[..., gate], ones, ones, True)
            + bias[gate]
            for k, gate in enumerate(gates)
        )
        c = oracle.sigmoid(f) * c + oracle.sigmoid(i) * np.tanh(g)
        h = oracle.sigmoid(o) * np.tanh(c)
        return h, [h, c]

    return step


CASES = [
    (1, (6, 2), {}),
    (1, (7, 2), {"strides": 2, "padding": "same"}),
    (1, (6, 2), {"dilation_rate": 2, "go_backwards": True}),
    (2, (5, 4, 2), {"data_format": "channels_first"}),
    (2, (4, 4, 1), {"dropout": 0.5, "recurrent_dropout": 0.5}),
    (2, (4, 4, 2), {"dropout": 0.5, "data_format": "channels_first", "padding": "same"}),
    (3, (3, 3, 2, 1), {"kernel_size": 2, "zero_output_for_mask": True}),
]


@pytest.mark.parametrize(("rank", "shape", "options"), CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_values(rank, shape, options, masked, rng):
    options = {"kernel_size": 3 if rank == 1 else 2, **options}
    layer = getattr(layers, f"ConvLSTM{rank}D")(
        FILTERS, return_sequences=True, return_state=True, dtype="float64", **options
    )
    first = options.get("data_format") == "channels_first"
    x = rng.normal(size=(2, 3, *shape))
    mask = rng.random((2, 3)) < 0.5 if masked else None
    given = np.moveaxis(x, -1, 2) if first else x
    layer.build(given.shape)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    cell = layer.cell
    strides, dilation = (n if isinstance(n, tuple) else (n,) * rank for n in (cell.strides, cell.dilation_rate))
    step = conv_lstm_step(rank, strides, dilation, options.get("padding") == "same")
    size = cell.compute_output_shape((2, *given.shape[2:]))[0]
    size = (2, *size[2:], FILTERS) if first else size
    factors = {}
    for name, one, rate in (("x_masks", (2, *shape), layer.dropout), ("h_masks", size, layer.recurrent_dropout)):
        if rate:
            factors[name] = (rng.random((4, *one)) < 0.5) * 2.0
            placed = np.moveaxis(factors[name], -1, 2) if first else factors[name]
            attribute = "_dropout_mask" if name == "x_masks" else "_recurrent_dropout_mask"
            cell.__dict__[attribute] = fastk.ops.convert_to_tensor(placed)
    results = layer(given, mask=mask, training=bool(factors))
    results = [np.moveaxis(v.detach().numpy(), 1 + (i == 0), -1) if first else v.detach().numpy()
               for i, v in enumerate(results)]  # fmt: skip
    expected, final = oracle.run(
        step,
        x,
        [np.zeros(size)] * 2,
        layer.get_weights(),
        mask,
        layer.go_backwards,
        layer.zero_output_for_mask,
        **factors,
    )
    for value, one in zip(results, (expected, *final), strict=True):
        np.testing.assert_allclose(value, one, rtol=0, atol=1e-13)
    assert layer.compute_output_shape(given.shape)[0] == layer(given)[0].shape


def test_stateful(rng):
    x = rng.normal(size=(2, 4, 5, 1))
    layer = layers.ConvLSTM1D(FILTERS, 3, stateful=True, dtype="float64")
    layer(x[:, :2])
    second = layer(x[:, 2:]).detach().numpy()
    layer.reset_state()
    np.testing.assert_allclose(layer(x).detach().numpy(), second, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.ConvLSTM2D(2, 3, strides=2, dilation_rate=2), "dilation_rate > 1"),
        (lambda: layers.ConvLSTM2D(2, (3, 3, 3)), "kernel_size"),
        (lambda: layers.ConvLSTM2D(2, 3)(layers.Input((3, None, 5, 1))), "static"),
        (lambda: layers.ConvLSTM2D(2, 3)(np.ones((2, 3, 5, 1))), "ndim=5"),
        (lambda: layers.ConvLSTM1D(2, 9)(np.ones((2, 3, 5, 1))), "zero or negative"),
    ],
)
def test_errors(make, match):
    with pytest.raises(ValueError, match=match):
        make()
