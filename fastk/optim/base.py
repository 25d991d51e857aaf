"""What the optimizers share: gradients collected into lists, clipped, and handed to one call a dtype and device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastk.autograd import StepOptions
from fastk.kernels.step_options import clip_by_global_norm

NOT_SUPPORTED = {
    "foreach": (None, True),
    "fused": (None, True),
    "capturable": (False,),
    "differentiable": (False,),
}


def check_arguments(name: str, **given: Any) -> None:
    """The arguments of torch's optimizers that choose an implementation.

    Raises:
        ValueError: one asks for what there is not.
    """
    for argument, value in given.items():
        if argument == "max_norm":
            if value is not None and not value > 0:
                raise ValueError(f"`max_norm` of {name} must be a positive number or None. Received: {value!r}.")
        elif value not in NOT_SUPPORTED[argument]:
            why = {
                "foreach": "its step is always one over all tensors",
                "fused": "its step is always fused",
                "capturable": "the host counts its steps; fastk.integrations.torch.TrainStep replays the rest of one",
                "differentiable": "its step has no derivative",
            }[argument]
            raise ValueError(
                f"{name} does not take {argument}={value!r}: {why}. Leave it out, or use torch.optim.{name}."
            )


@dataclass(slots=True)
class Batch:
    """Parameters of one dtype on one device that have taken as many steps, with their gradients and states.

    owners: the parameters themselves.
    params, grads: in the order of their memory.
    count: the steps, with the present one.
    """

    owners: list[Tensor]
    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Any]]
    count: int

    def slot(self, name: str) -> list[Tensor]:
        """The parameters' states of one name."""
        return [in_order(state[name]) for state in self.states]

    def part(self, indices: list[int]) -> Batch:
        """Some of its parameters."""
        owners, params, grads = ([each[i] for i in indices] for each in (self.owners, self.params, self.grads))
        return Batch(owners, params, grads, [self.states[i] for i in indices], self.count)


class MultiTensorStep(torch.optim.Optimizer):
    """The `step` of an optimizer of torch's, which is the other base of the classes here.

    max_norm: the largest L2 norm of all gradients together, or None; a part of the step, gradients stay as they are.
    """

    max_norm: float | None = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Takes one step, of the parameters that have a gradient.

        Args:
            closure: called first, with gradients enabled, to compute the loss.

        Returns:
            The closure's result, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            work = [(group, batch) for group in self.param_groups for batch in self._batches(group)]
            limit = self._limit([batch for _, batch in work])
            for group, batch in work:
                self._update(group, batch, limit)
        return loss

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """A parameter's state before its first step."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any], batch: Batch, limit: dict[str, Any]) -> None:
        """Takes the step of a batch; `limit`: the fields of `StepOptions` that clip."""
        raise NotImplementedError

    def _batches(self, group: dict[str, Any]) -> list[Batch]:
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return []
        states = [self.state[param] or self._begin(param, group) for param in params]
        grads = [in_order(_laid_out(param.grad, param)) for param in params]
        whole = Batch(params, [in_order(param) for param in params], grads, states, 0)
        steps = [state["step"] for state in states] if "step" in states[0] else []
        counts = torch.stack(steps).tolist() if steps else [0] * len(params)
        if steps:
            torch._foreach_add_(steps, 1.0)
        kinds: dict[tuple, list[int]] = {}
        for i, (param, count) in enumerate(zip(params, counts, strict=True)):
            kinds.setdefault((param.dtype, param.device, count), []).append(i)
        batches = [whole] if len(kinds) == 1 else [whole.part(own) for own in kinds.values()]
        for batch, (_, _, count) in zip(batches, kinds, strict=True):
            batch.count = int(count) + 1
        return batches

    def _begin(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if param.is_complex():
            raise TypeError(f"{type(self).__name__} of fastk takes real parameters. Received one of {param.dtype}.")
        state = self.state[param]
        state.update(self._new_state(param, group))
        return state

    def _limit(self, batches: list[Batch]) -> dict[str, Any]:
        """How gradients are clipped: in the launch by their norm if it has them all, else by a common factor."""
        if self.max_norm is None or not batches:
            return {}
        if len(batches) == 1:
            return {"global_clipnorm": self.max_norm}
        norm = torch.nn.utils.get_total_norm([grad for batch in batches for grad in batch.grads])
        # `norm - norm` is 0, or NaN: a gradient that overflowed must not pass for a large finite one.
        return {"gradient_scale": norm.clamp(min=self.max_norm) / self.max_norm + (norm - norm)}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "max_norm": self.max_norm}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.update({name: allowed[0] for name, allowed in NOT_SUPPORTED.items() if name in group})
        for own in self.state.values():
            if isinstance(own.get("step"), Tensor):  # of torch's fused optimizers it is on the device
                own["step"] = own["step"].to("cpu", torch.get_default_dtype())


def options_of(limit: dict[str, Any], batch: Batch, weight_decay: float = 0.0) -> StepOptions:
    """The options of a batch's step; a common factor is beside its parameters."""
    scale = limit.get("gradient_scale")
    if scale is not None:
        limit = {"gradient_scale": scale.to(batch.params[0].device)}
    return StepOptions(weight_decay=float(weight_decay), **limit)


def apart(group: dict[str, Any], batch: Batch, limit: dict[str, Any], weight_decay: float) -> tuple[list, dict]:
    """(gradients, what is left of `limit`): turned round for `maximize`; clipped where L2's term is to be added."""
    grads = batch.grads
    if group["maximize"]:
        grads = list(torch._foreach_neg(grads))
    if weight_decay:
        grads = clip_now(grads, limit)
        grads, limit = list(torch._foreach_add(grads, batch.params, alpha=weight_decay)), {}
    return grads, limit


def clip_now(grads: list[Tensor], limit: dict[str, Any]) -> list[Tensor]:
    """The gradients as `limit` has them."""
    if "global_clipnorm" in limit:
        return clip_by_global_norm(grads, limit["global_clipnorm"])
    if "gradient_scale" in limit:
        return list(torch._foreach_div(grads, limit["gradient_scale"].to(grads[0].device)))
    return grads


def scalar(rate: Any) -> Tensor | float:
    """A learning rate as the kernels take it."""
    return rate.reshape(()) if isinstance(rate, Tensor) else rate


def new_count() -> Tensor:
    """The state `step` as torch has it: on the host, a float."""
    return torch.tensor(0.0, dtype=torch.get_default_dtype())


def zeros(param: Tensor) -> Tensor:
    """A state like a parameter, also in how it lies in memory."""
    return torch.zeros_like(param, memory_format=torch.preserve_format)


def in_order(tensor: Tensor) -> Tensor:
    """A tensor that fills its memory in another order of axes, such as channels last, with its axes in that order.

    One that leaves gaps, as a slice does, stays as it is.
    """
    if tensor.is_contiguous():
        return tensor
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order) if tensor.permute(order).is_contiguous() else tensor


def _laid_out(grad: Any, param: Tensor) -> Tensor:
    """A gradient that lies in memory as its parameter does: kernels go through both side by side."""
    if grad.is_sparse:
        raise RuntimeError("The optimizers of fastk take no sparse gradients; torch.optim.SparseAdam does.")
    if grad.stride() == param.stride() or not in_order(param).is_contiguous():
        return grad
    return torch.empty_strided(param.shape, param.stride(), dtype=grad.dtype, device=grad.device).copy_(grad)
