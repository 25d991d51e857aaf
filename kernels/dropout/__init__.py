"""dropout: y = x * mask / (1 - rate), with mask 0 with probability `rate` and else 1.

    x      any shape, any float dtype
    seed   int64 [2]: (seed, offset), a tensor on any device or a pair of ints
    y      the shape and dtype of x

The mask is a function of (seed, offset), the device's type and the noise shape alone: nothing needs to be stored, and
nobody reads a device tensor on the host. noise_shape (of x's rank, 1 or x's size on each axis) is the mask's shape,
broadcast to x's; None is x's own. rate 0 gives x itself, rate 1 zeros.

Backward: dx = dy * mask / (1 - rate). It needs the mask, or the seed from which it is made again.
"""
