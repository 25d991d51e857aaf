"""The recurrent layers in float64 NumPy, written from their equations, one step and one row of the batch at a time."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, states, weights, x_masks=(1, 1, 1, 1), h_masks=(1, 1, 1, 1)):
    """(h, [h, c]) of one row; a mask for each gate i, f, c, o."""
    h, c = states
    kernel, recurrent, bias = weights
    n = len(h)
    i, f, g, o = (
        (x * x_masks[k]) @ kernel[:, k * n : k * n + n]
        + (h * h_masks[k]) @ recurrent[:, k * n : k * n + n]
        + bias[k * n : k * n + n]
        for k in range(4)
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, [h, c]


def gru_step(x, states, weights, x_masks=(1, 1, 1), h_masks=(1, 1, 1)):
    """(h, [h]) of one row, the gates being z, r, h; with a bias of two rows the reset gate comes after the product."""
    (h,) = states
    kernel, recurrent, bias = weights
    n = len(h)
    reset_after = bias.ndim == 2
    x_bias, h_bias = bias if reset_after else (bias, 0 * bias)
    of_x = [(x * x_masks[k]) @ kernel[:, k * n : k * n + n] + x_bias[k * n : k * n + n] for k in range(3)]
    of_h = [(h * h_masks[k]) @ recurrent[:, k * n : k * n + n] + h_bias[k * n : k * n + n] for k in range(3)]
    z, r = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
    candidate = of_x[2] + (r * of_h[2] if reset_after else (r * h * h_masks[2]) @ recurrent[:, 2 * n :])
    h = z * h + (1 - z) * np.tanh(candidate)
    return h, [h]


def simple_rnn_step(x, states, weights, x_masks=(1,), h_masks=(1,)):
    """(h, [h]) of one row."""
    (h,) = states
    kernel, recurrent, bias = weights
    h = np.tanh((x * x_masks[0]) @ kernel + (h * h_masks[0]) @ recurrent + bias)
    return h, [h]


STEPS = {"LSTM": lstm_step, "GRU": gru_step, "SimpleRNN": simple_rnn_step}
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}


def run(step, x, states, weights, mask=None, backwards=False, zero_output=False, x_masks=None, h_masks=None):
    """(outputs (B, T, H), final states) of x (B, T, K) from `states`, a list of arrays (B, H).

    x_masks, h_masks: (gates, B, ...) factors of the inputs and the previous outputs.
    """
    outputs, finals = [], []
    for b in range(len(x)):
        row_states, row = [s[b] for s in states], []
        factors = {name: m[:, b] for name, m in (("x_masks", x_masks), ("h_masks", h_masks)) if m is not None}
        shown = 0 * step(x[b, 0], row_states, weights)[0]
        order = range(x.shape[1])
        for t in reversed(order) if backwards else order:
            if mask is None or mask[b, t]:
                shown, row_states = step(x[b, t], row_states, weights, **factors)
                row.append(shown)
            else:
                row.append(0 * shown if zero_output else shown)
        outputs.append(row)
        finals.append(row_states)
    return np.array(outputs), [np.array([f[k] for f in finals]) for k in range(len(states))]


def masks(rng, batch, steps):
    """Masks by name; with more than three rows, one row of each has no step at all."""
    lengths = np.arange(batch)[::-1, None] * steps // max(batch - 1, 1)
    right = np.arange(steps)[None] < lengths
    return {"none": None, "right": right, "left": right[:, ::-1].copy(), "holes": rng.random((batch, steps)) < 0.6}
