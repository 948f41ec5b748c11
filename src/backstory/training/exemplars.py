"""The training rows whose codes are the prior of a model, where it has `prior` exemplar."""

from collections.abc import Iterator

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.models.priors import ExemplarPrior
from backstory.models.vae import VAE

BATCH = 500


class Exemplars:
    """The rows of an exemplar prior, and the table of their codes.

    Args:
        vae, schema: the model, and how stored values become its x.
        prior: of the model.
        rows: all training rows.
        seed: of the choice among them, and of x where it is presented at random.
    """

    def __init__(self, vae: VAE, schema: Schema, prior: ExemplarPrior, rows: StoredRows, seed: int):
        self.vae, self.schema, self.prior, self.seed = vae, schema, prior, seed
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(rows), generator=generator)[: len(prior.means)].sort().values
        self.rows = rows.take(chosen.numpy())
        place = torch.full((len(rows),), -1)
        place[chosen] = torch.arange(len(chosen))
        self.place = place.to(vae.device)

    @classmethod
    def of(cls, vae: VAE, schema: Schema, rows: StoredRows, seed: int) -> "Exemplars | None":
        """The exemplars of a model; None for another prior."""
        prior = vae.prior_module
        return cls(vae, schema, prior, rows, seed) if isinstance(prior, ExemplarPrior) else None

    def own(self, numbers: Tensor) -> Tensor:
        """The exemplar that each of the training rows of these numbers is, (B,); −1 for none."""
        return self.place[numbers]

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute the table of codes with the weights as they are."""
        self.vae.eval()
        posteriors = [self.vae.encode(self.vae.completed(batch)) for batch in self._batches()]
        self.prior.means.copy_(torch.cat([q.own(q.centre) for q in posteriors]))

    def _batches(self) -> Iterator[Observation]:
        generator = torch.Generator(self.vae.device).manual_seed(self.seed)
        for start in range(0, len(self.rows), BATCH):
            stored = self.rows.on(self.vae.device, slice(start, start + BATCH))
            yield Observation(self.schema.prepare(stored.values, generator), stored.given)
