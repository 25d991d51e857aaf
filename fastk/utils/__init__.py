"""Utilities a user touches directly: progress bar, datasets, the `(x, y, sample_weight)` convention."""
