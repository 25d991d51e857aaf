"""`TorchModuleWrapper`: a torch module as a layer."""

from __future__ import annotations

import base64
import contextlib
import io
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from fastk import dtypes
from fastk.device import get_device
from fastk.layers.layer import Layer
from fastk.naming import name_scope
from fastk.scopes import state
from fastk.serialization import in_safe_mode
from fastk.tensor import convert_to_numpy, convert_to_tensor
from fastk.variable import Variable


class TorchModuleWrapper(Layer):
    """A `torch.nn.Module` as a layer: its parameters are trained and saved like any layer's weights.

    A torch module that is set as an attribute of a layer or model, or put into a list or dict there, is wrapped by
    itself. Attributes that the wrapper does not have are looked up in the module.

    Args:
        module: the module; the parameters of a lazy one must have been initialised, by a call.
        name: the layer's name.
        output_shape: the shape of the outputs, with None for the batch; by default found by running the module
            without values.

    Raises:
        ValueError: a lazy module without its parameters.

    >>> import torch, fastk
    >>> inputs = fastk.Input((4,))
    >>> outputs = fastk.layers.TorchModuleWrapper(torch.nn.Linear(4, 8))(inputs)
    >>> model = fastk.Model(inputs, fastk.layers.Dense(2)(outputs))
    >>> model.output_shape, model.count_params()
    ((None, 2), 58)
    """

    def __init__(self, module: torch.nn.Module, name: str | None = None, output_shape: Any = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if any(map(is_lazy, module.parameters())):
            raise ValueError(
                "LazyModules are not supported unless they are already initialized: call the module once before it is "
                f"wrapped. Received uninitialized LazyModule: module={module}"
            )
        self.output_shape = output_shape
        # Past the layer's own way of setting attributes, which would wrap it again.
        self._modules["module"] = module.to(get_device())
        with name_scope(self.name, caller=self):
            for key, parameter in module.named_parameters():
                variable = Variable(parameter, trainable=parameter.requires_grad, name=key)
                # Not registered with torch a second time: the module has its parameters already.
                (self._trainable_variables if variable.trainable else self._non_trainable_variables).append(variable)
                if not self.trainable:
                    variable.trainable = False
        self._build_at_init()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            module = self.__dict__.get("_modules", {}).get("module")
            if module is None or not hasattr(module, name):
                raise
            return getattr(module, name)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        parameters = dict(self.module.named_parameters())
        for variable in self._own_variables():
            variable._value = parameters[variable.name]
            variable._dtype = dtypes.standardize_dtype(parameters[variable.name].dtype)
        return self

    def call(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """The module's outputs; it is in its evaluation mode where `training` is False."""
        module, mode = self.module, training is not False
        if module.training is not mode:
            module.train(mode)
        with self._casting():
            if not state.active:
                return module(*args, **kwargs)
            # Under a scope the values of variables are others: given to a call without state, or only of their shapes.
            values: dict[str, Any] = {variable.name: variable.value for variable in self._own_variables()}
            if state.symbolic:
                values |= {key: torch.empty_like(buffer, device="meta") for key, buffer in module.named_buffers()}
            return torch.func.functional_call(module, values, args, kwargs)

    def _casting(self) -> contextlib.AbstractContextManager:
        """Torch's mixed precision, where the layer's policy asks for it: a module does not cast its parameters."""
        compute, kept = self.compute_dtype, self.variable_dtype
        if compute == kept or compute not in ("float16", "bfloat16"):
            return contextlib.nullcontext()
        return torch.autocast(get_device().type, dtypes.to_torch_dtype(compute))

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """`output_shape` where it was given."""
        return super().compute_output_shape(*args, **kwargs) if self.output_shape is None else tuple(self.output_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors like the outputs."""
        if self.output_shape is not None:
            return super().compute_output_spec(*args, **kwargs)
        from fastk.graph.operation import inferred

        return inferred(self, self.call, args, kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Stores the module's `state_dict`: parameters and buffers, such as the statistics of batch normalization."""
        for key, value in self.module.state_dict().items():
            store[key] = convert_to_numpy(value)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` stored."""
        self.module.load_state_dict({key: convert_to_tensor(store[key]) for key in store.keys()})  # noqa: SIM118

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the module as a pickle of torch's, which holds Python code."""
        buffer = io.BytesIO()
        torch.save(self.module, buffer)
        module = base64.b64encode(buffer.getvalue()).decode("ascii")
        return {**super().get_config(), "module": module, "output_shape": self.output_shape}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict | None = None, safe_mode: bool | None = None
    ) -> TorchModuleWrapper:
        """A layer from `get_config`'s result.

        Args:
            config: the configuration.
            custom_objects: names that it may use; it uses none.
            safe_mode: False permits the module's pickle to be read; None does what the loading function was told.

        Raises:
            ValueError: in safe mode.
        """
        if "module" not in config:
            return cls(**config)
        if (in_safe_mode() if safe_mode is None else safe_mode) is not False:
            raise ValueError(
                "Requested the deserialization of a `torch.nn.Module` object via `torch.load()`. This carries a "
                "potential risk of arbitrary code execution and thus it is disallowed by default. If you trust the "
                "source of the artifact, you can override this error by passing `safe_mode=False` to the loading "
                "function, or calling `keras.config.enable_unsafe_deserialization()."
            )
        pickled = io.BytesIO(base64.b64decode(config["module"].encode("ascii")))
        return cls(**{**config, "module": torch.load(pickled, weights_only=False, map_location=get_device())})
