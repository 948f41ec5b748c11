"""A single trained VAE together with the description of its data.

`Model` takes and returns stored values (pixel levels, a table's columns) and prepares them for the network;
`Model.vae` is the network itself and takes values in the model's units.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from backstory import console
from backstory.data.conditions import chosen_conditions, no_conditions
from backstory.data.observation import Observation
from backstory.data.rows import LIMIT, Rows, Spool
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.tables.ranges import in_ranges
from backstory.data.values import Batches, Given, Values, stored_rows
from backstory.distributions.base import DataDistribution
from backstory.distributions.latent import Posterior, Prior
from backstory.errors import InputError, counted
from backstory.inference import evidence, gap, generate, missing_levels, scoring
from backstory.inference.evaluate import kl_per_level
from backstory.inference.generate import Temperature
from backstory.inference.importance import Evidence
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.operators import Operator
from backstory.inference.requests import EvidenceRequest, RestorationRequest
from backstory.inference.restoration import Restoration
from backstory.inference.stored import restore_stored
from backstory.models.diagnostics import code_use
from backstory.models.initial import drawn_from
from backstory.models.priors import Mixture
from backstory.models.vae import VAE, Terms
from backstory.options import MixturePrior, ModelOptions, PriorOptions
from backstory.restoring import Advance
from backstory.runs.provenance import Provenance
from backstory.runs.run import Config, Run
from backstory.trained import Trained

REFERENCE = ("reference", "reference_given")  # names of the tensors of the reference rows in a run
KNOWN = "known"  # name of the tensor of the training rows that a run keeps


class Model(Trained):
    """A trained VAE; made by `fit` or `open`. See `Trained` for what it takes and returns.

    Args:
        vae: the network, in evaluation mode.
        schema: of the data.
        options: of the network, with all defaults resolved.
        provenance: the data and the training.
        summary: numbers and events of the training.
    """

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        options: ModelOptions,
        provenance: Provenance,
        summary: dict[str, Any] | None = None,
    ):
        super().__init__(schema, provenance, summary or {})
        self.vae, self.options = vae, options

    @property
    def members(self) -> "tuple[Model, ...]":
        """The model alone."""
        return (self,)

    # -- the pieces of one model --------------------------------------------------------------------------

    def prior(self, given: Given = None) -> Prior:
        """p(z); with prior `conditional` p(z|c) at one value of each condition."""
        c = None if given is None else chosen_conditions(self.schema.conditions, given, 1)
        if c is None and self.options.prior.name == "conditional":
            raise no_conditions(self.schema.conditions)
        return self.vae.prior(None if c is None else torch.as_tensor(c).to(self.vae.shift))

    @torch.no_grad()
    def decode(self, z: np.ndarray | Tensor, given: Given = None) -> DataDistribution:
        """p(x|z) for codes (*, D), in the model's units.

        With conditions, p(x|z, c): one value of c for all codes, or one for each of B of codes (*, B, D).
        """
        codes = torch.as_tensor(z, dtype=self.vae.shift.dtype, device=self.device)
        if codes.shape[-1] != self.options.latent:
            units = counted(self.options.latent or 0, "unit")
            raise InputError(f"expected codes with {units}, got shape {tuple(codes.shape)}")
        codes = self.vae.latents.packed(codes)
        rows = codes.shape[-2] if codes.dim() > 1 else 1
        c = chosen_conditions(self.schema.conditions, given, rows)
        if c is None:
            return self.vae.decode(codes)
        return self.vae.decode(codes, torch.as_tensor(c if codes.dim() > 1 else c[0]).to(codes))

    def terms(
        self,
        x: Values,
        samples: int = 1,
        generator: torch.Generator | None = None,
        given: Given = None,
    ) -> Terms:
        """log p(x|z), log p(z), log q(z|x) and z for K = `samples` draws; see `VAE.terms`."""
        rows = stored_rows(x, self.schema, given)
        self.schema.check(rows.values)
        stored = rows.on(self.device, slice(None))
        prepared = self.schema.prepare(stored.values, generator)
        return self.vae.terms(self.vae.completed(Observation(prepared, stored.given)), samples, generator)

    def exact(self) -> LinearGaussian:
        """The closed-form evidence and posterior of a linear-Gaussian model, for x in the model's units.

        With conditions, those of p(x|c) are of `exact().given(codes of c)`.

        InputError, with the reason, for any other model.
        """
        return LinearGaussian.of(self.vae)

    def inference_gap(
        self,
        x: Values,
        samples: int = 1000,
        seed: int = 0,
        progress: bool = False,
        given: Given = None,
        **options: Any,
    ) -> gap.Gap:
        """log p(x) − ELBO of each observation, split into approximation and amortisation gap.

        Options are those of `inference.gap.GapSettings`: steps, draws, lr, annealing.
        """
        batches = self._batches(x, given)
        with console.progress("inference gap", len(batches), progress) as bar:
            drawn = self._completed(batches, self._generator(seed))
            settings = gap.GapSettings(samples, **options)
            return gap.inference_gap(self.vae, drawn, settings, seed, bar.advance)

    # -- primitives -----------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Values, seed: int = 0, given: Given = None) -> Posterior:
        """q(z|x) for each observation: `.centre` is (N, D), `.sample(K)` is (K, N, D).

        Where the level of a condition is missing, it is q(z|x, c) at the most probable level of q(c|x).

        A Gaussian has `.mean` and `.std`, (N, D), too; see `inference.moments` for those of others.

        `seed` matters where x is presented at random (grey values to a Bernoulli model).
        """
        rows = self._completed(self._batches(x, given), self._generator(seed))
        parts = [self.vae.encode(batch) for batch in rows]
        joined: Posterior = self.vae.latents.base(parts[0].joined(parts[1:]))
        return joined.detach()

    def _reconstruct(self, rows: StoredRows, mean: bool, seed: int) -> Rows:
        generator, batches = self._generator(seed), self._batches(rows)
        stored = self.schema.means if mean else self.schema.restore
        results = Spool(LIMIT if batches.rows.in_file else math.inf)
        for batch in self._completed(batches, generator):
            part = stored(generate.reconstruct(self.vae, batch, mean, generator))
            results.write(part)
        return results.array((len(batches), *part.shape[1:]), part.dtype)

    def fit_prior(self, x: Values, components: int = 10, seed: int = 0, given: Given = None) -> Self:
        """Replace p(z) by a Gaussian mixture fitted to codes of x, drawn from q(z|x); see `replace_prior`."""
        q = self.encode(x, seed, given)
        check_components(components, len(q.centre))
        codes = q.sample(1, self._generator(seed))[0]
        with drawn_from(seed):  # initial parameters, which the fit replaces
            prior = Mixture(codes.shape[-1], components).to(self.device)
        self.replace_prior(prior.fit(codes, seed), MixturePrior(components=components))
        return self

    def replace_prior(self, prior: nn.Module, options: PriorOptions) -> None:
        """Give the model another p(z), and the options from which it is built.

        The reference rows of `score` belong to the earlier p(x) and are dropped.
        """
        self.vae.prior_module, self.reference = prior, None
        self.options = self.options.model_copy(update={"prior": options})

    def keep_reference(self, x: Values, given: Given = None) -> None:
        """Keep in the run the rows that `score` compares with, which were held out of training."""
        self.reference = self._drawn(x, given)

    def keep_known(self, x: Values) -> None:
        """Keep in the run training rows, near which `score` looks for others."""
        self.known = self._drawn(x)

    def _sample(
        self, n: int, mean: bool, temperature: Temperature, seed: int | None, given: np.ndarray | None
    ) -> np.ndarray:
        c = None if given is None else torch.from_numpy(given).to(self.vae.shift)
        generator = self._generator(seed)

        def draw(rows: Tensor) -> Tensor:
            own = None if c is None else c[rows]
            return generate.sample(self.vae, len(rows), mean, temperature, generator, own)

        x = draw(torch.arange(n))
        if mean:
            return self.schema.means(x)
        if self.schema.kinds:
            x = generate.sample_within(draw, partial(in_ranges, schema=self.schema), x)
        return self.schema.restore(x)

    def _sample_with_means(
        self, n: int, temperature: Temperature, seed: int, given: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        c = None if given is None else torch.from_numpy(given).to(self.vae.shift)
        x, means = generate.sample_with_means(self.vae, n, temperature, self._generator(seed), c)
        return self.schema.restore(x), self.schema.means(means)

    def _restore(
        self, y: StoredRows, operator: Operator | None, request: RestorationRequest, advance: Advance
    ) -> Restoration[np.ndarray]:
        return restore_stored(self.vae, self.units, y, operator, request, advance)

    @torch.no_grad()
    def _level_posterior(self, batches: Batches, seed: int) -> np.ndarray:
        parts = [self.vae.level_posterior(batch) for batch in batches.draw(self._generator(seed))]
        return torch.cat(parts).double().cpu().numpy()

    def _evidence(self, batches: Batches, request: EvidenceRequest, advance: Advance) -> Evidence:
        def ask(rows: Callable[[], Iterable[Observation]], how: EvidenceRequest) -> Evidence:
            return evidence.log_evidence(self.vae, rows, how, len(batches), lambda n: advance(n / share))

        def drawn() -> Iterable[Observation]:
            return batches.draw(self._generator(request.presentation_seed))

        gaps = missing_levels.has_gaps(self.vae, batches.given)
        share = self.vae.levels.missing.count if gaps and self.vae.levels else 1
        return (
            missing_levels.evidence_over_levels(self.vae, drawn, request, ask)
            if gaps
            else ask(drawn, request)
        )

    def _look(self, observation: Observation) -> scoring.Looks:
        if missing_levels.has_gaps(self.vae, observation.given):
            return missing_levels.looks_over_levels(self.vae, observation, partial(scoring.look, self.vae))
        return scoring.look(self.vae, observation)

    def _completed(self, batches: Batches, generator: torch.Generator) -> Iterator[Observation]:
        """The batches, with the most probable level by q(c|x) where a level is missing."""
        return map(self.vae.completed, batches.draw(generator))

    @torch.no_grad()
    def _active_units(self, batches: Batches, seed: int) -> int:
        use = None
        for x in self._completed(batches, self._generator(seed)):
            use = code_use(self.vae.encode(x).centre, None, use)
        assert use is not None
        return use.active_units

    def _kl_per_level(self, batches: Batches, seed: int) -> dict[str, float] | None:
        generator = self._generator(seed)
        return kl_per_level(self.vae, self._completed(batches, generator), generator)

    # -- storage --------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The content of config.json."""
        from backstory import __version__

        return Config(
            backstory=__version__,
            torch=torch.__version__,
            source=self.source,
            fingerprint=self.provenance.fingerprint,
            validation=self.provenance.validation,
            rows=self.provenance.sizes(),
            summary=self.summary,
            data=self.schema,
            model=self.options,
            training=self.training,
            asked=self.provenance.asked,
            total_weight=self.provenance.total_weight,
        )

    def pack(self) -> dict[str, bytes]:
        rows = self.provenance.tensors()
        if self.reference is not None:
            kept = zip(REFERENCE, (self.reference.x, self.reference.given), strict=True)
            rows |= {name: tensor for name, tensor in kept if tensor is not None}
        if self.known is not None:
            rows[KNOWN] = self.known.x
        return Run(self.config, self.vae.state_dict(), rows).pack()


def check_components(components: int, observations: int) -> None:
    """InputError for a mixture with more components than observations."""
    if not 1 <= components <= observations:
        raise InputError(
            f"a mixture has from 1 component to as many as there are observations, {observations}, "
            f"got {components}"
        )
