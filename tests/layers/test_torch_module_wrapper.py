"""Torch modules as layers."""

import numpy as np
import pytest
import torch

import fastk
from fastk.layers import Dense, TorchModuleWrapper


def batch_norm_net():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


def test_parameters_are_the_weights_themselves():
    module = batch_norm_net()
    module[0].bias.requires_grad_(False)
    layer = TorchModuleWrapper(module)
    assert [v.name for v in layer.trainable_weights] == ["0.weight", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert [v.name for v in layer.non_trainable_weights] == ["0.bias"]
    layer.trainable_weights[0].assign(np.ones((4, 3)))
    assert torch.equal(layer.weights[0].value, torch.ones(4, 3))
    assert len(list(layer.parameters())) == 6
    assert set(layer.state_dict()) == {f"module.{key}" for key in module.state_dict()}


def test_training_changes_parameters_as_torch_alone_would():
    torch.manual_seed(0)
    module, x, y = batch_norm_net(), torch.randn(8, 3), torch.randn(8, 1)
    other = batch_norm_net()
    other.load_state_dict(module.state_dict())
    model = fastk.Sequential([fastk.Input((3,)), TorchModuleWrapper(module)])
    model.compile(fastk.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, epochs=5, shuffle=False, verbose=0)

    descent = torch.optim.SGD(other.parameters(), 0.1)
    for _ in range(5):
        descent.zero_grad()
        torch.nn.functional.mse_loss(other(x), y).backward()
        descent.step()
    for key, value in other.state_dict().items():
        torch.testing.assert_close(module.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_training_says_which_mode_the_module_is_in():
    layer = TorchModuleWrapper(torch.nn.Dropout(0.5))
    x = torch.ones(100, 10)
    assert torch.equal(layer(x, training=False), x)
    assert not torch.equal(layer(x, training=True), x)
    assert not torch.equal(layer(x), x)  # as in Keras


def test_modules_of_a_model_become_layers():
    class Net(fastk.Model):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
            self.heads = {"a": torch.nn.Linear(4, 1)}
            self.last = Dense(1)

        def call(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.last(x) + self.heads["a"](x)

    model = Net()
    assert isinstance(model.first, TorchModuleWrapper)
    assert model.first.in_features == 3
    assert model.first.weight is model.first.trainable_weights[0].value
    model(np.zeros((2, 3), "float32"))
    assert len(model.layers) == 5
    assert len(model.trainable_weights) == 10
    assert len(list(model.parameters())) == 10
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = model.first.nothing_like_it


def test_shapes_are_found_without_values_and_may_be_given():
    inputs = fastk.Input((1, 8, 8))
    conv = TorchModuleWrapper(torch.nn.Conv2d(1, 2, 3))(inputs)
    assert conv.shape == (None, 2, 6, 6)
    given = TorchModuleWrapper(torch.nn.Linear(4, 8), output_shape=[None, 8])
    assert given(fastk.Input((4,))).shape == (None, 8)


def test_saved_and_loaded_with_buffers(tmp_path):
    def build():
        return fastk.Sequential([fastk.Input((3,)), TorchModuleWrapper(batch_norm_net())])

    model, path = build(), tmp_path / "m.weights.h5"
    x = torch.randn(16, 3)
    model(x, training=True)
    model.save_weights(path)
    other = build()
    other.load_weights(path)
    torch.testing.assert_close(other(x, training=False), model(x, training=False))


def test_a_pickle_is_read_only_where_that_is_allowed(tmp_path):
    model, path = fastk.Sequential([fastk.Input((3,)), TorchModuleWrapper(batch_norm_net())]), tmp_path / "m.keras"
    model.save(path)
    with pytest.raises(ValueError, match="arbitrary code execution"):
        fastk.saving.load_model(path)
    x = torch.randn(4, 3)
    loaded = fastk.saving.load_model(path, safe_mode=False)
    torch.testing.assert_close(loaded(x, training=False), model(x, training=False))


def test_values_given_to_a_stateless_call_are_used():
    layer = TorchModuleWrapper(torch.nn.Linear(2, 1))
    x = torch.ones(1, 2)
    outputs, _ = layer.stateless_call([torch.full((1, 2), 2.0), torch.full((1,), 3.0)], [], x)
    assert outputs.item() == 7


def test_mixed_precision_computes_in_half():
    layer = TorchModuleWrapper(torch.nn.Linear(2, 1), dtype="mixed_bfloat16")
    assert layer(torch.ones(1, 2)).dtype is torch.bfloat16
    assert layer.trainable_weights[0].dtype == "float32"


def test_converted_with_its_variables():
    layer = TorchModuleWrapper(torch.nn.Linear(2, 1)).double()
    assert [v.dtype for v in layer.weights] == ["float64", "float64"]
    assert layer.weights[0].value is layer.module.weight


def test_lazy_modules_must_be_initialised():
    with pytest.raises(ValueError, match="LazyModules are not supported"):
        TorchModuleWrapper(torch.nn.LazyLinear(2))
