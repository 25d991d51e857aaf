"""Layers, losses and metrics of one's own, and files that bring them back.

    python examples/custom_layers_and_losses.py            # --quick: a few steps, to see that it runs

It ends with an error when the model learns less than it should, or comes back otherwise than it was saved.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers, ops


@keras.saving.register_keras_serializable("examples")
class Polynomial(layers.Layer):
    """`sum_k x**k @ kernel_k`: a layer with weights, options and a penalty that it adds itself.

    The weights are made when the width of the inputs is known.
    """

    def __init__(self, units, degree=3, penalty=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.units, self.degree, self.penalty = units, degree, penalty

    def build(self, input_shape):
        shape = (self.degree, input_shape[-1], self.units)
        self.kernels = self.add_weight(
            name="kernels", shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.1)
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.calls = self.add_weight(name="calls", shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, inputs, training=False):
        if training:
            self.calls.assign_add(1)
        self.add_loss(self.penalty * ops.sum(ops.square(self.kernels)))
        outputs, power = self.bias, inputs
        for k in range(self.degree):
            outputs = outputs + ops.matmul(power, self.kernels[k])
            power = power * inputs
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = {"units": self.units, "degree": self.degree, "penalty": self.penalty}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("examples")
class Quantile(keras.losses.Loss):
    """Least where a share `q` of the values is below the prediction."""

    def __init__(self, q=0.5, name="quantile", **kwargs):
        super().__init__(name=name, **kwargs)
        self.q = q

    def call(self, y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(self.q * error, (self.q - 1) * error), axis=-1)

    def get_config(self):
        return {**super().get_config(), "q": self.q}


@keras.saving.register_keras_serializable("examples")
class ShareBelow(keras.metrics.Metric):
    """The share of values below their predictions."""

    def __init__(self, name="share_below", **kwargs):
        super().__init__(name=name, **kwargs)
        self.below = self.add_weight(name="below", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        below = ops.cast(y_true < y_pred, self.dtype)
        weight = ops.ones_like(below) if sample_weight is None else sample_weight * ops.ones_like(below)
        self.below.assign_add(ops.sum(below * weight))
        self.count.assign_add(ops.sum(weight))

    def result(self):
        return self.below / (self.count + keras.config.epsilon())


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (64 if options.quick else 2000, 2)).astype("float32")
    noise = rng.normal(0, 0.3, len(x))
    y = (x[:, :1] ** 3 - x[:, 1:] ** 2 + noise[:, None]).astype("float32")

    model = keras.Sequential([keras.Input((2,)), Polynomial(1, name="polynomial")])
    model.compile(keras.optimizers.Adam(0.02), Quantile(0.9), metrics=[ShareBelow()])
    model.fit(x, y, epochs=1 if options.quick else options.epochs, batch_size=64, verbose=0)
    share = model.evaluate(x, y, verbose=0, return_dict=True)["share_below"]
    print(f"{int(model.layers[0].calls.numpy())} calls; {share:.3f} of the values are below the quantile 0.9")

    model.save("polynomial.keras")
    loaded = keras.saving.load_model("polynomial.keras")
    if not np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0)):
        sys.exit("The loaded model predicts otherwise.")
    if loaded.layers[0].degree != 3 or loaded.loss.q != 0.9:
        sys.exit("The loaded model has other options.")
    print(f"Loaded: {loaded.layers[0]}, {type(loaded.loss).__name__}({loaded.loss.q})")
    if not options.quick and abs(share - 0.9) > 0.03:
        sys.exit("A share of 0.9 ± 0.03 was expected.")


if __name__ == "__main__":
    main()
