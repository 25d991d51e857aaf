"""Files of weights in Keras's old format, written here by h5py as the format says."""

import h5py
import numpy as np
import pytest

import fastk
from fastk import layers
from fastk.errors import FileFormatError, FileMissing


def net():
    """A layer of each kind that matters: plain, normalizing, a model in the model, one without weights."""
    nested = fastk.Sequential([layers.BatchNormalization(name="norm"), layers.Dense(2, name="last")], name="nested")
    stack = [layers.Dense(4, name="first"), layers.ReLU(), nested, layers.Dense(1, use_bias=False, name="end")]
    model = fastk.Sequential([fastk.Input((3,)), *stack])
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(w.shape).astype("float32") for w in model.weights])
    return model


# In old files the trainable weights of a nested model come before the others, whatever layer they are of.
NAMES = {
    "first": ["first/kernel:0", "first/bias:0"],
    "re_lu": [],
    "nested": ["norm/gamma:0", "norm/beta:0", "last/kernel:0", "last/bias:0", "norm/mean:0", "norm/variance:0"],
    "end": ["end/kernel:0"],
}


@pytest.fixture
def values(rng):
    shapes = {"first": [(3, 4), (4,)], "nested": [(4,), (4,), (4, 2), (2,), (4,), (4,)], "end": [(2, 1)], "re_lu": []}
    return {name: [rng.standard_normal(shape).astype("float32") for shape in s] for name, s in shapes.items()}


def write(path, values, root=None, split=False, names=NAMES):
    with h5py.File(path, "w") as file:
        group = file if root is None else file.create_group(root)
        order = [name.encode() for name in names]
        for key, part in {"layer_names0": order[:2], "layer_names1": order[2:]}.items() if split else (
            ("layer_names", order),
        ):  # fmt: skip
            group.attrs[key] = part
        for name, weights in names.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, value in zip(weights, values[name], strict=True):
                layer.create_dataset(weight, data=value)
    return path


def holds(model, values):
    nested = model.get_layer("nested")
    found = {
        "first": model.get_layer("first").get_weights(),
        "nested": [w.numpy() for w in nested.trainable_weights + nested.non_trainable_weights],
        "end": model.get_layer("end").get_weights(),
    }
    for name, arrays in found.items():
        for a, b in zip(arrays, values[name], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{}, {"root": "model_weights"}, {"split": True}])
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("ending", ["h5", "hdf5"])
def test_weights_are_loaded(tmp_path, values, options, by_name, ending):
    model = net()
    model.load_weights(write(tmp_path / f"x.{ending}", values, **options), by_name=by_name)
    holds(model, values)


def test_order_alone_counts_without_by_name(tmp_path, values):
    renamed = {name: f"other_{name}" for name in NAMES}
    path = write(
        tmp_path / "x.h5",
        {renamed[name]: arrays for name, arrays in values.items()},
        names={renamed[name]: weights for name, weights in NAMES.items()},
    )
    model = net()
    model.load_weights(path)
    holds(model, values)


def test_by_name_leaves_other_layers_alone(tmp_path, values):
    model, before = net(), net()
    some = {"first": NAMES["first"], "elsewhere": ["w:0"]}
    path = write(tmp_path / "x.h5", {**values, "elsewhere": [np.ones(3)]}, names=some)
    model.load_weights(path, by_name=True)
    holds(model, {"first": values["first"], **{n: held(before, n) for n in ("nested", "end")}})


def held(model, name):
    layer = model.get_layer(name)
    return [w.numpy() for w in layer.trainable_weights + layer.non_trainable_weights]


def test_weights_of_the_model_itself(tmp_path):
    class Scaled(fastk.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1, use_bias=False, name="dense")
            self.scale = self.add_weight(shape=(2,), name="scale")

        def call(self, x):
            return self.dense(x * self.scale)

    model = Scaled()
    model(np.ones((1, 2), "float32"))
    path = write(tmp_path / "x.h5", {"dense": [np.ones((2, 1))]}, names={"dense": ["dense/kernel:0"]})
    with h5py.File(path, "a") as file:
        group = file.create_group("top_level_model_weights")
        group.attrs["weight_names"] = [b"scale:0"]
        group["scale:0"] = np.array([3.0, 4.0], "float32")
    model.load_weights(path)
    np.testing.assert_array_equal(model.scale.numpy(), [3.0, 4.0])


def changed(values, name, index, array):
    return {**values, name: [array if i == index else value for i, value in enumerate(values[name])]}


@pytest.mark.parametrize("by_name", [False, True])
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, values, by_name):
    model = net()
    path = write(tmp_path / "x.h5", changed(values, "end", 0, np.zeros((5, 1), "float32")))
    says = r"Shape mismatch in layer #\d \(named end.* weight .*end/kernel.*\(2, 1\).*\(5, 1\)"
    with pytest.raises(ValueError, match=says):
        model.load_weights(path, by_name=by_name)
    holds(model, {name: held(net(), name) for name in ("first", "nested", "end")})
    with pytest.warns(UserWarning, match=r"Skipping loading of weights: Shape mismatch"):
        model.load_weights(path, by_name=by_name, skip_mismatch=True)
    holds(model, {**values, "end": held(net(), "end")})


def test_numbers_of_layers_and_weights_are_compared(tmp_path, values):
    fewer = {name: weights for name, weights in NAMES.items() if name != "end"}
    with pytest.raises(ValueError, match=r"expected 3 layers, found 2 saved layers.*by_name=True"):
        net().load_weights(write(tmp_path / "x.h5", values, names=fewer))
    one = {**NAMES, "first": NAMES["first"][:1]}
    path = write(tmp_path / "y.h5", {**values, "first": values["first"][:1]}, names=one)
    with pytest.raises(ValueError, match=r"Weight count mismatch for layer #0 \(named first.*expects 2.*Received 1"):
        net().load_weights(path)
    with pytest.warns(UserWarning, match="Weight count mismatch"):
        net().load_weights(path, by_name=True, skip_mismatch=True)


def test_damaged_and_foreign_files_are_refused(tmp_path, values):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(FileFormatError, match="not a readable HDF5 file"):
        net().load_weights(tmp_path / "text.h5")
    with pytest.raises(FileMissing, match="File not found"):
        net().load_weights(tmp_path / "nowhere.h5")
    new = tmp_path / "new.weights.h5"
    net().save_weights(new)
    with pytest.raises(FileFormatError, match=r"no attribute `layer_names`.*\.weights\.h5"):
        net().load_weights(new.rename(tmp_path / "new.h5"))
    path = write(tmp_path / "linked.h5", values)
    with h5py.File(path, "a") as file:
        del file["end/end/kernel:0"]
        file["end/end/kernel:0"] = h5py.ExternalLink("elsewhere.h5", "x")
    with pytest.raises(FileFormatError, match="ExternalLink, which could lead anywhere"):
        net().load_weights(path)
    path = write(tmp_path / "short.h5", values)
    with h5py.File(path, "a") as file:
        del file["end"]
    with pytest.raises(FileFormatError, match=r"no group '.*end', which holds weights"):
        net().load_weights(path)
