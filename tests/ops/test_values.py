"""Every operation's values against NumPy's float64, and its symbolic shape and dtype against its own results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastk import ops, tree
from fastk.graph import Function, KerasTensor
from fastk.ops.registration import FunctionOperation
from tests.ops.cases import CASES, Case

EPS = np.finfo("float32").eps


def call(case: Case, args: Any) -> Any:
    return getattr(ops, case.name)(*case.static_first, *args, **case.static)


def flat(results: Any) -> list:
    return tree.flatten(list(results) if isinstance(results, (list, tuple)) else [results])


def doubled(args: Any) -> Any:
    return tree.map_structure(
        lambda x: x.astype("float64") if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x, args
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case):
    results = flat(call(case, case.args))
    expected = flat(case.expected(*case.static_first, *doubled(case.args), **case.static))
    assert len(results) == len(expected)
    # A few roundings for each of the elements that go into a result, on the scale of the largest one.
    terms = max(x.size for x in tree.flatten(case.args) if isinstance(x, np.ndarray))
    for result, value in zip(results, expected, strict=True):
        assert isinstance(result, torch.Tensor)
        assert tuple(result.shape) == np.shape(value)
        value = np.asarray(value, "float64")
        scale = max(1.0, float(np.max(np.abs(value[np.isfinite(value)]), initial=0.0)))
        np.testing.assert_allclose(result.double().numpy(), value, rtol=0, atol=8 * EPS * np.sqrt(terms) * scale)


def symbolic(args: Any, unknown: int | None) -> Any:
    first = [True]

    def convert(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        shape: list = list(x.shape)
        if unknown is not None and first[0]:
            shape[unknown] = None
        first[0] = False
        return KerasTensor(shape, dtype=x.dtype.name)

    return tree.map_structure(convert, args)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_symbolic_calls_have_the_shapes_and_dtypes_of_the_results(case):
    results = flat(call(case, case.args))
    specs = flat(call(case, symbolic(case.args, None)))
    assert [(s.shape, s.dtype) for s in specs] == [
        (tuple(r.shape), str(r.dtype).removeprefix("torch.")) for r in results
    ]
    if case.unknown is not None:
        specs = flat(call(case, symbolic(case.args, case.unknown)))
        assert len(specs) == len(results)
        for spec, result in zip(specs, results, strict=True):
            assert len(spec.shape) == result.ndim
            assert all(a is None or a == b for a, b in zip(spec.shape, result.shape, strict=True)), spec
            assert spec.dtype == str(result.dtype).removeprefix("torch.")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operation_remade_from_its_configuration_gives_the_same(case):
    inputs = symbolic(case.args, None)
    output = flat(call(case, inputs))[0]
    made = output._keras_history.operation
    assert isinstance(made, FunctionOperation)
    remade = ops.operation_class(type(made).__name__).from_config(made.get_config())
    assert remade.get_config() == made.get_config()
    for result, expected in zip(flat(remade(*case.args)), flat(call(case, case.args)), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_graph_computes_what_the_function_does(case):
    inputs = symbolic(case.args, case.unknown)
    tensors = [x for x in tree.flatten(inputs) if isinstance(x, KerasTensor)]
    # Of one layout: a product of a transposed matrix is another sum.
    args = tree.map_structure(lambda x: np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x, case.args)
    arrays = [torch.from_numpy(x) for x in tree.flatten(args) if isinstance(x, np.ndarray)]
    function = Function(tensors, flat(call(case, inputs)))
    for result, expected in zip(function(arrays), flat(call(case, args)), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)
