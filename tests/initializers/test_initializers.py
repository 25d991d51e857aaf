"""First values: constants exactly, draws by their moments, within 5 standard errors."""

import math

import numpy as np
import pytest
import torch

from fastk import initializers, utils
from fastk.graph import compute_output_spec
from fastk.initializers.variance_scaling import TRUNCATED_STDDEV, compute_fans
from fastk.random import SeedGenerator
from fastk.variable import Variable

SIGMAS = 5.0
EPS = np.finfo(np.float32).eps
RANDOM = [
    initializers.RandomNormal, initializers.RandomUniform, initializers.TruncatedNormal, initializers.VarianceScaling,
    initializers.GlorotNormal, initializers.GlorotUniform, initializers.HeNormal, initializers.HeUniform,
    initializers.LecunNormal, initializers.LecunUniform, initializers.Orthogonal,
]  # fmt: skip
ALL = [*RANDOM, initializers.Zeros, initializers.Ones, initializers.Constant, initializers.Identity]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
class TestEveryInitializer:
    @pytest.mark.parametrize("dtype", [None, "float16", "bfloat16", "float64"])
    def test_shape_and_dtype(self, cls, dtype):
        x = cls()((6, 4), dtype=dtype)
        assert x.shape == (6, 4) and x.dtype is getattr(torch, dtype or "float32")

    def test_shape_inference_needs_no_values(self, cls):
        spec = compute_output_spec(lambda: cls()((6, 4), dtype="float16"))
        assert spec.shape == (6, 4) and spec.dtype == "float16"

    def test_makes_variables(self, cls):
        assert Variable(cls(), shape=(3, 3)).numpy().shape == (3, 3)

    def test_round_trip(self, cls):
        written = initializers.serialize(cls())
        assert written["module"] == "keras.initializers" and written["class_name"] == cls.__name__
        assert written["registered_name"] is None
        again = initializers.deserialize(written)
        assert type(again) is cls and again.get_config() == cls().get_config()

    def test_names(self, cls):
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")
        assert type(initializers.get(cls.__name__)) is type(initializers.get(snake)) is cls
        assert getattr(initializers, snake) is cls


@pytest.mark.parametrize("cls", RANDOM, ids=lambda cls: cls.__name__)
class TestEveryRandomInitializer:
    def test_a_seed_repeats_and_none_is_drawn_once(self, cls):
        seeded, unseeded = cls(seed=3), cls()
        assert torch.equal(seeded((4, 4)), seeded((4, 4))) and torch.equal(unseeded((4, 4)), unseeded((4, 4)))
        assert not torch.equal(unseeded((4, 4)), cls()((4, 4)))

    def test_clone(self, cls):
        seeded, unseeded = cls(seed=3), cls()
        assert torch.equal(seeded((4, 4)), seeded.clone()((4, 4)))
        assert not torch.equal(unseeded((4, 4)), unseeded.clone()((4, 4)))

    def test_a_generator_gives_new_values(self, cls):
        initializer = cls(seed=SeedGenerator(3))
        assert not torch.equal(initializer((4, 4)), initializer((4, 4)))

    def test_a_generator_is_serialized(self, cls):
        initializer = cls(seed=SeedGenerator(3, name="draws"))
        assert initializer.get_config()["seed"] == {
            "module": "keras.random",
            "class_name": "SeedGenerator",
            "config": {"seed": 3, "name": "draws"},
            "registered_name": None,
        }
        again = initializers.deserialize(initializers.serialize(initializer))
        assert torch.equal(initializer((4, 4)), again((4, 4)))

    def test_wrong_seed(self, cls):
        with pytest.raises(ValueError, match="`seed` argument should be"):
            cls(seed="3")


# Drawn by Keras 3.15.1 with torch on the CPU, seed 7, shape (3, 2), rounded to 6 digits.
VALUES = {
    "GlorotUniform": [[0.076512, -0.659889], [0.348815, 0.343729], [-0.58549, -0.164182]],
    "HeNormal": [[-0.761275, -0.155011], [-0.787984, -1.209687], [-0.8045, 1.016953]],
    "RandomNormal": [[-0.00734, 0.039307], [0.047341, -0.055717], [0.08454, -0.044741]],
    "TruncatedNormal": [[-0.041007, -0.00835], [-0.042445, -0.065161], [-0.043335, 0.054779]],
    "Orthogonal": [[-0.075535, 0.785297], [0.487199, -0.508623], [0.870018, 0.353003]],
}


