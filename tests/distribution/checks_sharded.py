"""What is to come of the functions of `sharded.py`, by what each of two processes found."""

import numpy as np

import fastk
from tests.distribution import scenarios


def check_what_each_holds(both):
    """Half of each variable and of each of Adam's means; the first one takes the odd row."""
    assert both[0]["rows"] == [(3, 8), (4,), (4, 3), (2,)] * 2
    assert both[1]["rows"] == [(2, 8), (4,), (4, 3), (1,)] * 2
    for one in both:
        assert one["whole"] == [(5, 8), (8,), (8, 3), (3,)] * 2
        assert all(one["types"]) and "hook" in one["reasons"][0]


def check_saved_and_loaded(both):
    assert [one["parts"] for one in both] == [[3, 4, 4, 1], [2, 4, 4, 1]]
    model = scenarios.mlp()
    model.compile(fastk.optimizers.Adam(0.05), "mse")
    x, y = scenarios.regression(12)
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for one in both:
        assert one["same"] and one["moved"] < 1e-6
        for went_on, loaded, expected in zip(one["went on"], one["loaded"], model.get_weights(), strict=True):
            np.testing.assert_array_equal(went_on, loaded)
            np.testing.assert_allclose(loaded, expected, rtol=1e-4, atol=2e-5)


def check_overflow(both):
    for one in both:
        assert one["same"] and one["scale"] == 2.0
        np.testing.assert_allclose(one["good"][0], [[0.8, 0.8]], rtol=1e-6)


def check_refusals(both):
    for one in both:
        assert "Lamb looks at whole variables" in one["lamb"] and "Own looks at whole variables" in one["own"]
        assert "clone_model" in one["copy"] and "before the first `fit`" in one["frozen"]
        assert "outside of the call of its layer" in one["tied"]


def check_constraints(both):
    for one in both:
        assert (one["norms"] <= 0.3 + 1e-6).all() and one["norms"].max() > 0.29
