"""What people hold: a trained VAE together with the description of its data.

`Model` speaks in stored values (pixel levels, a table's columns) and prepares them for the network;
`Model.vae` is the network itself and speaks in the model's units.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from backstory import console
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.rows import LIMIT, FileRows, Rows, Spool
from backstory.data.schema import Schema
from backstory.data.splits import Splits, row_hashes
from backstory.distributions.base import CodeDistribution, DataDistribution
from backstory.distributions.delta import Delta
from backstory.distributions.gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.inference import evidence, gap, generate, scoring, stored
from backstory.inference.importance import Evidence, tail_warning
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.operators import Mask, Operator, Product
from backstory.inference.recovery import Recovery, Tally
from backstory.inference.restore import Restoration, usual_budget
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.models.diagnostics import bits_per_dim, code_use
from backstory.models.priors import Mixture
from backstory.models.vae import VAE, Terms
from backstory.options import MixturePrior, ModelOptions, TrainOptions, one_of
from backstory.runs import checkpoint
from backstory.training.devices import pick_device

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.load import ArrowStream

# Rows held at once in the model's units. Part of the definition of a seeded result, not a setting.
BATCH = 500
REFERENCE = ("reference_log_evidence", "reference_surprise")  # their names in a run

Values: TypeAlias = "Rows | Tensor | Dataset | str | os.PathLike[str] | pd.DataFrame | ArrowStream"


@dataclass(frozen=True)
class Evaluation:
    """Averages over observations; nats per observation. None where a quantity does not exist.

    Attributes:
        elbo: reconstruction − kl.
        reconstruction: E_q[log p(x|z)].
        kl: KL(q(z|x) ‖ p(z)).
        log_evidence: log p(x), by `method`.
        standard_error: Monte Carlo error of log_evidence, over the draws for the same observations.
        ess: effective sample size, average over observations.
        bits_per_dim: −log₂ p(x) for each entry, from log_evidence; for discrete data.
        active_units: latent units whose posterior mean varies over the observations.
        n: observations.
        samples: K.
        method: of the log-evidence: `is`, `ais` or `exact`.
        pareto_k: of the weights, average over observations; see `inference.pareto`.
        acceptance: share of accepted proposals of `ais`.
    """

    elbo: float | None
    reconstruction: float
    kl: float | None
    log_evidence: float | None
    standard_error: float | None
    ess: float | None
    bits_per_dim: float | None
    active_units: int
    n: int
    samples: int
    method: str
    pareto_k: float | None
    acceptance: float | None


class Model:
    """A trained model: sample, encode, reconstruct, restore, log_evidence, evaluate, save.

    Made by `fit` or `open`. Observations x are given as stored values, (N, *shape), in NumPy arrays,
    tensors, a frame, a `Dataset` or its values, or by the path of a file; results that are draws of x have
    the data's own type. Means are float32, or float64 for tables in which a column is counted from an origin,
    as dates and large numbers are. Observations that stay in a file are read as they are needed.
    """

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        options: ModelOptions,
        training: TrainOptions,
        splits: Splits,
        row_ids: np.ndarray,
        validation: float,
        source: str,
        summary: dict[str, Any],
    ):
        self.vae, self.schema, self.options, self.training = vae, schema, options, training
        self.splits, self.row_ids, self.validation, self.source = splits, row_ids, validation, source
        self.summary = summary
        self.reference: scoring.Reference | None = None  # of rows held out, see `score`

    @property
    def members(self) -> "tuple[Model, ...]":
        """The models whose answers are averaged: of a single one itself."""
        return (self,)

    @property
    def _missingness(self) -> str:
        return str(self.options.likelihood.values.get("missingness", "random"))

    @property
    def device(self) -> torch.device:
        return self.vae.shift.device

    # -- the model's own pieces -------------------------------------------------------------------------

    def prior(self) -> CodeDistribution:
        """p(z)."""
        return self.vae.prior()

    @torch.no_grad()
    def encode(self, x: Values, seed: int = 0) -> CodeDistribution:
        """q(z|x) for each observation: `.mean` and `.std` are (N, D), `.sample(K)` is (K, N, D).

        `seed` matters where x is presented at random (grey values to a Bernoulli model).
        """
        parts = [self.vae.encode(batch) for batch in self._batches(x, self._generator(seed))]
        means = torch.cat([q.mean for q in parts])
        if isinstance(parts[0], Delta):
            return Delta(means)
        return DiagonalGaussian(means, torch.cat([q.std for q in parts]).log())

    @torch.no_grad()
    def decode(self, z: np.ndarray | Tensor) -> DataDistribution:
        """p(x|z) for codes (*, D), in the model's units."""
        codes = torch.as_tensor(z, dtype=self.vae.shift.dtype, device=self.device)
        if codes.shape[-1] != self.options.latent:
            raise InputError(
                f"expected codes with {self.options.latent} units, got shape {tuple(codes.shape)}"
            )
        return self.vae.decode(codes)

    def terms(
        self,
        x: Values,
        observed: np.ndarray | Tensor | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Terms:
        """log p(x|z), log p(z), log q(z|x) and z for K = `samples` draws; see `VAE.terms`."""
        values = _values(x, self.schema)
        self.schema.check(values)
        prepared = self.schema.prepare(torch.as_tensor(values).to(self.device), generator)
        mask = None if observed is None else torch.as_tensor(observed, device=self.device)
        return self.vae.terms(prepared, mask, samples, generator)

    # -- use ------------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        mean: bool = False,
        temperature: float = 1.0,
        seed: int | None = None,
        where: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw n observations, z ~ p(z) then x ~ p(x|z), in the data's type; or E[x|z] with `mean`.

        Without a seed each call draws anew. With `where`, one observation of stored values, (*shape), in
        which all is NaN but what is given, they are draws of p(x | what is given), by `restore`. InputError
        for a plain autoencoder (see `fit_prior`).
        """
        if where is not None:
            return self._sample_where(n, np.asarray(where), mean, temperature, seed)
        generator = self._generator(seed)
        x = generate.sample(self.vae, n, mean, temperature, generator)
        return self.schema.means(x) if mean else self.schema.restore(x)

    def _sample_where(
        self, n: int, where: np.ndarray, mean: bool, temperature: float, seed: int | None
    ) -> np.ndarray:
        if mean or temperature != 1:
            raise InputError(
                "draws given some entries are of p(x|y) as it is; leave mean and temperature out"
            )
        seed = torch.Generator().seed() % 2**31 if seed is None else seed
        return self.restore(where[None], draws=n, seed=seed).draws[:, 0]

    def log_conditional(
        self, x: Values, given: np.ndarray | Tensor, seed: int = 0, **options: Any
    ) -> np.ndarray:
        """log p(other entries | given entries) of each observation, (N,) nats: a difference of log-evidences.

        Args:
            x: (N, *shape), of a model for incomplete data.
            given: of bool, (*shape) or (N, *shape): the entries that are given.
            options: of `log_evidence`.
        """
        whole = np.array(_values(x, self.schema)[:], np.float64)
        if not self.vae.incomplete:
            raise InputError(
                "conditional probabilities need a model for incomplete data; train it with incomplete=True"
            )
        part = np.where(np.broadcast_to(np.asarray(given), whole.shape), whole, np.nan)
        both = [self.log_evidence(values, seed=seed, **options).log_evidence for values in (whole, part)]
        return np.asarray((both[0] - both[1]).cpu())

    def reconstruct(self, x: Values, mean: bool = True, seed: int = 0) -> Rows:
        """E[x|z] at z = E[z|x]; or with `mean=False` a draw of z ~ q(z|x), x ~ p(x|z).

        An array; for x that stays in a file, more than 1 GiB of results are kept in a temporary file.
        """
        generator, values = self._generator(seed), _values(x, self.schema)
        stored = self.schema.means if mean else self.schema.restore
        results = Spool(LIMIT if isinstance(values, FileRows) else math.inf)
        for batch in self._batches(values, generator):
            part = stored(generate.reconstruct(self.vae, batch, mean, generator))
            results.write(part)
        return results.array((len(values), *part.shape[1:]), part.dtype)

    def restore(
        self,
        y: Values,
        operator: Operator | None = None,
        draws: int = 10,
        method: str = "auto",
        seed: int = 0,
        progress: bool = False,
        **options: Any,
    ) -> Restoration[np.ndarray]:
        """Mean, standard deviation and draws of x given a damaged observation y.

        Args:
            y: (N, *shape), or what the operator makes of that; NaN where an entry is missing. Means,
                deviations and draws come back in stored units.
            operator: what happened to x, see `inference.operators`: `Mask`, `Noise`, `Downscale`, `Blur`,
                `Linear` and their products. Without one, nothing but the entries that are missing.
            draws: M.
            method: `encoder`, `importance`, `variational`, `hmc`, or `auto`, the cheapest that will do.
            seed: of every draw.
            options: `budget` and `chunk`, see `inference.restore.restore`, and those of
                `inference.codes.Effort`: proposals, steps, gradient_draws, chains, temperatures, ….
        """
        y = _read(y, self.schema)
        if isinstance(y, Dataset) and y.observed is not None:
            operator = Mask(np.asarray(y.observed)) @ (operator or stored.NOTHING)
        values = _values(y, self.schema)
        values = values[:] if isinstance(values, FileRows) else values  # the results are held in any case
        with console.progress("restore", len(values), progress) as bar:
            found = self._restored(values, operator, draws, method, seed, bar.advance, **options)
        for warning in stored.warnings(found, options.get("proposals", stored.Effort.proposals)):
            console.warn(warning)
        return found

    def _restored(
        self,
        y: Any,
        operator: Operator | None,
        draws: int,
        method: str,
        seed: int,
        advance: Callable[[float], None],
        **options: Any,
    ) -> Restoration[np.ndarray]:
        """`restore` of stored values, without a word."""
        return stored.restore_stored(
            self.vae, self.schema, y, operator, draws, method, seed, advance=advance, **options
        )

    def damage(
        self, x: Values, operator: Operator | None = None, missing: float = 0.0, seed: int = 0
    ) -> np.ndarray:
        """What is left of whole observations x: a y for `restore`, (N, *out) of float64 in stored units.

        Args:
            x: (N, *shape); NaN where an entry is missing.
            operator: what happens to x, see `restore`.
            missing: the fraction of the entries of y that is hidden at random, which become NaN; pixels of
                colour images are hidden with all their channels.
            seed: of the noise and of what is hidden.
        """
        values = np.asarray(_values(x, self.schema))
        return stored.damage_stored(self.vae, self.schema, values, operator, missing, seed)

    def evaluate_restoration(
        self,
        x: Values,
        operator: Operator | None = None,
        missing: float = 0.0,
        draws: int = 100,
        method: str = "auto",
        seed: int = 0,
        progress: bool = False,
        **options: Any,
    ) -> Recovery:
        """Damage whole observations, restore them, and compare: errors and the coverage of intervals.

        Arguments are those of `damage` and `restore`. An observation's damage, and the draws for it, depend
        on the seed and on what stands before it. InputError if nothing is hidden and nothing else happens.
        """
        if self._missingness != "random":
            raise InputError(
                "entries hidden at random say nothing about a model that takes them as missing by their own "
                f"value (missingness {self._missingness}); compare with the truth where it is known"
            )
        values, y = _values(x, self.schema), self.damage(x, operator, missing, seed)
        done = operator or stored.NOTHING
        masks = all(isinstance(part, Mask) for part in done.parts)
        rest = Product(tuple(part for part in done.parts if not isinstance(part, Mask)))  # now they are NaN
        options = {"budget": usual_budget(len(values)), **options}
        images, levelled = self.schema.kind == "images", self.schema.levelled
        tally = Tally(stored.stored_unit(self.vae, self.schema), images, levelled)
        with console.progress("restore", len(values), progress) as bar:
            for start in range(0, len(y), BATCH):
                some = slice(start, start + BATCH)
                truth = np.asarray(values[some])
                where = ~np.isnan(truth) & (np.isnan(y[some]) if masks else True)
                found = self._restored(y[some], rest, draws, method, seed + start, bar.advance, **options)
                likelihood = np.full(len(truth), math.nan)
                if masks and self.schema.presentation == "exact" and not np.isnan(truth).any():
                    likelihood = self._log_hidden(truth, found, seed + start)
                tally.add(found, truth, where, likelihood)
        return tally.result()

    def _log_hidden(self, truth: np.ndarray, found: Restoration[np.ndarray], seed: int) -> np.ndarray:
        """log p(x_hidden | x_seen) of whole rows of which some entries were hidden, (B,) nats."""
        whole = self.log_evidence(truth, seed=seed).log_evidence.double().cpu().numpy()
        seen, methods = found.log_evidence.numpy(), np.array(found.methods)
        return whole - np.where(methods == "prior", 0.0, np.where(methods == "observed", whole, seen))

    def log_evidence(
        self,
        x: Values,
        samples: int | None = None,
        seed: int = 0,
        chunk: int | None = None,
        progress: bool = False,
        method: str = "is",
        resume: str | Path | None = None,
        **annealing: Any,
    ) -> Evidence:
        """log p(x) of each observation, with its standard error and what tells whether to trust it.

        Args:
            samples: K, the draws (1000) or chains (16) for each observation.
            chunk: pairs of draw and observation decoded at once; changes memory, not the result.
            method: `is`, importance sampling; `ais`, annealed importance sampling; `exact`, for
                linear-Gaussian models.
            resume: of `ais`: file in which finished rows are kept, and from which they are taken up again.
            annealing: of `ais`: steps, leapfrog, start and schedule, see `inference.ais.Annealing`.
        """
        values = _values(x, self.schema)
        with console.progress("evidence", len(values), progress) as bar:
            options = {"method": method, "samples": samples, "chunk": chunk, **annealing}
            return self._evidence(values, seed, resume, bar.advance, **options)

    def _evidence(
        self,
        values: Rows | Tensor,
        seed: int,
        resume: str | Path | None,
        advance: Callable[[float], None],
        presented: int | None = None,
        **options: Any,
    ) -> Evidence:
        """`log_evidence` without a progress bar; `presented` as of `stored.restore_stored`."""
        shown = seed if presented is None else presented
        return evidence.log_evidence(
            self.vae,
            lambda: self._batches(values, self._generator(shown)),
            seed=seed,
            resume=resume,
            advance=advance,
            **options,
        )

    def score(self, x: Values, reference: "Values | None" = None, seed: int = 0) -> scoring.Scores:
        """How strange observations are: log p(x), a p-value, and the surprise of each entry.

        Args:
            x: (N, *shape).
            reference: observations to compare with, from where the training data is and held out of training;
                by default validation rows, of which `fit` keeps what is needed of tables and arrays.
            seed: matters where x is presented at random.
        """
        against = self.reference if reference is None else self._look(reference, seed)
        if against is None:
            raise InputError(
                "expected rows to compare with, and this run kept none: it is of images, was trained without "
                "validation rows, has another prior since, or is of an earlier version; give some with "
                "reference"
            )
        return scoring.compare(self._look(x, seed), against)

    def keep_reference(self, x: Values) -> None:
        """Keep in the run what `score` compares with, of rows that were held out of training."""
        self.reference = self._look(x, 0)

    def _look(self, x: Values, seed: int) -> scoring.Reference:
        parts = [scoring.look(self.vae, batch) for batch in self._batches(x, self._generator(seed))]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def exact(self) -> LinearGaussian:
        """The closed-form evidence and posterior of a linear-Gaussian model, for x in the model's units.

        InputError, with the reason, for any other model.
        """
        return LinearGaussian.of(self.vae)

    def inference_gap(
        self, x: Values, samples: int = 1000, seed: int = 0, progress: bool = False, **options: Any
    ) -> gap.Gap:
        """log p(x) − ELBO of each observation, split into approximation and amortisation gap.

        Options are those of `inference.gap.inference_gap`: steps, draws, lr, annealing.
        """
        values = _values(x, self.schema)
        with console.progress("inference gap", len(values), progress) as bar:
            batches = self._batches(values, self._generator(seed))
            return gap.inference_gap(
                self.vae, batches, samples=samples, seed=seed, advance=bar.advance, **options
            )

    def evaluate(
        self,
        x: Values,
        samples: int | None = None,
        seed: int = 0,
        chunk: int | None = None,
        progress: bool = False,
        method: str = "is",
        resume: str | Path | None = None,
        **annealing: Any,
    ) -> Evaluation:
        """The ELBO, the log-evidence and the use of the codes, averaged over observations.

        Arguments are those of `log_evidence`. Warns where importance weights are too heavy-tailed to trust.
        """
        values = _values(x, self.schema)
        active = self._active_units(values, seed)
        if self.vae.is_autoencoder and method == "is":
            return self._evaluate_autoencoder(values, active, seed)
        e = self.log_evidence(values, samples, seed, chunk, progress, method, resume, **annealing)
        if method == "is" and (warning := tail_warning(e)):
            console.warn(warning)
        log_evidence = float(e.log_evidence.mean())
        error = e.standard_error.square().sum().sqrt() / len(values)
        entries = self._entries(values)
        return Evaluation(
            elbo=float(e.elbo.mean()),
            reconstruction=float(e.reconstruction.mean()),
            kl=float(e.kl.mean()),
            log_evidence=log_evidence,
            standard_error=_number(error),
            ess=_number(e.ess.mean()),
            pareto_k=_number(e.pareto_k.mean()),
            acceptance=_number(e.acceptance.mean()),
            bits_per_dim=bits_per_dim(log_evidence, entries) if self.schema.discrete else None,
            active_units=active,
            n=len(values),
            samples=e.samples,
            method=method,
        )

    def _entries(self, values: Rows | Tensor) -> float:
        """How many entries of an observation are there, on average."""
        if not self.vae.incomplete:
            return self.schema.numel
        return sum(int((~torch.isnan(x)).sum()) for x in self._batches(values, self._generator(0))) / len(
            values
        )

    @torch.no_grad()
    def _active_units(self, values: Rows | Tensor, seed: int) -> int:
        use = None
        for x in self._batches(values, self._generator(seed)):
            use = code_use(self.vae.encode(x).mean, None, use)
        assert use is not None
        return use.active_units

    @torch.no_grad()
    def _evaluate_autoencoder(self, values: Rows | Tensor, active: int, seed: int) -> Evaluation:
        generator, total = self._generator(seed), 0.0
        for x in self._batches(values, generator):
            total += float(self.vae.terms(x, generator=generator).log_likelihood.double().sum())
        found = {"reconstruction": total / len(values), "active_units": active, "n": len(values)}
        nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(Evaluation))
        return Evaluation(**{**nothing, **found, "samples": 1, "method": "is"})

    def fit_prior(self, x: Values, components: int = 10, seed: int = 0) -> "Model":
        """Replace p(z) by a Gaussian mixture fitted to codes of x, drawn from q(z|x); changes this model.

        What `score` compares with was of the p(x) before, and is gone.
        """
        q = self.encode(x, seed)
        check_components(components, len(q.mean))
        codes = q.sample(1, self._generator(seed))[0]
        with torch.random.fork_rng(devices=[]):  # the initial parameters, which the fit replaces, are drawn
            prior = Mixture(codes.shape[-1], components).to(self.device)
        self.vae.prior_module, self.reference = prior.fit(codes, seed), None
        self.options = self.options.model_copy(update={"prior": MixturePrior(components=components)})
        return self

    # -- rows -----------------------------------------------------------------------------------------

    def rows(self, data: Dataset, part: str = "auto") -> np.ndarray:
        """Indices of the `train`, `validation` or `test` part of `data`, or `all` rows.

        `auto` is the test part where the data has one, else all rows. The parts of the data that the model
        was trained on are those of its run. InputError where there is no such part.
        """
        one_of("split", part, ["auto", "train", "validation", "test", "all"])
        if part == "auto":
            part = "all" if data.test_rows is None else "test"
        if part == "all":
            return np.arange(len(data))
        index = getattr(self.splits, part) if self.trained_on(data) else None
        if index is None and part == "test" and data.test_rows is not None:
            index = data.test_rows
        if index is None or len(index) == 0:
            raise InputError(
                f"expected data with a {part} part in this run, got {data.source} without one; "
                "use --split all"
            )
        return np.asarray(index)

    def trained_on(self, data: Dataset) -> bool:
        """Whether `data` is the very data set that the model was trained from."""
        return self.summary.get("fingerprint") == fingerprint(row_hashes(data.values))

    def seen(self, values: Rows) -> int:
        """How many of the rows are among those that the model was trained on."""
        return int(np.isin(row_hashes(values), self.row_ids).sum())

    # -- storage --------------------------------------------------------------------------------------

    def save(self, run: str | Path, force: bool = False) -> Path:
        """Write a run folder; InputError if it holds something already and `force` is not given."""
        checkpoint.prepare_folder(Path(run), force)
        return self.write(Path(run))

    @property
    def config(self) -> checkpoint.Config:
        """What config.json holds."""
        from backstory import __version__

        return checkpoint.Config(
            backstory=__version__,
            torch=torch.__version__,
            source=self.source,
            validation=self.validation,
            rows={name: len(index) for name, index in self._parts().items()},
            summary=self.summary,
            data=self.schema,
            model=self.options,
            training=self.training,
        )

    def _parts(self) -> dict[str, np.ndarray]:
        return {name: getattr(self.splits, name) for name in ("train", "validation", "test")}

    def write(self, run: Path) -> Path:
        """Write a run into a folder that was prepared for it."""
        checkpoint.save(run, self.pack())
        return run

    def pack(self) -> dict[str, bytes]:
        """The files of the run by name, JSON and safetensors, without a folder; see `unpack`."""
        tensors = {name: torch.from_numpy(index) for name, index in self._parts().items()}
        tensors["train_row_hashes"] = torch.from_numpy(self.row_ids.view(np.int64))
        if self.reference is not None:
            tensors |= dict(zip(REFERENCE, self.reference, strict=True))
        return checkpoint.pack(self.config, self.vae.state_dict(), tensors)

    # -- inside ---------------------------------------------------------------------------------------

    def _generator(self, seed: int | None) -> torch.Generator:
        generator = torch.Generator(self.device)
        if seed is None:
            generator.seed()
            return generator
        return generator.manual_seed(seed)

    def _batches(self, x: Values, generator: torch.Generator) -> Iterator[Tensor]:
        """x in the model's units, a batch at a time; NaN where an entry is missing, if that may be."""
        values = _values(x, self.schema)
        self.schema.check(values)
        for start in range(0, len(values), BATCH):
            part = values[start : start + BATCH]
            # A copy of an array: it may be read-only, which tensors cannot be
            tensor = part if isinstance(part, Tensor) else torch.tensor(part)
            if tensor.is_floating_point():
                self._check_finite(tensor)
            yield self.schema.prepare(tensor.to(self.device), generator)

    def _check_finite(self, values: Tensor) -> None:
        if self.vae.incomplete and not torch.isinf(values).any():
            return
        if not torch.isfinite(values).all():
            got = "infinity" if self.vae.incomplete else "NaN or infinity"
            raise InputError(
                f"expected a finite number in every entry, got {got}; "
                "leave such observations out, or fill the entries"
            )


def _number(value: Tensor) -> float | None:
    """None for NaN: what does not exist."""
    return None if torch.isnan(value) else float(value)


def _values(x: Values, schema: Schema) -> Rows | Tensor:
    """Stored values of observations; a frame or a file is read as a table with the model's columns."""
    if isinstance(x, Tensor):
        return x
    x = _read(x, schema)
    values = x.values if isinstance(x, Dataset) else x if isinstance(x, FileRows) else np.asarray(x)
    if values.dtype.kind not in "buif":
        raise InputError(f"expected an array of numbers, got type {values.dtype}; convert it to numbers")
    return values


def _read(x: Values, schema: Schema) -> Any:
    named = isinstance(x, str | os.PathLike) or hasattr(x, "__arrow_c_stream__")
    return load(x, schema=schema) if named else x  # type: ignore[arg-type]


def fingerprint(hashes: np.ndarray) -> str:
    """One short name for a data set, from the hashes of its rows in order."""
    return hashlib.blake2b(hashes.tobytes(), digest_size=8).hexdigest()


def open(run: str | Path, device: str = "auto") -> Model:
    """Open a run folder. InputError, one sentence, where it is missing, damaged or not a run."""
    return _assemble(*checkpoint.load(Path(run)), Path(run), device)


def unpack(files: dict[str, bytes], device: str = "auto") -> Model:
    """The model of `Model.pack`."""
    return _assemble(*checkpoint.unpack(files), Path("packed"), device)


def _assemble(
    config: checkpoint.Config,
    weights: dict[str, Tensor],
    tensors: dict[str, Tensor],
    folder: Path,
    device: str,
) -> Model:
    vae = build.build(*resolve(config.data, config.model))
    checkpoint.load_weights(vae, weights, folder)
    try:
        splits = Splits(*(tensors[name].numpy() for name in ("train", "validation", "test")))
        row_ids = tensors["train_row_hashes"].numpy().view(np.uint64)
    except KeyError as error:
        raise InputError(f"{folder / checkpoint.SPLITS} is damaged: {error.args[0]} is missing") from None
    model = Model(
        vae.to(pick_device(device)).eval(),
        config.data,
        config.model,
        config.training,
        splits,
        row_ids,
        config.validation,
        config.source,
        config.summary,
    )
    if REFERENCE[0] in tensors:
        model.reference = tensors[REFERENCE[0]], tensors[REFERENCE[1]]
    return model


def check_components(components: int, observations: int) -> None:
    """InputError for a mixture with more components than observations."""
    if not 1 <= components <= observations:
        raise InputError(
            f"a mixture has from 1 component to as many as there are observations, {observations}, "
            f"got {components}"
        )
