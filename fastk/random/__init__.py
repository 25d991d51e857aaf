"""Random numbers (`keras.random`)."""

from fastk.random.seed_generator import SeedGenerator

__all__ = ["SeedGenerator"]
