"""Forecasts a temperature from the days before it, with a GRU and with a convolution, against "as yesterday".

    python examples/timeseries_forecasting.py            # --quick: a few steps, to see that it runs

The series is made here: seasons, weeks of weather, noise. It ends with an error when the better model is no better than
to say that tomorrow is as today.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers

PAST = 24


def make_series(days):
    """`(days, 3)`: temperature, and the season as two numbers."""
    rng = np.random.default_rng(0)
    time = np.arange(days)
    season = np.stack([np.sin(2 * np.pi * time / 365), np.cos(2 * np.pi * time / 365)], axis=1)
    # Weather that swings: each day depends on the two before it.
    weather = np.zeros(days)
    for day in range(2, days):
        weather[day] = 1.5 * weather[day - 1] - 0.8 * weather[day - 2] + rng.normal(0, 1)
    return np.concatenate([(10 + 8 * season[:, 0] + weather)[:, None], season], axis=1)


class Windows(keras.utils.PyDataset):
    """Batches of `(PAST days, temperature of the day after)`, made when they are asked for."""

    def __init__(self, series, batch_size=64, shuffle=False, **kwargs):
        super().__init__(**kwargs)
        self.series, self.batch_size = series.astype("float32"), batch_size
        self.starts = np.arange(len(series) - PAST)
        self.rng = np.random.default_rng(0) if shuffle else None
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.starts) // self.batch_size)

    def __getitem__(self, index):
        starts = self.starts[index * self.batch_size : (index + 1) * self.batch_size]
        return np.stack([self.series[s : s + PAST] for s in starts]), self.series[starts + PAST, 0]

    def on_epoch_end(self):
        if self.rng is not None:
            self.rng.shuffle(self.starts)


def build_gru():
    inputs = keras.Input((PAST, 3))
    x = layers.GRU(32)(inputs)
    return keras.Model(inputs, layers.Dense(1)(x), name="gru")


def build_convolution():
    inputs = keras.Input((PAST, 3))
    x = inputs
    for dilation in (1, 2, 4):
        x = layers.Conv1D(32, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(1)(x[:, -1]), name="convolution")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    series = make_series(200 if options.quick else 3000)
    cut, end = int(0.7 * len(series)), int(0.85 * len(series))
    mean, deviation = series[:cut].mean(axis=0), series[:cut].std(axis=0)
    scaled = (series - mean) / deviation
    train, validation, test = Windows(scaled[:cut], shuffle=True), Windows(scaled[cut:end]), Windows(scaled[end:])
    as_today = float(np.abs(np.diff(series[end + PAST - 1 :, 0])).mean())

    errors = {}
    for model in (build_gru(), build_convolution()):
        model.compile(keras.optimizers.Adam(3e-3), "mse", metrics=["mae"])
        stop = keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True)
        model.fit(
            train,
            epochs=1 if options.quick else options.epochs,
            validation_data=validation,
            callbacks=[stop],
            verbose=2,
        )
        errors[model.name] = float(model.evaluate(test, verbose=0, return_dict=True)["mae"] * deviation[0])

    print(f"Mean error in degrees: as today {as_today:.2f}, ", end="")
    print(", ".join(f"{name} {error:.2f}" for name, error in errors.items()))
    if not options.quick and min(errors.values()) > 0.7 * as_today:
        sys.exit("An error of at most 0.7 times that of `as today` was expected.")


if __name__ == "__main__":
    main()
