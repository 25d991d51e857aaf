"""dropout: y = x * mask / (1 - rate), with mask 0 with probability `rate` and else 1.

    x      any shape, any float dtype
    seed   int64 [2]: (seed, offset), a tensor on any device or a pair of ints
    y      the shape and dtype of x

The mask is a function of (seed, offset) and the noise shape alone, the same in every implementation and on every
device: nothing needs to be stored, and nobody reads a device tensor on the host. noise_shape (of x's rank, 1 or x's
size on each axis) is the mask's shape, broadcast to x's; None is x's own. rate 0 gives x itself, rate 1 zeros.

Element i of the mask, in row-major order of the noise shape, is 1 where u_i >= min(round(65536 rate), 65535), with u_i
lane i % 8 of the eight 16-bit lanes, low halves first, of Philox4x32-7 (`kernels/dropout/philox.py`) of

    counter = (lo(i // 8), hi(i // 8), lo(offset), hi(offset)),   key = (lo(seed), hi(seed))      lo, hi: 32-bit halves

Backward: dx = dy * mask / (1 - rate). It needs the seed, from which the mask is made again, or the mask.
"""
