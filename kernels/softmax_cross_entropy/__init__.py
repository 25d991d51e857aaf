"""softmax_cross_entropy: loss = -sum over k of q_k log softmax(logits)_k, for each row of C logits.

    logits           [..., C]
    labels           sparse: integers [...], q = 1 at the label; else probabilities [..., C], q = labels
    label_smoothing  s: q becomes (1 - s) q + s / C
    ignore_class     sparse only: rows with this label have loss 0 and no gradient, whatever their logits; or None
    loss             [...], the dtype of logits

A sparse label that is no class, other than ignore_class, is an IndexError on the CPU; on a GPU, where that would take
a read by the host, ATen stops the device and the other implementations give NaN as loss and gradient of the row.

`softmax_cross_entropy_with_gradient` also takes weights [...] and returns (loss, dlogits for dloss = weights).

dtypes: float32, float64, bfloat16, float16; sums are in float32 for the half types.
Backward: dlogits = (softmax(logits) sum(q) - q) dloss; dlabels = -(1 - s) log softmax(logits) dloss. It needs
softmax(logits), or logits and log sum exp.
"""