@pytest.mark.parametrize("name", VALUES)
def test_weights_start_as_in_keras(name):
    assert np.abs(getattr(initializers, name)(seed=7)((3, 2)).numpy() - VALUES[name]).max() < 1e-6


def test_unseeded_weights_start_as_in_keras():
    utils.set_random_seed(5)
    first, second = initializers.GlorotUniform()((3, 2)), initializers.HeNormal()((3, 2))
    assert np.abs(first[0].numpy() - [-0.574537, -0.481092]).max() < 1e-6
    assert np.abs(second[0].numpy() - [-1.13056, 0.52534]).max() < 1e-6


# Written by Keras 3.15.1.
CONFIGS = [
    (initializers.Zeros(), {}),
    (initializers.Constant(2.5), {"value": 2.5}),
    (initializers.Constant([1.0, 2.0]), {"value": [1.0, 2.0]}),
    (initializers.Identity(), {"gain": 1.0}),
    (initializers.RandomNormal(), {"seed": None, "mean": 0.0, "stddev": 0.05}),
    (initializers.TruncatedNormal(seed=1), {"seed": 1, "mean": 0.0, "stddev": 0.05}),
    (initializers.RandomUniform(), {"seed": None, "minval": -0.05, "maxval": 0.05}),
    (initializers.GlorotUniform(), {"seed": None, "input_axes": None, "output_axes": None}),
    (initializers.HeNormal(7, [0], [1]), {"seed": 7, "input_axes": [0], "output_axes": [1]}),
    (initializers.Orthogonal(), {"seed": None, "gain": 1.0}),
    (
        initializers.VarianceScaling(distribution="normal"),
        {
            "seed": None,
            "scale": 1.0,
            "mode": "fan_in",
            "distribution": "truncated_normal",
            "input_axes": None,
            "output_axes": None,
        },
    ),
    (initializers.STFT(), {"side": "real", "window": "hann", "periodic": False, "scaling": "density"}),
]


@pytest.mark.parametrize(("initializer", "config"), CONFIGS, ids=lambda x: type(x).__name__)
def test_config(initializer, config):
    assert initializer.get_config() == config
    assert list(initializer.get_config()) == list(config)


def test_constants():
    assert initializers.Zeros()((2, 0)).shape == (2, 0)
    assert initializers.Ones()((2,), dtype="int32").tolist() == [1, 1]
    assert initializers.Constant(3)((2,)).tolist() == [3.0, 3.0]
    assert initializers.Constant([1.0, 2.0])((2, 2)).tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert initializers.Identity(2)((2, 3)).tolist() == [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    with pytest.raises(ValueError, match="does not broadcast"):
        initializers.Constant([1.0, 2.0])((3,))
    with pytest.raises(ValueError, match="only be used for 2D"):
        initializers.Identity()((3,))
    with pytest.raises(ValueError, match="without unknown sizes"):
        initializers.Zeros()((None, 3))


def test_constant_array_round_trip():
    values = np.arange(6.0).reshape(2, 3)
    again = initializers.deserialize(initializers.serialize(initializers.Constant(values)))
    assert np.array_equal(again((2, 3)), values)


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((), (1, 1)), ((5,), (5, 5)), ((3, 4), (3, 4)), ((2, 3, 4), (6, 8)), ((5, 5, 3, 8), (75, 200))],
)
def test_fans(shape, fans):
    assert compute_fans(shape) == fans


def test_fans_of_named_axes():
    assert compute_fans((3, 4, 5), input_axes=[0, 1], output_axes=[2]) == (12, 5)


