"""Evaluation between epochs: the objective on validation rows, and how the codes are used."""

import torch
from torch import Tensor

from backstory.data.stored import StoredRows
from backstory.models.diagnostics import CodeUse, code_use
from backstory.training.state import Metrics
from backstory.training.step import Batch, Pass, Step

PROBE_ROWS = 1_000  # rows that show the use of the codes where there is no validation set
EVALUATION_BATCH = 500


class Evaluation:
    """Evaluates a model with the training objective at the final β, and the same draws in every epoch.

    Args:
        step: of the training.
        rows, validation: stored rows; without validation rows the codes of training rows are looked at.
        seed: of every draw.
    """

    def __init__(self, step: Step, rows: StoredRows, validation: StoredRows, seed: int):
        self.step, self.devices, self.seed = step, step.devices, seed
        self.vae, self.device = step.bound.vae, step.bound.vae.device
        self.validated = len(validation) > 0
        self.rows = validation if self.validated else rows
        self.count = len(validation) if self.validated else min(PROBE_ROWS, len(rows))

    @torch.no_grad()
    def __call__(self) -> Metrics:
        """The use of the codes, and validation values in nats per row if there are validation rows."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.seed + 1)
        sums, use = torch.zeros(4, device=self.device), None
        for start in range(0, self.count, EVALUATION_BATCH):
            total = min(EVALUATION_BATCH, self.count - start)
            batch = self._part(start, total, generator)
            if self.validated:
                own = self.devices.own_generator(generator, self.seed, start)
                parts: Pass = self.step.module(batch, 1.0, self.count, own)
                sums += parts.sums()
                means, per_unit = parts.means, parts.kl_per_unit
                assert means is not None
            else:
                means, per_unit = self.step.module.codes(batch)
            use = self._code_use(means, per_unit, total, use)
        assert use is not None
        kl_per_unit = None if use.kl_per_unit is None else use.kl_per_unit.tolist()
        metrics: Metrics = {"kl_per_unit": kl_per_unit, "active_units": use.active_units}
        if len(self.vae.latents.groups) > 1 and use.kl_per_unit is not None:
            metrics["kl_per_level"] = [
                float(kl) for kl in self.vae.latents.per_level(use.kl_per_unit).values()
            ]
        if not self.validated:
            return metrics
        objective, reconstruction, kl, _ = (self.devices.sum(sums) / self.count).tolist()
        return {
            "validation_objective": objective,
            "validation_elbo": reconstruction - kl,
            "validation_reconstruction": reconstruction,
            "validation_kl": kl,
            **metrics,
        }

    def _part(self, start: int, total: int, generator: torch.Generator) -> Batch:
        """The rows of this process among `total` rows."""
        rank, world = self.devices.rank, self.devices.world
        stored = self.rows.on(self.device, slice(start + rank, start + total, world))
        return self.step.bound.batch(stored, total, generator, rank, world)

    def _code_use(self, means: Tensor, kl: Tensor | None, total: int, before: CodeUse | None) -> CodeUse:
        """The use of the codes by `total` rows, some of them in this process, and by the rows before them."""
        kl = None if kl is None else self.devices.rows(kl, total)
        return code_use(self.devices.rows(means, total), kl, before)
