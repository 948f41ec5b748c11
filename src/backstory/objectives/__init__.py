"""The objectives of training. Importing the package registers Backstory's own."""

from backstory.objectives import aggregate, bounds

__all__ = ["aggregate", "bounds"]
