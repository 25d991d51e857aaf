"""ResNet50 alone, under Keras's older name of its module."""

from fastk.applications.resnet import ResNet50, decode_predictions, preprocess_input

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
