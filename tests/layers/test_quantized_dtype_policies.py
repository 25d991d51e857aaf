"""Policies of quantized layers: read, written, and refused by layers."""

import pytest

import fastk
from fastk import dtype_policies, quantizers


@pytest.mark.parametrize(
    "name, kind, mode, compute",
    (
        ("int8_from_mixed_bfloat16", "QuantizedDTypePolicy", "int8", "bfloat16"),
        ("int4_from_float32", "QuantizedDTypePolicy", "int4", "float32"),
        ("float8_from_float32", "QuantizedFloat8DTypePolicy", "float8", "float32"),
        ("int4/128_from_mixed_float16", "Int4DTypePolicy", "int4", "float16"),
        ("gptq/4/-1_from_float32", "GPTQDTypePolicy", "gptq", "float32"),
        ("awq/4/64_from_float32", "AWQDTypePolicy", "awq", "float32"),
    ),
)
def test_names_say_what_was_done(name, kind, mode, compute):
    policy = dtype_policies.get(name)
    assert type(policy) is getattr(dtype_policies, kind)
    assert (policy.name, policy.quantization_mode, policy.compute_dtype) == (name, mode, compute)
    described = dtype_policies.serialize(policy)
    assert (described["module"], described["class_name"]) == ("keras.dtype_policies", kind)
    assert dtype_policies.deserialize(described) == policy == dtype_policies.get(described)
    assert policy != dtype_policies.DTypePolicy("float32") and hash(policy) == hash(dtype_policies.get(name))
    assert repr(policy) == f'<{kind} "{name}">'


def test_settings_are_attributes():
    policy = dtype_policies.GPTQDTypePolicy("gptq/2/32", "float32")
    assert (policy.mode, policy.weight_bits, policy.group_size) == ("gptq", 2, 32)
    assert dtype_policies.QuantizedFloat8DTypePolicy("float8", amax_history_length=7).amax_history_length == 7


@pytest.mark.parametrize(
    "make, error, message",
    (
        (lambda: dtype_policies.QuantizedDTypePolicy("int7"), ValueError, "Invalid quantization mode"),
        (lambda: dtype_policies.QuantizedDTypePolicy("int8", "float16"), ValueError, "doesn't work well"),
        (lambda: dtype_policies.get("int8_from_a_from_b"), ValueError, "Cannot convert `policy`"),
        (lambda: dtype_policies.get("int8_from_nothing"), ValueError, "Cannot convert 'nothing'"),
        (lambda: dtype_policies.Int4DTypePolicy("int4"), ValueError, "Expected format 'int4/<block_size>'"),
        (lambda: dtype_policies.Int4DTypePolicy("int4/x"), ValueError, "must be integers"),
        (lambda: dtype_policies.Int4DTypePolicy("int4/0"), ValueError, "Invalid block_size"),
        (lambda: dtype_policies.GPTQDTypePolicy("gptq/5/1"), ValueError, "Invalid weight_bits"),
        (lambda: dtype_policies.AWQDTypePolicy("awq/8/1"), ValueError, "Invalid weight_bits"),
        (
            lambda: dtype_policies.QuantizedFloat8DTypePolicy("float8", amax_history_length="7"),  # type: ignore[arg-type]
            TypeError,
            "must be an integer",
        ),
        (lambda: fastk.config.set_dtype_policy(None), ValueError, "Invalid `policy` argument"),  # type: ignore[arg-type]
        (lambda: dtype_policies.Nothing, AttributeError, "no attribute 'Nothing'"),
        (lambda: quantizers.GPTQConfig(None, None, weight_bits=5), ValueError, "Unsupported weight_bits"),
        (lambda: quantizers.GPTQConfig(None, None, num_samples=0), ValueError, "num_samples must be a positive"),
        (lambda: quantizers.GPTQConfig(None, None, hessian_damping=2), ValueError, "between 0 and 1"),
        (lambda: quantizers.GPTQConfig(None, None, group_size=0), ValueError, "Invalid group_size"),
    ),
)
def test_what_is_no_policy_is_explained(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_layers_do_not_compute_by_them():
    with pytest.raises(NotImplementedError, match=r"does not quantize layers.*int8_from_float32"):
        fastk.layers.Dense(1, dtype="int8_from_float32")
    layer = fastk.layers.Dense(1)
    with pytest.raises(NotImplementedError, match="does not quantize layers"):
        layer.dtype_policy = "float8_from_float32"


def test_configurations_are_kept():
    configuration = quantizers.GPTQConfig(["text"], len, weight_bits=3, group_size=-1)
    again = quantizers.GPTQConfig.from_config(configuration.get_config())
    assert again.get_config() == configuration.get_config()
    assert again.dataset is None and again.dtype_policy_string() == "gptq/3/-1" and again.mode == "gptq"
