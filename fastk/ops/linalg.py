"""`keras.ops.linalg`: decompositions, equations, norms. Leading dimensions are batches of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastk import tree
from fastk.graph.keras_tensor import KerasTensor
from fastk.graph.symbolic import compute_output_spec
from fastk.ops.operands import axes_of, floating
from fastk.ops.registration import dtype_for, operation
from fastk.ops.shapes import broadcast_shapes, shape_of
from fastk.tensor import convert_to_tensor

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "det",
    "eig",
    "eigh",
    "inv",
    "jvp",
    "lstsq",
    "lu_factor",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
]


def _matrices(x: Any, square: bool = False) -> torch.Tensor:
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(f"Expected input to have rank >= 2. Received input with shape {tuple(x.shape)}.")
    if square and x.shape[-1] != x.shape[-2]:
        raise ValueError(f"Expected a square matrix. Received non-square input with shape {tuple(x.shape)}")
    return x


@operation("x")
def cholesky(x: Any, upper: bool = False) -> torch.Tensor:
    """The triangular `l` of positive-definite matrices `x = l l^T`, or the upper one, `x = l^T l`."""
    return torch.linalg.cholesky(_matrices(x, square=True), upper=upper)


@operation("x")
def cholesky_inverse(x: Any, upper: bool = False) -> torch.Tensor:
    """The inverse of the matrices whose `cholesky` factor is `x`."""
    return torch.cholesky_inverse(_matrices(x, square=True), upper=upper)


@operation("x")
def det(x: Any) -> torch.Tensor:
    """The determinant."""
    return torch.linalg.det(_matrices(x, square=True))


@operation("x", module="numpy")
def slogdet(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The sign of the determinant and the logarithm of its absolute value."""
    return tuple(torch.linalg.slogdet(_matrices(x, square=True)))


@operation("x")
def eig(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The eigenvalues and eigenvectors, complex."""
    return tuple(torch.linalg.eig(_matrices(x, square=True)))


@operation("x")
def eigh(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The eigenvalues, ascending, and eigenvectors of symmetric matrices."""
    return tuple(torch.linalg.eigh(_matrices(x, square=True)))


@operation("x")
def inv(x: Any) -> torch.Tensor:
    """The inverse.

    >>> from fastk import ops
    >>> ops.inv([[2.0, 0.0], [0.0, 4.0]])
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return torch.linalg.inv(_matrices(x, square=True))


@operation("x")
def lu_factor(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The compact LU decomposition, and the rows exchanged, counted from 0."""
    factors, pivots = torch.linalg.lu_factor(_matrices(x))
    return factors, pivots - 1


@operation("x")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> torch.Tensor:
    """The norm of vectors, of matrices where two axes are given, or, by default, of all elements.

    Args:
        x: tensor.
        ord: of vectors a number (2 by default) or `inf`; of matrices also `"fro"` (the default) and `"nuc"`.
        axis: one axis (vectors), two (matrices), or None.
        keepdims: whether the axes stay, with size 1.

    >>> from fastk import ops
    >>> ops.norm([3.0, 4.0])
    tensor(5.)
    """
    x = floating(x)
    if axis is None and ord is None:
        return torch.linalg.vector_norm(x, dim=None, keepdim=keepdims)
    if axis is None and x.ndim > 2:
        raise ValueError(f"`axis` must be given with `ord` for a tensor of {x.ndim} dimensions. Received: ord={ord}")
    dims = tuple(axes_of(axis, x.ndim))
    if len(dims) == 1:
        if isinstance(ord, str):
            raise ValueError(f"Invalid `ord` argument for vector norm. Received: ord={ord}")
        return torch.linalg.vector_norm(x, 2 if ord is None else ord, dim=dims, keepdim=keepdims)
    if len(dims) != 2:
        raise ValueError(f"`axis` must be one or two axes. Received: axis={axis}")
    return torch.linalg.matrix_norm(x, "fro" if ord is None else ord, dim=dims, keepdim=keepdims)


@operation("x")
def qr(x: Any, mode: str = "reduced") -> tuple[torch.Tensor, torch.Tensor]:
    """The orthogonal `q` and triangular `r` of `x = q r`; `mode` is `"reduced"` or `"complete"`."""
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"`mode` argument value not supported. Expected one of {{'reduced', 'complete'}}. Received: mode={mode}"
        )
    return tuple(torch.linalg.qr(_matrices(x), mode=mode))


