"""`Layer`: the base of all layers and models, a `torch.nn.Module` with Keras's interface.

Its parts: `state` (variables and sub-layers), `calls` (what a call does), `weight_options` (initializers and their
like); here are construction, building, shapes, losses and configuration.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from fastk import constraints, dtype_policies, dtypes, initializers, regularizers, tree
from fastk.errors import did_you_mean
from fastk.graph import KerasTensor, Operation, compute_output_spec
from fastk.graph.operation import inferred
from fastk.layers.call_spec import CallContext, CallSpec, current
from fastk.layers.calls import LayerCalls
from fastk.layers.graph_ops import LayerGraphOps
from fastk.layers.quantization import NotQuantized, computable
from fastk.layers.state import LayerState
from fastk.layers.weight_options import WeightOptions
from fastk.naming import current_path, name_scope
from fastk.scopes import StatelessScope, state
from fastk.user_warning import warn_user
from fastk.variable import Variable


class Layer(LayerCalls, LayerGraphOps, WeightOptions, NotQuantized, LayerState, Operation):
    """A computation with state: weights made in `build()`, used in `call()`.

    Args:
        activity_regularizer: a regularizer of the outputs.
        trainable: whether training changes the weights.
        dtype: a dtype name or `DTypePolicy`; None is the global policy.
        autocast: whether floating-point inputs are cast to the compute dtype.
        name: by default the class's name in snake case, made unique.

    Example:

    >>> import fastk
    >>> class Scale(fastk.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight(shape=input_shape[-1:], initializer="ones")
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> print(Scale()(fastk.ops.ones((1, 2))))
    [[1. 1.]]
    """

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ):
        self._init_state()
        Operation.__init__(self, name=name)
        self._dtype_policy = computable(dtype_policies.get(dtype))
        self.activity_regularizer = regularizers.get(activity_regularizer)
        input_dim = kwargs.pop("input_dim", None)
        input_shape = kwargs.pop("input_shape", None) if input_dim is None else (input_dim,)
        if input_shape is not None:
            warn_user(
                "Do not pass an `input_shape`/`input_dim` argument to a layer. When using Sequential models, prefer "
                "using an `Input(shape)` object as the first layer in the model instead."
            )
            self._input_shape_arg = input_shape
        if kwargs:
            hint = did_you_mean(kwargs, _constructor_arguments(type(self)))
            raise ValueError(f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}.{hint}")
        if not isinstance(trainable, bool):
            raise ValueError(
                f"Expected `trainable` to be a boolean. Received: trainable={trainable} (of type {type(trainable)})"
            )
        object.__setattr__(self, "_trainable", trainable)
        self.built = False
        self.autocast = autocast
        self.input_spec = None
        self.supports_jit = True
        self._path: str | None = None
        self._parent_path: str | None = None
        self._losses: list[Any] = []
        self._losses_context: CallContext | None = None
        self._build_shapes: dict[str, Any] | None = None
        self._building = False
        self._init_calls()

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _recording_build(cls.build)  # type: ignore[method-assign]

    # ------------------------------------------------------------ build

    @property
    def path(self) -> str | None:
        """The scopes that the layer's variables were made under, once it is built."""
        return self._path

    def build(self, input_shape: Any) -> None:
        """Makes the layer's variables for inputs of `input_shape`."""
        if type(self).build is Layer.build and any(not layer.built for layer in self._layers):
            warn_user(
                f"`build()` was called on layer '{self.name}', however the layer does not have a `build()` method "
                "implemented and it looks like it has unbuilt state. This will cause the layer to be marked as "
                "built, despite not being actually built, which may cause failures down the line. Make sure to "
                "implement a proper `build()` method."
            )
        with self._open_name_scope():
            self._path = current_path()
        self._build_shapes = {"input_shape": input_shape}
        self.built = True
        # A subclass's build() that calls this one goes on making state.
        self._state_locked = not self._building

    def _build_at_init(self) -> None:
        """Marks a layer without a `build` of its own as built."""
        if type(self).build is Layer.build:
            self.built = True
            self._state_locked = True

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` needs: the shapes that `build` was called with."""
        shapes = self._build_shapes
        if shapes is None:
            return None
        return {"input_shape": next(iter(shapes.values()))} if len(shapes) == 1 else {"shapes_dict": shapes}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the layer as `get_build_config` recorded it."""
        if config and "input_shape" in config:
            self.build(_as_shape(config["input_shape"]))
        elif config and "shapes_dict" in config:
            self.build(**{name: _as_shape(shape) for name, shape in config["shapes_dict"].items()})

    def _maybe_build(self, spec: CallSpec) -> None:
        if type(self).build is not Layer.build:
            try:
                self.build(**spec.shapes_for(self.build, type(self).__name__))
            except Exception:
                if not (spec.eager and getattr(type(self).build, "_traces_call", False)):
                    raise
                return  # a `call` that needs values: it builds the sub-layers as it runs, or says what is wrong
            self._check_input(spec.first)
            return
        if any(not layer.built for layer in self._layers):
            # No `build()`: running `call` without values builds the sub-layers.
            try:
                compute_output_spec(self.call, **spec.arguments)
            except Exception as error:
                if spec.eager:
                    return
                warn_user(
                    f"Layer '{self.name}' looks like it has unbuilt state, but its `call()` cannot be traced in "
                    "order to build it automatically. Either `call()` fails (try it on some input first), or the "
                    "layer needs a `def build(self, input_shape)` that creates all variables, for example by calling "
                    f"`build()` on all its children. Exception encountered: '{error}'"
                )
        self.build(next(iter(spec.shapes().values()), None))

    def add_weight(
        self,
        *args: Any,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str | None = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Makes a variable that belongs to the layer.

        Args:
            *args: `shape`, `initializer` and `dtype` may be passed by position.
            shape: fully defined sizes; None is a scalar.
            initializer: its first values; by default Glorot uniform for floats, zeros for integers.
            dtype: by default the layer's variable dtype.
            trainable: whether gradients change it.
            autocast: whether it is read in the compute dtype.
            regularizer: adds a penalty of its value to the loss.
            constraint: projects it after each optimizer step.
            aggregation: how replicas combine it.
            overwrite_with_gradient: whether the optimizer writes the gradient into it.
            name: one path element.
        """
        self._require_super_init()
        if args:
            shape, initializer, dtype = _by_position(args, shape=shape, initializer=initializer, dtype=dtype)
        dtype = self.variable_dtype if dtype is None else dtypes.standardize_dtype(dtype)
        if initializer is None:
            initializer = "glorot_uniform" if "float" in dtype else "zeros"
        with name_scope(self.name, caller=self):
            variable = Variable(
                initializer=initializers.get(initializer),
                shape=() if shape is None else shape,
                dtype=dtype,
                trainable=trainable,
                autocast=autocast,
                aggregation=aggregation,
                name=name,
            )
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        variable.overwrite_with_gradient = overwrite_with_gradient
        self._track_variable(variable)
        return variable

    add_variable = add_weight

    def add_metric(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported, as in Keras 3: raises `NotImplementedError`."""
        raise NotImplementedError(
            "Layer `add_metric()` method is deprecated. Add your metric in `Model.compile(metrics=[...])`, or make a "
            "metric in the layer's `__init__()` and call its `update_state()`."
        )

    @property
    def torch_params(self) -> torch.nn.ParameterDict:
        """The variables' parameters by their paths."""
        return torch.nn.ParameterDict({variable.path: variable.value for variable in self.variables})

    # ------------------------------------------------------------ dtypes

    @property
    def dtype_policy(self) -> Any:
        """The layer's dtype policy; settable."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        self._dtype_policy = computable(dtype_policies.get(value))

    @property
    def dtype(self) -> str:
        """The dtype of the variables."""
        return self._dtype_policy.variable_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of the variables."""
        return self._dtype_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """The dtype of inputs, arithmetic and outputs."""
        return self._dtype_policy.compute_dtype

    @property
    def input_dtype(self) -> str:
        """The dtype that floating-point inputs are cast to."""
        return self.compute_dtype

    # ------------------------------------------------------------ shapes

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors like what `call` returns."""
        if type(self).compute_output_shape is Layer.compute_output_shape:
            return inferred(self, self.call, args, kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name in self._signature.parameters}
        spec = CallSpec(self._signature, args, kwargs)
        shapes = self.compute_output_shape(**spec.shapes_for(self.compute_output_shape, type(self).__name__))
        return tree.map_shape_structure(lambda shape: KerasTensor(shape, dtype=self.compute_dtype), shapes)

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs' shape for inputs of the given shapes; by default found by running `call` without values."""
        given = [*args, *kwargs.values()]
        tensors = [
            tree.map_shape_structure(lambda s: KerasTensor(s, dtype=self.compute_dtype), shape) for shape in given
        ]
        names = [name.removesuffix("_shape") for name in kwargs]
        positional, named = tensors[: len(args)], dict(zip(names, tensors[len(args) :], strict=True))
        if len(named) == 1 and next(iter(named)) not in self._signature.parameters:
            positional, named = list(named.values()), {}
        outputs = inferred(self, self.call, tuple(positional), named)
        return tree.map_structure(lambda x: x.shape, outputs)

    # ------------------------------------------------------------ losses

    def add_loss(self, loss: Any) -> None:
        """Adds a scalar tensor, or several, to what training minimises; made anew at every call of the model."""
        if state.recomputing:
            return  # the first pass added it
        for value in tree.flatten(loss):
            if not isinstance(value, (torch.Tensor, KerasTensor, int, float)) or getattr(value, "ndim", 0) > 0:
                raise ValueError(
                    "`add_loss()` can only be called from inside `build()` or `call()`, on a tensor input. "
                    f"Received invalid value: {value}"
                )
        if state.stateless is not None and state.stateless.collect_losses:
            for value in tree.flatten(loss):
                state.stateless.add_loss(value)
        context = current.context
        if context is not None and self._losses_context is not context:
            self._losses.clear()
            object.__setattr__(self, "_losses_context", context)
        if context is not None:
            context.loss_owners.append(self)
        # Shape inference runs `call` without values: what it adds is not a loss.
        self._losses.extend(v for v in tree.flatten(loss) if not getattr(v, "is_meta", False))

    def _add_activity_loss(self, outputs: Any) -> None:
        if self.activity_regularizer is None:
            return
        for x in tree.flatten(outputs):
            if isinstance(x, torch.Tensor):
                loss = self.activity_regularizer(x)
                self.add_loss(loss / max(x.shape[0], 1) if x.ndim > 0 else loss)

    @property
    def losses(self) -> list[Any]:
        """The losses added during the last call, and the penalties of regularized weights."""
        scope = state.stateless
        if scope is not None and scope.collect_losses:
            added = list(scope.losses)
        else:
            added = [loss for layer in self._flatten_layers() for loss in layer._losses]
        return added + self._regularization_losses()

    def _regularization_losses(self) -> list[Any]:
        return [v.regularizer(v.value) for v in self.trainable_weights if v.regularizer is not None]

    # ------------------------------------------------------------ stateless

    def stateless_call(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The call with given values of the variables, which are left as they are.

        Args:
            trainable_variables, non_trainable_variables: values in the order of the properties of these names.
            return_losses: whether the losses are returned too.

        Returns:
            `(outputs, non_trainable_variables)`, and the losses as a third element where asked for.
        """
        if not self.built:
            raise ValueError(
                f"To call stateless_call, {type(self).__name__} must be built (i.e. its variables must have been "
                "already created). You can build it by calling it on some data."
            )
        own, fixed = self.trainable_variables, self.non_trainable_variables
        for what, given, expected in (
            ("trainable", list(trainable_variables), own),
            ("non_trainable", list(non_trainable_variables), fixed),
        ):
            if len(given) != len(expected):
                raise ValueError(
                    f"Argument `{what}_variables` must be a list of tensors corresponding 1:1 to "
                    f"{type(self).__name__}().{what}_variables. Received list with length {len(given)}, but expected "
                    f"{len(expected)} variables."
                )
        mapping = [*zip(own, trainable_variables, strict=True), *zip(fixed, non_trainable_variables, strict=True)]
        with StatelessScope(state_mapping=mapping, collect_losses=return_losses) as scope:
            outputs = self(*args, **kwargs)
            losses = self.losses if return_losses else []
        after = []
        for variable in fixed:
            value = scope.get_current_value(variable)
            after.append(variable if value is None else value)
        return (outputs, after, losses) if return_losses else (outputs, after)

    # ------------------------------------------------------------ configuration

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready."""
        self._require_super_init()
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": dtype_policies.serialize(self.dtype_policy),
        }
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return self._automatic_config(config) if type(self).get_config is Layer.get_config else config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    __str__ = __repr__


def _by_position(args: tuple, **named: Any) -> list[Any]:
    """The values of `named` arguments, the first of them passed by position."""
    if isinstance(args[0], str):
        raise ValueError(
            f"`name` must be passed as a keyword argument. Received: add_weight('{args[0]}', ...). "
            f"Use: add_weight(shape=..., name='{args[0]}')."
        )
    if len(args) > len(named):
        raise TypeError(f"add_weight() takes at most {len(named)} positional arguments but {len(args)} were given.")
    for name in list(named)[: len(args)]:
        if named[name] is not None:
            raise ValueError(f"`{name}` was passed both positionally and as a keyword argument.")
    return [*args, *list(named.values())[len(args) :]]


def _constructor_arguments(cls: type) -> set[str]:
    """The names that the constructors of a class and its bases take."""
    constructors = [base.__dict__["__init__"] for base in cls.__mro__ if "__init__" in base.__dict__]
    return {name for one in constructors if one is not object.__init__ for name in inspect.signature(one).parameters}


def _as_shape(shape: Any) -> Any:
    """A shape read from a file, its lists made tuples."""
    return tree.map_shape_structure(lambda s: None if s is None else tuple(s), shape)


def _recording_build(build: Callable) -> Callable:
    """`build` in the layer's name scope, followed by recording its shapes and locking the layer's state."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def recorded(self: Layer, *args: Any, **kwargs: Any) -> None:
        if self._building:  # a call of super().build()
            build(self, *args, **kwargs)
            return
        self._building = True
        try:
            with self._open_name_scope():
                self._path = current_path()
                build(self, *args, **kwargs)
        finally:
            self._building = False
        self._build_shapes = dict(list(signature.bind(self, *args, **kwargs).arguments.items())[1:])
        self.built = True
        self._state_locked = True

    return recorded
