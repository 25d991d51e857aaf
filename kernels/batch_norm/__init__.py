"""batch_norm: y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta), for each channel (Ioffe & Szegedy 2015).

    x                     any rank, the channels on `axis`, C of them
    gamma, beta           [C], or None for 1 and 0
    mean, variance        [C]; with training=True not used, the batch's own are
    mask                  bool, the shape of x without its last axis: the positions that count in training; or None
    activation            f, a name of `kernels.activation`, or None
    result                (y, mean, variance): y like x, and the statistics used, [C]

Of N counted positions: mean = sum(x) / N, variance = sum((x - mean)^2) / N (the biased one, which Keras's moving
variance follows). With a mask N is the number of its True, plus `config.epsilon()` against division by zero.
Masked positions are normalised like the others.

dtypes: float32, float64, bfloat16, float16; statistics, gamma and beta are float32 for the half types.
Backward, in training through the statistics too; the statistics returned carry no gradient. It needs x, gamma, the
mean and 1 / sqrt(variance + epsilon).
"""
