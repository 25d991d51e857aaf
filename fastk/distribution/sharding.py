"""Models of which each process holds a part: torch's FSDP2, `torch.distributed.fsdp.fully_shard`, around layers.

Of each trained variable a process keeps `1 / size`, cut along the first axis, and so of what the optimizer remembers of
it. torch's hooks gather a layer's variables before it is called and before its backward pass, drop them afterwards, and
give each process its part of the summed gradients. `ShardedVariable` follows: it is whole while its layer needs it.

Source: Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, 2023; Rajbhandari et al., ZeRO:
Memory Optimizations Toward Training Trillion Parameter Models, 2020.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from fastk import tree
from fastk.device import get_device
from fastk.distribution import share
from fastk.distribution.ranks import Group
from fastk.scopes import state
from fastk.tensor import convert_to_tensor
from fastk.variable import Variable

PREFIX = "sharded_"
"""Before the names of parameters that torch cuts: it sets them as attributes, and the names alone are variables'."""


class ShardedVariable(Variable):
    """A variable of which this process holds the rows `start` to `start + len(local)`; made of one by `shard`.

    `value`, and all that reads it, is the whole: gathered from all processes, which must all ask, or while its layer
    runs what torch has gathered. Optimizers work on `_value`, this process's part.
    """

    _group: Group
    _part: Any  # torch's parameter, whose `_local_tensor` is the part; or, of an optimizer's variable, the part itself
    _whole: torch.Tensor | None
    _kept: torch.Tensor | None

    @property
    def _value(self) -> torch.Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self._part, "_local_tensor", self._part)

    @property
    def value(self) -> torch.Tensor:
        """The whole; under a scope, what the scope makes of it."""
        return self._scoped_value() if state.active else self._current()

    def _current(self) -> torch.Tensor:
        if self._whole is not None:
            return self._whole
        if self._kept is not None:
            return self._kept
        gradient = getattr(self._part, "grad", None)
        if gradient is not None:  # after a backward pass of the user's, who asks for `variable.value.grad`
            whole = self.gathered()
            whole.grad = gradient
            return whole
        if self._trainable and torch.is_grad_enabled() and state.internal:
            raise NotImplementedError(
                f"The variable '{self.path}' is used in a training step outside of the call of its layer: where each "
                "process holds a part of it, it has no gradient there. Use it in the layer's `call`, or train with "
                "`DataParallel`."
            )
        return self.gathered()

    def gathered(self) -> torch.Tensor:
        """The whole value, put together from the parts of all processes, which all ask for it."""
        rows, part = self._rows(), self._value.detach()
        padded = part.new_zeros(rows, *self._shape[1:])
        padded[: len(part)] = part
        return torch.cat(self._group.gather(padded, "parts of a variable"))[: self._shape[0]]

    def _rows(self) -> int:
        return math.ceil(self._shape[0] / self._group.size)

    def _own(self, whole: torch.Tensor) -> torch.Tensor:
        """This process's part of `whole`."""
        start = min(self._group.rank * self._rows(), self._shape[0])
        return whole[start : start + self._rows()]

    def assign(self, value: Any) -> torch.Tensor:
        """Writes this process's part of `value`, which all processes have whole."""
        if state.active:
            return super().assign(value)
        value = convert_to_tensor(value, dtype=self._dtype)
        if value.shape != self._shape:
            raise ValueError(
                f"The shape of the target variable and the shape of the target value in `variable.assign(value)` must "
                f"match. variable.shape={self.shape}, Received: value.shape={tuple(value.shape)}. Target variable: "
                f"{self.path}"
            )
        with torch.no_grad():
            self._value.copy_(self._own(value.to(self._value.device)))
            if self._whole is not None:
                self._whole.copy_(value)
        return value.detach()

    def assign_add(self, value: Any) -> torch.Tensor:
        """Adds `value` to the variable."""
        return self.assign(self.gathered() + convert_to_tensor(value, dtype=self._dtype))

    def assign_sub(self, value: Any) -> torch.Tensor:
        """Subtracts `value` from the variable."""
        return self.assign(self.gathered() - convert_to_tensor(value, dtype=self._dtype))

    @property
    def device(self) -> torch.device:
        """The device that the part lives on."""
        return self._value.device

    @property
    def trainable(self) -> bool:
        """Whether gradients are computed for the variable; fixed since it was cut."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if bool(value) != self._trainable:
            raise NotImplementedError(
                f"`trainable` of '{self.path}' cannot change once the model is cut over processes: set it before the "
                "first `fit`."
            )

    def follow(self, value: torch.Tensor) -> None:
        """Takes what torch has put in the place of the layer's parameter: the part, or the whole."""
        if hasattr(value, "_local_tensor"):
            self._part, self._whole = value, None
        else:
            self._whole = value

    def __repr__(self) -> str:
        return f"<ShardedVariable path={self.path}, shape={self.shape}, dtype={self.dtype}>"


