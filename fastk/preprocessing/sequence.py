"""`keras.preprocessing.sequence`."""

from fastk.utils.sequence_padding import pad_sequences

__all__ = ["pad_sequences"]
