"""Keras's own source of `keras.applications` runs on fastk, and computes what it computes on Keras."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIDE = Path(__file__).with_name("applications_side.py")
ROOT = Path(__file__).resolve().parents[2]


def models_of(side, names, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_HOME": str(folder)}
    command = [sys.executable, str(SIDE), side, str(folder / f"{side}.npz"), *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return np.load(folder / f"{side}.npz")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "names",
    [
        ["MobileNetV2"],
        pytest.param(
            ["ResNet50", "EfficientNetB0", "DenseNet121", "Xception", "ConvNeXtTiny", "InceptionV3"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda names: names[0],
)
def test_outputs_and_parameters_are_those_of_keras(names, tmp_path):
    ours, theirs = (models_of(side, names, tmp_path) for side in ("fastk", "keras"))
    for name in names:
        np.testing.assert_array_equal(ours[f"{name}_counts"], theirs[f"{name}_counts"])
        scale = np.abs(theirs[name]).max()
        assert scale > 0 and np.isfinite(scale)
        # A hundred layers, each a sum of up to some thousand products in another order.
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=scale * 100 * 64 * np.finfo("float32").eps)
