"""gru: over the steps t of x, with W [I, 3 H], R [H, 3 H] and the gates in Keras's order z, r, h,

    z_t = s(x_t W_z + h_{t-1} R_z + b_z)         r_t = s(x_t W_r + h_{t-1} R_r + b_r)
    n_t = a(x_t W_h + b_h + r_t (h_{t-1} R_h + b'_h))      with reset_after
    n_t = a(x_t W_h + b_h + (r_t h_{t-1}) R_h)             without
    h_t = z_t h_{t-1} + (1 - z_t) n_t                      a: `activation`, s: `recurrent_activation`

(Cho et al. 2014, v3 of the paper with reset_after, v1 without.)

    x                       [B, T, I]
    bias                    without reset_after [3 H]; with it [2, 3 H]: b_h and b'_h its rows, b_z and b_r their sums
    initial_state           h_0 [B, H], or None for zeros
    mask                    [B, T] bool, or None; masked steps as in `kernels.recurrence`
    dropout_mask            [B, I], or [3, B, I] with one for each gate: factors of x, the same at every step
    recurrent_dropout_mask  [B, H], or [3, B, H]: factors of h_{t-1} in the products with R
    reverse                 steps are taken from the last to the first, and outputs come in that order
    a, s                    names of `kernels.activation`, or functions

Result: (outputs [B, T, H], or None without return_sequences; last output [B, H]; [h], the final state).
gru_cell is one step: x [B, I] gives (h, [h]).

dtypes: float32, float64, bfloat16, float16, one for all; products are accumulated in float32 (float64 in float64).
Backward (through time) needs x, W, R, the h of every step, the gates, and h R_h + b'_h with reset_after.
"""
