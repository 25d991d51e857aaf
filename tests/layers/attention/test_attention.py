import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.tensor import get_keras_mask, set_keras_mask
from tests.layers.checks import run_layer
from tests.layers.oracles import close


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attend(query, key, value, mask=None):
    """Of one head, with scaled queries."""
    scores = np.einsum("bqd,bkd->bqk", query, key)
    weights = softmax(np.where(mask, scores, -1e9) if mask is not None else scores)
    return weights @ value, weights


def heads(layer, query, value, key=None, mask=None, groups=1, prefix=""):
    """The oracle of multi-head attention, from the layer's weights."""
    key = value if key is None else key

    def project(x, name):
        dense = getattr(layer, f"{prefix}{name}_dense")
        kernel = dense.kernel.numpy().astype("float64")
        return np.einsum("bsf,fhd->hbsd", x, kernel) + dense.bias.numpy()[:, None, None]

    q, k, v = project(query, "query"), project(key, "key"), project(value, "value")
    q = q / np.sqrt(q.shape[-1])
    outputs, weights = zip(*(attend(q[h], k[h // groups], v[h // groups], mask) for h in range(len(q))), strict=True)
    dense = getattr(layer, f"{prefix}output_dense")
    mixed = np.einsum("hbsd,hdf->bsf", np.stack(outputs), dense.kernel.numpy().astype("float64"))
    return mixed + dense.bias.numpy(), np.stack(weights, axis=1)


def numbers(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def built(layer, rng, *shapes):
    layer.build(*shapes)
    layer.set_weights([0.5 * rng.normal(size=v.shape) for v in layer.weights])
    return layer


NAMES = [f"{part}/{w}" for part in ("query", "key", "value", "attention_output") for w in ("kernel", "bias")]


def test_multi_head_attention_values(rng):
    query, value, key = numbers(rng, 2, 5, 8), numbers(rng, 2, 4, 6), numbers(rng, 2, 4, 7)
    layer = built(layers.MultiHeadAttention(3, 4, value_dim=5), rng, query.shape, value.shape, key.shape)
    assert [v.path for v in layer.weights] == [f"multi_head_attention/{name}" for name in NAMES]
    assert layer.query_dense.kernel.shape == (8, 3, 4) and layer.value_dense.kernel.shape == (6, 3, 5)
    expected, weights = heads(layer, query, value, key)
    close(layer(query, value, key), expected, reductions=64, scale=16.0)
    outputs, scores = layer(query, value, key, return_attention_scores=True)
    close(outputs, expected, reductions=64, scale=16.0)
    close(scores, weights, reductions=64, scale=4.0)


MASKS = ["attention", "causal", "query", "value", "key", "window", "all"]


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("scores", [False, True])
def test_masks(kind, scores, rng):
    query, value = numbers(rng, 2, 5, 6), numbers(rng, 2, 5, 6)
    window = 3 if kind in ("window", "all") else None
    layer = built(layers.MultiHeadAttention(2, 4, sliding_window=window), rng, query.shape, value.shape)
    kwargs, mask = {}, np.ones((2, 5, 5), bool)
    if kind in ("attention", "all"):
        kwargs["attention_mask"] = (rng.random((2, 5, 5)) < 0.7) | np.eye(5, dtype=bool)
        mask &= kwargs["attention_mask"]
    if kind in ("causal", "all"):
        kwargs["use_causal_mask"] = True
        mask &= np.tri(5, dtype=bool)
    if kind == "query":
        kwargs["query_mask"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    if kind in ("value", "key"):
        kwargs[f"{kind}_mask"] = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], bool)
        mask &= kwargs[f"{kind}_mask"][:, None]
    if window is not None:
        mask &= abs(np.arange(5)[:, None] - np.arange(5)) < window
    kwargs = {name: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for name, v in kwargs.items()}
    outputs = layer(query, value, return_attention_scores=scores, **kwargs)
    expected, weights = heads(layer, query, value, mask=mask)
    counted = kwargs["query_mask"].numpy() if kind == "query" else np.ones((2, 5), bool)  # the others are nobody's
    close(np.asarray(outputs[0] if scores else outputs)[counted], expected[counted], reductions=64, scale=16.0)
    if scores and kind != "query":
        close(outputs[1], weights, reductions=64, scale=4.0)


def test_several_attention_axes(rng):
    x = numbers(rng, 2, 3, 4, 6)
    layer = built(layers.MultiHeadAttention(2, 4, attention_axes=(1, 2)), rng, x.shape, x.shape)
    flat = x.reshape(2, 12, 6)
    expected, weights = heads(layer, flat, flat)
    outputs, scores = layer(x, x, return_attention_scores=True)
    close(outputs, expected.reshape(x.shape), reductions=64, scale=16.0)
    close(scores, weights.reshape(2, 2, 3, 4, 3, 4), reductions=64, scale=4.0)
    rows = built(layers.MultiHeadAttention(2, 4, attention_axes=-2), rng, x.shape, x.shape)
    assert rows.attention_axes == (2,)
    flat = x.reshape(6, 4, 6)
    close(rows(x, x), heads(rows, flat, flat)[0].reshape(x.shape), reductions=64, scale=16.0)


def test_shapes_and_options(rng):
    query, value = keras.Input((5, 8)), keras.Input((4, 6))
    assert layers.MultiHeadAttention(2, 3)(query, value).shape == (None, 5, 8)
    assert layers.MultiHeadAttention(2, 3, output_shape=7)(query, value).shape == (None, 5, 7)
    outputs, scores = layers.MultiHeadAttention(2, 3, output_shape=(3, 2))(query, value, return_attention_scores=True)
    assert outputs.shape == (None, 5, 3, 2) and scores.shape == (None, 2, 5, 4)
    x = numbers(rng, 2, 5, 8)
    layer = layers.MultiHeadAttention(2, 3, output_shape=(3, 2), use_bias=False, use_gate=True)
    assert layer(x, x).shape == (2, 5, 3, 2)
    assert [v.path.split("/", 1)[1] for v in layer.weights] == [
        f"{n}/kernel" for n in ("query", "key", "gate", "value", "attention_output")
    ]
    mixed = layers.MultiHeadAttention(2, 3, dtype="mixed_bfloat16")
    assert mixed(x, x).dtype is torch.bfloat16 and mixed.query_dense.kernel.dtype == "float32"


def test_gate_multiplies_by_a_sigmoid_of_the_query(rng):
    x = numbers(rng, 2, 5, 8)
    plain = built(layers.MultiHeadAttention(2, 3), rng, x.shape, x.shape)
    gated = layers.MultiHeadAttention(2, 3, use_gate=True)
    gated.build(x.shape, x.shape)
    values = plain.get_weights()
    # A gate that is 1/2 everywhere halves what goes into the output projection.
    gated.set_weights([*values[:4], np.zeros((8, 2, 3)), np.zeros((2, 3)), *values[4:]])
    bias = values[-1]
    close(np.asarray(gated(x, x)) - bias, (np.asarray(plain(x, x)) - bias) / 2, reductions=64, scale=16.0)


def test_dropout_is_for_training(rng):
    x = numbers(rng, 2, 5, 8)
    layer = built(layers.MultiHeadAttention(2, 3, dropout=0.5, seed=1), rng, x.shape, x.shape)
    close(layer(x, x), heads(layer, x, x)[0], reductions=64, scale=16.0)
    first, second = np.asarray(layer(x, x, training=True)), np.asarray(layer(x, x, training=True))
    assert (first != second).any()


def test_masks_of_inputs_are_used_and_the_query_s_handed_on(rng):
    x = numbers(rng, 1, 4, 6)
    tokens = torch.as_tensor(x)
    set_keras_mask(tokens, torch.tensor([[True, True, False, False]]))
    layer = built(layers.MultiHeadAttention(2, 3), rng, x.shape, x.shape)
    outputs = layer(tokens, tokens)
    assert outputs._keras_mask.tolist() == [[True, True, False, False]]
    close(np.asarray(outputs)[:, :2], heads(layer, x[:, :2], x[:, :2])[0], reductions=64, scale=16.0)
    assert get_keras_mask(tokens) is not None, "the caller's tensor keeps its mask"


def test_configuration_and_gradients(rng):
    layer = layers.MultiHeadAttention(2, 3, kernel_regularizer="l2", activity_regularizer="l1", seed=3)
    x = torch.tensor(numbers(rng, 2, 5, 8), requires_grad=True)
    outputs = layer(x, x)
    assert len(layer.losses) == 8
    clone = layers.deserialize(keras.saving.serialize_keras_object(layer))
    clone.set_weights(layer.get_weights())
    assert torch.equal(clone(x, x), outputs) and clone.get_config() == layer.get_config()
    assert layer.get_build_config() == {"shapes_dict": {"query_shape": (2, 5, 8), "value_shape": (2, 5, 8)}}
    gradients = torch.autograd.grad(outputs.sum(), [x, *(v.value for v in layer.trainable_weights)])
    assert all(torch.isfinite(g).all() for g in gradients)
    assert not torch.equal(*(torch.as_tensor(d.kernel.numpy()) for d in (layer.query_dense, layer.key_dense)))


def test_mistakes():
    for kwargs, message in (
        ({"num_heads": 0, "key_dim": 2}, "num_heads"),
        ({"num_heads": 2, "key_dim": 2.5}, "key_dim"),
        ({"num_heads": 2, "key_dim": 2, "value_dim": -1}, "value_dim"),
        ({"num_heads": 2, "key_dim": 2, "output_shape": 8.0}, "Invalid `output_shape`"),
        ({"num_heads": 2, "key_dim": 2, "sliding_window": 0}, "sliding_window"),
        ({"num_heads": 2, "key_dim": 2, "flash_attention": True, "dropout": 0.1}, "flash"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.MultiHeadAttention(**kwargs)
    with pytest.raises(ValueError, match="must be equal"):
        layers.MultiHeadAttention(2, 2).build((2, 5, 8), (2, 4, 8), (2, 3, 8))
    with pytest.raises(ValueError, match="attention scores"):
        layers.MultiHeadAttention(2, 2, flash_attention=True)(
            torch.ones(1, 2, 4), torch.ones(1, 2, 4), return_attention_scores=True
        )
    with pytest.raises(ValueError, match="divisible"):
        layers.GroupQueryAttention(4, num_query_heads=3, num_key_value_heads=2)


@pytest.mark.parametrize("scores", [False, True])
def test_grouped_queries(scores, rng):
    query, value = numbers(rng, 2, 5, 8), numbers(rng, 2, 5, 8)
    layer = built(layers.GroupQueryAttention(3, 4, 2), rng, query.shape, value.shape)
    assert layer._key_dense.kernel.shape == (8, 2, 3)
    expected, weights = heads(layer, query, value, mask=np.tri(5, dtype=bool), groups=2, prefix="_")
    outputs = layer(query, value, use_causal_mask=True, return_attention_scores=scores)
    close(outputs[0] if scores else outputs, expected, reductions=64, scale=16.0)
    if scores:
        close(outputs[1], weights, reductions=64, scale=4.0)
    x = keras.Input((5, 8))
    assert layers.GroupQueryAttention(3, 4, 2)(x, x).shape == (None, 5, 8)
    assert layers.deserialize(layers.serialize(layer)).num_repeats == 2


@pytest.mark.parametrize("mode", ["dot", "concat"])
@pytest.mark.parametrize("scaled", [False, True])
def test_attention(mode, scaled, rng):
    query, value, key = numbers(rng, 2, 5, 4), numbers(rng, 2, 3, 6), numbers(rng, 2, 3, 4)
    names = ["scale"] * scaled + ["concat_score_weight"] * (mode == "concat")
    kwargs = {"use_scale": scaled, "score_mode": mode}
    layer, _ = run_layer(
        layers.Attention,
        kwargs,
        inputs=[query, value, key],
        expected_shape=(2, 5, 6),
        weights=names,
        unknown="batch",
        supports_masking=True,
    )
    layer.set_weights([np.float32(0.7)] * len(names))
    factor = 0.7 if scaled else 1.0
    if mode == "dot":
        scores = factor * np.einsum("bqd,bkd->bqk", query.astype("float64"), key)
    else:
        scores = 0.7 * np.tanh(factor * (query[:, :, None].astype("float64") + key[:, None])).sum(-1)
    weights = softmax(scores)
    outputs, got = layer([query, value, key], return_attention_scores=True)
    close(got, weights, reductions=16, scale=4.0)
    close(outputs, weights @ value, reductions=16, scale=8.0)


def test_attention_masks(rng):
    query, value = numbers(rng, 1, 3, 4), numbers(rng, 1, 3, 4)
    masks = [torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])]
    layer = layers.Attention()
    seen = np.tri(3, dtype=bool) & np.array([[True, False, True]])
    expected = softmax(np.where(seen, query[0].astype("float64") @ value[0].T, -1e9)) @ value[0]
    expected[2] = 0
    outputs = layer([query, value], mask=masks, use_causal_mask=True)
    close(outputs[0], expected, reductions=16, scale=8.0)
    assert torch.equal(layer.compute_mask([query, value], masks), masks[0])
    with pytest.raises(ValueError, match="list of inputs"):
        layer(torch.as_tensor(query))
    with pytest.raises(ValueError, match="length 2 or 3"):
        layers.Attention()([query])
    with pytest.raises(ValueError, match="mask must be a list"):
        layer([query, value], mask=masks[0])
    with pytest.raises(ValueError, match="score_mode"):
        layers.Attention(score_mode="product")


def test_attention_dropout(rng):
    x = numbers(rng, 2, 5, 4)
    layer = layers.Attention(dropout=0.5, seed=1)
    assert (np.asarray(layer([x, x])) != np.asarray(layer([x, x], training=True))).any()


@pytest.mark.parametrize("scaled", [False, True])
def test_additive_attention(scaled, rng):
    query, value = numbers(rng, 2, 5, 4), numbers(rng, 2, 3, 4)
    names = ["scale"] * scaled
    layer, _ = run_layer(
        layers.AdditiveAttention,
        {"use_scale": scaled},
        inputs=[query, value],
        expected_shape=(2, 5, 4),
        weights=names,
        unknown="batch",
    )
    scale = rng.normal(size=4).astype("float32") if scaled else np.ones(4)
    layer.set_weights([scale] * scaled)
    weights = softmax((scale * np.tanh(query[:, :, None].astype("float64") + value[:, None])).sum(-1))
    close(layer([query, value]), weights @ value, reductions=16, scale=8.0)
    assert "score_mode" not in layer.get_config()


def test_grouped_queries_penalise_projections_and_output():
    layer = layers.GroupQueryAttention(4, 4, 2, activity_regularizer="l2")
    layer(np.ones((2, 3, 8), "float32"), np.ones((2, 3, 8), "float32"))
    assert len(layer.losses) == 5


def test_flash_attention_is_ruled_out_and_left_to_torch_again():
    assert keras.config.is_flash_attention_enabled() is None
    keras.config.disable_flash_attention()
    try:
        assert keras.config.is_flash_attention_enabled() is False
        layer = layers.MultiHeadAttention(2, 4)
    finally:
        keras.config.enable_flash_attention()
    assert keras.config.is_flash_attention_enabled() is None
    x = np.ones((1, 3, 8), "float32")
    free = layers.MultiHeadAttention(2, 4)
    free(x, x)
    layer(x, x)
    layer.set_weights(free.get_weights())
    np.testing.assert_allclose(layer(x, x).numpy(), free(x, x).numpy(), rtol=1e-6, atol=1e-7)
