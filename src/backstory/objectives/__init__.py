"""What training maximises. Importing the package registers the objectives that Backstory brings."""

from backstory.objectives import aggregate, bounds

__all__ = ["aggregate", "bounds"]
