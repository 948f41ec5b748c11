"""Updates of the weights: Adam on the gradient of a step, and the average of the weights.

A step that failed, or has an exceptionally large gradient, changes nothing. Nothing waits for the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from backstory.errors import TrainingFailed
from backstory.models.vae import VAE
from backstory.options import TrainOptions
from backstory.training.adam import Adam
from backstory.training.average import Average
from backstory.training.spikes import Spikes
from backstory.training.state import prefixed, under
from backstory.training.step import Outcome

MAX_FAILURES = 20  # steps in a row; looked at after as many


class Updates:
    """The updates of a model's weights in one training run.

    Args:
        vae: the model; its parameters are changed in place.
        options: from `schedule.resolve`.

    Attributes:
        taken: number of steps so far, skipped ones included.
        failed: number of steps that were not finite, on the device.
        failed_before: `failed`, when the failures were last counted.
    """

    def __init__(self, vae: VAE, options: TrainOptions):
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.device, self.clip = vae.device, options.clip
        self.optimiser = Adam(vae.parameters(), fused=True)
        self.average = None if options.ema is None else Average(self.parameters, options.ema)
        self.spikes = None if options.skip_spikes is None else Spikes(options.skip_spikes)
        self.failed = torch.zeros((), device=self.device)
        self.taken, self.failed_before = 0, 0

    @property
    def lr(self) -> float:
        """The learning rate of the last update."""
        return self.optimiser.lr

    @lr.setter
    def lr(self, rate: float) -> None:
        self.optimiser.lr = rate

    def apply(self, outcome: Outcome, lr: float) -> bool:
        """Update the weights by the gradient that a step computed.

        Returns:
            Whether the gradient was a spike, and the step was skipped for it.

        Raises:
            TrainingFailed: after 20 steps in a row without a finite loss and gradient.
        """
        self.failed += outcome.failed
        spike = self._is_spike(outcome)
        skipped = torch.ones_like(outcome.failed) if spike else outcome.failed
        if self.clip is not None:
            with torch.inference_mode():  # in which gradients may have been made
                torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, outcome.norm)
        self.lr = lr
        if self.device.type != "cpu":
            self.optimiser.update(skipped)  # which the fused kernel reads: it then changes nothing
        elif not skipped:  # nothing is waited for here
            self.optimiser.update()
        self.taken += 1
        if self.average:
            self.average.update(self.taken)
        if self.taken % MAX_FAILURES == 0:
            self._check_failures()
        return spike

    def _is_spike(self, outcome: Outcome) -> bool:
        if self.spikes is None or bool(outcome.failed):
            return False
        return self.spikes.is_spike(float(outcome.norm))

    def _check_failures(self) -> None:
        failed = int(self.failed)
        if failed - self.failed_before >= MAX_FAILURES:
            raise TrainingFailed(
                f"training stopped: {MAX_FAILURES} steps in a row had a loss or gradient that was not "
                "finite; try a smaller `lr`, or look for extreme values in the data"
            )
        self.failed_before = failed

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the model has its average weights, if there is an average."""
        if self.average is None:
            yield
            return
        with self.average.in_place():
            yield

    # -- the state of the run -------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the state of the run; they may be the live ones."""
        return {
            **prefixed("average", self.average.tensors() if self.average else {}),
            **prefixed("optimiser", self.optimiser.tensors()),
            "failed": self.failed,
        }

    def values(self) -> dict[str, Any]:
        """Plain values of the state of the run."""
        return {
            "taken": self.taken,
            "failed_before": self.failed_before,
            "norms": list(self.spikes.norms) if self.spikes else [],
            "lr": self.lr,
        }

    def load(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `tensors` and `values` gave."""
        self.optimiser.load(under("optimiser", tensors))
        self.lr = values["lr"]
        self.failed, self.failed_before = tensors["failed"].to(self.device), values["failed_before"]
        self.taken = values["taken"]
        if self.average:
            self.average.load(under("average", tensors))
        if self.spikes:
            self.spikes = Spikes(self.spikes.factor, values["norms"])
