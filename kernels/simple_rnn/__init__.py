"""simple_rnn: over the steps t of x, h_t = a(x_t W + h_{t-1} R + b) (Elman 1990).

    x                       [B, T, I]
    W [I, H], R [H, H], b   [H], or None
    initial_state           h_0 [B, H], or None for zeros
    mask                    [B, T] bool, or None; masked steps as in `kernels.recurrence`
    dropout_mask            [B, I]: factors of x, the same at every step
    recurrent_dropout_mask  [B, H]: factors of h_{t-1} in h_{t-1} R
    reverse                 steps are taken from the last to the first, and outputs come in that order
    a                       a name of `kernels.activation`, or a function

Result: (outputs [B, T, H], or None without return_sequences; last output [B, H]; [h], the final state).
simple_rnn_cell is one step: x [B, I] gives (h, [h]).

dtypes: float32, float64, bfloat16, float16, one for all; products are accumulated in float32 (float64 in float64).
Backward (through time) needs x, W, R, the h of every step and what the activation needs.
"""
