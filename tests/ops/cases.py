"""The operations as data: how to call each, and what NumPy says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

random = np.random.default_rng(7)


@dataclass(frozen=True)
class Case:
    """`keras.ops.<name>(*args, **static)` and the same in NumPy's float64.

    Args:
        name: of the function.
        args: arrays, numbers, or lists of arrays: what the operation takes as tensors.
        expected: of the arguments as float64, and of `static`.
        static: the other arguments.
        unknown: axis of the first array whose size is unknown in the symbolic call; None where it must be known.
        static_first: static arguments that stand before the tensors.
    """

    name: str
    args: tuple
    expected: Callable[..., Any]
    static: dict[str, Any] = field(default_factory=dict)
    unknown: int | None = 0
    static_first: tuple = ()

    def __str__(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.static.items())
        return f"{self.name}-{options}" if options else self.name


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype("float32")


def positive(*shape: int) -> np.ndarray:
    return (np.abs(random.standard_normal(shape)) + 0.1).astype("float32")


def between(low: float, high: float, *shape: int) -> np.ndarray:
    return random.uniform(low, high, shape).astype("float32")


X = normal(3, 4)
Y = normal(3, 4)
B = X > 0
I = random.integers(-5, 6, (3, 4)).astype("int32")  # noqa: E741 - integers
J = random.integers(1, 6, (3, 4)).astype("int32")
M = normal(2, 3, 3) + 3 * np.eye(3, dtype="float32")
SPD = M @ M.swapaxes(-1, -2)

_erf = np.vectorize(math.erf, otypes=[float])


def unary(names: str, x: np.ndarray) -> list[Case]:
    return [Case(name, (x,), getattr(np, name)) for name in names.split()]


def binary(names: str, x: np.ndarray, y: np.ndarray) -> list[Case]:
    return [Case(name, (x, y), getattr(np, name)) for name in names.split()]


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> np.ndarray:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + epsilon) * gamma + beta


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, is_causal: bool = False) -> np.ndarray:
    logits = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    if is_causal:
        logits = np.where(np.tril(np.ones(logits.shape[-2:], bool)), logits, -np.inf)
    return np.einsum("bhqk,bkhd->bqhd", _softmax(logits), v)


def _conv2d(
    x: np.ndarray, w: np.ndarray, strides: int = 1, padding: str = "valid", dilation_rate: int = 1
) -> np.ndarray:
    """By the definition: one sum for each output element."""
    kh, kw = ((n - 1) * dilation_rate + 1 for n in w.shape[:2])
    if padding == "same":
        pads = [max(0, (-(-n // strides) - 1) * strides + k - n) for n, k in zip(x.shape[1:3], (kh, kw), strict=True)]
        x = np.pad(x, ((0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)))
    rows, columns = ((n - k) // strides + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True))
    y = np.zeros((x.shape[0], rows, columns, w.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            patch = x[:, i * strides :, j * strides :][:, :kh:dilation_rate, :kw:dilation_rate]
            y[:, i, j] = np.tensordot(patch, w, 3)
    return y


def _pool2d(x: np.ndarray, pool_size: int, strides: int | None = None, reduce: Callable = np.max) -> np.ndarray:
    strides = strides or pool_size
    rows, columns = ((n - pool_size) // strides + 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], rows, columns, x.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * strides :, j * strides :][:, :pool_size, :pool_size]
            y[:, i, j] = reduce(window, axis=(1, 2))
    return y


def _bce(t: np.ndarray, p: np.ndarray, from_logits: bool = False) -> np.ndarray:
    p = 1 / (1 + np.exp(-p)) if from_logits else np.clip(p, 1e-7, 1 - 1e-7)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def _cce(t: np.ndarray, p: np.ndarray, from_logits: bool = False, axis: int = -1) -> np.ndarray:
    p = _softmax(p, axis) if from_logits else np.clip(p / p.sum(axis, keepdims=True), 1e-7, 1 - 1e-7)
    return -(t * np.log(p)).sum(axis)


def _segments(reduce: Callable, empty: float) -> Callable:
    def segments(data: np.ndarray, ids: np.ndarray, num_segments: int) -> np.ndarray:
        parts = [data[ids == i] for i in range(num_segments)]
        return np.stack([reduce(part, axis=0) if len(part) else np.full(data.shape[1:], empty) for part in parts])

    return segments


IMAGE = normal(2, 7, 6, 3)
HEADS = normal(2, 5, 2, 4)
PROBABILITIES = between(0.05, 0.95, 3, 4)
LABELS = np.array([0, 3, 2], "int32")

CASES: list[Case] = [
    *unary("arccos arcsin arctanh", between(-0.9, 0.9, 3, 4)),
    *unary("arcsinh arctan cos cosh deg2rad exp exp2 expm1 fabs floor ceil i0 rad2deg sin sinc sinh tan tanh cbrt", X),
    *unary("arccosh", positive(3, 4) + 1),
    *unary("log log10 log1p log2 reciprocal sqrt", positive(3, 4)),
    *unary("absolute abs negative sign square trunc copy conjugate isfinite isinf isnan logical_not signbit ravel", X),
    *unary("bitwise_invert", I),
    Case("bitwise_not", (I,), np.invert),
    *binary(
        "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 hypot logaddexp logaddexp2", X, Y
    ),
    *binary("equal not_equal greater greater_equal less less_equal heaviside nextafter isclose outer", X, Y),
    *binary("logical_and logical_or logical_xor", B, ~B[::-1]),
    *binary("mod fmod floor_divide", X, positive(3, 4)),
    *binary("mod fmod floor_divide gcd lcm bitwise_and bitwise_or bitwise_xor", I, J),
    *binary("left_shift right_shift power ldexp", np.abs(I), J),
    Case("bitwise_left_shift", (np.abs(I), J), np.left_shift),
    Case("bitwise_right_shift", (np.abs(I), J), np.right_shift),
    *binary("power", positive(3, 4), Y),
    *binary("add multiply", X, Y[:1]),
    *binary("add", X, Y[0]),
    Case("divide_no_nan", (X, np.where(B, Y, 0)), lambda x, y: np.divide(x, y, out=np.zeros_like(x), where=y != 0)),
    Case("clip", (X,), lambda x, x_min, x_max: np.clip(x, x_min, x_max), {"x_min": -0.5, "x_max": 0.5}),
    Case("round", (X,), np.round),
    Case("round", (X * 10,), np.round, {"decimals": 1}),
    Case(
        "nan_to_num",
        (np.array([[np.nan, 1.0], [np.inf, -np.inf]], "float32"),),
        np.nan_to_num,
        {"posinf": 9.0, "neginf": -9.0},
    ),
    # reductions
    *(
        Case(name, (X,), getattr(np, name), static)
        for name in ["sum", "mean", "prod", "var", "std", "amax", "amin", "max", "min"]
        for static in ({}, {"axis": 1}, {"axis": (0, 1), "keepdims": True}, {"axis": -1, "keepdims": True})
    ),
    *(
        Case(name, (B,), getattr(np, name), static)
        for name in ["all", "any"]
        for static in ({}, {"axis": 1, "keepdims": True})
    ),
    *(
        Case(name, (X,), getattr(np, name), static)
        for name in ["argmax", "argmin"]
        for static in ({}, {"axis": 1}, {"axis": 0, "keepdims": True})
    ),
    *(Case(name, (X,), getattr(np, name), static) for name in ["cumsum", "cumprod"] for static in ({}, {"axis": 1})),
    Case("max", (X,), np.max, {"axis": 1, "initial": 0.7}),
    Case("min", (X,), np.min, {"axis": 1, "initial": -0.7}),
    Case("count_nonzero", (I,), np.count_nonzero, {"axis": 1}),
    Case("average", (X,), np.average, {"axis": 1}),
    Case("ptp", (X,), np.ptp, {"axis": 1}),
    # creation
    Case("zeros_like", (X,), np.zeros_like),
    Case("ones_like", (X,), np.ones_like),
    Case("full_like", (X, 3.0), lambda x, v: np.full_like(x, v)),
    Case("array", (X,), np.array),
    # shape
    Case("reshape", (X,), lambda x, newshape: np.reshape(x, newshape), {"newshape": (-1, 2)}),
    Case("reshape", (X,), lambda x, newshape: np.reshape(x, newshape), {"newshape": (2, 6)}),
    Case("expand_dims", (X,), np.expand_dims, {"axis": 1}),
    Case("expand_dims", (X,), np.expand_dims, {"axis": (0, -1)}),
    Case("squeeze", (X[:, :, None],), np.squeeze, {"axis": -1}),
    Case("squeeze", (X[:, :, None],), np.squeeze),
    Case("transpose", (X,), np.transpose),
    Case("transpose", (IMAGE,), np.transpose, {"axes": (0, 3, 1, 2)}),
    Case("moveaxis", (IMAGE,), np.moveaxis, {"source": 3, "destination": 1}),
    Case("swapaxes", (IMAGE,), np.swapaxes, {"axis1": 1, "axis2": 2}),
    Case("flip", (X,), np.flip),
    Case("flip", (X,), np.flip, {"axis": 1}),
    Case("fliplr", (X,), np.fliplr),
    Case("flipud", (X,), np.flipud),
    Case("rot90", (X,), np.rot90, {"k": 3}),
    Case("roll", (X,), np.roll, {"shift": 2, "axis": 1}),
    Case("roll", (X,), np.roll, {"shift": 2}),
    Case("broadcast_to", (X,), np.broadcast_to, {"shape": (2, 3, 4)}, unknown=None),
    Case("concatenate", ([X, Y],), np.concatenate),
    Case("concatenate", ([X, Y[:, :2]],), np.concatenate, {"axis": 1}),
    Case("concatenate", ([X, Y[:, :2]],), np.concatenate, {"axis": -1}),
    Case("stack", ([X, Y],), np.stack, {"axis": 1}),
    Case("hstack", ([X, Y],), np.hstack),
    Case("vstack", ([X, Y],), np.vstack),
    Case("dstack", ([X, Y],), np.dstack),
    Case("append", (X, Y), np.append, {"axis": 1}),
    Case("append", (X, Y), np.append),
    Case("split", (X,), np.split, {"indices_or_sections": 2, "axis": 1}),
    Case("split", (X,), np.split, {"indices_or_sections": [1, 3], "axis": 1}),
    Case("array_split", (X,), np.array_split, {"indices_or_sections": 3, "axis": 1}),
    Case("hsplit", (X,), np.hsplit, {"indices_or_sections": 2}),
    Case("vsplit", (X,), np.vsplit, {"indices_or_sections": [1]}, unknown=1),
    Case("dsplit", (X[:, None],), np.dsplit, {"indices_or_sections": 2}),
    Case("repeat", (X,), np.repeat, {"repeats": 2, "axis": 1}),
    Case("repeat", (X,), np.repeat, {"repeats": [1, 2, 0, 1], "axis": 1}),
    Case("repeat", (X,), np.repeat, {"repeats": 3}),
    Case("tile", (X,), lambda x, repeats: np.tile(x, repeats), {"repeats": (2, 3)}),
    *(
        Case(
            "pad",
            (X,),
            np.pad,
            {"pad_width": ((1, 0), (2, 3)), "mode": mode},
            unknown=None if mode != "constant" else 0,
        )
        for mode in ["constant", "edge", "reflect", "symmetric", "wrap"]
    ),
    # indexing
    Case("take", (X, LABELS), lambda x, i: np.take(x, i), unknown=None),
    Case("take", (X, np.array([[0, -1]])), np.take, {"axis": 1}),
    Case("take", (X, np.array([0, -1, 1])), np.take, {"axis": 0}, unknown=1),
    Case("take_along_axis", (X, np.argsort(X, 1)), np.take_along_axis, {"axis": 1}, unknown=None),
    Case("where", (B, X, Y), np.where),
    Case("select", ([B, ~B], [X, Y]), np.select),
    Case("diag", (M[0],), np.diag, unknown=None),
    Case("diag", (X[0],), np.diag, {"k": 1}, unknown=None),
    Case("diagflat", (X,), np.diagflat, unknown=None),
    Case("diagonal", (M,), np.diagonal, {"axis1": 1, "axis2": 2}),
    Case("tril", (X,), np.tril, {"k": -1}),
    Case("triu", (X,), np.triu, {"k": 1}),
    # products
    Case("matmul", (X, Y.T), np.matmul),
    Case("matmul", (M, X[0, :3]), np.matmul),
    Case("matmul", (M, M), np.matmul),
    Case("dot", (X, Y.T), np.dot),
    Case("dot", (M, M), np.dot),
    Case("vdot", (X, Y), np.vdot),
    Case("inner", (X, Y), np.inner),
    Case("tensordot", (M, M), np.tensordot, {"axes": ((1,), (2,))}, unknown=0),
    Case("tensordot", (M, M[0]), np.tensordot, {"axes": 2}),
    Case("tensordot", (M, M[0]), np.tensordot, {"axes": (-1, 0)}),
    Case("kron", (X, Y), np.kron),
    Case("cross", (M[0], M[1]), np.cross),
    Case("cross", (X[:, :2], Y[:, :2]), lambda a, b: a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]),
    Case("einsum", (M, X[:, :3].T), np.einsum, static_first=("bij,jk->bik",)),
    Case("einsum", (M, X[:, :3].T), np.einsum, static_first=("...ij,jk->...ik",)),
    # math
    Case("rsqrt", (positive(3, 4),), lambda x: 1 / np.sqrt(x)),
    Case("erf", (X,), _erf),
    Case("erfc", (X,), lambda x: 1 - _erf(x)),
    Case("logsumexp", (X,), lambda x, axis=None: np.log(np.exp(x).sum(axis)), {"axis": 1}),
    Case("logsumexp", (X,), lambda x: np.log(np.exp(x).sum())),
    Case("top_k", (X,), lambda x, k: (np.sort(x)[:, ::-1][:, :k], np.argsort(-x)[:, :k]), {"k": 2}),
    Case(
        "in_top_k", (LABELS, X), lambda t, p, k: np.array([t[i] in np.argsort(-p[i])[:k] for i in range(3)]), {"k": 2}
    ),
    *(
        Case(name, (X, np.array([2, 0, 2])), _segments(reduce, empty), {"num_segments": 4}, unknown=None)
        for name, reduce, empty in (
            ("segment_sum", np.sum, 0),
            ("segment_prod", np.prod, 1),
            ("segment_max", np.max, -np.inf),
            ("segment_min", np.min, np.inf),
        )
    ),
    Case("cdist", (X, Y), lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))),
    Case(
        "extract_sequences",
        (X,),
        lambda x, sequence_length, sequence_stride: np.stack([x[:, :2], x[:, 2:]], 1),
        {"sequence_length": 2, "sequence_stride": 2},
    ),
    Case("logdet", (SPD,), lambda x: np.log(np.linalg.det(x))),
    # linear algebra
    *(Case(name, (M,), getattr(np.linalg, name)) for name in ["inv", "det", "pinv", "slogdet", "matrix_rank"]),
    Case("cholesky", (SPD,), np.linalg.cholesky),
    Case("solve", (M, M), np.linalg.solve),
    Case("norm", (X,), np.linalg.norm),
    *(
        Case("norm", (X,), lambda x, ord, axis: np.linalg.norm(x, ord, axis), {"ord": o, "axis": a})
        for o, a in ((1, 1), (2, 0), (np.inf, 1), ("fro", (0, 1)), ("nuc", (0, 1)))
    ),
    # neural networks
    Case("relu", (X,), lambda x: np.maximum(x, 0)),
    Case("sigmoid", (X,), lambda x: 1 / (1 + np.exp(-x))),
    Case("gelu", (X,), lambda x, approximate: x * 0.5 * (1 + _erf(x / math.sqrt(2))), {"approximate": False}),
    Case("gelu", (X,), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    Case("silu", (X,), lambda x: x / (1 + np.exp(-x))),
    Case("leaky_relu", (X,), lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), {"negative_slope": 0.3}),
    Case("elu", (X,), lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)), {"alpha": 0.5}),
    Case("softplus", (X,), lambda x: np.log1p(np.exp(x))),
    Case("softmax", (X,), _softmax),
    Case("softmax", (X,), _softmax, {"axis": 0}),
    Case("log_softmax", (X,), lambda x: np.log(_softmax(x))),
    Case("one_hot", (LABELS,), lambda x, num_classes: np.eye(num_classes)[x.astype(int)], {"num_classes": 5}),
    Case(
        "one_hot",
        (LABELS,),
        lambda x, num_classes, axis: np.eye(num_classes)[x.astype(int)].T,
        {"num_classes": 5, "axis": 0},
    ),
    Case("multi_hot", (J,), lambda x, num_classes: np.eye(num_classes)[x.astype(int)].max(1), {"num_classes": 6}),
    Case("binary_crossentropy", (B.astype("float32"), PROBABILITIES), _bce),
    Case("binary_crossentropy", (B.astype("float32"), X), _bce, {"from_logits": True}),
    Case("categorical_crossentropy", (_softmax(Y), PROBABILITIES), _cce),
    Case("categorical_crossentropy", (_softmax(Y), X), _cce, {"from_logits": True}),
    Case(
        "sparse_categorical_crossentropy",
        (LABELS, X),
        lambda t, p, from_logits: _cce(np.eye(4)[t.astype(int)], p, from_logits),
        {"from_logits": True},
    ),
    Case("sparse_categorical_crossentropy", (LABELS, PROBABILITIES), lambda t, p: _cce(np.eye(4)[t.astype(int)], p)),
    Case(
        "moments",
        (X,),
        lambda x, axes, keepdims: (x.mean(axes, keepdims=True), x.var(axes, keepdims=True)),
        {"axes": (0,), "keepdims": True},
    ),
    Case(
        "batch_normalization",
        (X, Y[0], Y[1] ** 2),
        lambda x, m, v, axis, epsilon: (x - m) / np.sqrt(v + epsilon),
        {"axis": -1, "epsilon": 0.01},
    ),
    Case("layer_normalization", (X, Y[0], Y[1]), _layer_norm, {"epsilon": 0.01}),
    Case(
        "rms_normalization",
        (X, Y[0]),
        lambda x, s, epsilon: x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * s,
        {"epsilon": 0.01},
    ),
    Case("normalize", (X,), lambda x, axis: x / np.linalg.norm(x, axis=axis, keepdims=True), {"axis": 1}),
    Case(
        "normalize",
        (X,),
        lambda x, axis, order: x / np.linalg.norm(x, order, axis=axis, keepdims=True),
        {"axis": 0, "order": 3},
    ),
    Case("dot_product_attention", (HEADS, HEADS[::-1].copy(), 2 * HEADS), _attention),
    Case("dot_product_attention", (HEADS, HEADS[::-1].copy(), 2 * HEADS), _attention, {"is_causal": True}),
    Case("conv", (IMAGE, normal(3, 2, 3, 4)), _conv2d),
    Case("conv", (IMAGE, normal(3, 3, 3, 4)), _conv2d, {"strides": 2, "padding": "same"}),
    Case("conv", (IMAGE, normal(2, 2, 3, 4)), _conv2d, {"dilation_rate": 2, "padding": "same"}, unknown=1),
    Case(
        "depthwise_conv",
        (IMAGE, normal(3, 2, 3, 1)),
        lambda x, w: np.concatenate([_conv2d(x[..., i : i + 1], w[:, :, i : i + 1]) for i in range(3)], -1),
    ),
    Case("max_pool", (IMAGE,), _pool2d, {"pool_size": 2}),
    Case("max_pool", (IMAGE,), _pool2d, {"pool_size": 3, "strides": 1}, unknown=2),
    Case("average_pool", (IMAGE,), lambda x, **s: _pool2d(x, **s, reduce=np.mean), {"pool_size": 2}),
]
