"""Training: how data reaches a model, what one step does, and the loops of `fit`, `evaluate` and `predict`."""