def shard(variable: Variable, group: Group, part: Any = None) -> None:
    """Makes `variable` one of which each process holds a part.

    Args:
        variable: whole, with the same value on all processes; not a scalar.
        group: the processes.
        part: torch's parameter that holds this process's part; None to cut it here.
    """
    if type(variable) is not Variable:
        raise NotImplementedError(
            f"A variable of the class {type(variable).__name__} cannot be cut over processes: only `keras.Variable` "
            f"itself can. Received: {variable!r}. Train with `DataParallel`."
        )
    value = variable.__dict__.pop("_value")
    variable.__class__ = ShardedVariable
    assert isinstance(variable, ShardedVariable)
    variable._group, variable._whole, variable._kept = group, None, None
    variable._part = variable._own(value.detach()).clone() if part is None else part


def shard_like(variable: Variable, reference: Variable) -> None:
    """Cuts an optimizer's variable as what it belongs to is cut."""
    if isinstance(reference, ShardedVariable):
        shard(variable, reference._group)


# ------------------------------------------------------------ models


def shard_model(model: Any, group: Group, mesh: Any) -> None:
    """Cuts the trained variables of a built model, layer by layer; a model that is cut already stays as it is.

    Args:
        model: its layers are units: each is gathered and dropped as one, with all that is inside it.
        group: the processes.
        mesh: the same as torch has it.
    """
    if is_sharded(model):
        return
    _check(model)
    units: list[Any] = []
    _find_units(model, units, set())
    for unit in units:
        # A penalty is computed between the forward pass and the backward pass: its variables stay whole until then.
        penalized = any(v.regularizer is not None for v in unit.trainable_variables)
        _cut(unit, group, mesh, reshard_after_forward=not penalized and unit is not model)
    object.__setattr__(model, "_shard_group", group)


def is_sharded(model: Any) -> bool:
    """Whether each process holds a part of the model."""
    return model.__dict__.get("_shard_group") is not None


def group_in(model: Any) -> Group:
    """The processes that hold the parts of a model that is cut."""
    return model._shard_group


def _check(model: Any) -> None:
    owners: dict[int, str] = {}
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if owners.setdefault(id(variable), layer.name) != layer.name:
                raise NotImplementedError(
                    f"The layers '{owners[id(variable)]}' and '{layer.name}' share '{variable.path}': such "
                    "a model cannot be cut over processes. Train with `DataParallel`."
                )


def _find_units(module: Any, units: list[Any], seen: set[int]) -> None:
    """The layers to be cut one by one, inner ones first: a model's, those of models inside it, and the model."""
    for layer in module._layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if hasattr(layer, "_run_planned"):
            _find_units(layer, units, seen)
        elif layer.trainable_variables:
            units.append(layer)
    units.append(module)


class _Cut:
    """What torch makes of a parameter while it cuts it, in the place of the variable that is cut afterwards."""

    part: Any = None

    def follow(self, value: Any) -> None:
        self.part = value


def _cut(unit: Any, group: Group, mesh: Any, reshard_after_forward: bool) -> None:
    from torch.distributed.fsdp import fully_shard

    found = _parameters_to_cut(unit)
    missing = {id(v): v for v in unit.trainable_variables if v.ndim and not isinstance(v, ShardedVariable)}
    for _, _, variable in found:
        missing.pop(id(variable), None)
    if missing:
        raise NotImplementedError(
            f"The layer '{unit.name}' has variables that are parameters of a torch module, "
            f"{[v.path for v in missing.values()]}: they cannot be cut over processes. Train with `DataParallel`."
        )
    for layer, name, _ in found:
        layer._parameters[PREFIX + name] = layer._parameters.pop(name)
        layer.__dict__.setdefault("_shards", {})[PREFIX + name] = _Cut()
    ignored = {p for p in unit.parameters() if p.ndim == 0}
    kind = type(unit)
    fully_shard(unit, mesh=mesh, reshard_after_forward=reshard_after_forward, ignored_params=ignored)
    torch_state = fully_shard.state(unit)  # type: ignore[attr-defined]
    unit.register_forward_hook(lambda layer, inputs, outputs: _follow_logits(outputs, torch_state._pre_backward))
    object.__setattr__(unit, "__class__", kind)  # torch's hooks do without its own class, by which nothing is saved
    object.__setattr__(unit, "__deepcopy__", _refuse_copy)
    for layer, name, variable in found:
        shards = layer.__dict__["_shards"]
        shard(variable, group, shards[PREFIX + name].part)
        shards[PREFIX + name] = variable


