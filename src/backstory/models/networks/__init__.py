"""The networks of encoder and decoder. Importing the package registers them."""

from backstory.models.networks import columns, conv, mlp

__all__ = ["columns", "conv", "mlp"]
