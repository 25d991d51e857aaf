"""Cross-entropy from logits."""

from __future__ import annotations

from torch import Tensor

from fastk.dispatch import choose


def softmax_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    sparse: bool,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    implementation: str = "auto",
) -> Tensor:
    """-sum of q log softmax(logits) over the classes, for each row.

    Args:
        logits: [..., C].
        labels: with `sparse` the index of the class, [...], of an integer dtype; else probabilities q [..., C].
        sparse: what the labels are.
        label_smoothing: s in [0, 1]: q becomes (1 - s) q + s / C (Szegedy et al. 2016).
        ignore_class: with `sparse` alone: rows with this label have loss 0 and no gradient.
        implementation: `"auto"`, `"triton"`, `"cupy"` or `"aten"`.

    Returns:
        [...], the dtype of logits.

    Raises:
        ValueError: shapes that do not fit, or an argument outside its range.

    >>> import torch
    >>> softmax_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), sparse=True)
    tensor([0.6931])
    """
    expected = logits.shape[:-1] if sparse else logits.shape
    if logits.dim() < 1 or labels.shape != expected:
        raise ValueError(
            f"softmax_cross_entropy with sparse={sparse} and logits of shape {tuple(logits.shape)} expects labels of "
            f"shape {tuple(expected)}. Received shape {tuple(labels.shape)}."
        )
    if sparse and (labels.is_floating_point() or labels.is_complex()):
        raise ValueError(f"Sparse labels are indices of classes, of an integer dtype. Received: {labels.dtype}.")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"`label_smoothing` must be in [0, 1]. Received: {label_smoothing}.")
    if ignore_class is not None and not sparse:
        raise ValueError("`ignore_class` is the index of a class: it goes with sparse labels alone.")
    arguments = (logits, labels, sparse, label_smoothing, ignore_class)
    return choose("softmax_cross_entropy", implementation, logits, arguments).function(*arguments)