def _parameters_to_cut(unit: Any) -> list[tuple[Any, str, Variable]]:
    """`(layer, name, variable)` of the parameters in a layer and its sub-layers, but for scalars and what is cut."""
    found: list[tuple[Any, str, Variable]] = []
    for layer in {id(one): one for one in (unit, *unit._flatten_layers())}.values():
        for name, parameter in layer._parameters.items():
            owner = next((v for v in layer._trainable_variables if v.__dict__.get("_value") is parameter), None)
            if owner is not None and parameter.ndim:
                found.append((layer, name, owner))
    return found


def _refuse_copy(memo: dict) -> Any:
    raise NotImplementedError(
        "A model that is cut over processes cannot be copied by `copy.deepcopy`: use `keras.models.clone_model`, and "
        "`set_weights(model.get_weights())` on all processes."
    )


def _follow_logits(outputs: Any, before_backward: Any) -> None:
    """Has torch gather a layer also where a loss goes past its outputs, to the logits that they were made of."""
    for x in tree.flatten(outputs):
        logits = getattr(x, "_keras_logits", None)
        if logits is not None and logits.requires_grad:
            logits.register_hook(before_backward)


def shard_optimizer(optimizer: Any, variables: Sequence[Variable]) -> None:
    """Cuts what an optimizer that is built already remembers of the variables.

    Raises:
        NotImplementedError: for an optimizer that looks at whole variables.
    """
    inner = [optimizer, *getattr(optimizer, "optimizers", ()), getattr(optimizer, "inner_optimizer", None)]
    for one in inner:
        if one is None:
            continue
        if not one._is_elementwise or one._per_variable:
            raise NotImplementedError(
                f"{type(one).__name__} looks at whole variables, of which each process holds a part. Use an optimizer "
                "that treats each element by itself (SGD, RMSprop, Adam, AdamW, Lion, ...), or `DataParallel`."
            )
        if not one.built:
            continue
        own = one._trainable_variables
        lists = [*one._slots, one._model_variables_moving_average, one._accumulated_gradients]
        for kept in lists:
            for variable, reference in zip(kept, own, strict=False):
                if variable is not None and not isinstance(variable, ShardedVariable):
                    shard_like(variable, reference)
        one._forget_plans()


def gradients(loss: torch.Tensor, variables: Sequence[Variable], group: Group) -> list[torch.Tensor | None]:
    """This process's parts of the gradients of the whole batch.

    Args:
        loss: of this process's part of the batch; it counts by its share.
        variables: the model's.
    """
    (loss * (share.own(group) * group.size)).backward()  # torch's reduction is a mean over the processes
    found: list[torch.Tensor | None] = []
    for variable in variables:
        parameter: Any = variable._part if isinstance(variable, ShardedVariable) else variable._value
        gradient = parameter.grad
        parameter.grad = None
        found.append(getattr(gradient, "_local_tensor", gradient))
    return found


def clipped(
    tensors: list[torch.Tensor], variables: Sequence[Variable], clipnorm: float | None, global_clipnorm: float | None
) -> list[torch.Tensor]:
    """Gradients scaled down to an L2 norm, each by its own or all by that of all; of what is cut it is the whole's.

    Args:
        tensors: this process's parts of the gradients.
        variables: theirs.
        clipnorm, global_clipnorm: the largest norms, of which one is given.
    """
    group = group_of(variables)
    assert group is not None
    counts = [1.0 if isinstance(v, ShardedVariable) else 1 / group.size for v in variables]
    squares = torch.stack([n.float().square() * c for n, c in zip(torch._foreach_norm(tensors), counts, strict=True)])
    norms = group.sum_(squares, "the norms of gradients").sqrt_()
    if clipnorm:
        factors = clipnorm / norms.clamp(min=clipnorm)
    else:
        norm, limit = torch.linalg.vector_norm(norms), global_clipnorm or 0.0
        factors = (limit / norm.clamp(min=limit) + (norm - norm)).expand(len(tensors))  # NaN where it is infinite
    return list(torch._foreach_mul(tensors, [f.to(x.dtype) for f, x in zip(factors, tensors, strict=True)]))


def group_of(variables: Sequence[Variable]) -> Group | None:
    """The processes that hold the parts of variables; None where all are whole."""
    return next((v._group for v in variables if isinstance(v, ShardedVariable)), None)


@contextlib.contextmanager
def gathered(model: Any, group: Group) -> Iterator[None]:
    """Inside, the first process has the whole model and its optimizer's state in memory: to write it to a file."""
    optimizer = getattr(model, "optimizer", None)
    kept = [v for v in (*model.variables, *(optimizer.variables if optimizer is not None else ()))
            if isinstance(v, ShardedVariable)]  # fmt: skip
    try:
        for variable in kept:
            whole = variable.gathered()
            variable._kept = whole.cpu() if group.is_first else None
        yield
    finally:
        for variable in kept:
            variable._kept = None


def device_mesh(group: Group) -> Any:
    """All processes in one axis, as torch has it."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(get_device().type, (group.size,))
