"""What the tests of the ops share: the implementations, a comparison whose tolerance follows from the arithmetic, and
seeded tensors.

On a machine without a GPU, Triton's kernels run in its interpreter and CuPy's are emulated.
"""

import numpy as np
import pytest
import torch

from fastk import dispatch
from fastk.errors import ImplementationUnavailable

EPSILON = {dtype: torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}


@pytest.fixture
def device():
    """Where the ops are tested: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# On a machine with a GPU the tests of the GPU kernels are what the marker `gpu` selects.
GPU = [pytest.mark.gpu] if torch.cuda.is_available() else []


@pytest.fixture(params=["aten", pytest.param("triton", marks=GPU), pytest.param("cupy", marks=GPU)])
def implementation(request, device):
    """Each implementation in turn; skipped where it cannot be had on `device`."""
    if request.param == "cupy" and device.type == "cpu":
        request.getfixturevalue("emulated_cupy")
    if request.param != "aten":
        refusal = dispatch._why_not_on(request.param, device.type)
        if refusal is not None:
            pytest.skip(refusal)
    return request.param


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skips a test whose op has no kernel of the `implementation` that it is to be tested with."""
    try:
        return (yield)
    except ImplementationUnavailable as refusal:
        if "implementation" not in item.fixturenames or "there is no" not in str(refusal):
            raise
        pytest.skip(str(refusal))


@pytest.fixture
def close():
    """Asserts |actual - expected| <= 4 eps sqrt(terms) scale, with eps of `actual`'s dtype; NaN and inf must agree.

    terms: how many rounded terms an element is made of; scale: their size where it is not that of the result.
    """

    def check(actual, expected, terms=1, scale=None):
        eps = EPSILON[actual.dtype]
        actual, expected = actual.detach().double().cpu().numpy(), np.asarray(expected, dtype=np.float64)
        assert actual.shape == expected.shape
        finite = np.abs(expected[np.isfinite(expected)])
        scale = max(1.0, finite.max(initial=0.0)) if scale is None else scale
        np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * eps * np.sqrt(terms) * scale, equal_nan=True)

    return check


@pytest.fixture
def normal(device):
    """normal(2, 3): a float64 tensor on `device`, the same ones in every run; keyword arguments as torch.randn's."""
    generator = torch.Generator().manual_seed(20)

    def draw(*shape, dtype=torch.float64, **options):
        return (
            torch.randn(shape, generator=generator, dtype=torch.float64)
            .to(device, dtype)
            .requires_grad_(options.pop("requires_grad", False))
        )

    return draw


@pytest.fixture
def gradcheck():
    """gradcheck(function, *tensors): the derivative by every tensor against central differences, in float64."""

    def check(function, *tensors):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        assert torch.autograd.gradcheck(function, inputs, atol=1e-7, rtol=1e-5)

    return check
