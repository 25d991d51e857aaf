import json

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from tests.layers.checks import run_layer
from tests.layers.oracles import close


def test_dense(rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    kwargs = {"units": 5, "activation": "relu", "kernel_regularizer": "l2", "bias_constraint": "non_neg"}
    layer, outputs = run_layer(
        layers.Dense, kwargs, inputs=x, expected_shape=(2, 3, 5), weights=["kernel", "bias"], supports_masking=True
    )
    kernel, bias = (v.astype("float64") for v in layer.get_weights())
    close(outputs.detach(), np.maximum(x @ kernel + bias, 0), reductions=4)
    assert layer.losses[0].item() == pytest.approx(0.01 * (kernel**2).sum(), rel=1e-5)
    run_layer(layers.Dense, {"units": 2, "use_bias": False, "activation": "softmax"}, (3, 4), weights=["kernel"])
    for bad in (0, -1, 1.5, "3", None, True):
        with pytest.raises(ValueError, match="units"):
            layers.Dense(bad)
    with pytest.raises(ValueError, match="quantization_config"):
        layers.Dense(3, quantization_config="int8")
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 4"):
        layer(torch.ones(2, 3))


def test_dense_activation_may_be_replaced():
    layer = layers.Dense(1, kernel_initializer="ones", activation="relu")
    assert layer(-torch.ones(1, 2)).item() == 0
    layer.activation = keras.activations.linear
    assert layer(-torch.ones(1, 2)).item() == -2


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "input_shape", "kernel", "bias"),
    [
        ("ab,bc->ac", 4, "c", (2, 3), (3, 4), (4,)),
        ("...b,bc->...c", 4, "c", (2, 5, 3), (3, 4), (4,)),
        ("abc,cd->abd", (None, 4), "d", (2, 5, 3), (3, 4), (4,)),
        ("abc,cde->abde", (None, 4, 6), "de", (2, 5, 3), (3, 4, 6), (4, 6)),
        ("abc,cde->abde", (None, 4, 6), "e", (2, 5, 3), (3, 4, 6), (6,)),
        ("abcd,cde->abe", (None, 4), None, (2, 5, 3, 6), (3, 6, 4), None),
        ("ab...,bc->ac...", (4,), "c", (2, 3, 5, 6), (3, 4), (4, 1, 1)),
        ("abc,bd->adc", (4, None), "d", (2, 5, 3), (5, 4), (4, 1)),
    ],
)
def test_einsum_dense(equation, output_shape, bias_axes, input_shape, kernel, bias, rng):
    kwargs = {"equation": equation, "output_shape": output_shape, "bias_axes": bias_axes}
    weights = ["kernel"] + ["bias"] * (bias is not None)
    layer, _ = run_layer(layers.EinsumDense, kwargs, input_shape, weights=weights, unknown="batch")
    assert layer.kernel.shape == kernel and (layer.bias is None) == (bias is None)
    assert bias is None or layer.bias.shape == bias
    values = [rng.normal(size=v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(values)
    x = rng.normal(size=input_shape).astype("float32")
    close(
        layer(x),
        np.einsum(equation, x, values[0].astype("float64")) + (values[1] if bias else 0),
        reductions=18,
        scale=9,
    )


def test_einsum_dense_mistakes():
    for equation, message in (
        ("abc", "Invalid einsum equation"),
        ("ab,bc->...c", "Invalid einsum equation"),
        ("ab,bc->ad", "no corresponding dim"),
        ("ab,bd->a", "did not have a match"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.EinsumDense(equation, 4).build((2, 3))
    with pytest.raises(ValueError, match="shared dimension 'b'"):
        layers.EinsumDense("abc,cd->abd", (7, 4)).build((2, 5, 3))
    with pytest.raises(ValueError, match="Bias dimension 'e'"):
        layers.EinsumDense("ab,bc->ac", 4, bias_axes="e").build((2, 3))


def test_embedding(rng):
    indices = np.array([[1, 4, 0], [2, 2, 3]], "int32")
    kwargs = {"input_dim": 5, "output_dim": 4, "embeddings_regularizer": "l2"}
    layer, outputs = run_layer(
        layers.Embedding,
        kwargs,
        inputs=indices,
        expected_shape=(2, 3, 4),
        weights=["embeddings"],
        supports_masking=False,
    )
    np.testing.assert_array_equal(outputs.detach(), layer.get_weights()[0][indices])
    np.testing.assert_array_equal(np.asarray(layer(indices.astype("float32"))), outputs.detach())
    table = rng.normal(size=(5, 4)).astype("float32")
    for given in (table, [table]):
        np.testing.assert_array_equal(layers.Embedding(5, 4, weights=given).get_weights()[0], table)
    for name in ("input_dim", "output_dim"):
        for bad in (0, -1, 2.5, None, True):
            with pytest.raises(ValueError, match=name):
                layers.Embedding(**{"input_dim": 5, "output_dim": 4, name: bad})


def test_embedding_masks_zeros():
    layer = layers.Embedding(5, 4, mask_zero=True)
    assert layer.supports_masking
    assert layer(np.array([[1, 0]]))._keras_mask.tolist() == [[True, False]]
    assert layer(keras.Input((3,), dtype="int32"))._keras_mask.shape == (None, 3)
    model = keras.Sequential([layer, layers.GlobalAveragePooling1D()])
    np.testing.assert_allclose(np.asarray(model(np.array([[1, 0]]))), layer.get_weights()[0][1:2], rtol=1e-6)


def test_reversible_embedding(rng):
    vectors = rng.normal(size=(2, 3, 4)).astype("float32")
    kwargs = {"input_dim": 5, "output_dim": 4}
    layer, _ = run_layer(layers.ReversibleEmbedding, kwargs, (2, 3), dtype="int32", weights=["embeddings"])
    table = layer.get_weights()[0].astype("float64")
    close(layer(vectors, reverse=True), vectors @ table.T, reductions=4)
    assert layer(keras.Input((3, 4)), reverse=True).shape == (None, 3, 5)
    untied = layers.ReversibleEmbedding(5, 4, tie_weights=False, logit_soft_cap=0.5)
    untied.build()
    logits = vectors @ untied.reverse_embeddings.numpy().astype("float64")
    close(untied(vectors, reverse=True), 0.5 * np.tanh(logits / 0.5), reductions=4)
    assert layers.ReversibleEmbedding(5, 4, mask_zero=True)(np.array([[1, 0]]))._keras_mask.tolist() == [[True, False]]


def test_masking():
    x = np.array([[[1.0, 2.0], [9.0, 9.0], [9.0, 1.0]]], "float32")
    layer, outputs = run_layer(
        layers.Masking, {"mask_value": 9.0}, inputs=x, expected_shape=x.shape, supports_masking=True
    )
    np.testing.assert_array_equal(outputs.detach(), np.where([[[True], [False], [True]]], x, 0))
    assert layer(x)._keras_mask.tolist() == [[True, False, True]]
    assert layer(keras.Input((3, 2)))._keras_mask.shape == (None, 3)


def test_identity():
    x = np.ones((2, 3), "float32")
    run_layer(layers.Identity, {}, inputs=x, expected_shape=(2, 3), supports_masking=True)
    run_layer(layers.Identity, {}, inputs=[x, x[:1]], expected_shape=[(2, 3), (1, 3)], gradients=False)


def test_wrapper():
    class Doubled(layers.Wrapper):
        def call(self, inputs):
            return 2 * self.layer(inputs)

    layer = Doubled(layers.Dense(2))
    outputs = layer(torch.ones(1, 3))
    assert outputs.shape == (1, 2) and [v.path for v in layer.weights] == ["doubled/dense/kernel", "doubled/dense/bias"]
    clone = Doubled.from_config(json.loads(json.dumps(layer.get_config())))
    assert clone.layer.units == 2
    with pytest.raises(ValueError, match="supplied to Wrapper isn't a supported layer type"):
        layers.Wrapper(2)


def twice(x, factor=2.0):
    return x * factor


def test_lambda_of_a_named_function():
    keras.saving.register_keras_serializable("tests")(twice)
    x = np.ones((2, 3), "float32")
    layer = layers.Lambda(twice, arguments={"factor": 3.0})
    assert (np.asarray(layer(x)) == 3).all()
    config = json.loads(json.dumps(layer.get_config()))
    assert config["function"]["config"] == "tests>twice"
    assert (np.asarray(layers.Lambda.from_config(config)(x)) == 3).all()


def test_lambda_of_a_lambda_is_code():
    y = 3.0
    layer = layers.Lambda(lambda x: x * y, output_shape=lambda shape: shape)
    config = json.loads(json.dumps(layer.get_config()))
    assert config["function"]["class_name"] == "__lambda__" and set(config["function"]["config"]) == {
        "code",
        "defaults",
        "closure",
    }
    with pytest.raises(ValueError, match="arbitrary code execution"):
        layers.Lambda.from_config(config)
    assert (np.asarray(layers.Lambda.from_config(config, safe_mode=False)(np.ones((1, 2)))) == 3).all()
    with keras.saving.custom_object_scope({}), pytest.raises(ValueError, match="arbitrary code execution"):
        layers.deserialize(layers.serialize(layer))


def test_lambda_shapes_and_masks():
    assert layers.Lambda(lambda x: x[:, :1])(keras.Input((3,))).shape == (None, 1)
    assert layers.Lambda(lambda x: x, output_shape=(5,))(keras.Input((3,))).shape == (None, 5)
    assert layers.Lambda(lambda x: x, output_shape=lambda s: (s[0], 7))(keras.Input((3,))).shape == (None, 7)
    with pytest.raises(NotImplementedError, match="output_shape"):
        layers.Lambda(lambda x: float(x.sum()))(keras.Input((3,)))
    seen = {}

    def look(x, mask=None, training=None):
        seen.update(mask=mask, training=training)
        return x

    x = layers.Masking()(np.array([[[1.0], [0.0]]]))
    outputs = layers.Lambda(look, mask=lambda inputs, mask: mask)(x, training=True)
    assert seen["mask"].tolist() == [[True, False]] and seen["training"] is True
    assert outputs._keras_mask.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("equation", "output_shape", "input_shape", "inputs", "outputs"),
    [
        ("abc,cde->abde", (None, 4, 16), (2, 5, 64), 64, 64),  # a projection to heads
        ("abcd,cde->abe", (None, 64), (2, 5, 4, 16), 64, 64),  # and from them
        ("...b,bc->...c", (8,), (2, 5, 3), 3, 8),
    ],
)
def test_einsum_dense_scales_its_kernel_by_the_axes_of_the_equation(
    equation, output_shape, input_shape, inputs, outputs
):
    limit = (6 / (inputs + outputs)) ** 0.5  # Glorot and Bengio 2010, equation 16
    layer = layers.EinsumDense(equation, output_shape)
    layer.build(input_shape)
    assert 0.85 * limit < layer.kernel.value.abs().max() <= limit
    own = keras.initializers.VarianceScaling(input_axes=[0], output_axes=[1], seed=1)
    layer = layers.EinsumDense(equation, output_shape, kernel_initializer=own)
    layer.build(input_shape)
    assert torch.equal(layer.kernel.value, own(layer.kernel.shape))  # axes that are given stay
