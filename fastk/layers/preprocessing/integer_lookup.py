"""`IntegerLookup`: integers to indices, and back."""

from __future__ import annotations

from typing import Any

from fastk.layers.preprocessing.encoding import check_dense
from fastk.layers.preprocessing.index_lookup import IndexLookup


class IntegerLookup(IndexLookup):
    """Integers to indices of a vocabulary, which is given or learned by `adapt`; found on the inputs' device.

    Args:
        max_tokens: the most indices, special ones included; None for any number.
        num_oov_indices: indices for integers that are not in the vocabulary; with 0 such integers are an error.
        mask_token: an integer that gets the index 0 (in the mode `"int"`) or counts for nothing (in others).
        oov_token: what unknown indices become, with `invert`.
        vocabulary: integers, or the path of a file with one a line.
        vocabulary_dtype: must be `"int64"`.
        idf_weights: the weights of the integers, in the mode `"tf_idf"`.
        invert: whether to map indices to integers.
        output_mode: `"int"`, `"one_hot"`, `"multi_hot"`, `"count"` or `"tf_idf"`.
        sparse: not supported; must be False.
        pad_to_max_tokens: whether outputs other than `"int"` have `max_tokens` columns in any case.
        oov_method: how one of several `num_oov_indices` is chosen: `"floormod"`, the remainder, or `"farmhash"`.
        salt: one or two integers: the key of another hash, with `"farmhash"`.
        name: the layer's name.

    >>> import fastk
    >>> layer = fastk.layers.IntegerLookup(vocabulary=[12, 36, 1138])
    >>> print(layer([[12, 1138], [7, 36]]))
    [[1 3]
     [0 2]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(
                "If `max_tokens` is set for `IntegerLookup`, it must be greater than 1. Received: "
                f"max_tokens={max_tokens}"
            )
        if num_oov_indices < 0:
            raise ValueError(
                "The value of `num_oov_indices` argument for `IntegerLookup` must >= 0. Received: "
                f"num_oov_indices={num_oov_indices}"
            )
        check_dense(sparse)
        if vocabulary_dtype != "int64":
            raise ValueError(
                "Only `vocabulary_dtype='int64'` is supported at this time. Received: "
                f"vocabulary_dtype={vocabulary_dtype}"
            )
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            vocabulary=vocabulary,
            vocabulary_dtype=vocabulary_dtype,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            sparse=sparse,
            pad_to_max_tokens=pad_to_max_tokens,
            oov_method=oov_method,
            salt=salt,
            name=name,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        for name in ("oov_token", "mask_token"):
            config[name] = None if config[name] is None else int(config[name])
        if config["vocabulary"] is not None:
            config["vocabulary"] = [int(token) for token in config["vocabulary"]]
        return config
