"""`IndexLookup`: what `StringLookup` and `IntegerLookup` share: a vocabulary, given or learned, and its output modes.

Indices begin with 0 for masked tokens (in the mode `"int"`, where there is a mask token), then those of tokens outside
of the vocabulary, then the vocabulary by frequency.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from fastk import budget
from fastk import config as settings
from fastk.graph import KerasTensor
from fastk.layers.layer import Layer
from fastk.layers.preprocessing.encoding import checked_output_mode, encoded
from fastk.layers.preprocessing.farmhash import buckets
from fastk.layers.preprocessing.lookup_tables import IntegerTable, InverseTable, StringTable
from fastk.layers.preprocessing.strings import as_bytes, integer_array, text_array
from fastk.serialization import in_safe_mode
from fastk.tensor import convert_to_numpy, convert_to_tensor

OUTPUT_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
# The index of tokens that count for nothing: greater than any depth.
DROPPED = np.iinfo(np.int64).max
_VOCABULARY = "vocabulary.txt"


class IndexLookup(Layer):
    """Tokens to indices. The arguments are those of `StringLookup` and `IntegerLookup`."""

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary_dtype: str,
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ):
        output_mode = checked_output_mode(output_mode, OUTPUT_MODES, type(self).__name__)
        _check_arguments(locals())
        super().__init__(name=name)
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False
        self.invert = invert
        self.max_tokens = max_tokens
        budget.take((num_oov_indices,), 16, f"num_oov_indices={num_oov_indices}")
        self.num_oov_indices = num_oov_indices
        self.mask_token = mask_token
        self.oov_token = oov_token
        self.output_mode = output_mode
        self.sparse = sparse
        self.pad_to_max_tokens = pad_to_max_tokens
        self.vocabulary_dtype = vocabulary_dtype
        self.oov_method = oov_method
        self.salt = None if salt is None else [salt, salt] if isinstance(salt, int) else list(salt)
        self._frozen_vocab_size = kwargs.pop("vocabulary_size", None)
        # A file's contents are saved beside the model; its path may mean nothing where that is loaded.
        self.input_vocabulary = None if isinstance(vocabulary, str) else vocabulary
        self.input_idf_weights = idf_weights
        self._has_input_vocabulary = kwargs.pop("has_input_vocabulary", vocabulary is not None)
        for ignored in ("trainable", "dtype"):  # of every layer's configuration; there are no weights
            kwargs.pop(ignored, None)
        if kwargs:
            raise ValueError(f"Unrecognized keyword argument(s): {kwargs}")
        self.idf_weights: Any = None
        self._table: Any = self._make_table([])
        if output_mode == "tf_idf" and self._has_input_vocabulary and idf_weights is None:
            raise ValueError(
                "When specifying the `vocabulary` argument, in TF-IDF output mode, the `idf_weights` argument must "
                "also be provided."
            )
        self._counts: collections.Counter = collections.Counter()
        self._document_counts: collections.Counter = collections.Counter()
        self._num_documents = 0
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    @property
    def _is_text(self) -> bool:
        return self.vocabulary_dtype == "string"

    # ------------------------------------------------------------ the vocabulary

    def _oov_start_index(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    def _token_start_index(self) -> int:
        return self._oov_start_index() + self.num_oov_indices

    def _make_table(self, tokens: list[Any]) -> Any:
        table: Any = InverseTable if self.invert else StringTable if self._is_text else IntegerTable
        return table(tokens, self._token_start_index())

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens by index.

        Args:
            include_special_tokens: whether those of masked and of unknown tokens are in it.
        """
        if not include_special_tokens:
            return list(self._table.tokens)
        special = [self.mask_token] * self._oov_start_index() + [self.oov_token] * self.num_oov_indices
        return [*special, *self._table.tokens]

    def vocabulary_size(self) -> int:
        """The number of indices: tokens, and those for masked and unknown ones."""
        return len(self._table.tokens) + self._token_start_index()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Sets the tokens, and in the mode `"tf_idf"` their weights.

        Args:
            vocabulary: tokens, with the special ones at the start or without any; or the path of a file with one
                a line.
            idf_weights: as many numbers.

        Raises:
            ValueError: tokens that are repeated, too many, or special and out of place.
        """
        if self.output_mode == "tf_idf":
            if idf_weights is None:
                raise ValueError("`idf_weights` must be set if output_mode is 'tf_idf'.")
        elif idf_weights is not None:
            raise ValueError(
                "`idf_weights` should only be set if output_mode is `'tf_idf'`. Received: "
                f"output_mode={self.output_mode} and idf_weights={idf_weights}"
            )
        if isinstance(vocabulary, str):
            self._set_tokens(self._tokens_of_file(vocabulary))
            return
        given = self._as_tokens(vocabulary)
        if not given:
            raise ValueError(f"Cannot set an empty vocabulary. Received: vocabulary={vocabulary}")
        start = self._token_start_index()
        special = [self.mask_token] * self._oov_start_index() + [self.oov_token] * self.num_oov_indices
        tokens = given[start:] if given[:start] == special else given
        self._check_tokens(tokens, special)
        self._set_tokens(tokens)
        if self.output_mode == "tf_idf":
            self._set_weights(given, tokens, idf_weights)

    def _as_tokens(self, vocabulary: Any) -> list[Any]:
        if self._is_text:
            return text_array(vocabulary, getattr(self, "encoding", "utf-8")).ravel().tolist()
        return integer_array(vocabulary).ravel().tolist()

    def _check_tokens(self, tokens: list[Any], special: list[Any]) -> None:
        repeated = [token for token, count in collections.Counter(tokens).items() if count > 1]
        if repeated:
            raise ValueError(
                "The passed vocabulary has at least one repeated term. Please uniquify your dataset. The repeated "
                f"terms are: {repeated}"
            )
        unwanted = {"mask": self.mask_token, "OOV": self.oov_token if self.invert else None}
        for kind, token in unwanted.items():
            if token is not None and token in tokens:
                raise ValueError(
                    f"Found reserved {kind} token at unexpected location in `vocabulary`. Note that passed "
                    "`vocabulary` does not need to include the OOV and mask tokens. Either remove all mask and OOV "
                    f"tokens, or include them only at the start of the vocabulary in precisely this order: {special}. "
                    f"Received: {kind.lower()}_token={token} at index {tokens.index(token)} of the other tokens"
                )
        size = self._token_start_index() + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                "Attempted to set a vocabulary larger than the maximum vocab size. Received vocabulary size is "
                f"{size}; `max_tokens` is {self.max_tokens}."
            )

    def _tokens_of_file(self, path: str) -> list[Any]:
        if in_safe_mode():
            raise ValueError(
                "Requested the loading of a vocabulary file outside of the model archive. This carries a potential "
                "risk of loading arbitrary and sensitive files and thus it is disallowed by default. If you trust the "
                "source of the artifact, you can override this error by passing `safe_mode=False` to the loading "
                f"function, or calling `keras.config.enable_unsafe_deserialization()`. Vocabulary file: '{path}'"
            )
        if not os.path.exists(path):
            raise ValueError(f"Vocabulary file {path} does not exist.")
        if self.output_mode == "tf_idf":
            raise ValueError("output_mode `'tf_idf'` does not support loading a vocabulary from file.")
        return self._read_tokens(path)

    def _read_tokens(self, path: str) -> list[Any]:
        with open(path, encoding=getattr(self, "encoding", "utf-8"), newline="\n") as file:
            lines = file.read().replace("\r\n", "\n").split("\n")
        while lines and lines[-1] == "":
            lines.pop()
        return lines if self._is_text else [int(line) for line in lines]

    def _set_tokens(self, tokens: list[Any]) -> None:
        table = self._make_table(tokens)
        size = len(tokens) + self._token_start_index()
        fixed = self.output_mode != "int" and not self.pad_to_max_tokens and self._frozen_vocab_size is not None
        if fixed and size != self._frozen_vocab_size:
            raise RuntimeError(
                f"When using `output_mode={self.output_mode}` and `pad_to_max_tokens=False`, the vocabulary size "
                f"cannot be changed after the layer is called. Old vocab size is {self._frozen_vocab_size}, new vocab "
                f"size is {size}"
            )
        self._table = table
        self._frozen_vocab_size = size

    def _set_weights(self, given: list[Any], tokens: list[Any], weights: Any) -> None:
        weights = np.asarray(convert_to_numpy(weights))
        if len(given) != len(weights):
            raise ValueError(
                "`idf_weights` must be the same length as vocabulary. len(idf_weights) is "
                f"{len(weights)}; len(vocabulary) is {len(given)}"
            )
        if weights.ndim != 1:
            raise ValueError(f"TF-IDF data must be a 1-index array. Received: shape {weights.shape}")
        if given is tokens:  # no special ones among them: unknown tokens weigh as much as the mean
            weights = np.concatenate((np.full(self._token_start_index(), np.average(weights)), weights))
        self._keep_weights(weights)

    def _keep_weights(self, weights: np.ndarray) -> None:
        if self.pad_to_max_tokens and self.max_tokens is not None:
            weights = np.pad(weights, (0, self.max_tokens - len(weights)))
        self.idf_weights = convert_to_tensor(weights, dtype=settings.floatx())

    # ------------------------------------------------------------ learning

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Makes the vocabulary of the tokens in `data`: the most frequent first, of equally frequent ones the greatest.

        Args:
            data: an array or lists of tokens, a sample a row; or anything that yields batches of them.
            steps: how many batches are taken, by default all.
        """
        self.reset_state()
        for batch in batches_of(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Counts the tokens of a batch."""
        if self._has_input_vocabulary:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` argument or "
                "`set_vocabulary()` method."
            )
        rows = self._tokens_of_rows(data)
        for row in rows:
            self._counts.update(row)
            if self.output_mode == "tf_idf":
                self._document_counts.update(set(row))
        self._num_documents += len(rows)

    def _tokens_of_rows(self, data: Any) -> list[list[Any]]:
        """The tokens of each sample; `data` of one axis is one sample. Rows of unequal length may be given as lists."""
        if isinstance(data, list) and data and all(isinstance(row, list) for row in data):
            return [self._as_tokens(row) if row else [] for row in data]
        array = text_array(data, getattr(self, "encoding", "utf-8")) if self._is_text else integer_array(data)
        return array.reshape(1, -1).tolist() if array.ndim < 2 else array.reshape(len(array), -1).tolist()

    def finalize_state(self) -> None:
        """Makes the vocabulary of what was counted."""
        if self._has_input_vocabulary or not self._counts:
            self._set_tokens(self._table.tokens)
            return
        for special in (self.mask_token, self.oov_token):
            self._counts.pop(special, None)

        def rank(token: Any) -> tuple:
            return self._counts[token], token.encode() if isinstance(token, str) else token

        tokens = sorted(self._counts, key=rank, reverse=True)
        if self.max_tokens:
            tokens = tokens[: self.max_tokens - self._token_start_index()]
        weights = None
        if self.output_mode == "tf_idf":
            documents = np.array([self._document_counts[token] for token in tokens])
            weights = np.log(1 + self._num_documents / (1 + documents)).astype(settings.floatx())
            weights = np.concatenate((np.full(self._token_start_index(), weights.mean()), weights))
        self._set_tokens(tokens)
        if weights is not None:
            self._keep_weights(weights)
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets what was counted; the vocabulary stays."""
        self._counts.clear()
        self._document_counts.clear()
        self._num_documents = 0

    # ------------------------------------------------------------ calls

    def call(self, inputs: Any) -> Any:
        """The indices of tokens, or the tokens of indices."""
        self._require_vocabulary()
        if self.invert:
            return self._tokens_of(inputs)
        if self._is_text:
            indices = convert_to_tensor(self._indices_of_text(text_array(inputs, getattr(self, "encoding", "utf-8"))))
        else:
            indices = self._indices_of_integers(convert_to_tensor(inputs).to(torch.int64))
        return self._encoded(indices)

    def _require_vocabulary(self) -> None:
        if self.output_mode != "int" and not self.pad_to_max_tokens and self._frozen_vocab_size is None:
            raise RuntimeError(
                f"When using `output_mode={self.output_mode}` and `pad_to_max_tokens=False`, you must set the layer's "
                "vocabulary before calling it. Either pass a `vocabulary` argument to the layer, or call `adapt` with "
                "some sample data."
            )

    def _encoded(self, indices: torch.Tensor) -> torch.Tensor:
        if self.output_mode == "int":
            return indices
        depth: Any = self.max_tokens if self.pad_to_max_tokens else self._frozen_vocab_size
        if self.output_mode != "tf_idf":
            return encoded(indices, self.output_mode, depth, "int64")
        if self.idf_weights is None:
            raise ValueError("When `output_mode` is `'tf_idf'`, `idf_weights` must be provided.")
        counts = encoded(indices, "count", depth, settings.floatx())
        return counts * self.idf_weights.to(counts.device)

    def _mask_index(self) -> int:
        return 0 if self.output_mode == "int" else DROPPED

    def _indices_of_text(self, tokens: np.ndarray) -> np.ndarray:
        default = self._oov_start_index() if self.num_oov_indices == 1 else -1
        indices = self._table.indices(tokens, default)
        masked = np.zeros(tokens.shape, bool)
        if self.mask_token is not None:
            masked = np.asarray(tokens == self.mask_token, dtype=bool)
            indices = np.where(masked, self._mask_index(), indices)
        if self.num_oov_indices != 1:
            unknown = np.asarray(indices == -1) & ~masked
            if unknown.any():
                self._refuse_unknown(tokens[unknown])
                found = buckets(as_bytes(tokens[unknown].tolist()), self.num_oov_indices, self.salt)
                indices = np.array(indices)
                indices[unknown] = found + self._oov_start_index()
        return indices

    def _indices_of_integers(self, tokens: torch.Tensor) -> torch.Tensor:
        default = self._oov_start_index() if self.num_oov_indices == 1 else -1
        indices = self._table.indices(tokens, default)
        if self.mask_token is not None:
            indices = torch.where(tokens == self.mask_token, self._mask_index(), indices)
        if self.num_oov_indices == 1 or tokens.is_meta:
            return indices
        if self.num_oov_indices == 0:
            unknown = tokens[indices == -1]
            if len(unknown):
                self._refuse_unknown(unknown.tolist())
            return indices
        if self.oov_method == "floormod":
            found = torch.remainder(tokens, self.num_oov_indices)
        else:
            flat = as_bytes(tokens.flatten().tolist())
            found = convert_to_tensor(buckets(flat, self.num_oov_indices, self.salt)).to(tokens.device).view_as(tokens)
        return torch.where(indices == -1, found + self._oov_start_index(), indices)

    def _refuse_unknown(self, tokens: Any) -> None:
        if self.num_oov_indices == 0:
            raise ValueError(
                "When `num_oov_indices=0` all inputs should be in vocabulary, found OOV values "
                f"{list(tokens)[:10]}, consider setting `num_oov_indices=1`."
            )

    def _tokens_of(self, inputs: Any) -> Any:
        if not self._is_text:
            indices = convert_to_tensor(inputs).to(torch.int64)
            tokens = self._table.integers(indices, self.oov_token)
            return tokens if self.mask_token is None else torch.where(indices == 0, self.mask_token, tokens)
        places = integer_array(inputs)
        strings = self._table.strings(places, self.oov_token)
        if self.mask_token is not None:
            strings = np.where(places == 0, self.mask_token, strings)
        return np.asarray(strings, dtype=object)

    # ------------------------------------------------------------ shapes, configuration, files

    @property
    def compute_dtype(self) -> str:
        """The dtype of the tokens."""
        return self.vocabulary_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of the tokens."""
        return self.vocabulary_dtype

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The indices' shape, or that with an axis of the vocabulary."""
        if self.output_mode == "int":
            return input_shape
        depth = self.max_tokens if self.pad_to_max_tokens else self._frozen_vocab_size
        shape = tuple(input_shape)
        if self.output_mode == "one_hot":
            return (*shape[:-1], depth) if len(shape) > 1 and shape[-1] == 1 else (*shape, depth)
        return (*shape[:-1], depth)

    def compute_output_spec(self, inputs: Any) -> KerasTensor:
        """A KerasTensor like the outputs."""
        dtype = settings.floatx()
        if self.output_mode == "int":
            dtype = self.vocabulary_dtype if self.invert else "int64"
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "invert": self.invert,
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token,
            "mask_token": self.mask_token,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "vocabulary_dtype": self.vocabulary_dtype,
            "idf_weights": listed(self.input_idf_weights),
            "vocabulary": listed(self.input_vocabulary),
            "vocabulary_size": self._frozen_vocab_size,
            "oov_method": self.oov_method,
            "salt": self.salt,
        }

    def get_build_config(self) -> dict[str, Any]:
        """Nothing: the layer has no shape."""
        return {}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Marks the layer as built."""
        self.build(None)

    def save_own_variables(self, store: Any) -> None:
        """Puts the weights of tokens into `store`."""
        if self.output_mode == "tf_idf":
            store["idf_weights"] = convert_to_numpy(self.idf_weights)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` put into `store`."""
        if self.output_mode == "tf_idf":
            self.idf_weights = convert_to_tensor(np.asarray(store["idf_weights"]))

    def save_assets(self, dir_path: str) -> None:
        """Writes the vocabulary to `vocabulary.txt`, unless the configuration has it."""
        if self.input_vocabulary is not None:
            return
        with open(os.path.join(dir_path, _VOCABULARY), "w", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(map(str, self.get_vocabulary())))

    def load_assets(self, dir_path: str) -> None:
        """Reads what `save_assets` wrote."""
        if self.input_vocabulary is not None:
            return
        tokens = self._read_tokens(os.path.join(dir_path, _VOCABULARY))
        weights = convert_to_numpy(self.idf_weights) if self.output_mode == "tf_idf" else None
        if weights is not None:
            weights = weights[: len(tokens)]  # without what they are padded with
        self.set_vocabulary(tokens, idf_weights=weights)


