"""Functions that arrange elements anew: reshape, join, split, reorder, pad."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from fastk import dtypes
from fastk.graph.keras_tensor import KerasTensor
from fastk.ops.operands import axes_of, canonical_axis, dtype_of
from fastk.ops.registration import operation
from fastk.ops.shapes import product, reshape_shape, shape_of, unified
from fastk.tensor import convert_to_tensor

__all__ = [
    "append",
    "array_split",
    "broadcast_to",
    "concatenate",
    "dsplit",
    "dstack",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "moveaxis",
    "pad",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "rot90",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "vsplit",
    "vstack",
]


def _sizes(newshape: Any) -> tuple[int | None, ...]:
    return tuple(None if n is None else int(n) for n in (newshape if isinstance(newshape, Iterable) else (newshape,)))


def _reshape_spec(x: Any, newshape: Any) -> KerasTensor:
    return KerasTensor(reshape_shape(x.shape, _sizes(newshape)), dtype=x.dtype)


@operation("x", spec=_reshape_spec)
def reshape(x: Any, newshape: Any) -> torch.Tensor:
    """The elements of `x`, in order, in another shape.

    Args:
        x: tensor.
        newshape: sizes; one may be -1, to be found from the others. None, from the shape of a KerasTensor, stands
            for the size at the same position of `x`, or, alone, is found like -1.

    >>> from fastk import ops
    >>> ops.reshape(ops.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=torch.int32)
    """
    x = convert_to_tensor(x)
    sizes = _sizes(newshape)
    if None in sizes:
        sizes = _known_sizes(x.shape, sizes)
    try:
        return torch.reshape(x, sizes)  # type: ignore[arg-type]
    except RuntimeError:
        reshape_shape(x.shape, sizes)  # says more
        raise


def _known_sizes(shape: Sequence[int], sizes: tuple[int | None, ...]) -> tuple[int | None, ...]:
    if sizes.count(None) == 1 and -1 not in sizes:
        return tuple(-1 if n is None else n for n in sizes)
    if len(sizes) - tuple(reversed(sizes)).index(None) > len(shape):
        raise ValueError(
            f"Cannot tell the unknown sizes of newshape={sizes} for a tensor of shape {tuple(shape)}: use -1."
        )
    return tuple(shape[i] if n is None else n for i, n in enumerate(sizes))


@operation("x")
def ravel(x: Any) -> torch.Tensor:
    """The elements of `x` in one dimension."""
    return torch.ravel(convert_to_tensor(x))


@operation("x")
def expand_dims(x: Any, axis: Any) -> torch.Tensor:
    """`x` with dimensions of size 1 inserted, at the positions `axis` of the result."""
    x = convert_to_tensor(x)
    if isinstance(axis, int):
        return torch.unsqueeze(x, axis)
    for a in sorted(axes_of(axis, x.ndim + len(axis))):
        x = torch.unsqueeze(x, a)
    return x


def _squeezed(shape: Sequence[int | None], axis: Any) -> list[int]:
    """The axes that `squeeze` removes."""
    if axis is None:
        return [i for i, size in enumerate(shape) if size == 1]
    axes = axes_of(axis, len(shape))
    for a in axes:
        if shape[a] != 1:
            raise ValueError(
                f"Cannot squeeze axis {a}, because the dimension is not 1. Received: x.shape={tuple(shape)}."
            )
    return axes


def _squeeze_spec(x: Any, axis: Any = None) -> KerasTensor:
    axes = _squeezed(x.shape, axis)
    return KerasTensor([size for i, size in enumerate(x.shape) if i not in axes], dtype=x.dtype)


@operation("x", spec=_squeeze_spec)
def squeeze(x: Any, axis: Any = None) -> torch.Tensor:
    """`x` without its dimensions of size 1: those of `axis`, or all."""
    x = convert_to_tensor(x)
    return torch.squeeze(x, dim=_squeezed(x.shape, axis))


@operation("x")
def transpose(x: Any, axes: Sequence[int] | None = None) -> torch.Tensor:
    """`x` with its dimensions in the order `axes`, by default reversed."""
    x = convert_to_tensor(x)
    if axes is None:
        return torch.permute(x, tuple(range(x.ndim))[::-1])
    try:
        return torch.permute(x, tuple(axes))
    except RuntimeError as error:
        raise ValueError(
            f"`axes` must be a valid permutation of the {x.ndim} dimensions. Received: axes={list(axes)}. {error}"
        ) from error


@operation("x")
def moveaxis(x: Any, source: Any, destination: Any) -> torch.Tensor:
    """`x` with the dimensions `source` moved to the positions `destination`."""
    return torch.moveaxis(convert_to_tensor(x), source, destination)


@operation("x")
def swapaxes(x: Any, axis1: int, axis2: int) -> torch.Tensor:
    """`x` with two dimensions exchanged."""
    return torch.swapaxes(convert_to_tensor(x), axis1, axis2)


@operation("x")
def flip(x: Any, axis: Any = None) -> torch.Tensor:
    """`x` in reverse order along `axis`, by default along all."""
    x = convert_to_tensor(x)
    return torch.flip(x, dims=axes_of(axis, x.ndim))


@operation("x")
def fliplr(x: Any) -> torch.Tensor:
    """`x` in reverse order along axis 1."""
    return torch.fliplr(convert_to_tensor(x))


@operation("x")
def flipud(x: Any) -> torch.Tensor:
    """`x` in reverse order along axis 0."""
    return torch.flipud(convert_to_tensor(x))


@operation("array")
def rot90(array: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> torch.Tensor:
    """`array` rotated by `k` times 90 degrees in the plane of `axes`, from the first towards the second."""
    array = convert_to_tensor(array)
    if array.ndim < 2:
        raise ValueError(f"Input array must have at least 2 dimensions. Received: array.ndim={array.ndim}")
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"Invalid axes: {axes}. Axes must be a tuple of two different dimensions.")
    return torch.rot90(array, k, dims=axes_of(axes, array.ndim))


@operation("x")
def roll(x: Any, shift: Any, axis: Any = None) -> torch.Tensor:
    """`x` moved by `shift` places along `axis`, those that leave at one end coming back at the other."""
    if isinstance(axis, (list, tuple)) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return torch.roll(convert_to_tensor(x), shift, dims=axis)


def _broadcast_to_spec(x: Any, shape: Any) -> KerasTensor:
    sizes = _sizes(shape)
    lead = len(sizes) - len(x.shape)
    own = (*[1] * lead, *x.shape)
    if lead < 0 or any(o not in (1, None) and n not in (None, -1, o) for n, o in zip(sizes, own, strict=True)):
        raise ValueError(f"Cannot broadcast shape {tuple(x.shape)} to {sizes}.")
    return KerasTensor([o if n in (None, -1) else n for n, o in zip(sizes, own, strict=True)], dtype=x.dtype)


@operation("x", spec=_broadcast_to_spec)
def broadcast_to(x: Any, shape: Any) -> torch.Tensor:
    """`x` repeated along dimensions of size 1, and along new leading ones, to `shape`; -1 and None keep a size."""
    return convert_to_tensor(x).expand([-1 if n is None else n for n in _sizes(shape)])


# ---------------------------------------------------------------- joining


def _joined_dtype(xs: Sequence[Any]) -> str:
    return dtypes.result_type(*(dtype_of(x) for x in xs))


def _concatenate_spec(xs: Any, axis: int = 0) -> KerasTensor:
    shapes = [shape_of(x) for x in xs]
    if axis is None:
        raise ValueError("`axis` of `concatenate` must be an int. Received: axis=None")
    position = canonical_axis(axis, len(shapes[0]))
    filled = unified(*shapes, but=position)
    others = {shape[:position] + shape[position + 1 :] for shape in filled}
    if len(others) > 1:
        raise ValueError(
            "Every value in `xs` must have the same shape except on the `axis` dim. But found element of shapes "
            f"{shapes}, which cannot be joined along axis {axis}."
        )
    sizes = [shape[position] for shape in filled]
    total = None if None in sizes else sum(sizes)  # type: ignore[arg-type]
    return KerasTensor((*filled[0][:position], total, *filled[0][position + 1 :]), dtype=_joined_dtype(xs))


@operation("xs", spec=_concatenate_spec)
def concatenate(xs: Any, axis: int = 0) -> torch.Tensor:
    """The tensors `xs` joined along `axis`.

    >>> from fastk import ops
    >>> ops.concatenate([[1.0, 2.0], [3.0]])
    tensor([1., 2., 3.])
    """
    return torch.cat([convert_to_tensor(x) for x in xs], dim=axis)


def _stack_spec(x: Any, axis: int = 0) -> KerasTensor:
    shapes = unified(*(shape_of(v) for v in x))
    if len(set(shapes)) > 1:
        raise ValueError(f"Every value in `x` must have the same shape. Received shapes: {[shape_of(v) for v in x]}")
    shape = list(shapes[0])
    shape.insert(canonical_axis(axis, len(shape) + 1), len(x))
    return KerasTensor(shape, dtype=_joined_dtype(x))


@operation("x", spec=_stack_spec)
def stack(x: Any, axis: int = 0) -> torch.Tensor:
    """The tensors in the list `x` stacked along a new `axis`."""
    tensors = [convert_to_tensor(v) for v in x]
    if len({t.dtype for t in tensors}) > 1:
        dtype = dtypes.to_torch_dtype(_joined_dtype(tensors))
        tensors = [t.to(dtype) for t in tensors]
    return torch.stack(tensors, dim=axis)


def _join(name: str, function: Callable, least: Callable, axis: Callable, doc: str) -> Callable:
    def spec(xs: Any) -> KerasTensor:
        xs = [KerasTensor(least(shape_of(x)), dtype=dtypes.standardize_dtype(dtype_of(x))) for x in xs]
        return _concatenate_spec(xs, axis(len(xs[0].shape)))

    def join(xs: Any) -> torch.Tensor:
        return function([convert_to_tensor(x) for x in xs])

    join.__name__ = join.__qualname__ = name
    join.__doc__ = doc
    return operation("xs", spec=spec)(join)


hstack = _join(
    "hstack",
    torch.hstack,
    lambda s: s or (1,),
    lambda rank: 0 if rank == 1 else 1,
    "The tensors `xs` joined along axis 1, those of one dimension along axis 0.",
)
vstack = _join(
    "vstack",
    torch.vstack,
    lambda s: (1,) * (2 - len(s)) + s,
    lambda rank: 0,
    "The tensors `xs`, as rows where they have one dimension, joined along axis 0.",
)
dstack = _join(
    "dstack",
    torch.dstack,
    lambda s: s if len(s) > 2 else ((1,) * (2 - len(s)) + s + (1,)),
    lambda rank: 2,
    "The tensors `xs` joined along axis 2.",
)


def _append_spec(x1: Any, x2: Any, axis: int | None = None) -> KerasTensor:
    if axis is not None:
        return _concatenate_spec([x1, x2], axis)
    sizes = product(shape_of(x1)), product(shape_of(x2))
    return KerasTensor([None if None in sizes else sum(sizes)], dtype=_joined_dtype([x1, x2]))  # type: ignore[arg-type]


@operation("x1 x2", spec=_append_spec)
def append(x1: Any, x2: Any, axis: int | None = None) -> torch.Tensor:
    """`x2` joined to the end of `x1` along `axis`; by default both are flattened first."""
    x1, x2 = convert_to_tensor(x1), convert_to_tensor(x2)
    return torch.cat((x1.flatten(), x2.flatten())) if axis is None else torch.cat((x1, x2), dim=axis)


# ---------------------------------------------------------------- splitting


def _sections(indices_or_sections: Any) -> int | list[int]:
    if isinstance(indices_or_sections, int):
        return indices_or_sections
    return [int(i) for i in indices_or_sections]


def _split_spec(x: Any, indices_or_sections: Any, axis: int = 0, even: bool = True) -> list[KerasTensor]:
    position = canonical_axis(axis, len(x.shape))
    sections, size = _sections(indices_or_sections), x.shape[position]
    if isinstance(sections, int):
        _check_divisible(x.shape, sections, axis, even)
        larger = 0 if size is None else size % sections
        sizes = [None if size is None else size // sections + (i < larger) for i in range(sections)]
    else:
        bounds = [0, *sections, size]
        sizes = [
            None if end is None else len(range(*slice(b, end).indices(size or end)))
            for b, end in itertools.pairwise(bounds)
        ]
    return [KerasTensor((*x.shape[:position], n, *x.shape[position + 1 :]), dtype=x.dtype) for n in sizes]


def _check_divisible(shape: Sequence[int | None], sections: int, axis: int, even: bool = True) -> None:
    size = shape[axis]
    if even and size is not None and size % sections:
        raise ValueError(
            f"Received indices_or_sections={sections} (interpreted as a number of sections) and axis={axis}, but input "
            f"dimension x.shape[{axis}]={size} is not divisible by {sections}. Full input shape: x.shape={tuple(shape)}"
        )


@operation("x", spec=_split_spec)
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[torch.Tensor]:
    """`x` cut along `axis`: into so many equal parts, or before each of the given indices.

    >>> from fastk import ops
    >>> ops.split(ops.arange(4), [1])
    [tensor([0], dtype=torch.int32), tensor([1, 2, 3], dtype=torch.int32)]
    """
    x = convert_to_tensor(x)
    sections = _sections(indices_or_sections)
    if isinstance(sections, int):
        _check_divisible(x.shape, sections, axis)
    return list(torch.tensor_split(x, sections, dim=axis))


def _array_split_spec(x: Any, indices_or_sections: Any, axis: int = 0) -> list[KerasTensor]:
    return _split_spec(x, indices_or_sections, axis, even=False)


@operation("x", spec=_array_split_spec)
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[torch.Tensor]:
    """As `split`, into parts that need not be equal: the first ones are longer by one."""
    return list(torch.tensor_split(convert_to_tensor(x), _sections(indices_or_sections), dim=axis))


def _splitter(name: str, axis: Callable, doc: str) -> Callable:
    def spec(x: Any, indices_or_sections: Any) -> list[KerasTensor]:
        return _split_spec(x, indices_or_sections, axis(len(x.shape)))

    def cut(x: Any, indices_or_sections: Any) -> list[torch.Tensor]:
        x = convert_to_tensor(x)
        return split(x, indices_or_sections, axis(x.ndim))

    cut.__name__ = cut.__qualname__ = name
    cut.__doc__ = doc
    return operation("x", spec=spec)(cut)


hsplit = _splitter(
    "hsplit", lambda rank: 0 if rank == 1 else 1, "As `split` along axis 1, of one dimension along axis 0."
)
vsplit = _splitter("vsplit", lambda rank: 0, "As `split` along axis 0.")
dsplit = _splitter("dsplit", lambda rank: 2, "As `split` along axis 2.")


# ---------------------------------------------------------------- repeating and padding


def _repeat_spec(x: Any, repeats: Any, axis: int | None = None) -> KerasTensor:
    shape = [product(x.shape)] if axis is None else list(x.shape)
    position = 0 if axis is None else canonical_axis(axis, len(shape))
    counts = _repeats(repeats)
    size = shape[position]
    if not isinstance(counts, int):
        if size is not None and len(counts) != size:
            raise ValueError(
                f"`repeats` must have one count for each of the {size} elements. Received: repeats={repeats}"
            )
        shape[position] = None if size is None else sum(counts)
    elif shape[position] is not None:
        shape[position] *= counts  # type: ignore[operator]
    return KerasTensor(shape, dtype=x.dtype)


def _repeats(repeats: Any) -> Any:
    """An int, or a list of one count for each element."""
    if isinstance(repeats, int):
        return repeats
    counts = [int(n) for n in (repeats if getattr(repeats, "ndim", 1) else [repeats])]
    return counts[0] if len(counts) == 1 else counts


@operation("x", spec=_repeat_spec)
def repeat(x: Any, repeats: Any, axis: int | None = None) -> torch.Tensor:
    """Each element along `axis` repeated `repeats` times, or its own number of times; by default of the flat tensor."""
    x = convert_to_tensor(x)
    if isinstance(repeats, torch.Tensor):
        return torch.repeat_interleave(x, repeats.to(x.device), dim=axis)
    counts = _repeats(repeats)
    if isinstance(counts, int):
        return torch.repeat_interleave(x, counts, dim=axis)
    return torch.repeat_interleave(x, torch.tensor(counts, device=x.device), dim=axis)


@operation("x")
def tile(x: Any, repeats: Any) -> torch.Tensor:
    """`x` repeated as a whole, `repeats` times along each dimension."""
    return torch.tile(convert_to_tensor(x), tuple(int(n) for n in _sizes(repeats)))  # type: ignore[arg-type]


# The element of a dimension of size n that stands at position i, which may be outside of it.
_PADDING: dict[str, Callable] = {
    "edge": lambda i, n: i.clamp(0, n - 1),
    "reflect": lambda i, n: (n - 1) - ((i % (2 * (n - 1) or 1)) - (n - 1)).abs(),
    "symmetric": lambda i, n: torch.where(i % (2 * n) < n, i % (2 * n), 2 * n - 1 - i % (2 * n)),
    "wrap": lambda i, n: i % n,
}


def _pad_width(pad_width: Any, rank: int) -> list[tuple[int, int]]:
    """One pair for each dimension."""
    if isinstance(pad_width, int):
        return [(pad_width, pad_width)] * rank
    pairs = [tuple(p) if isinstance(p, Iterable) else p for p in pad_width]
    if pairs and all(isinstance(p, int) for p in pairs):
        pairs = [tuple(pairs)]
    pairs = [(p[0], p[0]) if len(p) == 1 else p for p in pairs]
    pairs = pairs * rank if len(pairs) == 1 else pairs
    if len(pairs) != rank or any(len(p) != 2 for p in pairs):
        raise ValueError(
            "`pad_width` must have the same length as `x.shape`, with a pair of sizes for each dimension. "
            f"Received: pad_width={pad_width} for a tensor of {rank} dimensions."
        )
    return [(int(before), int(after)) for before, after in pairs]


@operation("x constant_values")
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> torch.Tensor:
    """`x` made larger at its borders.

    Args:
        x: tensor.
        pad_width: how many elements are added: a pair (before, after) for each dimension or for all, or a number.
        mode: `"constant"`, `"edge"` (the last element), `"reflect"` (mirrored, the last element not repeated),
            `"symmetric"` (mirrored, with the last element) or `"wrap"`.
        constant_values: what is added with `"constant"`; 0 by default.

    >>> from fastk import ops
    >>> ops.pad([1, 2, 3], (1, 2), mode="reflect").tolist()
    [2, 1, 2, 3, 2, 1]
    """
    x = convert_to_tensor(x)
    widths = _pad_width(pad_width, x.ndim)
    if mode == "constant":
        return _pad_constant(x, [n for pair in reversed(widths) for n in pair], constant_values)
    if constant_values is not None:
        raise ValueError(
            f"Argument `constant_values` can only be provided when `mode == 'constant'`. Received: mode={mode}"
        )
    if mode not in _PADDING:
        raise ValueError(
            f"Unknown padding mode {mode!r}. Expected one of {', '.join(map(repr, ['constant', *_PADDING]))}."
        )
    for axis, (before, after) in enumerate(widths):
        if before or after:
            size = x.shape[axis]
            positions = torch.arange(-before, size + after, device=x.device)
            x = torch.index_select(x, axis, _PADDING[mode](positions, size))
    return x


def _pad_constant(x: torch.Tensor, widths: list[int], value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        return torch.nn.functional.pad(x, widths, value=0 if value is None else value)
    # A tensor's value stays on its device.
    inside = torch.nn.functional.pad(torch.ones_like(x, dtype=torch.bool), widths)
    return torch.where(inside, torch.nn.functional.pad(x, widths), value.to(x.dtype))
