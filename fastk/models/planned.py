"""How a model is run by a plan: its graph, the plan that is made of it, and when a plan stands for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastk import dtypes, tree
from fastk.device import get_device
from fastk.graph import Graph, Untraceable, trace
from fastk.graph.function import CallGraph
from fastk.graph.fuse import fuse
from fastk.graph.plan import GLOBAL_HOOKS, Plan, age
from fastk.layers.call_spec import CallContext, current
from fastk.layers.graph_ops import REPLACED, has_hooks
from fastk.models.tracing import calls_of
from fastk.scopes import state
from fastk.tensor import get_keras_mask

if TYPE_CHECKING:
    from fastk.models.explain import Explanation


class _Kept:
    """A plan, or the reason why there is none, and what it was made from; a copy of a model begins without."""

    __slots__ = ("age", "compiled", "layout", "names", "plan", "shapes", "why_not")

    def __init__(self) -> None:
        self.age = -1
        self.compiled: Any = None
        self.layout: Any = None
        self.plan: Plan | None = None
        self.why_not: str | None = None
        # The inputs' names, where they may be given by name.
        self.names: list[str] = []
        # Of the inputs: the dtype and the sizes but the batch's, None where any will do.
        self.shapes: list[tuple[torch.dtype, tuple[int | None, ...]]] = []

    def __deepcopy__(self, memo: dict) -> _Kept:
        return _Kept()

    def __reduce__(self) -> Any:
        return _Kept, ()


class Planned:
    """The part of `Model` that knows its graph."""

    name: str
    run_eagerly: bool
    _compile_arguments: Any
    _call_has_training: bool
    _losses_context: CallContext | None
    if TYPE_CHECKING:
        activity_regularizer: Any
        call: Any
        __call__: Any
        _check_input: Any
        _run_outermost: Any
        _autocast_scope: Any

    def graph(self, training: bool | None = None, fused: bool = False) -> Graph:
        """The ops that the model runs, to be printed or looked into.

        Args:
            training: whether for training; matters where the graph is fused, or the model has a `call` of its own.
            fused: whether the fusion rules (`fastk.graph.fuse`) are applied.

        Raises:
            Untraceable: its graph cannot be known; the message says why.

        >>> import fastk
        >>> layers = [fastk.layers.Dense(2, name="a"), fastk.layers.ReLU(name="b")]
        >>> print(fastk.Sequential([fastk.Input((3,), name="x"), *layers], name="net").graph(fused=True))
        net(%0: (None, 3) float32)
          %1 = dense(%0, kernel=a/kernel[3,2], bias=a/bias[2], activation=relu)  # a + b  (None, 2) float32
          return %1
        """
        graph = trace(self, bool(training))
        return fuse(graph, bool(training), get_device().type) if fused else graph

    def plan(self) -> Plan:
        """The flat list of calls that the steps of `fit`, `evaluate` and `predict` run in place of the layers.

        Made once; made anew after layers have changed.

        Raises:
            Untraceable: the model has to be called as a whole; the message says why.
        """
        kept = self._up_to_date()
        if kept.plan is None or has_hooks(self):
            raise Untraceable(f"Model '{self.name}' has no plan: {kept.why_not or 'it has torch hooks'}.")
        return kept.plan

    def explain(self, batch_size: int = 32, training: bool = True) -> Explanation:
        """What the model runs as, op by op: to be printed, or read with `as_dict()`.

        Which layers were fused into which op, the implementation and why, launches, FLOPs and bytes, the predicted time
        at the roofline where the device's peaks are known; and what was not fused or not traced, with the reason.

        Args:
            batch_size: the samples that costs are counted for.
            training: whether for a training step or for inference.

        >>> import fastk
        >>> layers = [fastk.layers.Dense(8), fastk.layers.ReLU(), fastk.layers.Dropout(0.5)]
        >>> model = fastk.Sequential([fastk.Input((4,)), *layers], name="net")
        >>> model.explain(32).totals()["ops"]
        1
        """
        from fastk.models.explain import explain

        return explain(self, batch_size, training)

    # ------------------------------------------------------------ what a step calls

    def _run_planned(self, x: Any, training: bool) -> Any:
        """The outputs for a batch: by the plan where it does what the call of the model would do, else by the call."""
        kept = self.__dict__.get("_kept_plan")
        if kept is None or not self._holds(kept):
            kept = self._up_to_date()
        plan = kept.plan
        if plan is not None and any(plan.hooks):
            plan = None if any(GLOBAL_HOOKS) or has_hooks(self) else self._up_to_date(anew=True).plan
        if plan is None or self.run_eagerly or state.active or current.context is not None:
            return self._called(x, training)
        inputs = self._planned_inputs(x, kept)
        if inputs is None:
            return self._called(x, training)
        return self._run_outermost(_run_plan, (plan, self), (inputs, training))

    def _called(self, x: Any, training: bool) -> Any:
        return self(x, training=training) if self._call_has_training else self(x)

    def _planned_inputs(self, x: Any, kept: _Kept) -> list | None:
        """`x` as the plan takes it, where it is what the plan takes; None where the model has to look at it."""
        shapes = kept.shapes
        if len(shapes) == 1 and type(x) is torch.Tensor:
            return [x] if _fits(x, *shapes[0]) else self._converted(x, kept)
        flat: list | None = None
        if type(x) is dict and len(x) == len(kept.names):
            flat = [x.get(name) for name in kept.names]
        elif type(x) in (list, tuple):
            flat = list(x)
        if flat is not None and len(flat) == len(shapes) and all(map(_fits, flat, *zip(*shapes, strict=True))):
            return flat
        return self._converted(x, kept)

    def _converted(self, x: Any, kept: _Kept) -> list | None:
        """Inputs that a functional model makes its own: cast, in another structure, with an axis of size 1 more."""
        if any(type(one) is not torch.Tensor or get_keras_mask(one) is not None for one in tree.flatten(x)):
            return None
        self._check_input(x)
        flat = self._functional_part()._standardized(x)
        return flat if all(map(_fits, flat, *zip(*kept.shapes, strict=True))) else None

    # ------------------------------------------------------------ the plan's life

    def _layout(self) -> Any:
        """What decides which ops the model runs, beside the attributes of its layers."""
        return None

    def _functional_part(self) -> Any:
        """The functional model that runs when this one is called; None where that is the user's own code."""
        return None

    def _call_graph(self, training: bool = False) -> CallGraph:
        functional = self._functional_part()
        return calls_of(self, training) if functional is None else functional._graph

    def _inner_calls(self) -> CallGraph | None:
        return None if has_hooks(self) or self._why_not_planned() else self._functional_part()._graph

    def _why_not_planned(self) -> str | None:
        if self._functional_part() is None:
            return f"{type(self).__name__} has a `call()` of its own, or is not built yet"
        if not REPLACED.isdisjoint(self.__dict__):
            return "its call was replaced"
        if any(x.dtype == "string" for x in self._functional_part()._graph.inputs):
            return "it takes strings, which its layers look up on the host"
        return None if self.activity_regularizer is None else "its outputs are regularized"

    def _up_to_date(self, anew: bool = False) -> _Kept:
        """The plan for the model as it is."""
        kept = self.__dict__.setdefault("_kept_plan", _Kept())
        if anew or not self._holds(kept):
            kept.age, kept.compiled, kept.layout = age(), self._compile_arguments, self._layout()
            kept.plan, kept.why_not = None, self._why_not_planned()
            if kept.why_not is None:
                self._plan_into(kept)
        return kept

    def _holds(self, kept: _Kept) -> bool:
        """Whether nothing has changed since a plan was made."""
        return (
            kept.age == age()
            and kept.compiled is self._compile_arguments
            and kept.layout is self._layout()
            and REPLACED.isdisjoint(self.__dict__)
        )

    def _plan_into(self, kept: _Kept) -> None:
        graph = trace(self)
        kept.plan = Plan(graph, get_device().type)
        kept.shapes = [(dtypes.to_torch_dtype(x.dtype), x.shape[1:]) for x in graph.inputs]
        given = self._functional_part()._inputs_struct
        kept.names = list(given) if isinstance(given, dict) else self._functional_part().input_names
        for layer in graph.bypassed:
            if layer is not self:
                object.__setattr__(layer, "_in_plan", True)


def _fits(x: Any, dtype: torch.dtype, sizes: tuple[int | None, ...]) -> bool:
    """Whether `x` is a plain tensor of a dtype whose shape, but for the batch, has the sizes that are known."""
    if type(x) is not torch.Tensor or x.dtype is not dtype or hasattr(x, "_keras_mask"):
        return False
    own = x.shape[1:]
    if own == sizes:
        return True
    known = len(own) == len(sizes) and x.ndim > 0
    return known and all(b is None or a == b for a, b in zip(own, sizes, strict=True))


def _run_plan(context: CallContext, of: tuple[Plan, Any], arguments: tuple[list, bool]) -> Any:
    """What an outermost call runs, in the form of a layer's `_call_short`."""
    (plan, model), (inputs, training) = of, arguments
    context.values["training"] = training
    scope = model._autocast_scope()
    if scope is None:
        return plan(inputs, training)
    with scope:
        return plan(inputs, training)
