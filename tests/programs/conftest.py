"""What the tests of whole programs share."""

collect_ignore = ["applications_side.py"]  # imports Keras, or fastk as Keras
