"""What else computes the ops: torch as its users write it, the vendor's one call, and a floor under the work.

A rival gets its operands in the layout that it is fastest in: images as [B, C, H, W] in channels-last memory, a dense
kernel as [N, K]. They are converted before anything is timed, and its gradients are converted back to be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Move = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layout:
    """How an operand is laid out for a rival, and how its gradient, or the result, comes back."""

    to: Move
    back: Move


SAME = Layout(lambda t: t, lambda t: t)


@dataclass(frozen=True)
class Prepared:
    """A call with its operands.

    Args:
        call: `call(*leaves)` gives the result.
        leaves: the operands in the call's layouts.
        layouts: of the leaves.
        result: of the result.
        stacked: whether the last two leaves are the rows of one operand of the case.
        results: how many of the leaves, the first ones, the call updates instead of having a result.
    """

    call: Callable[..., Any]
    leaves: tuple[Tensor, ...]
    layouts: tuple[Layout, ...]
    result: Layout
    stacked: bool = False
    results: int = 0

    def gradients(self, g: Tensor) -> tuple[Tensor, ...]:
        """The result and the gradients of its product with `g` by the leaves that want one, as the call has them."""
        y = self.call(*self.leaves)
        return y, *torch.autograd.grad(y, [leaf for leaf in self.leaves if leaf.requires_grad], g)

    def values(self, g: Tensor | None) -> tuple[Tensor, ...]:
        """The result and the gradients in the layouts of the case.

        Args:
            g: the gradient of the result, in the case's layout; None for the result alone.
        """
        if g is None:
            with torch.no_grad():
                y = self.call(*self.leaves)
            return self.leaves[: self.results] if self.results else (self.result.back(y),)
        y, *found = self.gradients(self.result.to(g))
        layouts = [layout for layout, leaf in zip(self.layouts, self.leaves, strict=True) if leaf.requires_grad]
        gradients = [layout.back(gradient) for layout, gradient in zip(layouts, found, strict=True)]
        if self.stacked:
            gradients[-2:] = [torch.stack(gradients[-2:])]
        return self.result.back(y.detach()), *gradients


@dataclass(frozen=True)
class Rival:
    """Something that computes an op.

    Args:
        call: takes the operands in `layouts`.
        layouts: one for each operand; too few, and the others are as they come.
        result: of the result.
        devices: where it runs.
        forward_only: whether it has no derivative.
    """

    call: Callable[..., Any]
    layouts: tuple[Layout, ...] = ()
    result: Layout = SAME
    devices: tuple[str, ...] = ("cpu", "cuda")
    forward_only: bool = False

    def prepare(self, inputs: tuple[Tensor, ...]) -> Prepared:
        """The call with its operands, which share memory with the inputs where the layout is the same."""
        layouts = (*self.layouts, *[SAME] * (len(inputs) - len(self.layouts)))
        leaves = tuple(
            layout.to(x.detach()).requires_grad_(x.requires_grad) for layout, x in zip(layouts, inputs, strict=True)
        )
        return Prepared(self.call, leaves, layouts, self.result)


TRANSPOSED = Layout(lambda t: t.t().contiguous(), lambda t: t.t())
IMAGES = Layout(lambda t: t.permute(0, 3, 1, 2), lambda t: t.permute(0, 2, 3, 1))
KERNELS = Layout(
    lambda t: t.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last), lambda t: t.permute(2, 3, 1, 0)
)

_TORCH = {"relu": torch.relu, "gelu": functional.gelu, "tanh": torch.tanh, None: lambda t: t}


def dense(activation: str | None, rate: float = 0.0) -> Rival:
    """`F.linear`, an activation, dropout."""

    def call(x: Tensor, kernel: Tensor, bias: Tensor, *seed: Tensor) -> Tensor:
        y = _TORCH[activation](functional.linear(x, kernel, bias))
        return functional.dropout(y, rate) if rate else y

    return Rival(call, (SAME, TRANSPOSED))


def dense_library() -> Rival:
    """cuBLASLt's product with bias and ReLU in its epilogue (oneDNN's or none on a CPU)."""
    return Rival(lambda x, kernel, bias: torch._addmm_activation(bias, x, kernel), forward_only=True)


def product() -> Rival:
    """The product of a dense layer alone."""
    return Rival(lambda x, kernel, *_: torch.mm(x, kernel), forward_only=True)


def conv2d(strides: int, padding: int, activation: str | None) -> Rival:
    """`F.conv2d` on channels-last images, an activation."""

    def call(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return _TORCH[activation](functional.conv2d(x, kernel, bias, strides, padding))

    return Rival(call, (IMAGES, KERNELS), IMAGES)


def conv2d_library(strides: int, padding: int) -> Rival:
    """cuDNN's convolution with bias and ReLU in one call."""

    def call(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return torch.cudnn_convolution_relu(x, kernel, bias, [strides] * 2, [padding] * 2, [1, 1], 1)

    return Rival(call, (IMAGES, KERNELS), IMAGES, devices=("cuda",), forward_only=True)


def convolution(strides: int, padding: int) -> Rival:
    """The convolution alone, without bias and activation."""
    return Rival(
        lambda x, kernel, _: functional.conv2d(x, kernel, None, strides, padding),
        (IMAGES, KERNELS),
        IMAGES,
        forward_only=True,
    )


def depthwise_conv2d(multiplier: int, padding: int) -> Rival:
    """`F.conv2d` with a group for each channel."""

    def to(kernel: Tensor) -> Tensor:
        return kernel.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1).contiguous()

    def back(gradient: Tensor) -> Tensor:
        return gradient.squeeze(1).unflatten(0, (-1, multiplier)).permute(2, 3, 0, 1)

    def call(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return functional.conv2d(x, kernel, bias, padding=padding, groups=x.size(1))

    return Rival(call, (IMAGES, Layout(to, back)), IMAGES)


def max_pool2d(size: int) -> Rival:
    """`F.max_pool2d` on channels-last images."""
    return Rival(lambda x: functional.max_pool2d(x, size), (IMAGES,), IMAGES)


def average_pool2d(size: int) -> Rival:
    """`F.avg_pool2d` on channels-last images."""
    return Rival(lambda x: functional.avg_pool2d(x, size), (IMAGES,), IMAGES)


def activation(name: str) -> Rival:
    """torch's function of that name."""
    return Rival(lambda x: _TORCH[name](x))


def dropout(rate: float) -> Rival:
    """`F.dropout`; at rate 0 the identity, computed."""
    return Rival(lambda x, *seed: functional.dropout(x, rate) if rate else x * 1.0)


def layer_norm(epsilon: float) -> Rival:
    """`F.layer_norm`."""
    return Rival(lambda x, gamma, beta: functional.layer_norm(x, x.shape[-1:], gamma, beta, epsilon))


def batch_norm(epsilon: float) -> Rival:
    """`F.batch_norm` in training, on channels-last images: cuDNN's on a GPU."""
    return Rival(
        lambda x, gamma, beta: functional.batch_norm(x, None, None, gamma, beta, training=True, eps=epsilon),
        (IMAGES,),
        IMAGES,
    )


def cross_entropy() -> Rival:
    """`F.cross_entropy`, a loss for each row."""
    return Rival(lambda logits, labels: functional.cross_entropy(logits, labels, reduction="none"))


def _last(state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return (state[0] if isinstance(state, tuple) else state)[0]


@dataclass(frozen=True)
class Recurrent(Rival):
    """torch's recurrent layer, whose parameters are the leaves: they lie in one piece, as cuDNN wants them.

    Args:
        layer: `nn.LSTM` or `nn.GRU`.
        order: torch's gates by their places in Keras.
    """

    layer: type[nn.LSTM] | type[nn.GRU] = nn.LSTM
    order: tuple[int, ...] = (0, 1, 2, 3)

    def prepare(self, inputs: tuple[Tensor, ...]) -> Prepared:
        """The layer with the operands copied into it."""
        x, kernel, recurrent_kernel, bias = (t.detach() for t in inputs)
        weights, vectors = _gates(self.order), _gates(self.order, transposed=False)
        layer = self.layer(kernel.size(0), recurrent_kernel.size(0), batch_first=True, device=x.device, dtype=x.dtype)
        two = bias.dim() == 2  # Keras's LSTM has one bias: the other is 0 here, and gets no gradient
        values = [weights.to(kernel), weights.to(recurrent_kernel)]
        values += [vectors.to(bias[0]), vectors.to(bias[1])] if two else [vectors.to(bias), torch.zeros_like(bias)]
        parameters = tuple(layer.parameters())
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)
        parameters[3].requires_grad_(two)
        layer.flatten_parameters()
        layouts = (SAME, weights, weights, *[vectors] * (1 + two))
        leaves = (x.requires_grad_(inputs[0].requires_grad), *parameters[: 3 + two])
        return Prepared(lambda x, *_: _last(layer(x)[1]), leaves, layouts, SAME, two)


def lstm() -> Rival:
    """`nn.LSTM`: cuDNN's on a GPU; the last output."""
    return Recurrent(torch.lstm)


def gru() -> Rival:
    """`nn.GRU`: cuDNN's on a GPU, with the gates r, z, n where Keras has z, r, h; the last output."""
    return Recurrent(torch.gru, layer=nn.GRU, order=(1, 0, 2))


def _gates(order: tuple[int, ...], transposed: bool = True) -> Layout:
    """[I, gates H] as torch has it: [gates H, I], the gates in another order; or [gates H] without `transposed`."""
    inverse = tuple(order.index(gate) for gate in range(len(order)))

    def turned(t: Tensor) -> Tensor:
        return t.t() if transposed else t

    def move(t: Tensor, places: tuple[int, ...]) -> Tensor:
        return torch.cat([t.chunk(len(places))[place] for place in places])

    return Layout(lambda t: move(turned(t), order), lambda t: turned(move(t, inverse)))
