"""The networks of encoder and decoder. Importing the package registers them."""

from backstory.models.networks import conv, mlp, resnet, row_features

__all__ = ["conv", "mlp", "resnet", "row_features"]
