"""Quantizers against their definitions in NumPy."""

import numpy as np
import pytest
import torch

import fastk as keras
from fastk import quantizers

rng = np.random.default_rng(0)


@pytest.mark.parametrize("to_numpy", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, (0, 1)])
def test_abs_max(axis, to_numpy):
    x = rng.normal(size=(5, 7)).astype("float32")
    integers, scale = quantizers.abs_max_quantize(x, axis, to_numpy=to_numpy)
    expected = 127 / (np.abs(x).max(axis=axis, keepdims=True) + 1e-7)
    np.testing.assert_allclose(scale, expected, rtol=4e-7)
    assert integers.dtype is torch.int8 and int(integers.abs().max()) == 127
    np.testing.assert_array_equal(integers, np.round(x * scale.numpy()))
    zeros, _ = quantizers.abs_max_quantize(np.zeros((2, 2), "float32"), axis)
    assert not zeros.any()


@pytest.mark.parametrize("to_numpy", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 7, 8])
def test_groups_with_a_zero(rows, to_numpy):
    x = rng.normal(size=(rows, 3)).astype("float32") * 3 + 0.5
    integers, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(x, 4, to_numpy=to_numpy)
    groups = -(-rows // 4)
    assert integers.shape == (rows, 3) and scale.shape == zero.shape == (groups, 3)
    assert integers.dtype is zero.dtype is torch.int8 and int(integers.min()) >= -8 and int(integers.max()) <= 7
    for row in range(rows):
        read = (integers[row].float() - zero[row // 4].float()) * scale[row // 4]
        block = np.zeros((4, 3), "float32")  # the last group is filled up with zeros
        block[: len(x[row // 4 * 4 : row // 4 * 4 + 4])] = x[row // 4 * 4 : row // 4 * 4 + 4]
        covered = np.all((block.min(axis=0) <= 0) & (block.max(axis=0) >= 0))
        if covered:  # a range on one side of zero is cut where the zero would be out of the integers
            assert (np.abs(read.numpy() - x[row]) <= scale[row // 4].numpy() * 1.01).all()


def test_quantizer_objects():
    quantizer = quantizers.AbsMaxQuantizer(axis=0, value_range=(-7, 7))
    x = rng.normal(size=(5, 7)).astype("float32")
    for ours, wanted in zip(quantizer(x), quantizers.abs_max_quantize(x, 0, (-7, 7)), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=0)
    again = quantizers.deserialize(quantizers.serialize(quantizer))
    assert isinstance(again, quantizers.AbsMaxQuantizer) and again.get_config() == quantizer.get_config()
    assert isinstance(quantizers.get("AbsMaxQuantizer"), keras.Quantizer) and quantizers.get(None) is None
    with pytest.raises(ValueError, match=r"\[-128, 127\]"):
        quantizers.AbsMaxQuantizer(value_range=(-200, 127))
    with pytest.raises(ValueError, match="abs_max_quantizer"):
        quantizers.get("abs_max")
    with pytest.raises(AttributeError, match=r"keras\.quantizers\.AWQConfig"):
        quantizers.AWQConfig  # noqa: B018


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("narrow", [False, True])
def test_fake_quantization(axis, narrow):
    x = torch.tensor(rng.normal(size=(3, 4)) * 2, dtype=torch.float32, requires_grad=True)
    size = () if axis is None else (x.shape[axis],)
    low = torch.full(size, -0.9, requires_grad=True)
    high = torch.full(size, 1.3, requires_grad=True)
    outputs = quantizers.fake_quant_with_min_max_vars(x, low, high, num_bits=3, narrow_range=narrow, axis=axis)
    first, last = (1 if narrow else 0), 7
    scale = 2.2 / (last - first)
    zero = round(first + 0.9 / scale)
    values = (np.arange(first, last + 1) - zero) * scale
    nearest = values[np.abs(x.detach().numpy()[..., None] - values).argmin(-1)]
    np.testing.assert_allclose(outputs.detach(), nearest, rtol=1e-6, atol=1e-6)
    upstream = torch.tensor(rng.normal(size=(3, 4)), dtype=torch.float32)
    outputs.backward(upstream)
    below, above = x < values[0], x > values[-1]
    torch.testing.assert_close(x.grad, torch.where(below | above, 0.0, upstream))
    kept = () if axis is None else (axis % 2,)
    others = [i for i in range(2) if i not in kept]
    torch.testing.assert_close(low.grad, torch.where(below, upstream, 0.0).sum(others))
    torch.testing.assert_close(high.grad, torch.where(above, upstream, 0.0).sum(others))


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -8, 8), ("uint8", 0, 16)])
@pytest.mark.parametrize(("shape", "axis"), [((4, 3), 0), ((3, 5), 1), ((1, 2, 3), -1), ((5,), 0)])
def test_packing(dtype, low, high, shape, axis):
    x = rng.integers(low, high, shape).astype(dtype)
    packed, packed_shape, length = quantizers.pack_int4(x, axis, dtype)
    assert length == shape[axis] and packed.shape == packed_shape and packed_shape[axis] == (length + 1) // 2
    np.testing.assert_array_equal(quantizers.unpack_int4(packed, length, axis, dtype), x)
    with pytest.raises(ValueError, match="int16"):
        quantizers.pack_int4(x, dtype="int16")
    with pytest.raises(TypeError, match="float32"):
        quantizers.pack_int4(x.astype("float32"), dtype=dtype)


def test_float8():
    x = np.array([0.0, 1.06, -1.06, 447.0, 1e9, 1e-9], "float32")
    for name in ("float8_e4m3fn", "float8_e5m2"):
        import ml_dtypes

        dtype = getattr(ml_dtypes, name)
        largest = float(ml_dtypes.finfo(dtype).max)
        expected = np.clip(x / 2, -largest, largest).astype(dtype).astype("float32") * 2
        np.testing.assert_array_equal(quantizers.quantize_and_dequantize(x, 2.0, name, "float32"), expected)
    with pytest.raises(ValueError, match="float8_e5m2"):
        quantizers.quantize_and_dequantize(x, 1.0, "int8", "float32")
    assert float(quantizers.compute_float8_scale(448.0, 3.0, 448.0, margin=1)) == 2.0
    for amax in (0.0, np.inf, np.nan):
        assert float(quantizers.compute_float8_scale(amax, 4.0, 448.0)) == 4.0
    np.testing.assert_array_equal(quantizers.compute_float8_amax_history(x, [1.0, 2.0, 3.0]), [1e9, 3.0, 1.0])
