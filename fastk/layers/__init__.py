"""Layers (`keras.layers`)."""

from fastk.layers.core.dense import Dense
from fastk.layers.core.input_layer import Input, InputLayer
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer

__all__ = ["Dense", "Input", "InputLayer", "InputSpec", "Layer"]
