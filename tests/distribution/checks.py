"""What is to come of the functions of `together.py`, by what each of two processes found."""

import numpy as np
import pytest

from tests.distribution import scenarios, together


def check_captured_steps(both):
    for one in both:
        assert one == {"reasons": [], "replayed": 1}


def check_first_weights_and_seeds(both):
    first, second = both
    assert not np.array_equal(first["first before"], second["first before"])
    for key in ("first", "again"):
        np.testing.assert_array_equal(first[key], second[key])
        assert not np.array_equal(first[f"{key} dropped"], second[f"{key} dropped"])
        np.testing.assert_array_equal(first[f"{key} seeds"], second[f"{key} seeds"])  # the same again after `fit`
    for one in both:
        np.testing.assert_array_equal(one["first"], one["again"])
        np.testing.assert_array_equal(one["first dropped"], one["again dropped"])


def check_one_wants_to_stop(both):
    assert both == [{"steps": 3, "epochs": 2}] * 2


def check_logs_of_batches(both):
    """Of each epoch the last batch's logs are those of the epoch, and the first batch's those of one process."""
    first, second = both
    np.testing.assert_array_equal(first["losses"], second["losses"])
    np.testing.assert_array_equal(first["losses"][2::3], first["epochs"])
    model = scenarios.mlp()
    model.compile("sgd", "mse")
    x, y = scenarios.regression(24)
    assert first["losses"][0] == pytest.approx(model.evaluate(x[:8], y[:8], verbose=0), rel=1e-5)


def check_files(both):
    first, second = both
    assert first["writes"] == [0, 0, 0] and second["writes"] == []
    assert first["same"] and second["same"]
    assert {"1.keras", "2.keras", "best.weights.h5", "log.csv", "board", "model.keras"} <= set(second["there"])
    assert "does not exist" in first["refused"]
    assert second["refused"].startswith("RankFailure: The first process could not write no/such/folder.keras")


def check_what_is_written_once(folder):
    lines = (folder / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,") and [line.split(",")[0] for line in lines[1:]] == ["0", "1"]
    assert len(list((folder / "board" / "train").iterdir())) == 1


def check_refusals(both):
    for one in both:
        assert "do not train the same: epochs: " in one["epochs"]
        assert "do not train the same: shapes of the weights: " in one["shapes"]
        assert "its `aggregation` is 'none'" in one["metric"]
        assert "batches of different sizes, [4, 6]" in one["sizes"]


def check_data_of_their_own(both):
    x, y = scenarios.regression(24)
    whole = scenarios.mlp()
    whole.compile("sgd", "mse")
    loss = whole.fit(x, y, batch_size=24, epochs=2, verbose=0, shuffle=False).history["loss"]
    sampled = scenarios.mlp()
    sampled.compile("sgd", "mse")
    order = np.concatenate([np.r_[i : i + 8 : 2, i + 1 : i + 8 : 2] for i in range(0, 24, 8)])  # as the sampler cuts
    sampled.fit(x[order], y[order], batch_size=8, epochs=2, verbose=0, shuffle=False)
    for rank, one in enumerate(both):
        assert one["epoch of the sampler"] == 1
        assert one["predicted"] == (18, 6)[rank]  # each has what it asked for
        np.testing.assert_allclose(one["loss"], loss, rtol=1e-5)
        for key, model in (("own", whole), ("sampler", sampled)):
            for found, expected in zip(one[key], model.get_weights(), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def check_orders_of_streams(both):
    expected = together.orders_of_streams(alone=True)["weights"]
    for one in both:
        for found, wanted in zip(one["weights"], expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def check_moving_averages(both):
    x, _ = scenarios.regression(8)
    x = x.astype("float64")
    for one in both:
        np.testing.assert_allclose(one["mean"], (x[:4].mean(0) + x[4:].mean(0)) / 2, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one["variance"], (x[:4].var(0) + x[4:].var(0)) / 2, rtol=1e-5, atol=1e-6)


def check_gradients_that_some_lack(both):
    assert both == [{"values": [0.0, -1.0, 1.0]}] * 2


def check_overflow(both):
    assert both == [{"skipped": 1.0, "value": -0.5, "scale": 2.0}] * 2


def check_torch_ddp(both):
    x, y = scenarios.regression(16)
    model = scenarios.mlp()
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.1
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    for one in both:
        for found, expected in zip(one["weights"], model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def check_loops_of_the_users(both):
    assert [one["value"] for one in both] == [-2.0, -2.0]
