"""lstm: over the steps t of x, with W [I, 4 H], R [H, 4 H], b [4 H] and the gates in Keras's order i, f, c, o,

    z_t = x_t W + h_{t-1} R + b,  split into z_i, z_f, z_c, z_o
    c_t = s(z_f) c_{t-1} + s(z_i) a(z_c)
    h_t = s(z_o) a(c_t)                                  a: `activation`, s: `recurrent_activation`

(Hochreiter & Schmidhuber 1997; Gers et al. 2000 for the forget gate.)

    x                       [B, T, I]
    initial_state           (h_0, c_0), each [B, H], or None for zeros
    mask                    [B, T] bool, or None; masked steps as in `kernels.recurrence`
    dropout_mask            [B, I], or [4, B, I] with one for each gate: factors of x, the same at every step
    recurrent_dropout_mask  [B, H], or [4, B, H]: factors of h_{t-1} in h_{t-1} R
    reverse                 steps are taken from the last to the first, and outputs come in that order
    a, s                    names of `kernels.activation`, or functions

Result: (outputs [B, T, H], or None without return_sequences; last output [B, H]; [h, c], the final states).
lstm_cell is one step: x [B, I] gives (h, [h, c]).

dtypes: float32, float64, bfloat16, float16, one for all; products are accumulated in float32 (float64 in float64).
Backward (through time) needs x, W, R, the h and c of every step and the four gates, or recomputes the gates.
"""
