"""conv2d: y = activation(z + bias), z being the correlation of x with W.

    z[b, i, j, f] = sum over r, s, c of x[b, i sh + r dh - top, j sw + s dw - left, c] W[r, s, c, f]

    x        [B, H, W, C]                channels last, 0 outside
    W        [kh, kw, C / groups, F]     group g maps channels g C/groups .. to filters g F/groups ..
    bias     [F], or None
    strides  (sh, sw)     dilation (dh, dw)     padding ((top, bottom), (left, right)), explicit
    y        [B, H', W', F]              H' = floor((H + top + bottom - (kh - 1) dh - 1) / sh) + 1, W' likewise

dtypes: float32, float64, bfloat16, float16, one for all; products are accumulated in float32 (float64 in float64).
activation: a name of `kernels.activation`, or None.

Backward, with g the gradient before the activation: dx is g correlated with the flipped kernel, dW is x correlated
with g, dbias the sum of g over b, i, j. It needs x, W and what the activation needs.
"""
