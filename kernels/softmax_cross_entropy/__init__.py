"""softmax_cross_entropy: loss = -sum over k of q_k log softmax(logits)_k, for each row of C logits.

    logits           [..., C]
    labels           sparse: integers [...], q = 1 at the label; else probabilities [..., C], q = labels
    label_smoothing  s: q becomes (1 - s) q + s / C
    ignore_class     sparse only: rows with this label have loss 0 and no gradient, whatever their logits; or None
    loss             [...], the dtype of logits

dtypes: float32, float64, bfloat16, float16; sums are in float32 for the half types.
Backward: dlogits = (softmax(logits) sum(q) - q) dloss. It needs softmax(logits), or logits and log sum exp.
"""
