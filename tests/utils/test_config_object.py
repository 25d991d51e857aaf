"""`Config`."""

import copy
import json

import pytest

from fastk.utils import Config


def test_values_are_attributes_and_items():
    config = Config(a=1)
    config.b = 2
    config["c"] = 3
    assert (config.a, config["b"], config.get("c"), config.get("d", 4)) == (1, 2, 3, 4)
    assert list(config) == ["a", "b", "c"] and len(config) == 3 and "a" in config
    assert dict(config.items()) == config.as_dict() == json.loads(config.to_json())
    assert list(config.keys()) == ["a", "b", "c"] and list(config.values()) == [1, 2, 3]
    assert config.pop("a") == 1
    config.update({"b": 5}, e=6)
    del config["c"]
    assert repr(config) == "<Config {'b': 5, 'e': 6}>"
    duplicate = copy.deepcopy(config)
    duplicate.b = 0
    assert config.b == 5


def test_near_names_are_named():
    with pytest.raises(AttributeError, match=r"Unknown attribute: 'lerning_rate'\. Did you mean `learning_rate`"):
        _ = Config(learning_rate=1).lerning_rate


def test_a_frozen_one_refuses_changes():
    config = Config(a=1)
    config.freeze()
    assert config.frozen
    for change in (
        lambda: setattr(config, "a", 2),
        lambda: config.update(a=2),
        lambda: config.pop("a"),
        lambda: config.__setitem__("a", 2),
        lambda: config.__delitem__("a"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            change()
    config.unfreeze()
    config.a = 2
    assert config.a == 2


def test_names_of_its_own_are_items_alone():
    config = Config()
    with pytest.raises(AttributeError, match=r"config\['keys'\]"):
        setattr(config, "keys", 1)  # noqa: B010 - a type checker sees the method
    config["keys"] = 1
    assert config["keys"] == 1
