import numpy as np
import pytest
import torch

import fastk as keras
from fastk import layers

TEXTS = ["The cat sat.", "the dog SAT on the cat!", "A dog"]


def test_standardize_split_and_pad():
    layer = layers.TextVectorization()
    layer.adapt(TEXTS)
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "sat", "dog", "cat", "on", "a"]
    outputs = layer(["the bird sat", "Dog"])
    assert outputs.tolist() == [[2, 1, 3], [4, 0, 0]] and outputs.dtype is torch.int64
    assert layer(np.array([["the bird sat"], ["Dog"]])).tolist() == outputs.tolist()
    assert layer("the bird sat").tolist() == [2, 1, 3]


@pytest.mark.parametrize(("length", "expected"), [(2, [[2, 1], [4, 0]]), (4, [[2, 1, 3, 0], [4, 0, 0, 0]])])
def test_output_sequence_length(length, expected):
    layer = layers.TextVectorization(output_sequence_length=length)
    layer.adapt(TEXTS)
    assert layer(["the bird sat", "dog"]).tolist() == expected
    assert layer.compute_output_shape((None, 1)) == (None, length)


@pytest.mark.parametrize(
    ("options", "text", "tokens"),
    [
        ({"standardize": None}, "The cat's.", ["The", "cat's."]),
        ({"standardize": "lower"}, "The cat's.", ["the", "cat's."]),
        ({"standardize": "strip_punctuation"}, "The cat's.", ["The", "cats"]),
        ({"standardize": "lower"}, "É A", ["É", "a"]),  # of ASCII alone, as TensorFlow does
        ({"split": "character"}, "añ b", ["a", "ñ", " ", "b"]),
        ({"split": "whitespace"}, " a\tb\n\nc ", ["a", "b", "c"]),
        ({"split": None}, "a b", ["a b"]),
        ({"ngrams": 2}, "a b c", ["a", "b", "c", "a b", "b c"]),
        ({"ngrams": (2, 3)}, "a b c", ["a b", "b c", "a b c"]),
        ({"ngrams": 2}, "a", ["a"]),
        ({"standardize": lambda x: np.char.replace(x, "-", " ")}, "a-b", ["a", "b"]),
        ({"standardize": None, "split": lambda x: [text.split(",") for text in x]}, "a b,c", ["a b", "c"]),
    ],
)
def test_tokens(options, text, tokens):
    layer = layers.TextVectorization(vocabulary=[*dict.fromkeys(tokens)], **options)
    inverse = layer.get_vocabulary()
    assert [inverse[i] for i in layer([[text]])[0].tolist()] == tokens


@pytest.mark.parametrize("mode", ["multi_hot", "count", "tf_idf"])
def test_vectors(mode):
    layer = layers.TextVectorization(output_mode=mode)
    layer.adapt(TEXTS)
    vocabulary = layer.get_vocabulary()
    assert vocabulary[0] == "[UNK]", "there is no padding"
    counts = np.zeros((2, len(vocabulary)))
    for row, text in enumerate(["the the bird", "dog"]):
        for word in text.split():
            counts[row, vocabulary.index(word) if word in vocabulary else 0] += 1
    outputs = layer(["the the bird", "dog"]).numpy()
    if mode == "multi_hot":
        expected = counts > 0
    elif mode == "count":
        expected = counts
    else:
        documents = np.array([sum(w in t.lower().strip(".!").split() for t in TEXTS) for w in vocabulary[1:]])
        idf = np.log(1 + 3 / (1 + documents))
        expected = counts * np.concatenate(([idf.mean()], idf))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_a_model_that_takes_text_learns_and_is_saved(tmp_path):
    texts = np.array(["good movie", "bad movie", "good good film", "bad bad film"] * 10)
    labels = np.array([1, 0, 1, 0] * 10)
    vectorize = layers.TextVectorization(max_tokens=20, output_sequence_length=4)
    vectorize.adapt(texts)
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            vectorize,
            layers.Embedding(20, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(texts, labels, epochs=10, verbose=0)
    assert history.history["accuracy"][-1] == 1.0
    assert any("strings" in reason for reason in model._steps["train"].reasons)
    assert model.evaluate(texts, labels, verbose=0)[1] == 1.0
    expected = model.predict(texts, verbose=0)
    np.testing.assert_array_equal(model.predict(texts.tolist(), verbose=0), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(texts, verbose=0), expected)


def test_text_beside_numbers():
    inputs = {"word": keras.Input((1,), dtype="string", name="word"), "size": keras.Input((1,), name="size")}
    one_hot = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(inputs["word"])
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([one_hot, inputs["size"]])))
    model.compile("sgd", "mse")
    data = {"word": np.array([["a"], ["b"], ["z"], ["a"]]), "size": np.ones((4, 1), "float32")}
    model.fit(data, np.zeros((4, 2)), batch_size=2, verbose=0)
    assert model.predict(data, verbose=0).shape == (4, 2)
    with pytest.raises(ValueError, match="Invalid input shape for input 'word'"):
        model({"word": np.full((4, 2, 2), "a"), "size": np.ones((4, 1))})


def test_configuration():
    layer = layers.TextVectorization(max_tokens=9, ngrams=(1, 2), output_mode="count", vocabulary=["a", "b c"])
    clone = layers.TextVectorization.from_config(layer.get_config())
    assert clone.get_config() == layer.get_config()
    np.testing.assert_array_equal(clone(["a b c"]), layer(["a b c"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"standardize": "upper"}, "`standardize`.*Allowed values"),
        ({"split": "words"}, "`split`.*Allowed values"),
        ({"ngrams": 1.5}, "`ngrams` must be None, an integer"),
        ({"output_mode": "count", "output_sequence_length": 3}, "must not be set if `output_mode` is not 'int'"),
        ({"output_sequence_length": "3"}, "`output_sequence_length` must be either None or an integer"),
        ({"ragged": True}, "rows are padded with 0"),
        ({"sparse": True}, "outputs are dense"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layers.TextVectorization(**options)


def test_text_of_a_wrong_rank_is_refused():
    with pytest.raises(ValueError, match="last shape dimension must be 1"):
        layers.TextVectorization(vocabulary=["a"])([["a", "b"]])
