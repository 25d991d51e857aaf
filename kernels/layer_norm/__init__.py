"""layer_norm: y = gamma (x - mean) / sqrt(variance + epsilon) + beta (Ba, Kiros & Hinton 2016).

    x            any shape
    axes         the axes that mean and (biased) variance are taken over, in ascending order
    gamma, beta  the sizes of x on those axes, or None for 1 and 0
    y            like x

dtypes: float32, float64, bfloat16, float16; statistics are float32 for the half types.
Backward needs x, gamma, the mean and 1 / sqrt(variance + epsilon).
"""
