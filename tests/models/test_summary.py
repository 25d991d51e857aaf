"""The table that `summary` prints."""

import numpy as np
import pytest

import fastk

layers = fastk.layers

GUIDE_STACK = """\
Model: "sequential"
_________________________________________________________________
 Layer (type)                Output Shape              Param #   
=================================================================
 dense (Dense)               (None, 128)               100480    
                                                                 
 dropout (Dropout)           (None, 128)               0         
                                                                 
 dense_1 (Dense)             (None, 10)                1290      
                                                                 
=================================================================
Total params: 101770 (397.54 KB)
Trainable params: 101770 (397.54 KB)
Non-trainable params: 0 (0.00 Byte)
_________________________________________________________________"""


def text_of(model, **options):
    texts = []
    model.summary(print_fn=texts.append, **options)
    (text,) = texts
    return text


def table_of(text):
    """The lines between the title and the totals."""
    return text.split("\n")[1:-4]


def stack():
    return fastk.Sequential(
        [
            fastk.Input((784,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def graph():
    a, b = fastk.Input((8,), name="a"), fastk.Input((8,), name="b")
    shared = layers.Dense(4, name="shared")
    both = layers.Concatenate(name="both")([shared(a), shared(b) * 2.0])
    return fastk.Model([a, b], layers.Dense(1, name="out")(both), name="graph")


def test_a_stack_looks_as_in_the_guide(capsys):
    model = stack()
    assert text_of(model) == GUIDE_STACK
    model.summary()
    assert capsys.readouterr().out == GUIDE_STACK + "\n"


def test_a_graph_names_what_is_connected():
    rows = [line for line in table_of(text_of(graph())) if line.strip(" =_")]
    cells = {row.split(" (")[0].strip(): row for row in rows}
    assert rows[0].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#", "Connected", "to"]
    assert (
        cells["a"].split("  ")[0] == " a (InputLayer)"
        and "[(None, 8)]" in cells["a"]
        and cells["a"].rstrip().endswith("[]")
    )
    assert cells["shared"].rstrip().endswith("['a[0][0]', 'b[0][0]']") and " 36 " in cells["shared"]
    assert cells["both"].rstrip().endswith("['shared[0][0]', 'multiply[0][0]']")
    assert len({len(line) for line in table_of(text_of(graph()))}) == 1


def test_a_chain_of_functions_needs_no_connections():
    x = fastk.Input((3,))
    model = fastk.Model(x, layers.Dense(2)(layers.Dense(4)(x)))
    assert "Connected" not in text_of(model) and "[(None, 3)]" in text_of(model)


def test_shared_layers_are_counted_once():
    assert "Total params: 45 " in text_of(graph())


def test_what_is_not_trained_is_counted_apart():
    model = fastk.Sequential([fastk.Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    model.layers[0].trainable = False
    text = text_of(model, show_trainable=True)
    assert "Total params: 36 (144.00 Byte)" in text
    assert "Trainable params: 8 (32.00 Byte)" in text and "Non-trainable params: 28 (112.00 Byte)" in text
    rows = [line.split()[-1] for line in text.split("\n") if line.startswith((" dense", " batch"))]
    assert rows == ["N", "Y"]


def test_the_optimizer_counts_once_it_is_built():
    model = fastk.Sequential([fastk.Input((2,)), layers.Dense(3)])
    model.compile("adam", "mse")
    assert "Optimizer" not in text_of(model)
    model.fit(np.zeros((4, 2)), np.zeros((4, 3)), verbose=0)
    text = text_of(model)
    assert "Total params: 29 " in text and "Trainable params: 9 " in text and "Optimizer params: 20 " in text


def test_long_names_make_columns_wider_or_wrap():
    name = "a_layer_with_a_name_longer_than_its_column"
    wide = text_of(fastk.Sequential([fastk.Input((4,)), layers.Dense(2, name=name)]))
    assert f" {name} (Dense)" in wide
    longer = "b" * 100
    model = fastk.Sequential([fastk.Input((4,)), layers.Dense(2, name=longer)])
    for text in (wide, text_of(model), text_of(model, line_length=50)):
        assert len({len(line) for line in table_of(text)}) == 1, text
    assert text_of(model).count("b") > 100 - 2 and "(None, 2)" in text_of(model)
    assert len(table_of(text_of(model, line_length=50))[0]) == 50


def test_positions_are_fractions_or_columns():
    model = fastk.Sequential([fastk.Input((4,)), layers.Dense(2)])
    fractions = text_of(model, line_length=100, positions=[0.5, 0.8, 1.0])
    assert fractions == text_of(model, positions=[50, 80, 100])
    assert table_of(fractions)[1].index("Output Shape") == 50
    with pytest.raises(ValueError, match="one entry for each of the 3 columns"):
        text_of(model, positions=[0.5, 1.0])
    with pytest.raises(ValueError, match="at least 4 characters"):
        text_of(model, line_length=8)


def test_models_within_are_expanded_on_request():
    inner = fastk.Sequential([fastk.Input((4,)), layers.Dense(3, name="deep")], name="inner")
    model = fastk.Sequential([fastk.Input((4,)), inner, layers.Dense(2, name="last")])
    assert "deep" not in text_of(model)
    assert "    └ deep (Dense)" in text_of(model, expand_nested=True)
    assert text_of(model).count(" 15 ") == 1


def test_a_range_of_layers():
    model = fastk.Sequential([fastk.Input((4,)), *(layers.Dense(4, name=f"layer_{i}") for i in range(5))])
    text = text_of(model, layer_range=("layer_1", "layer_[23]"))
    assert [i for i in range(5) if f"layer_{i}" in text] == [1, 2, 3]
    assert text_of(model, layer_range=("layer_3", "layer_1")) == text_of(model, layer_range=("layer_1", "layer_3"))
    with pytest.raises(ValueError, match=r"No layer matches.*'layer_4'"):
        text_of(model, layer_range=("other", "layer_1"))
    with pytest.raises(ValueError, match="two names"):
        text_of(model, layer_range=("layer_1",))


class Own(fastk.Model):
    def __init__(self):
        super().__init__(name="own")
        self.first, self.second, self.unused = layers.Dense(4), layers.Dense(2), layers.Dense(1)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 4))

    def call(self, x):
        return self.second(self.first(x))


def test_a_subclass_shows_what_it_knows():
    model = Own()
    text = text_of(model)
    assert text.count("0 (unbuilt)") == 3 and text.count(" ? ") == 3 and "Total params: 0 " in text
    model.build((None, 2))
    text = text_of(model)
    assert (
        "(None, 4)" in text and "(None, 2)" in text and text.count("0 (unbuilt)") == 1 and "Total params: 22 " in text
    )


def test_several_outputs_are_listed():
    class Both(layers.Layer):
        def call(self, x):
            return {"twice": x * 2, "half": x / 2}

    class Holder(fastk.Model):
        def __init__(self):
            super().__init__()
            self.both = Both()

        def call(self, x):
            return self.both(x)["half"]

    x = fastk.Input((3,))
    assert "[(None, 3), (None, 3)]" in text_of(fastk.Model(x, Both()(x)))
    model = Holder()
    model(np.ones((1, 3)))
    assert "Total params: 0 " in text_of(model)


def test_operations_are_rows_without_parameters():
    x = fastk.Input((2,))
    text = text_of(fastk.Model(x, fastk.ops.mean(layers.Dense(4)(x))), show_trainable=True)
    (mean,) = (line for line in text.split("\n") if line.startswith(" mean (Mean)"))
    assert mean.split()[-3:] == ["()", "0", "-"]
