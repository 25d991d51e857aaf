"""`Layer` itself: state, calls, masks, losses, copies."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers
from fastk.tensor import Tensor


class Doubled(layers.Layer):
    """Two dense layers in a list, no build()."""

    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.parts = [layers.Dense(units), layers.Dense(units)]

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


class Recorder(layers.Layer):
    """Remembers the arguments of its calls."""

    def call(self, inputs, training=None, mask=None):
        self.seen = (training, mask)
        return inputs + 0


class Outer(layers.Layer):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


# ---------------------------------------------------------------- state


def test_weights_have_paths_and_torch_names():
    layer = Doubled(name="outer")
    layer(torch.ones(1, 3))
    assert [v.path for v in layer.weights] == [
        f"outer/{d}/{w}" for d in ("dense", "dense_1") for w in ("kernel", "bias")
    ]
    assert set(layer.state_dict()) == {f"{d}.{w}" for d in ("dense", "dense_1") for w in ("kernel", "bias")}
    single = layers.Dense(2, name="single")
    single.build((None, 3))
    assert set(single.state_dict()) == {"kernel", "bias"} and single.path == "single"
    nested = Outer(layers.Dense(2))
    nested(torch.ones(1, 3))
    assert set(nested.state_dict()) == {"inner.kernel", "inner.bias"}
    assert all(isinstance(p, torch.nn.Parameter) for p in layer.parameters())
    assert next(layer.parameters()) is layer.weights[0].value


@pytest.mark.parametrize("container", [list, tuple, lambda items: dict(enumerate(items)), lambda items: {"a": [items]}])
def test_layers_in_containers_are_found(container):
    class Holder(layers.Layer):
        def __init__(self):
            super().__init__()
            self.held = container([layers.Dense(2), layers.Dense(3)])

        def call(self, inputs):
            return [part(inputs) for part in self._layers]

    layer = Holder()
    layer(torch.ones(1, 3))
    assert len(layer.weights) == 4 and len(list(layer.parameters())) == 4


def test_containers_track_what_is_added_later():
    layer = layers.Layer()
    layer.items, layer.table, layer.group = [], {}, set()
    layer.items.append(layers.Dense(1))
    layer.items += [layers.Dense(2)]
    layer.items.insert(0, layers.Dense(3))
    layer.items.extend([layers.Dense(4)])
    layer.items[0] = layers.Dense(5)
    layer.table["a"] = layers.Dense(6)
    layer.table.update(b=layers.Dense(7))
    layer.table.setdefault("c", layers.Dense(8))
    layer.table |= {"d": layers.Dense(9)}
    layer.group.add(layers.Dense(10))
    assert [part.units for part in layer._layers] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert isinstance(layer.items, list) and isinstance(layer.table, dict)
    assert keras.tree.flatten({"x": layer.items})[0] is layer.items[0]


def test_state_is_locked_once_built():
    layer = Doubled()
    layer(torch.ones(1, 3))
    for change in (
        lambda: setattr(layer, "more", layers.Dense(1)),
        lambda: layer.parts.append(layers.Dense(1)),
        lambda: layer.add_weight(shape=()),
        lambda: setattr(layer, "v", keras.Variable(1.0)),
    ):
        with pytest.raises(ValueError, match="cannot add new elements of state"):
            change()
    layer.note = "plain attributes are free"
    layer.parts = layer.parts


def test_attributes_may_come_and_go():
    layer = layers.Layer()
    layer.w = layer.add_weight(shape=(2,), name="w")
    assert len(layer.weights) == 1
    del layer.w
    assert not layer.weights and not list(layer.parameters())
    layer.part = layers.Dense(1)
    layer.part = None
    assert layer.part is None


def test_a_weight_may_have_a_sub_layer_s_name():
    for trainable in (True, False):
        layer = layers.Layer()
        layer.add_weight(shape=(2,), trainable=trainable, name="inner")
        layer.inner = layers.Dense(1)
        layer.inner.build((None, 3))
        layer.add_weight(shape=(3,), trainable=trainable, name="inner")
        assert set(layer.state_dict()) == {"inner_", "inner__", "inner.kernel", "inner.bias"}
        assert len(layer.weights) == 4 and layer.inner.units == 1


def test_forgotten_super_init():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.part = 1

    with pytest.raises(RuntimeError, match=r"forgot to call `super\(\).__init__\(\)`"):
        Forgetful()(torch.ones(1, 2))


def test_trainable():
    layer = Doubled()
    layer(torch.ones(1, 3))
    layer.parts[0].trainable = False
    assert len(layer.trainable_weights) == 2 and len(layer.non_trainable_weights) == 2
    assert [p.requires_grad for p in layer.parameters()] == [False, False, True, True]
    layer.trainable = False
    assert not layer.trainable_weights and not any(p.requires_grad for p in layer.parameters())
    layer.trainable = True
    assert len(layer.trainable_weights) == 4
    frozen = layers.Dense(2, trainable=False)
    frozen.build((None, 3))
    assert not frozen.trainable_weights and len(frozen.weights) == 2
    with pytest.raises(ValueError, match="trainable"):
        layers.Dense(2, trainable="yes")


def test_add_weight():
    layer = layers.Layer()
    scalar = layer.add_weight()
    assert scalar.shape == () and scalar.name == "variable"
    by_position = layer.add_weight((2, 3), "ones", "float64")
    assert by_position.shape == (2, 3) and by_position.dtype == "float64" and by_position.numpy().sum() == 6
    count = layer.add_weight(shape=(2,), dtype="int32", trainable=False, name="count")
    assert count.numpy().tolist() == [0, 0] and count in layer.non_trainable_weights
    with pytest.raises(ValueError, match="`name` must be passed as a keyword"):
        layer.add_weight("kernel", shape=(2,))
    with pytest.raises(ValueError, match="both positionally and as a keyword"):
        layer.add_weight((2,), shape=(2,))
    with pytest.raises(TypeError, match="at most 3 positional"):
        layer.add_weight((2,), None, None, True)
    with pytest.raises(ValueError, match="fully-defined"):
        layer.add_weight(shape=(None, 2))


def test_set_weights_checks_first():
    layer = layers.Dense(2)
    layer.build((None, 3))
    before = layer.get_weights()
    with pytest.raises(ValueError, match="expecting 2 weights"):
        layer.set_weights(before[:1])
    with pytest.raises(ValueError, match="not compatible"):
        layer.set_weights([before[0] + 1, np.zeros(3)])
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])
    assert layer.count_params() == 8
    with pytest.raises(ValueError, match="isn't built"):
        layers.Dense(2).count_params()


def test_metrics_and_seeds_are_found():
    class WithState(layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = keras.metrics.Mean()
            self.seed = keras.random.SeedGenerator(1)
            self.part = layers.Dropout(0.5)

    layer = WithState()
    assert layer.metrics == [layer.mean] and len(layer.metrics_variables) == 2
    assert len(layer.variables) == 2 and not layer.weights


# ---------------------------------------------------------------- building


def test_building_by_running():
    layer = Doubled()
    outputs = layer(keras.KerasTensor((None, 3)))
    assert outputs.shape == (None, 2) and layer.built and all(part.built for part in layer.parts)
    assert all(v.value.device.type != "meta" for v in layer.weights), "the weights have values"
    assert layer.get_build_config() == {"input_shape": (None, 3)}


def test_unbuildable_layer_warns():
    class Asks(layers.Layer):
        def __init__(self):
            super().__init__()
            self.part = layers.Dense(2)

        def call(self, inputs):
            return self.part(inputs) if float(inputs.sum()) > 0 else inputs

    with pytest.warns(UserWarning, match="unbuilt state"), pytest.raises((RuntimeError, NotImplementedError)):
        Asks()(keras.KerasTensor((None, 3)))


def test_build_with_several_shapes():
    class Pair(layers.Layer):
        def build(self, first_shape, second_shape):
            self.shapes = (first_shape, second_shape)

        def call(self, first, second):
            return first[:, :1] + second[:, :1]

    layer = Pair()
    layer(torch.ones(2, 3), torch.ones(2, 4))
    assert layer.shapes == ((2, 3), (2, 4))
    assert layer.get_build_config() == {"shapes_dict": {"first_shape": (2, 3), "second_shape": (2, 4)}}
    clone = Pair()
    clone.build_from_config(json.loads(json.dumps(layer.get_build_config())))
    assert clone.built and clone.shapes == layer.shapes

    class Wrong(Pair):
        def build(self, first_shape, other):
            pass

    with pytest.raises(ValueError, match="argument `other`, which does not end in `_shape`"):
        Wrong()(torch.ones(2, 3), torch.ones(2, 4))


# ---------------------------------------------------------------- calls


def test_outputs_are_tensors_with_numpy():
    outputs = layers.Dense(2)(np.ones((1, 3)))
    assert type(outputs) is Tensor and outputs.requires_grad and outputs.numpy().shape == (1, 2)


def test_inputs_are_converted():
    seen = []

    class Sees(layers.Layer):
        def call(self, inputs):
            seen.append(inputs)
            return inputs

    layer = Sees(dtype="float16")
    for x in (np.ones((1, 2)), torch.ones(1, 2), keras.Variable(np.ones((1, 2), "float32"))):
        layer(x)
    assert [type(x) for x in seen] == [torch.Tensor] * 3 and {x.dtype for x in seen} == {torch.float16}
    layer(np.ones((1, 2), "int32"))
    assert seen[-1].dtype is torch.int32, "integers are not cast"
    off = layers.Identity(dtype="float16", autocast=False)
    assert off(torch.ones(1, 2)).dtype is torch.float32
    with pytest.raises(ValueError, match="Only input tensors may be passed as positional"):
        layers.Identity()(torch.ones(1), "text")
    with pytest.raises(ValueError, match="mix tensors and non-tensors"):
        layers.Identity()(inputs=[torch.ones(1), "text"])


def test_training_is_handed_down():
    recorder = Recorder()
    outer = Outer(Outer(recorder))
    outer(torch.ones(1, 2))
    assert recorder.seen[0] is None
    for training in (True, False):
        outer(torch.ones(1, 2), training=training)
        assert recorder.seen[0] is training
    outer(torch.ones(1, 2))
    assert recorder.seen[0] is None, "the next call starts anew"

    class Fixed(Outer):
        def call(self, inputs, training=None):
            return self.inner(inputs, training=False)

    Fixed(recorder)(torch.ones(1, 2), training=True)
    assert recorder.seen[0] is False, "what is passed wins"

    class Defaults(Outer):
        def call(self, inputs, training=True):
            return self.inner(inputs)

    Defaults(recorder)(torch.ones(1, 2))
    assert recorder.seen[0] is True, "a default is handed down too"


def test_other_arguments_are_handed_down_where_registered():
    class Inner(layers.Layer):
        def __init__(self):
            super().__init__()
            self._register_call_context_args("mode")

        def call(self, inputs, mode=None):
            return inputs + (1 if mode else 0)

    outer = Outer(Outer(Inner()))
    outer._register_call_context_args("mode")
    for _ in range(2):
        assert outer(torch.zeros(1), mode=True).item() == 1
        assert outer(torch.zeros(1)).item() == 0


def test_failed_call_leaves_no_context():
    class Fails(layers.Layer):
        def call(self, inputs, training=None):
            raise KeyError("on purpose")

    with pytest.raises(KeyError):
        Outer(Fails())(torch.ones(1, 2), training=True)
    recorder = Recorder()
    recorder(torch.ones(1, 2))
    assert recorder.seen[0] is None


def test_forward_hooks_fire():
    layer, seen = layers.Dense(2), []
    layer.register_forward_pre_hook(lambda module, args: seen.append("before"))
    layer.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    layer(torch.ones(1, 3))
    Outer(layer)(torch.ones(1, 3))
    assert seen == ["before", (1, 2)] * 2


def test_input_spec():
    layer = layers.Identity()
    for spec, good, bad in (
        (layers.InputSpec(ndim=2), (1, 2), (1, 2, 3)),
        (layers.InputSpec(min_ndim=2), (1, 2, 3), (1,)),
        (layers.InputSpec(max_ndim=2), (1,), (1, 2, 3)),
        (layers.InputSpec(axes={-1: 2}), (3, 2), (3, 3)),
        (layers.InputSpec(shape=(None, 2)), (3, 2), (3, 3)),
    ):
        layer.input_spec = spec
        layer(torch.ones(good))
        with pytest.raises(ValueError, match="incompatible with the layer"):
            layer(torch.ones(bad))
        with pytest.raises(ValueError, match="incompatible with the layer"):
            layer(keras.KerasTensor(bad))
    layer.input_spec = layers.InputSpec(dtype="int32")
    with pytest.raises(ValueError, match="expected dtype=int32"):
        layer(torch.ones(2))
    layer.input_spec = [layers.InputSpec(ndim=1), layers.InputSpec(ndim=2)]
    with pytest.raises(ValueError, match="expects 2 input"):
        layer([torch.ones(2)])
    with pytest.raises(TypeError, match="integer keys"):
        layers.InputSpec(axes={"a": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="greater than the maximum"):
        layers.InputSpec(ndim=2, axes={3: 1})
    assert layers.InputSpec.from_config(layers.InputSpec(ndim=2).get_config()).ndim == 2


def test_symbolic_errors_name_the_layer():
    class Broken(layers.Layer):
        def call(self, inputs):
            return inputs @ torch.ones(7, 7)

    with pytest.raises(RuntimeError, match="Could not automatically infer the output shape / dtype of 'broken'"):
        Broken()(keras.KerasTensor((None, 3)))
    with pytest.raises(NotImplementedError, match="call"):
        layers.Layer()(torch.ones(1))


# ---------------------------------------------------------------- masks


def test_masks_are_passed_and_handed_on():
    x = layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    recorder = Recorder()
    with pytest.warns(UserWarning, match="does not support masking"):
        outputs = recorder(x)
    assert recorder.seen[1].tolist() == [[True, False]] and getattr(outputs, "_keras_mask", None) is None
    recorder.supports_masking = True
    assert recorder(x)._keras_mask.tolist() == [[True, False]]
    explicit = torch.tensor([[False, False]])
    recorder(x, mask=explicit)
    assert recorder.seen[1] is explicit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layers.Dense(2)(x)._keras_mask.tolist() == [[True, False]]


def test_masks_inside_a_layer():
    class Both(layers.Layer):
        def __init__(self):
            super().__init__()
            self.embedding, self.pool = layers.Embedding(4, 2, mask_zero=True), layers.GlobalAveragePooling1D()

        def call(self, inputs):
            return self.pool(self.embedding(inputs))

    layer = Both()
    got = np.asarray(layer(np.array([[3, 0, 0]])))
    np.testing.assert_allclose(got, layer.embedding.get_weights()[0][3:4], rtol=1e-6)


def test_masks_of_several_arguments():
    class Two(layers.Layer):
        supports_masking = True  # type: ignore[assignment]

        def call(self, query, value, query_mask=None, value_mask=None):
            self.seen = (query_mask, value_mask)
            return query

    a = layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    layer = Two()
    layer(a, torch.ones(1, 3, 1))
    assert layer.seen[0].tolist() == [[True, False]] and layer.seen[1] is None


# ---------------------------------------------------------------- losses


def test_losses_are_those_of_the_last_call():
    class Adds(layers.Layer):
        def call(self, inputs):
            self.add_loss(inputs.sum())
            return inputs

    outer = Outer(Adds())
    for value in (1.0, 2.0):
        outer(torch.full((1, 3), value))
        assert [float(loss) for loss in outer.losses] == [3 * value]
    outer(keras.KerasTensor((None, 3)))
    assert outer.losses == []
    with pytest.raises(ValueError, match="add_loss"):
        outer.add_loss("text")


def test_regularizers():
    layer = layers.Dense(
        2, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L1(0.5), activity_regularizer="l2"
    )
    layer(torch.ones(4, 3))
    activity, weights = (float(x) for x in layer.losses)
    assert activity == pytest.approx(0.01 * 9 * 8 / 4) and weights == 3.0
    layer.trainable = False
    assert len(layer.losses) == 1, "weights that are not trained have no penalty"


# ---------------------------------------------------------------- precision


def test_mixed_precision():
    layer = layers.Dense(2, dtype="mixed_bfloat16")
    outputs = layer(torch.ones(1, 3))
    assert outputs.dtype is torch.bfloat16
    assert layer.kernel.dtype == "float32" and layer.compute_dtype == "bfloat16" and layer.dtype == "float32"
    outputs.float().sum().backward()
    assert layer.kernel.value.grad.dtype is torch.float32
    outer = Outer(layers.Dense(2, dtype="float32"), dtype="mixed_bfloat16")
    assert outer(torch.ones(1, 3)).dtype is torch.float32, "an inner layer has its own policy"


def test_module_to():
    layer = Outer(layers.Dense(2))
    layer(torch.ones(1, 3))
    layer.to(torch.float64)
    outputs = layer(torch.ones(1, 3, dtype=torch.float64))
    assert outputs.dtype is torch.float64 and layer.inner.kernel.dtype == "float64"
    assert layer.inner.kernel.value is dict(layer.named_parameters())["inner.kernel"]
    layer.half()
    assert layer.inner.kernel.dtype == "float16" and layer.compute_dtype == "float16"


# ---------------------------------------------------------------- stateless calls


def test_stateless_call():
    layer = layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l1")
    layer.build((None, 2))
    outputs, fixed, losses = layer.stateless_call(
        [torch.full((2, 1), 3.0), torch.ones(1)], [], torch.ones(1, 2), return_losses=True
    )
    assert float(outputs) == 7.0 and fixed == [] and float(losses[0]) == pytest.approx(0.06)
    assert layer.kernel.numpy().tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="length 1"):
        layer.stateless_call([torch.ones(2, 1)], [], torch.ones(1, 2))
    with pytest.raises(ValueError, match="must be built"):
        layers.Dense(1).stateless_call([], [], torch.ones(1, 2))


# ---------------------------------------------------------------- configuration and copies


def test_automatic_configuration():
    layer = Doubled(units=3, name="twice", dtype="float16")
    config = layer.get_config()
    assert config["units"] == 3 and config["name"] == "twice" and config["trainable"] is True
    clone = Doubled.from_config(json.loads(json.dumps(config)))
    assert clone.units == 3 and clone.dtype_policy == layer.dtype_policy

    with pytest.raises(NotImplementedError, match="get_config"):
        Outer(layers.Dense(1)).get_config()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_whole_and_their_own(duplicate):
    layer = Doubled()
    x = torch.ones(1, 3)
    expected = np.asarray(layer(x))
    clone = duplicate(layer)
    np.testing.assert_array_equal(np.asarray(clone(x)), expected)
    assert len(clone.weights) == 4
    for variable, parameter in zip(clone.weights, clone.parameters(), strict=True):
        assert variable.value is parameter, "a variable and its parameter are one"
    assert clone.parts[0] is clone._layers[0]
    clone.set_weights([w + 1 for w in clone.get_weights()])
    np.testing.assert_array_equal(np.asarray(layer(x)), expected)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        clone.parts.append(layers.Dense(1))


def test_deprecated_and_unknown_arguments():
    with pytest.warns(UserWarning, match="input_shape"):
        layers.Dense(2, input_shape=(3,))
    with pytest.raises(ValueError, match="Unrecognized keyword arguments passed to Dense"):
        layers.Dense(2, nonsense=1)
    with pytest.raises(ValueError, match="cannot contain character"):
        layers.Dense(2, name="a/b")
    assert repr(layers.Dense(2)) == "<Dense name=dense_2, built=False>"


def test_serialize_refuses_what_is_no_layer():
    with pytest.raises(ValueError, match=r"not a `keras.layers.Layer`"):
        layers.deserialize(keras.regularizers.serialize(keras.regularizers.L1(0.1)))
