"""The hardened interpreter for the tests of the verifiers; where kernels are compiled for a GPU they are skipped."""

import pytest

from fastk.kernels import triton_runtime


@pytest.fixture(autouse=True)
def interpreter():
    if not triton_runtime.INTERPRETED:
        pytest.skip("kernels are compiled in this process (TRITON_INTERPRET is not 1)")
    from fastk.kernels.verify import interpreter

    interpreter.install()
    return interpreter
