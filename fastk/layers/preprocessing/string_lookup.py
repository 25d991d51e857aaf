"""`StringLookup`: strings to indices, and back."""

from __future__ import annotations

from typing import Any

from fastk.layers.preprocessing.encoding import check_dense
from fastk.layers.preprocessing.index_lookup import IndexLookup


class StringLookup(IndexLookup):
    """Strings to indices of a vocabulary, which is given or learned by `adapt`.

    Inputs are strings, lists or NumPy arrays of them; outputs are tensors, or (with `invert`) NumPy arrays of strings.

    Args:
        max_tokens: the most indices, special ones included; None for any number.
        num_oov_indices: indices for strings that are not in the vocabulary; more than one are chosen by hash; with 0
            such strings are an error.
        mask_token: a string that gets the index 0 (in the mode `"int"`) or counts for nothing (in others).
        oov_token: what unknown indices become, with `invert`.
        vocabulary: strings, or the path of a file with one a line.
        idf_weights: the weights of the strings, in the mode `"tf_idf"`.
        invert: whether to map indices to strings.
        output_mode: `"int"`, `"one_hot"`, `"multi_hot"`, `"count"` or `"tf_idf"`.
        pad_to_max_tokens: whether outputs other than `"int"` have `max_tokens` columns in any case.
        sparse: not supported; must be False.
        encoding: that of bytes.
        name: the layer's name.
        salt: one or two integers: the key of another hash for strings that are not in the vocabulary.

    >>> import fastk
    >>> layer = fastk.layers.StringLookup(vocabulary=["a", "b", "c"])
    >>> print(layer([["a", "c"], ["x", "b"]]))
    [[1 3]
     [0 2]]
    >>> fastk.layers.StringLookup(vocabulary=["a", "b"], invert=True)([2, 0, 1])
    array(['b', '[UNK]', 'a'], dtype=object)
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ):
        check_dense(sparse)
        self.encoding = encoding
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            vocabulary=vocabulary,
            vocabulary_dtype="string",
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            name=name,
            salt=salt,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "encoding": self.encoding}
        del config["vocabulary_dtype"]
        return config
