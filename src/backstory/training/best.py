"""The weights that a run keeps: a copy of those of its best epoch."""

import math
from typing import Any

from torch import Tensor

from backstory.models.vae import VAE
from backstory.training.state import Metrics, prefixed, under


class Best:
    """The kept weights of a model.

    Args:
        vae: the model.
        keep: `best` for the highest validation objective, or `last` for the last epoch with a finite one;
            without validation both keep the last epoch.

    Attributes:
        weights: the state dict of the model, None before the first epoch.
        value: the validation objective of these weights.
    """

    def __init__(self, vae: VAE, keep: str | None):
        self.vae, self.keep = vae, keep
        self.weights: dict[str, Tensor] | None = None
        self.value = -math.inf

    def offer(self, metrics: Metrics) -> bool:
        """Copy the model's weights if they are to be kept; returns whether they are.

        Epochs of the warm-up compete too: their weights are judged at the final β like all others.
        """
        value = metrics.get("validation_objective", math.inf)
        if self.keep == "last" and math.isfinite(value):
            value = math.inf
        better = bool(value > self.value or value == math.inf)
        if better:
            self.value = value
            self.weights = {name: v.detach().clone() for name, v in self.vae.state_dict().items()}
        return better

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the state of the run."""
        return prefixed("best", self.weights or {})

    def load(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `tensors` and the value `best_value` of the state give."""
        weights = under("best", tensors)
        self.weights = {name: tensor.to(self.vae.device) for name, tensor in weights.items()} or None
        self.value = values["best_value"]