def test_truncated_stddev_is_that_of_the_distribution():
    t = np.linspace(-2, 2, 200_001)
    density = np.exp(-(t**2) / 2)
    # Simpson's rule: the error is below 1e-15 on this grid.
    weights = np.where(np.arange(len(t)) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    assert abs(TRUNCATED_STDDEV - math.sqrt((weights * density * t**2).sum() / (weights * density).sum())) < 1e-12


SCALED = [
    (initializers.GlorotUniform, lambda i, o: 2 / (i + o)),
    (initializers.GlorotNormal, lambda i, o: 2 / (i + o)),
    (initializers.HeUniform, lambda i, o: 2 / i),
    (initializers.HeNormal, lambda i, o: 2 / i),
    (initializers.LecunUniform, lambda i, o: 1 / i),
    (initializers.LecunNormal, lambda i, o: 1 / i),
    (lambda seed: initializers.VarianceScaling(3.0, "fan_out", "untruncated_normal", seed), lambda i, o: 3 / o),
    (lambda seed: initializers.VarianceScaling(3.0, "fan_avg", "uniform", seed), lambda i, o: 6 / (i + o)),
]


@pytest.mark.parametrize(("make", "variance"), SCALED)
def test_variance_follows_the_fans(make, variance):
    shape = (3, 5, 20, 90)
    x = make(seed=1)(shape).double()
    expected, n = variance(3 * 5 * 20, 3 * 5 * 90), x.numel()
    assert abs(x.mean().item()) < SIGMAS * math.sqrt(expected / n)
    # The kurtosis of none of these is above 3.
    assert abs(x.var().item() - expected) < SIGMAS * expected * math.sqrt(2 / n)


@pytest.mark.parametrize("shape", [(6, 6), (7, 3), (3, 7), (2, 2, 3, 5), (2, 1, 1, 8)])
def test_orthogonal(shape):
    gain = 1.5
    matrix = initializers.Orthogonal(gain, seed=1)(shape).reshape(-1, shape[-1]).double().numpy()
    small = min(matrix.shape)
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    assert np.abs(gram - gain**2 * np.eye(small)).max() < gain**2 * EPS * 8 * math.sqrt(max(matrix.shape))


def test_orthogonal_is_uniform():
    # E[q] = 0 for each entry of a Haar-distributed matrix, variance 1 / n; the sign fix makes it so.
    n, draws = 3, 400
    generator = SeedGenerator(0)
    q = torch.stack([initializers.Orthogonal(seed=generator)((n, n)) for _ in range(draws)])
    assert q.mean(0).abs().max() < SIGMAS / math.sqrt(n * draws)
    with pytest.raises(ValueError, match="at least two-dimensional"):
        initializers.Orthogonal()((3,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "`scale` must be positive"),
        ({"mode": "fan"}, "Invalid `mode`"),
        ({"distribution": "cauchy"}, "Invalid `distribution`"),
    ],
)
def test_variance_scaling_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        initializers.VarianceScaling(**arguments)


@pytest.mark.parametrize("side", ["real", "imag"])
@pytest.mark.parametrize("scaling", [None, "density", "spectrum"])
def test_stft(side, scaling):
    window = np.arange(1.0, 65.0)
    kernel = initializers.STFT(side, window, scaling)((64, 1, 33)).double().numpy()
    # Column f of the discrete Fourier transform of the unit impulses.
    transform = np.fft.fft(np.eye(64) * window[:, None])[:, :33]
    norm = {None: 1.0, "density": np.linalg.norm(window), "spectrum": window.sum()}[scaling]
    expected = (transform.real if side == "real" else transform.imag) / norm
    assert np.abs(kernel[:, 0] - expected).max() < 2 * EPS * np.abs(expected).max()


def test_stft_checks_its_arguments():
    with pytest.raises(ValueError, match="side should be"):
        initializers.STFT("imaginary")
    with pytest.raises(ValueError, match="Scaling is invalid"):
        initializers.STFT(scaling="l2")
    with pytest.raises(ValueError, match="frame_length"):
        initializers.STFT(window=[1.0, 2.0])((3, 1, 4))


def test_get():
    assert initializers.get(None) is None
    assert isinstance(initializers.get({"class_name": "Constant", "config": {"value": 2.0}}), initializers.Constant)
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)
    for name, cls in {"zero": "Zeros", "one": "Ones", "normal": "RandomNormal", "uniform": "RandomUniform"}.items():
        assert type(initializers.get(name)).__name__ == type(initializers.deserialize(name)).__name__ == cls
    with pytest.raises(ValueError, match=r"Unknown initializer: 'glorot'.*Did you mean"):
        initializers.get("glorot")
    with pytest.raises(ValueError, match="Could not interpret initializer"):
        initializers.get(3)


@pytest.mark.parametrize("make", [np.array, torch.tensor, Variable], ids=["array", "tensor", "variable"])
def test_get_of_values(make):
    initializer = initializers.get(make([1.0, 2.0]))
    assert initializer((2,), dtype="float16").tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="Expected `shape` to be"):
        initializer((3,))


def test_a_caller_s_class():
    class Halves(initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return torch.full(shape, 0.5)

    assert initializers.get(Halves)((2,)).tolist() == [0.5, 0.5]
    with pytest.raises(NotImplementedError, match="must implement"):
        initializers.Initializer()((2,))
