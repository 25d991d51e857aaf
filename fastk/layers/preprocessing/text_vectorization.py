"""`TextVectorization`: text to indices of words, or to vectors of their counts."""

from __future__ import annotations

import itertools
import string
from typing import Any

import numpy as np
import torch

from fastk import config as settings
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import check_dense, checked_output_mode
from fastk.layers.preprocessing.index_lookup import DROPPED, OUTPUT_MODES, batches_of, listed
from fastk.layers.preprocessing.string_lookup import StringLookup
from fastk.layers.preprocessing.strings import text_array
from fastk.serialization import deserialize_keras_object
from fastk.tensor import convert_to_tensor

_STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_SPLIT = ("whitespace", "character")
_STRIP = str.maketrans("", "", string.punctuation)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# What separates words: ASCII's white space, as for TensorFlow; Python's `str.split` knows further characters.
_SPACE = str.maketrans(dict.fromkeys("\t\n\v\f\r", " "))

Rows = list[list[str]]


class TextVectorization(Layer):
    """Text to indices of its words (or characters, or n-grams), or to a vector for each sample.

    A vocabulary is given, or learned by `adapt`. Texts are strings, lists or NumPy arrays of them; one a sample.

    Args:
        max_tokens: the most indices, special ones included; None for any number.
        standardize: `"lower_and_strip_punctuation"`, `"lower"`, `"strip_punctuation"` (of ASCII), None, or a function
            of an array of strings.
        split: `"whitespace"`, `"character"`, None, or a function of an array of strings that returns lists of tokens.
        ngrams: the longest n-gram, or a tuple of lengths.
        output_mode: `"int"`: a row of indices, 0 where it ends, 1 for unknown tokens; `"multi_hot"`, `"count"`,
            `"tf_idf"`: a vector, its first number for unknown tokens; `"one_hot"`: a vector a token.
        output_sequence_length: the rows' length, in the mode `"int"`; by default that of the longest in the batch.
        pad_to_max_tokens: whether vectors have `max_tokens` numbers in any case.
        vocabulary: tokens, or the path of a file with one a line.
        idf_weights: the weights of the tokens, in the mode `"tf_idf"`.
        sparse, ragged: not supported; must be False.
        encoding: that of bytes.
        name: the layer's name.

    >>> import fastk
    >>> layer = fastk.layers.TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["foo bar", "bar baz"])
    >>> layer.get_vocabulary()
    ['', '[UNK]', 'bar', 'foo', 'baz']
    >>> print(layer(["Bar, qux!"]))
    [[2 1 0 0]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ):
        check_dense(sparse)
        if ragged:
            raise ValueError(
                "`ragged=True` can only be used with the TensorFlow backend. Ragged tensors are not supported here: "
                "leave `ragged` out; rows are padded with 0."
            )
        _check_way("standardize", standardize, _STANDARDIZE)
        _check_way("split", split, _SPLIT)
        output_mode = checked_output_mode(output_mode, OUTPUT_MODES, type(self).__name__)
        several = isinstance(ngrams, tuple) and all(isinstance(n, int) for n in ngrams)
        if not (ngrams is None or isinstance(ngrams, int) or several):
            raise ValueError(f"`ngrams` must be None, an integer, or a tuple of integers. Received: ngrams={ngrams}")
        if output_mode == "int" and not (isinstance(output_sequence_length, int) or output_sequence_length is None):
            raise ValueError(
                "`output_sequence_length` must be either None or an integer when `output_mode` is 'int'. Received: "
                f"output_sequence_length={output_sequence_length}"
            )
        if output_mode != "int" and output_sequence_length is not None:
            raise ValueError(
                "`output_sequence_length` must not be set if `output_mode` is not 'int'. Received "
                f"output_sequence_length={output_sequence_length}."
            )
        has_input_vocabulary = kwargs.pop("has_input_vocabulary", vocabulary is not None)
        vocabulary_size = kwargs.pop("vocabulary_size", None)
        super().__init__(name=name, **kwargs)
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False
        self._standardize = standardize
        self._split = split
        self._ngrams_arg = ngrams
        self._output_mode = output_mode
        self._output_sequence_length = output_sequence_length
        self._encoding = encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=output_mode,
            has_input_vocabulary=has_input_vocabulary,
            encoding=encoding,
            vocabulary_size=vocabulary_size,
        )

    # ------------------------------------------------------------ tokens

    def _tokens(self, inputs: Any) -> np.ndarray | Rows:
        """The tokens of each text: rows of unequal lengths, or an array where nothing was split."""
        text = self._standardized(text_array(inputs, self._encoding))
        tokens: np.ndarray | Rows = text if self._split is None else self._separated(text)
        if self._ngrams_arg is None:
            return tokens
        if isinstance(tokens, list):
            return [self._with_ngrams(row) for row in tokens]
        if tokens.ndim < 2:
            return text_array(self._with_ngrams(tokens.reshape(-1).tolist()))
        rows = [self._with_ngrams(row) for row in tokens.reshape(-1, tokens.shape[-1]).tolist()]
        return text_array(rows).reshape(*tokens.shape[:-1], -1)

    def _standardized(self, text: np.ndarray) -> np.ndarray:
        way = self._standardize
        if callable(way):
            return text_array(way(np.asarray(text, dtype=str)), self._encoding)
        flat = text.ravel().tolist()
        if way in ("lower", "lower_and_strip_punctuation"):
            flat = [x.translate(_LOWER) for x in flat]
        if way in ("strip_punctuation", "lower_and_strip_punctuation"):
            flat = [x.translate(_STRIP) for x in flat]
        result = np.empty(len(flat), dtype=object)
        result[:] = flat
        return result.reshape(text.shape)

    def _separated(self, text: np.ndarray) -> np.ndarray | Rows:
        if text.ndim > 1:
            if text.shape[-1] != 1 or text.ndim > 2:
                raise ValueError(
                    "When using `TextVectorization` to tokenize strings, the input rank must be 1 or the last shape "
                    f"dimension must be 1. Received: inputs.shape={text.shape} with rank={text.ndim}"
                )
            text = text[..., 0]
        if callable(self._split):
            return _as_rows(self._split(np.asarray(text, dtype=str)), self._encoding)
        rows = [
            [token for token in x.translate(_SPACE).split(" ") if token] if self._split == "whitespace" else list(x)
            for x in text.reshape(-1).tolist()
        ]
        return rows if text.ndim else text_array(rows[0])

    def _with_ngrams(self, row: list[str]) -> list[str]:
        given: Any = self._ngrams_arg
        widths = range(1, given + 1) if isinstance(given, int) else given
        return [" ".join(row[i : i + n]) for n in widths for i in range(len(row) - n + 1)]

    # ------------------------------------------------------------ the vocabulary

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Makes the vocabulary of the tokens in `data`: the most frequent first.

        Args:
            data: an array or a list of texts; or anything that yields batches of them.
            batch_size: without effect, as in Keras.
            steps: how many batches are taken, by default all.
        """
        self.reset_state()
        for batch in batches_of(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Counts the tokens of a batch of texts."""
        self._lookup_layer.update_state(self._tokens(data))

    def finalize_state(self) -> None:
        """Makes the vocabulary of what was counted."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forgets what was counted; the vocabulary stays."""
        self._lookup_layer.reset_state()

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The tokens by index.

        Args:
            include_special_tokens: whether those of the padding and of unknown tokens are in it.
        """
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """The number of indices."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Sets the tokens, and in the mode `"tf_idf"` their weights: see `StringLookup.set_vocabulary`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights=idf_weights)

    # ------------------------------------------------------------ calls

    def build(self, input_shape: Any = None) -> None:
        """Marks the layer as built: it has no weights."""
        self._lookup_layer.build(None)
        super().build(input_shape)

    def call(self, inputs: Any) -> torch.Tensor:
        """The indices of each text's tokens, or a vector for it."""
        tokens = self._tokens(inputs)
        lookup = self._lookup_layer
        if isinstance(tokens, list):
            width = self._output_sequence_length
            if width is None:
                width = max(map(len, tokens), default=0)
            padding = 0 if self._output_mode == "int" else DROPPED
            indices = np.full((len(tokens), width), padding, dtype=np.int64)
            kept = [row[:width] for row in tokens]
            flat = text_array(list(itertools.chain.from_iterable(kept)))
            lengths = np.array([len(row) for row in kept], dtype=np.int64)
            indices[np.arange(width) < lengths[:, None]] = lookup._indices_of_text(flat)
            if self._output_mode == "int":
                return convert_to_tensor(indices)
            lookup._require_vocabulary()
            return lookup._encoded(convert_to_tensor(indices))
        outputs = lookup.call(tokens)
        if self._output_mode == "int" and self._output_sequence_length is not None:
            outputs = outputs[..., : self._output_sequence_length]
            missing = self._output_sequence_length - outputs.shape[-1]
            outputs = torch.nn.functional.pad(outputs, (0, missing))
        return outputs

    # ------------------------------------------------------------ shapes, configuration, files

    @property
    def compute_dtype(self) -> str:
        """The dtype of the inputs."""
        return "string"

    @property
    def variable_dtype(self) -> str:
        """The dtype of the inputs."""
        return "string"

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(batch, `output_sequence_length`), or (batch, vocabulary)."""
        if self._output_mode == "int":
            return (input_shape[0], self._output_sequence_length)
        if self._split is not None:
            input_shape = (*input_shape, None) if len(input_shape) <= 1 else (*input_shape[:-1], None)
        elif len(input_shape) <= 1:
            input_shape = (*input_shape, 1)
        return self._lookup_layer.compute_output_shape(input_shape)

    def compute_output_spec(self, inputs: Any) -> KerasTensor:
        """A KerasTensor like the outputs."""
        dtype = "int64" if self._output_mode == "int" else settings.floatx()
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        lookup = self._lookup_layer
        return {
            **super().get_config(),
            "max_tokens": lookup.max_tokens,
            "standardize": self._standardize,
            "split": self._split,
            "ngrams": self._ngrams_arg,
            "output_mode": self._output_mode,
            "output_sequence_length": self._output_sequence_length,
            "pad_to_max_tokens": lookup.pad_to_max_tokens,
            "sparse": lookup.sparse,
            "ragged": False,
            "vocabulary": listed(lookup.input_vocabulary),
            "idf_weights": listed(lookup.input_idf_weights),
            "encoding": self._encoding,
            "vocabulary_size": self.vocabulary_size(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer from `get_config`'s result."""
        config = dict(config)
        for name in ("standardize", "split"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name])
        if isinstance(config.get("ngrams"), list):
            config["ngrams"] = tuple(config["ngrams"])
        return cls(**config)

    def save_own_variables(self, store: Any) -> None:
        """Puts the weights of tokens into `store`."""
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` put into `store`."""
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, dir_path: str) -> None:
        """Writes the vocabulary to `vocabulary.txt`, unless the configuration has it."""
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path: str) -> None:
        """Reads what `save_assets` wrote."""
        self._lookup_layer.load_assets(dir_path)


def _check_way(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value is not None and not callable(value) and value not in known:
        raise ValueError(
            f"Unknown value for `{name}` argument of layer TextVectorization. If restoring a model and `{name}` is a "
            f"custom callable, please ensure the callable is registered as a custom object. Allowed values are: "
            f"`None`, a `Callable`, or one of the following values: {known}. Received: {name}={value}"
        )


def _as_rows(tokens: Any, encoding: str) -> np.ndarray | Rows:
    """What a function made of texts: an array, or lists of tokens."""
    if hasattr(tokens, "to_list"):  # a ragged tensor of TensorFlow
        tokens = tokens.to_list()
    elif isinstance(tokens, np.ndarray) and tokens.dtype.kind == "O" and isinstance(next(tokens.flat, None), list):
        tokens = tokens.tolist()  # what NumPy makes of lists of unequal lengths
    if isinstance(tokens, (list, tuple)) and tokens and all(isinstance(row, (list, tuple)) for row in tokens):
        return [text_array(list(row), encoding).tolist() for row in tokens]
    return text_array(tokens, encoding)