def _solve_spec(a: Any, b: Any, lower: bool = False) -> KerasTensor:
    first, second = shape_of(a), shape_of(b)
    vector = len(second) == len(first) - 1
    lead = broadcast_shapes(first[:-2], second[:-1] if vector else second[:-2])
    dtype = dtype_for(lambda a, b: floating(a) * floating(b), ["a", "b"], {"a": a, "b": b})
    return KerasTensor((*lead, *second[-1:]) if vector else (*lead, *second[-2:]), dtype=dtype)


@operation("a b", spec=_solve_spec)
def solve(a: Any, b: Any) -> torch.Tensor:
    """The `x` of `a x = b`, `b` being a vector or the columns of a matrix."""
    a, b = _matrices(a, square=True), floating(b)
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve(a, b.unsqueeze(-1)).squeeze(-1)
    return torch.linalg.solve(a, b)


@operation("a b", spec=_solve_spec)
def solve_triangular(a: Any, b: Any, lower: bool = False) -> torch.Tensor:
    """As `solve`, `a` being triangular: above its diagonal, or below it with `lower`."""
    a, b = _matrices(a, square=True), floating(b)
    if b.ndim == a.ndim - 1:
        return torch.linalg.solve_triangular(a, b.unsqueeze(-1), upper=not lower).squeeze(-1)
    return torch.linalg.solve_triangular(a, b, upper=not lower)


@operation("x", name="SVD")
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition `u, s, v` with `x = u diag(s) v`; with `compute_uv=False`, only `s`."""
    x = _matrices(x)
    return tuple(torch.linalg.svd(x, full_matrices=full_matrices)) if compute_uv else torch.linalg.svdvals(x)


@operation("a b")
def lstsq(a: Any, b: Any, rcond: float | None = None) -> torch.Tensor:
    """The `x` for which `|a x - b|` is least.

    Args:
        a: (m, n).
        b: (m,) or (m, k).
        rcond: singular values below `rcond` times the largest count as 0; by default the dtype's precision times
            the larger of m and n.
    """
    a, b = _matrices(a), floating(b)
    result = _pseudo_inverse(a, rcond) @ (b.unsqueeze(-1) if b.ndim == 1 else b)
    return result.squeeze(-1) if b.ndim == 1 else result


def _pseudo_inverse(x: torch.Tensor, rcond: float | None) -> torch.Tensor:
    return torch.linalg.pinv(x, rtol=max(x.shape[-2:]) * torch.finfo(x.dtype).eps if rcond is None else rcond)


@operation("x")
def pinv(x: Any, rcond: float | None = None) -> torch.Tensor:
    """The Moore-Penrose pseudo-inverse; `rcond` as in `lstsq`."""
    return _pseudo_inverse(_matrices(x), rcond)


@operation("x")
def matrix_rank(x: Any, tol: float | None = None) -> torch.Tensor:
    """The number of singular values above `tol`: an int32 tensor."""
    return torch.linalg.matrix_rank(_matrices(x), atol=tol, rtol=None if tol is None else 0.0).to(torch.int32)


def _jvp_spec(fun: Callable, primals: Any, tangents: Any, has_aux: bool = False) -> tuple:
    outputs = compute_output_spec(fun, *primals)
    if has_aux:
        value, auxiliary = outputs
        return value, value, auxiliary
    return outputs, outputs


@operation("fun primals tangents", spec=_jvp_spec, name="JVP")
def jvp(fun: Callable, primals: Any, tangents: Any, has_aux: bool = False) -> tuple:
    """The value of a function, and its derivative in the direction of `tangents` (forward mode).

    Args:
        fun: the function.
        primals: its arguments, a tuple or list.
        tangents: a direction for each argument.
        has_aux: whether `fun` returns `(value, auxiliary)`; the auxiliary values are returned last.

    >>> from fastk import ops
    >>> ops.jvp(lambda x: x * x, (ops.array(3.0),), (ops.array(1.0),))
    (tensor(9.), tensor(6.))
    """
    points = tuple(tree.map_structure(convert_to_tensor, tuple(primals)))
    directions = tuple(tree.map_structure(convert_to_tensor, tuple(tangents)))
    return tuple(torch.func.jvp(fun, points, directions, has_aux=has_aux))
