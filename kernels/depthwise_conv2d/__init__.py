"""depthwise_conv2d: y = activation(z + bias), z being the correlation of each channel with filters of its own.

    z[b, i, j, c M + m] = sum over r, s of x[b, i sh + r dh - top, j sw + s dw - left, c] W[r, s, c, m]

    x     [B, H, W, C]        channels last, 0 outside
    W     [kh, kw, C, M]      M filters (the depth multiplier) for each channel
    bias  [C M], or None
    y     [B, H', W', C M]    H', W', strides, padding, dilation, dtypes and activation as in `kernels.conv2d`

Backward: as for `kernels.conv2d` with groups = C, of which this is the case W[kh, kw, 1, C M]. It needs x, W and what
the activation needs.
"""
