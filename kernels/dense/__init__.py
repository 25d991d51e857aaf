"""dense: y = dropout(activation(x W + b)).

    x  [..., K]   inputs
    W  [K, N]     kernel
    b  [N]        bias, or None
    y  [..., N]

dtypes: float32, float64, bfloat16, float16, one for all; products are accumulated in float32 (float64 in float64).
activation: a name of `kernels.activation`, or None. dropout_rate, seed: as in `kernels.dropout`; rate 0 drops nothing.

Backward, with g the gradient before dropout and activation: dx = g W^T, dW = x^T g, db = the sum of g over rows.
It needs x, W, what the activation needs (see `kernels.activation`), and the seed from which the mask is made again
(or the mask). Where W is a view of a matrix [N, K], as torch's Linear has it, dW is one, too, and neither is copied.
"""
