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

from fastk.export.onnx_file import save_onnx
from fastk.export.program import save_program
from fastk.messages import tell

_INSTEAD = (
    'For another format save the model with model.save("model.keras"), load it with Keras, and export it from there.'
)
_FORMATS = {"torch": (".pt2", save_program), "onnx": (".onnx", save_onnx)}


class ExportArchive:
    """Not supported: raises `NotImplementedError`."""

    def __init__(self) -> None:
        raise NotImplementedError(
            "fastk writes no export archives, which are TensorFlow's SavedModels with several endpoints. "
            'model.export("model.onnx", format="onnx") and model.export("model.pt2", format="torch") write one model. '
            f"{_INSTEAD}"
        )


def export_model(
    model: Any, filepath: Any, format: str, verbose: Any = None, input_signature: Any = None, **kwargs: Any
) -> None:
    """What `model.export` does.

    Args:
        model: a model that is built.
        filepath: a path that ends in `.pt2`, which `torch.export.load` reads, or in `.onnx`.
        format: `"torch"` or `"onnx"`.
        verbose: whether to say that it is written; by default it is said.
        input_signature: KerasTensors, or what else has a shape and a dtype, like the inputs; by default those of a
            functional model. A size that is None may be any in what is written.
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
    hint = save(model, path, signature_of(model) if input_signature is None else input_signature, kwargs)
    if verbose is not False:
        tell(f"Saved the model to {path}. {hint}")


def signature_of(model: Any) -> Any:
    """What a model takes: the structure of its inputs.

    Raises:
        ValueError: where it is not known.
    """
    inputs = getattr(model, "_inputs_struct", None)
    if inputs is None:
        inputs = getattr(model, "inputs", None)
    if inputs is None:
        raise ValueError(
            f"The inputs of model '{model.name}' are not known: make a functional model, or pass "
            "input_signature=[keras.KerasTensor(shape, dtype)]."
        )
    return inputs


__all__ = ["ExportArchive"]
