"""What the tests of applications share."""

collect_ignore = ["keras_side.py"]  # imports Keras
