"""Where variables lie in a file, compared with where Keras puts them."""

import json

import pytest

import fastk


@pytest.mark.parametrize("name", ("every_layer", "nested", "subclassed", "functional_subclass"))
def test_paths_are_those_of_keras(name, golden, zoo, tmp_path):
    path = tmp_path / "model.weights.h5"
    getattr(zoo, name)(fastk).save_weights(path)
    assert zoo.layout(path) == json.loads((golden / "paths.json").read_text())[name]


def test_a_layer_in_two_places_is_stored_at_the_first_and_a_cycle_ends(zoo, tmp_path):
    class Owner(fastk.layers.Layer):
        def __init__(self):
            super().__init__()
            self.b = fastk.layers.Dense(2)
            self.a = [self.b]
            self.b.build((None, 3))
            self.built = True
            object.__setattr__(self.b, "owner", self)

    owner = Owner()
    fastk.saving.save_weights(owner, tmp_path / "x.weights.h5")
    found = zoo.layout(tmp_path / "x.weights.h5")
    assert [key for key, value in found.items() if value] == ["a/dense/vars/0", "a/dense/vars/1"]
    fastk.saving.load_weights(owner, tmp_path / "x.weights.h5")


def test_names_that_torch_gives_to_layers_in_lists_are_no_paths(zoo, tmp_path):
    class Owner(fastk.layers.Layer):
        def __init__(self):
            super().__init__()
            self.towers = [fastk.layers.Dense(2, name="a"), fastk.layers.Dense(2, name="a")]

        def build(self, shape):
            for layer in self.towers:
                layer.build(shape)

    owner = Owner()
    owner.build((None, 3))
    assert {"a", "a_"} == set(dict(owner.named_children()))
    fastk.saving.save_weights(owner, tmp_path / "x.weights.h5")
    groups = {key.rsplit("/vars", 1)[0] for key, value in zoo.layout(tmp_path / "x.weights.h5").items() if value}
    assert groups == {"towers/dense", "towers/dense_1"}
