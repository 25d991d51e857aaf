"""How a layer is called.

A call does, in this order: convert the inputs, check them against `input_spec`, build the layer if it is not, find
out whether this is training, collect masks, run `call`, hand the mask on. A layer that is built, makes no masks and is
given one plain tensor, or a list of them, takes a short path through the same steps.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from fastk import dtypes, tree
from fastk.graph import Node, any_symbolic_tensors
from fastk.layers.call_spec import CallContext, CallSpec, current, is_tensor_like, signature_of
from fastk.layers.input_spec import assert_input_compatibility
from fastk.layers.rematerialization import Rematerialized, current_scope
from fastk.naming import current_path, name_scope
from fastk.scopes import AutocastScope, state
from fastk.tensor import Tensor, get_keras_mask, set_keras_mask, to_boundary
from fastk.user_warning import warn_user

_NO_ARGUMENTS: dict[str, Any] = {}


class LayerCalls(Rematerialized):
    """The part of `Layer` that runs `call`."""

    name: str
    built: bool
    autocast: bool
    compute_dtype: str
    variable_dtype: str
    input_dtype: str
    activity_regularizer: Any
    compute_output_spec: Callable
    _dtype_policy: Any
    _require_super_init: Callable[[], None]
    _maybe_build: Callable[[CallSpec], None]
    _add_activity_loss: Callable[[Any], None]
    _losses_context: CallContext | None
    _parent_path: str | None
    input_spec: Any

    def _init_calls(self) -> None:
        cls = type(self)
        self._remat_scope = current_scope()
        self._convert_input_args = True
        self._allow_non_tensor_positional_args = False
        self._signature = signature_of(cls.call)
        parameters = self._signature.parameters
        self._call_has_training = "training" in parameters
        default = parameters["training"].default if self._call_has_training else None
        self._default_training = None if default is inspect.Parameter.empty else default
        self._call_has_mask = "mask" in parameters
        self._call_context_args: set[str] = {"training"}
        self._hands_down_training_alone = True
        # Whether outputs may have a mask where the inputs have none; such layers always take the full path.
        self._makes_masks = cls.compute_mask is not LayerCalls.compute_mask
        self._supports_masking = self._makes_masks

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's computation."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `call` method implemented. Write `def call(self, inputs)`."
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `torch.nn.Module` runs between its hooks."""
        if self._remat_scope is None:
            return self.call(*args, **kwargs)
        return self.rematerialized_call(self.call, *args, **kwargs)(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer on tensors, arrays or KerasTensors; builds it first where it is not."""
        context = current.context
        if len(args) == 1 and self._is_short(args[0], kwargs):
            run: Callable = self._call_short
        else:
            self._require_super_init()
            run = self._call_in_full
        if context is not None:
            return run(context, args, kwargs)
        return self._run_outermost(run, args, kwargs)

    def _run_outermost(self, run: Callable, args: Any, kwargs: Any) -> Any:
        """`run(context, args, kwargs)` in a context of its own, its outputs those that the user's code gets."""
        if self._losses_context is not None:
            for layer in self._losses_context.loss_owners:
                layer._losses.clear()
        context = current.context = CallContext(self)
        object.__setattr__(self, "_losses_context", context)
        state.internal += 1
        try:
            outputs = run(context, args, kwargs)
        finally:
            state.internal -= 1
            current.context = None
        return outputs if state.internal else to_boundary(outputs)

    def _is_short(self, x: Any, kwargs: dict) -> bool:
        """Whether a call needs none of what the full path is for: the common case in training."""
        if not (
            self.built
            and not state.active
            and not self._makes_masks
            and self._hands_down_training_alone
            and self.activity_regularizer is None
            and (not kwargs or (len(kwargs) == 1 and "training" in kwargs))
            and self._dtype_policy.compute_dtype == self._dtype_policy.variable_dtype
        ):
            return False
        return all(map(self._is_plain, x)) if type(x) is list else self._is_plain(x)

    def _is_plain(self, x: Any) -> bool:
        """Whether `x` is a tensor without a mask that needs no conversion."""
        return (
            type(x) is torch.Tensor
            and not hasattr(x, "_keras_mask")
            and (
                x.dtype is self._torch_input_dtype()
                or not self._convert_input_args
                or not self.autocast
                or not x.is_floating_point()
            )
        )

    def _call_short(self, context: CallContext, args: tuple, kwargs: dict) -> Any:
        spec = self.input_spec
        if spec is not None:
            assert_input_compatibility(spec, args[0], self.name)
        before = context.values.get("training")
        training = kwargs.get("training")
        if training is None:
            training = self._default_training if before is None else before
        if training is before:
            return torch.nn.Module.__call__(self, *args, **self._training_argument(training))
        context.values["training"] = training
        try:
            return torch.nn.Module.__call__(self, *args, **self._training_argument(training))
        finally:
            context.values["training"] = before

    def _torch_input_dtype(self) -> torch.dtype:
        return dtypes.TORCH_DTYPES[self._dtype_policy.compute_dtype]

    def _training_argument(self, training: Any) -> dict:
        return {"training": training} if self._call_has_training and training is not None else _NO_ARGUMENTS

    def _call_in_full(self, context: CallContext, args: tuple, kwargs: dict) -> Any:
        original_args, original_kwargs = args, kwargs
        if self._convert_input_args:
            args, kwargs = tree.map_structure(self._convert, args), tree.map_structure(self._convert, kwargs)
        if not self._allow_non_tensor_positional_args:
            for x in tree.flatten(args):
                if x is not None and not is_tensor_like(x):
                    raise ValueError(
                        "Only input tensors may be passed as positional arguments. The following argument value "
                        f"should be passed as a keyword argument: {x!r} (of type {type(x)})"
                    )
        # Context arguments that this layer's call() does not take are only handed down.
        handed = {name: kwargs.pop(name) for name in self._call_context_args & kwargs.keys()
                  if name not in self._signature.parameters}  # fmt: skip
        spec = CallSpec(self._signature, args, kwargs)
        self._check_input(spec.first)
        with self._open_name_scope():
            if not self.built:
                self._maybe_build(spec)
            before = dict(context.values)
            self._resolve_context(context, spec, kwargs, handed)
            previous_mask = self._resolve_masks(spec, kwargs)
            try:
                outputs = self._apply_call(args, kwargs)
            finally:
                context.values = before
        if not self.built:
            self.built = True
        self._add_activity_loss(outputs)
        self._hand_on_mask(spec.first, outputs, previous_mask)
        if any_symbolic_tensors(original_args, original_kwargs):
            Node(self, original_args, original_kwargs, outputs)
        return outputs

    def _convert(self, x: Any) -> Any:
        if type(x) is Tensor:
            plain = x.as_subclass(torch.Tensor)
            set_keras_mask(plain, get_keras_mask(x))
            x = plain
        if not is_tensor_like(x) and not hasattr(x, "__array__"):
            return x
        mask = get_keras_mask(x)
        converted = self._dtype_policy.convert_input(x, self.autocast, self.input_dtype)
        if mask is not None and converted is not x:
            set_keras_mask(converted, mask)
        return converted

    def _check_input(self, x: Any) -> None:
        spec = self.input_spec
        if spec is not None and (not isinstance(spec, (list, tuple, dict)) or spec):
            assert_input_compatibility(spec, x, self.name)

    def _resolve_context(self, context: CallContext, spec: CallSpec, kwargs: dict, handed: dict) -> None:
        """Each context argument: what was passed, else the outer call's, else the default of `call`."""
        for name in self._call_context_args:
            if name in handed:
                value = handed[name]
            elif name in spec.given:
                value = spec.arguments[name]
            else:
                value = None
            if value is None:
                value = context.values.get(name)
            if value is None:
                value = spec.arguments.get(name)
            context.values[name] = value
            if name in self._signature.parameters and value is not None:
                kwargs[name] = value

    def _resolve_masks(self, spec: CallSpec, kwargs: dict) -> Any:
        """Puts masks attached to the inputs into mask arguments that were not given; returns the first input's."""
        if len(spec.tensors) == 1:
            if "mask" in self._signature.parameters and spec.arguments["mask"] is None:
                kwargs["mask"] = tree.map_structure(get_keras_mask, next(iter(spec.tensors.values())))
        else:
            for name, value in spec.tensors.items():
                argument = f"{name}_mask"
                if argument in spec.arguments and spec.arguments[argument] is None:
                    kwargs[argument] = tree.map_structure(get_keras_mask, value)
        if kwargs.get("mask") is not None:
            return kwargs["mask"]
        return tree.map_structure(get_keras_mask, spec.first)

    def _apply_call(self, args: tuple, kwargs: dict) -> Any:
        scope = self._autocast_scope()
        if any_symbolic_tensors(args, kwargs):
            run: Callable = self.compute_output_spec
        else:
            run = functools.partial(torch.nn.Module.__call__, self)
        if scope is None:
            return run(*args, **kwargs)
        with scope:
            return run(*args, **kwargs)

    def _autocast_scope(self) -> AutocastScope | None:
        compute = self.compute_dtype
        if state.autocast is not None:
            if not self.autocast or "float" not in compute:
                return AutocastScope(None)
            return AutocastScope(compute) if state.autocast.dtype != compute else None
        return AutocastScope(compute) if compute != self.variable_dtype and "float" in compute else None

    def _open_name_scope(self) -> name_scope:
        if self._parent_path is None:
            self._parent_path = current_path()
        return name_scope(self.name, caller=self)

    def _register_call_context_args(self, *names: str) -> None:
        """Makes arguments of these names pass from this layer's call to those nested in it, as `training` does."""
        self._call_context_args = self._call_context_args | set(names)
        self._hands_down_training_alone = False

    # ------------------------------------------------------------ masks

    @property
    def supports_masking(self) -> bool:
        """Whether masks may reach the layer; settable."""
        return self._supports_masking

    @supports_masking.setter
    def supports_masking(self, value: bool) -> None:
        self._supports_masking = value

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the outputs; by default that of the inputs."""
        return previous_mask

    def _hand_on_mask(self, inputs: Any, outputs: Any, previous_mask: Any) -> None:
        if not self.supports_masking:
            if any(mask is not None for mask in tree.flatten(previous_mask)):
                warn_user(
                    f"Layer '{self.name}' (of type {type(self).__name__}) was passed an input with a mask attached "
                    "to it. However, this layer does not support masking and will therefore destroy the mask "
                    "information. Downstream layers will not see the mask."
                )
            return
        flat = tree.flatten(outputs)
        if all(get_keras_mask(x) is not None for x in flat):
            return
        masks = self.compute_mask(inputs, previous_mask)
        if masks is None:
            return
        for x, mask in zip(flat, tree.flatten(masks), strict=False):
            if mask is not None and x is not None and get_keras_mask(x) is None:
                set_keras_mask(x, mask)
