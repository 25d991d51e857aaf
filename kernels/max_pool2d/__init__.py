"""max_pool2d: the maximum over a window, inside the image.

    y[b, i, j, c] = max over r < ph, s < pw of x[b, i sh + r - top, j sw + s - left, c]

    x        [B, H, W, C]      channels last, any float dtype
    window   (ph, pw)          strides (sh, sw)
    padding  ((top, bottom), (left, right)): equal at both sides of an axis, or that of 'same' (1 more at the far side)
    y        [B, H', W', C]    H' = floor((H + top + bottom - ph) / sh) + 1, W' likewise

Padding never wins. A NaN in the window gives NaN. Of equal maxima the first (row by row) takes the gradient.
Backward: each dy goes to the position of its maximum. It needs those positions (one byte each for windows up to 16x16).
"""
