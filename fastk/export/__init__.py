"""`keras.export`: models for programs that do not define them, as programs of torch or as ONNX files.

>>> import fastk
>>> model = fastk.Sequential([fastk.Input((4,)), fastk.layers.Dense(2)])
>>> try:
...     model.export("model", format="tf_saved_model")
... except NotImplementedError as error:
...     print(str(error)[:45])
fastk exports models as 'torch' programs and
"""

from __future__ import annotations

from typing import Any

from fastk.distribution.files import written_by_first
from fastk.export.onnx_file import save_onnx
from fastk.export.program import save_program
from fastk.graph import KerasTensor
from fastk.messages import tell

_INSTEAD = (
    'For another format save the model with model.save("model.keras"), load it with Keras, and export it from there.'
)
_FORMATS = {"torch": (".pt2", save_program), "onnx": ("", save_onnx)}


class ExportArchive:
    """Not supported: raises `NotImplementedError`."""

    def __init__(self) -> None:
        raise NotImplementedError(
            "fastk writes no export archives, which are TensorFlow's SavedModels with several endpoints. "
            'model.export("model.onnx", format="onnx") and model.export("model.pt2", format="torch") write one model. '
            f"{_INSTEAD}"
        )


@written_by_first
def export_model(
    model: Any, filepath: Any, format: str, verbose: Any = None, input_signature: Any = None, **kwargs: Any
) -> None:
    """What `model.export` does.

    Args:
        model: a model that is built.
        filepath: a path; of a torch program one that ends in `.pt2`, which `torch.export.load` reads.
        format: `"torch"` or `"onnx"`.
        verbose: whether to say that it is written; by default it is said.
        input_signature: KerasTensors, or what else has a shape and a dtype, in a list: one for each argument of the
            call; by default those of a functional model, or of the first call. A size that is None may be any in what
            is written.
        kwargs: further arguments of `torch.export.export`, or of `torch.onnx.export`, such as `opset_version`.

    Raises:
        NotImplementedError: another format.
        ValueError: a path of another kind, or inputs that are not known.
        ImportError: for ONNX, without the packages `onnx` and `onnxscript`.
    """
    if format not in _FORMATS:
        raise NotImplementedError(
            f'fastk exports models as \'torch\' programs and ONNX files: model.export("model.onnx", format="onnx"). '
            f"{_INSTEAD} Received: format={format!r}"
        )
    ending, save = _FORMATS[format]
    path = str(filepath)
    if not path.endswith(ending):
        raise ValueError(f"The file of format '{format}' must end with '{ending}'. Received: filepath={path!r}")
    hint = save(model, path, arguments_of(model, input_signature), kwargs)
    if verbose is not False:
        tell(f"Saved the model to {path}. {hint}")


def arguments_of(model: Any, signature: Any = None) -> tuple[Any, ...]:
    """What stands for the arguments of a model's call: structures of what has a shape and a dtype.

    Args:
        model: a built model.
        signature: the arguments, one after the other, as in Keras; or the inputs of a functional model. None for those
            that the model knows.

    Raises:
        ValueError: where they are not known.
    """
    inputs = getattr(model, "_inputs_struct", None)
    if inputs is None:
        inputs = getattr(model, "inputs", None)
        inputs = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs
    if signature is not None:
        given = tuple(signature) if isinstance(signature, (list, tuple)) else (signature,)
        return given if len(given) == 1 or inputs is None else (signature,)
    if inputs is not None:
        return (inputs,)
    shapes = (model.get_build_config() or {}) if model.built else {}
    if not shapes or not model._called:
        raise ValueError(
            f"The inputs of model '{model.name}' are not known: call it on data first, or pass "
            "input_signature=[keras.KerasTensor(shape, dtype)]."
        )
    shapes = shapes.get("shapes_dict", shapes)
    return tuple(_with_any_batch(shape, model.input_dtype) for shape in shapes.values())


def _with_any_batch(shape: Any, dtype: Any) -> Any:
    """The symbolic inputs of a structure of shapes."""
    if isinstance(shape, dict):
        return {name: _with_any_batch(inner, dtype) for name, inner in shape.items()}
    if any(not isinstance(size, (int, type(None))) for size in shape):
        return [_with_any_batch(inner, dtype) for inner in shape]
    return KerasTensor((None, *shape[1:]), dtype=dtype)


__all__ = ["ExportArchive"]
