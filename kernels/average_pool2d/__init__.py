"""average_pool2d: the mean over a window, inside the image.

    y[b, i, j, c] = mean over r < ph, s < pw of x[b, i sh + r - top, j sw + s - left, c]

    x        [B, H, W, C]      channels last, any float dtype
    window   (ph, pw)          strides (sh, sw)
    padding  ((top, bottom), (left, right)): equal at both sides of an axis, or that of 'same' (1 more at the far side)
    y        [B, H', W', C]    H' = floor((H + top + bottom - ph) / sh) + 1, W' likewise

Padding is not counted: a window cut by the border is divided by the number of its elements inside.
Backward: each dy, divided by that number, goes to every element of its window. It needs the shapes alone.
"""
