"""How operations become nodes, files and errors."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest
import torch

import fastk
from fastk import KerasTensor, ops, saving
from fastk.ops import core, einops, image, linalg, math, nn
from fastk.ops import numpy as ops_numpy


def node(output):
    history = output._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


@pytest.mark.parametrize(
    ("call", "module", "class_name", "config"),
    [
        (lambda x: x * 2.0, "numpy", "Multiply", {}),
        (lambda x: 1 - x, "numpy", "Subtract", {}),
        (lambda x: -x, "numpy", "Negative", {}),
        (lambda x: abs(x), "numpy", "Absolute", {}),
        (lambda x: x[:, :2], "numpy", "GetItem", {}),
        (lambda x: ops.sin(x), "numpy", "Sin", {}),
        (lambda x: ops.mean(x, axis=-1), "numpy", "Mean", {"axis": -1, "keepdims": False}),
        (lambda x: ops.sum(x, (0, 1), True), "numpy", "Sum", {"axis": [0, 1], "keepdims": True}),
        (lambda x: ops.expand_dims(x, 1), "numpy", "ExpandDims", {"axis": 1}),
        (lambda x: ops.reshape(x, (-1, 2)), "numpy", "Reshape", {"newshape": [-1, 2]}),
        (lambda x: ops.transpose(x, (1, 0)), "numpy", "Transpose", {"axes": [1, 0]}),
        (lambda x: ops.concatenate([x, x], axis=1), "numpy", "Concatenate", {"axis": 1}),
        (lambda x: ops.einsum("ij->ji", x), "numpy", "Einsum", {"subscripts": "ij->ji"}),
        (lambda x: ops.clip(x, 0.0, 1.0), "numpy", "Clip", {"x_min": 0.0, "x_max": 1.0}),
        (lambda x: ops.full_like(x, 2.0), "numpy", "FullLike", {"dtype": None}),
        (lambda x: ops.pad(x, 1), "numpy", "Pad", {"pad_width": 1, "mode": "constant"}),
        (lambda x: ops.cast(x, torch.float16), "core", "Cast", {"dtype": "float16"}),
        (lambda x: ops.stop_gradient(x), "core", "StopGradient", {}),
        (lambda x: ops.top_k(x, 2).values, "math", "TopK", {"k": 2, "sorted": True}),
        (lambda x: ops.logsumexp(x), "math", "Logsumexp", {"axis": None, "keepdims": False}),
        (lambda x: ops.norm(x, axis=1), "linalg", "Norm", {"ord": None, "axis": 1, "keepdims": False}),
        (lambda x: ops.relu(x), "nn", "Relu", {}),
        (lambda x: ops.gelu(x), "nn", "Gelu", {"approximate": True}),
        (lambda x: ops.softmax(x), "nn", "Softmax", {"axis": -1}),
        (lambda x: ops.layer_normalization(x), "nn", "LayerNorm", {"axis": -1, "epsilon": None, "rms_scaling": False}),
        (
            lambda x: ops.one_hot(ops.cast(x, "int32"), 3),
            "nn",
            "OneHot",
            {"num_classes": 3, "axis": -1, "dtype": None, "sparse": False},
        ),
        (lambda x: ops.rearrange(x, "a b -> b a"), "einops", "Rearrange", {}),
        (
            lambda x: ops.image.rgb_to_grayscale(ops.reshape(x, (2, 2, 1))),
            "image",
            "RGBToGrayscale",
            {"data_format": None},
        ),
    ],
)
def test_files_have_keras_names_and_static_arguments(call, module, class_name, config):
    operation, _ = node(call(KerasTensor((None, 4))))
    written = saving.serialize_keras_object(operation)
    written = {**written, "config": {k: list(v) if isinstance(v, tuple) else v for k, v in written["config"].items()}}
    assert written == {
        "module": f"keras.src.ops.{module}",
        "class_name": class_name,
        "config": {"name": operation.name, **config},
        "registered_name": class_name,
    }


def test_tensors_and_the_scalars_in_their_places_are_the_arguments_of_the_call():
    x, y = KerasTensor((None, 4)), KerasTensor((None, 4))
    for output, args in (
        (0.5 * x, (0.5, x)),
        (x - 1, (x, 1)),
        (ops.add(x1=x, x2=y), (x, y)),
        (ops.where(x > 0, x, 0.0), None),
        (ops.take(x, [0, 1], axis=1), (x, [0, 1])),
        (x[:, 0], (x, (slice(None), 0))),
        (ops.average(x, weights=y), (x, y)),
    ):
        _, made = node(output)
        assert made.kwargs == {}
        if args is not None:
            assert len(made.args) == len(args)
            assert all(a is b or a == b for a, b in zip(made.args, args, strict=True))


def test_a_file_of_keras_is_read():
    config = {
        "module": "keras.src.ops.numpy",
        "class_name": "Mean",
        "config": {"name": "m", "axis": [1], "keepdims": True},
    }
    operation = saving.deserialize_keras_object({**config, "registered_name": "Mean"})
    assert operation.name == "m"
    torch.testing.assert_close(operation(torch.tensor([[1.0, 3.0]])), torch.tensor([[2.0]]))


def test_a_key_from_a_file_is_a_list():
    get_item = ops.operation_class("GetItem")()
    x = torch.arange(6).reshape(2, 3)
    torch.testing.assert_close(get_item(x, [1, 2]), x[1, 2])
    torch.testing.assert_close(get_item(x, [slice(None), 2]), x[:, 2])


@saving.register_keras_serializable("tests")
def doubled(x):
    return x + x


def test_a_registered_function_among_the_static_arguments_is_written():
    inputs = fastk.Input((3,))
    model = fastk.Model(inputs, ops.vectorized_map(doubled, inputs))
    reloaded = type(model).from_config(model.get_config())
    np.testing.assert_array_equal(reloaded(np.ones((2, 3), "float32")), np.full((2, 3), 2.0))


def test_symbolic_arguments_are_found_in_lists_and_keywords():
    x = KerasTensor((2, 3))
    assert ops.stack([x, np.ones((2, 3), "float32")]).shape == (2, 2, 3)
    assert ops.add(np.ones((2, 3), "float32"), x2=x).shape == (2, 3)


def test_a_symbolic_static_argument_is_refused():
    with pytest.raises(ValueError, match="`x_max` of `clip` is static"):
        ops.clip(KerasTensor((2,)), 0.0, KerasTensor(()))


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(AttributeError, match="`softmax`"):
        ops.sofmax  # noqa: B018


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.add(x, KerasTensor((5,))), "Cannot broadcast shape"),
        (lambda x: ops.matmul(x, KerasTensor((5, 2))), "Inner dimensions"),
        (lambda x: ops.reshape(x, (-1, -1)), "at most one unknown"),
        (lambda x: ops.concatenate([x, KerasTensor((3, 5))]), "same shape except"),
        (lambda x: ops.sort(x, axis=7), "axis 7 is out of bounds"),
        (lambda x: ops.flip(x, axis=7), "axis 7 is out of bounds"),
        (lambda x: ops.split(x, 3, axis=1), "not divisible by 3"),
        (lambda x: ops.squeeze(x, axis=0), "Cannot squeeze axis 0"),
        (lambda x: ops.einsum("ij,jk->ik", x, x), "Shapes do not fit"),
        (lambda x: ops.conv(ops.reshape(x, (1, 2, 4)), KerasTensor((1, 3, 2))), "input channels must match"),
    ],
)
def test_shapes_that_do_not_fit_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(KerasTensor((2, 4)))


@pytest.mark.parametrize("module", [core, einops, image, linalg, math, nn, ops_numpy], ids=lambda m: m.__name__)
def test_public_names_are_documented_and_their_examples_run(module):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    for name in module.__all__:
        function = getattr(module, name)
        assert inspect.getdoc(function), name
        # An example may use the functions of its own file.
        scope = vars(inspect.getmodule(inspect.unwrap(function)))
        for example in doctest.DocTestFinder(recurse=False).find(function, name, module=False, globs=dict(scope)):
            assert runner.run(example).failed == 0, name


def test_what_the_host_has_no_kernel_for_has_a_symbolic_dtype_all_the_same():
    x = KerasTensor((None, 3))
    assert ops.bitwise_and(x, x).dtype == "float32"
    assert ops.gcd(x, KerasTensor((3,))).shape == (None, 3)
    half = KerasTensor((2,), "float8_e4m3fn")
    assert ops.add(half, half).shape == (2,)
