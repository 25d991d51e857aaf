"""Training: the way of a batch from the user's data through a training step."""
