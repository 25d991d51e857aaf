"""LoRA: outputs against the corrected weight in float64, what is trained, and files."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers

rng = np.random.default_rng(0)

LAYERS = [
    ("dense", lambda **k: layers.Dense(5, activation="relu", **k), (4, 3, 6), lambda x, w: np.maximum(x @ w, 0)),
    ("einsum", lambda **k: layers.EinsumDense("abc,cde->abde", (None, 2, 5), **k), (4, 3, 6),
     lambda x, w: np.einsum("abc,cde->abde", x, w)),
    ("einsum as dense", lambda **k: layers.EinsumDense("abc,cd->abd", (None, 5), **k), (4, 3, 6), lambda x, w: x @ w),
    ("conv1d", lambda **k: layers.Conv1D(5, 2, **k), (4, 3, 6),
     lambda x, w: x[:, :-1] @ w[0] + x[:, 1:] @ w[1]),
    ("conv2d", lambda **k: layers.Conv2D(5, (1, 2), **k), (2, 3, 4, 6),
     lambda x, w: x[:, :, :-1] @ w[0, 0] + x[:, :, 1:] @ w[0, 1]),
    ("conv3d", lambda **k: layers.Conv3D(5, (1, 1, 2), **k), (2, 3, 2, 4, 6),
     lambda x, w: x[..., :-1, :] @ w[0, 0, 0] + x[..., 1:, :] @ w[0, 0, 1]),
    ("embedding", lambda **k: layers.Embedding(7, 5, **k), None, lambda x, w: w[x]),
]  # fmt: skip
CASES = pytest.mark.parametrize(("make", "shape", "oracle"), [case[1:] for case in LAYERS], ids=[c[0] for c in LAYERS])


def inputs_for(shape):
    return rng.integers(0, 7, (4, 3)) if shape is None else rng.normal(size=shape).astype("float32")


def factors(layer):
    return [v for v in layer.weights if v.name.startswith("lora_")]


@CASES
def test_outputs_gradients_and_files(make, shape, oracle, tmp_path):
    x = inputs_for(shape)
    layer = make()
    before = layer(x).numpy()
    weight = layer.weights[0]
    layer.enable_lora(2, lora_alpha=3.0)
    a, b = factors(layer)
    assert (layer.lora_enabled, layer.lora_rank, layer.lora_alpha) == (True, 2, 3.0)
    assert a.shape == (*weight.shape[:-1], 2) and b.shape == (2, weight.shape[-1])
    (frozen,) = layer.non_trainable_weights
    assert frozen is weight
    np.testing.assert_array_equal(layer(x).numpy(), before)  # the correction starts at zero

    b.assign(rng.normal(size=b.shape))
    corrected = weight.numpy().astype("float64") + 1.5 * (a.numpy().astype("float64") @ b.numpy())
    eps = float(np.finfo("float32").eps)
    np.testing.assert_allclose(layer(x).numpy(), oracle(x, corrected), rtol=64 * eps, atol=64 * eps)
    np.testing.assert_allclose(getattr(layer, weight.name).detach(), corrected, rtol=4 * eps, atol=4 * eps)
    layer(x).sum().backward()
    assert weight.value.grad is None
    assert all(float(v.value.grad.abs().sum()) > 0 for v in (a, b))

    model = keras.Sequential([layer])
    model(x)
    model.save(tmp_path / "model.keras")
    plain = make()
    plain.build(x.shape)
    store = {}
    layer.save_own_variables(store)
    plain.load_own_variables(store)
    np.testing.assert_allclose(plain.weights[0].numpy(), corrected, rtol=4 * eps, atol=4 * eps)
    layer.load_own_variables(store)
    assert not b.numpy().any()
    np.testing.assert_allclose(layer(x).numpy(), plain(x).numpy(), rtol=64 * eps, atol=64 * eps)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), plain(x).numpy(), rtol=64 * eps, atol=64 * eps)


@CASES
def test_as_an_argument(make, shape, oracle):
    layer = make(lora_rank=2, lora_alpha=4)
    layer(inputs_for(shape))
    assert layer.lora_enabled and len(factors(layer)) == 2 and len(layer.non_trainable_weights) == 1
    config = layer.get_config()
    assert (config["lora_rank"], config["lora_alpha"]) == (2, 4)
    assert type(layer).from_config(config).lora_rank == 2
    assert "lora_rank" not in make().get_config()


def test_training_changes_the_factors_alone_in_a_fused_model():
    x, y = rng.normal(size=(64, 6)).astype("float32"), rng.normal(size=(64, 3)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("adam", "mse")
    model.fit(x, y, epochs=1, verbose=0)
    for layer in model.layers:
        layer.enable_lora(2)
        layer.bias.trainable = False
    kept = [layer._kernel.numpy() for layer in model.layers]
    model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    for layer, kernel in zip(model.layers, kept, strict=True):
        np.testing.assert_array_equal(layer._kernel.numpy(), kernel)
        assert not np.array_equal(layer.kernel.numpy(), kernel)  # the name means the corrected weight
        assert layer.lora_kernel_b.numpy().any()
    assert "dense" in str(model.explain(8))


def test_the_reverse_of_an_embedding_is_corrected_too():
    layer = layers.ReversibleEmbedding(6, 4)
    layer.build()
    layer.enable_lora(2)
    factors(layer)[1].assign(rng.normal(size=(2, 4)))
    x = rng.normal(size=(3, 4)).astype("float32")
    table = layer(np.arange(6)).numpy().astype("float64")
    np.testing.assert_allclose(layer(x, reverse=True).numpy(), x @ table.T, rtol=1e-5, atol=1e-6)


def test_mixed_precision():
    layer = layers.Dense(3, dtype="mixed_bfloat16", lora_rank=1)
    outputs = layer(np.ones((2, 4), "float32"))
    assert outputs.dtype is torch.bfloat16 and factors(layer)[0].value.dtype is torch.float32


def test_refusals():
    with pytest.raises(ValueError, match="isn't yet built"):
        layers.Dense(3).enable_lora(2)
    constrained = layers.Dense(3, kernel_constraint="non_neg")
    constrained.build((None, 4))
    with pytest.raises(ValueError, match="incompatible with kernel constraints"):
        constrained.enable_lora(2)
    layer = layers.Dense(3)
    layer.build((None, 4))
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="rank"):
            layer.enable_lora(bad)
    layer.enable_lora(1)
    with pytest.raises(ValueError, match="already enabled"):
        layer.enable_lora(1)
    with pytest.raises(ValueError, match="expected 2 variables"):
        layer.load_own_variables({"0": np.zeros((4, 3))})