def _check_arguments(given: dict[str, Any]) -> None:
    """Raises `ValueError` for arguments of `IndexLookup` that contradict each other."""
    max_tokens, mode, salt = given["max_tokens"], given["output_mode"], given["salt"]
    if max_tokens is not None and max_tokens <= 1:
        raise ValueError(f"If set, `max_tokens` must be greater than 1. Received: max_tokens={max_tokens}")
    if given["pad_to_max_tokens"] and max_tokens is None:
        raise ValueError(f"If pad_to_max_tokens is True, must set `max_tokens`. Received: max_tokens={max_tokens}")
    if given["num_oov_indices"] < 0:
        raise ValueError(
            "`num_oov_indices` must be greater than or equal to 0. Received: "
            f"num_oov_indices={given['num_oov_indices']}"
        )
    if given["oov_method"] not in ("floormod", "farmhash"):
        raise ValueError(
            "Unknown value for `oov_method` argument. Expected one of ('floormod', 'farmhash'). Received: "
            f"oov_method={given['oov_method']}"
        )
    if salt is not None:
        if given["vocabulary_dtype"] != "string" and given["oov_method"] != "farmhash":
            raise ValueError(
                f"`salt` can only be used when `oov_method='farmhash'`. Received: oov_method={given['oov_method']}"
            )
        if not isinstance(salt, int) and not (isinstance(salt, (tuple, list)) and len(salt) == 2):
            raise ValueError(
                "The `salt` argument for `IndexLookup` can only be a tuple of 2 integers, or a single integer. "
                f"Received: salt={salt}."
            )
    if given["invert"] and mode != "int":
        raise ValueError(f"`output_mode` must be `'int'` when `invert` is true. Received: output_mode={mode}")
    if given["sparse"] and mode == "int":
        raise ValueError(
            "`sparse` may only be true if `output_mode` is `'one_hot'`, `'multi_hot'`, `'count'` or `'tf_idf'`. "
            f"Received: sparse={given['sparse']} and output_mode={mode}"
        )
    if given["idf_weights"] is not None and mode != "tf_idf":
        raise ValueError(
            "`idf_weights` should only be set if `output_mode` is `'tf_idf'`. Received: "
            f"idf_weights={given['idf_weights']} and output_mode={mode}"
        )


