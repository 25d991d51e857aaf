"""nn.LSTM and nn.GRU by fastk's ops in float64, every option, against the modules themselves."""

from typing import Any

import pytest
import torch
from torch import nn

from fastk import dispatch
from fastk.integrations.torch import accelerate, explain
from fastk.integrations.torch.recurrent import run_gru, run_lstm

OPTIONS = [
    {},
    {"batch_first": True, "num_layers": 2},
    {"bidirectional": True, "bias": False},
    {"bidirectional": True, "num_layers": 3, "batch_first": True},
]


def made(kind, options, with_state) -> tuple[Any, ...]:
    torch.manual_seed(2)
    module = kind(3, 4, **options).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    batch = x.size(0 if module.batch_first else 1)
    state = torch.randn(
        module.num_layers * (1 + module.bidirectional), batch, 4, dtype=torch.float64, requires_grad=True
    )
    if not with_state:
        return module, x, None, []
    if kind is nn.GRU:
        return module, x, state, [state]
    both = (state, (state * 2).detach().requires_grad_())
    return module, x, both, list(both)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("with_state", [False, True])
def test_results_and_every_gradient(kind, options, with_state):
    module, x, hx, states = made(kind, options, with_state)
    found = []
    for run in (lambda: module(x, hx), lambda: (run_lstm if kind is nn.LSTM else run_gru)(module, x, hx)):
        output, last = run()
        results = [output, *(last if kind is nn.LSTM else (last,))]
        total = torch.cat([(r * r.cos()).flatten() for r in results]).sum()
        found.append([*results, *torch.autograd.grad(total, [x, *states, *module.parameters()])])
    for expected, actual in zip(*found, strict=True):
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "run"), [(nn.LSTM, run_lstm), (nn.GRU, run_gru)])
def test_gradcheck(kind, run):
    module, x, _, states = made(kind, {"bidirectional": True}, True)
    names = [name for name, _ in module.named_parameters()]

    def function(x, *tensors):
        weights = dict(zip(names, tensors[len(states) :], strict=True))
        given = tensors[: len(states)] if kind is nn.LSTM else tensors[0]

        class Run(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = module

            def forward(self, x):
                output, last = run(self.inner, x, given)
                return output, *(last if kind is nn.LSTM else (last,))

        return torch.func.functional_call(Run(), {f"inner.{name}": w for name, w in weights.items()}, (x,))

    assert torch.autograd.gradcheck(
        function, (x[:2, :1].detach().requires_grad_(), *_first(states), *module.parameters())
    )


def _first(states):
    return [state[:, :1].detach().clone().requires_grad_() for state in states]


def test_a_gru_on_the_cpu_is_fastks_in_training_alone():
    gru = accelerate(nn.GRU(3, 4))
    x = torch.randn(5, 2, 3)
    for grad in (True, False):
        with torch.set_grad_enabled(grad), dispatch.recorded_choices() as choices:
            gru(x)
        assert ("gru" in choices) == grad
    assert "calls without gradients on the CPU" in str(explain(gru))
