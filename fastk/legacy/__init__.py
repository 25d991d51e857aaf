"""`keras.legacy`: what older code still asks for."""

from fastk.legacy import saving

__all__ = ["saving"]