def batches_of(data: Any, steps: int | None = None) -> Iterator[Any]:
    """The batches in what `adapt` is given: an array or a list is one of samples; else each that is yielded.

    Of what is yielded as `(x, y)`, `x` is taken.
    """
    if isinstance(data, (str, bytes)):
        data = [data]
    if isinstance(data, (list, tuple, np.ndarray, torch.Tensor)):
        yield _as_samples(data)
        return
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__"):
        data = (data[i] for i in range(len(data)))
    if not isinstance(data, Iterable):
        raise TypeError(
            f"Unsupported data type: {type(data)}. `adapt` takes arrays, tensors, lists, and anything that yields "
            "batches of them."
        )
    for i, batch in enumerate(data):
        if steps is not None and i >= steps:
            return
        yield _features(batch)


def _features(batch: Any) -> Any:
    """The inputs among what a data set yields: of a tuple, or of a `DataLoader`'s list with tensors, the first."""
    if not isinstance(batch, (tuple, list)) or not batch or isinstance(batch[0], (str, bytes)):
        return batch
    several = isinstance(batch, tuple) or any(isinstance(x, torch.Tensor) for x in batch)
    return batch[0] if several and (isinstance(batch[0], (tuple, list)) or np.ndim(batch[0]) > 0) else batch


def _as_samples(data: Any) -> Any:
    """One axis of tokens as samples of one token each; lists of lists stay, as their lengths may differ."""
    if isinstance(data, (list, tuple)):
        scalar = not data or isinstance(data[0], (str, bytes)) or np.ndim(data[0]) == 0
        return [[x] for x in data] if scalar else list(data)
    return data.reshape(-1, 1) if data.ndim == 1 else data


def listed(x: Any) -> Any:
    """Arrays and tensors as lists, for configurations."""
    x = convert_to_numpy(x) if isinstance(x, torch.Tensor) else x
    return x.tolist() if isinstance(x, np.ndarray) else x
