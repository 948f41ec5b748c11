"""Several models of the same data, as one: the mixture of their densities, each with the same weight.

    p(x)    = (1/N) Σ_n p_n(x)
    p(x|y)  ≈ (1/N) Σ_n p_n(x|y)

The second line weighs members alike, whatever they say of y: a linear pool (Lakshminarayanan et al. 2017).
Bayes' rule would weigh them by p_n(y), which for rows with many entries leaves one of them.

The members learn from the same rows, with the same rows held out, and differ by their seed: their first
weights, orders and draws.
"""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from backstory import model
from backstory.data.rows import Rows
from backstory.distributions.side_by_side import SideBySide
from backstory.errors import InputError
from backstory.inference import scoring
from backstory.inference.effort import METHODS
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import Evidence, check_density
from backstory.inference.operators import Operator
from backstory.inference.restoration import Restoration, guess_levels
from backstory.model import Model, Values
from backstory.runs.folder import CONFIG, check_folder, member_folder, members_of, read_config

STREAM = 101  # of the seeds of members, apart from other streams of noise


class Ensemble(Model):
    """N models whose answers are averaged: what a `Model` does, of the mixture of their densities.

    What needs one decoder (`decode`, `terms`, `prior`, `exact`, `inference_gap`) is asked of one of the
    `members`. `vae`, `options` and `training` are those of the first member.

    Args:
        members: models of the same data, trained on the same rows; InputError if they are not, or if one is
            a plain autoencoder.
    """

    def __init__(self, members: "list[Model] | tuple[Model, ...]"):
        first = members[0]
        for member in members:
            check_density(member.vae)
            if member.schema != first.schema or not np.array_equal(member.row_ids, first.row_ids):
                raise InputError(
                    f"the members of an ensemble have the same data and training rows, got {member.source} "
                    f"beside {first.source}"
                )
        super().__init__(
            first.vae,
            first.schema,
            first.options,
            first.training,
            first.splits,
            first.row_ids,
            first.validation,
            first.source,
            first.summary,
        )
        self._members = tuple(members)
        self.reference = _reference([member.reference for member in members])

    @property
    def members(self) -> tuple[Model, ...]:
        return self._members

    # -- answers ------------------------------------------------------------------------------------------

    def encode(self, x: Values, seed: int = 0) -> Any:
        """q(z|x) of all members side by side: (N, ΣD) means and deviations, in the order of the members."""
        parts = [member.encode(x, seed) for member in self.members]
        return SideBySide(tuple(parts))

    def sample(
        self,
        n: int,
        mean: bool = False,
        temperature: float = 1.0,
        seed: int | None = None,
        where: np.ndarray | None = None,
    ) -> np.ndarray:
        """As of a `Model`; the draws are of the members in turn."""
        if where is not None:
            return self._sample_where(n, np.asarray(where), mean, temperature, seed)
        seeds = [None if seed is None else _seed(seed, number) for number in range(len(self.members))]
        each = math.ceil(n / len(self.members))
        drawn = [m.sample(each, mean, temperature, s) for m, s in zip(self.members, seeds, strict=True)]
        return np.stack(drawn, 1).reshape(-1, *drawn[0].shape[1:])[:n]

    def reconstruct(self, x: Values, mean: bool = True, seed: int = 0) -> Rows:
        """The average of the members' E[x|z] at z = E[z|x]; with `mean=False` draws of the members in turn.

        In a column with levels the level that most members name, the first of several.
        """
        parts = [
            np.asarray(member.reconstruct(x, mean, seed if mean else _seed(seed, number))[:])
            for number, member in enumerate(self.members)
        ]
        if not mean:
            return _in_turn(np.stack(parts)[:, None], 1)[0]
        average = np.mean(parts, 0, dtype=np.float64).astype(parts[0].dtype)
        for j in np.flatnonzero(self.schema.levelled):
            average[:, j] = [_commonest(votes) for votes in np.stack(parts)[:, :, j].T]
        return average

    def fit_prior(self, x: Values, components: int = 10, seed: int = 0) -> "Ensemble":
        """`Model.fit_prior` of each member."""
        for number, member in enumerate(self.members):
            member.fit_prior(x, components, _seed(seed, number))
        self.options, self.reference = self.members[0].options, None
        return self

    def _restored(
        self,
        y: Any,
        operator: Operator | None,
        draws: int,
        method: str,
        seed: int,
        advance: Callable[[float], None],
        presented: int | None = None,
        **options: Any,
    ) -> Restoration[np.ndarray]:
        """Draw m of row i is of the member (m + i) mod N, so that every row has as many of each as can be."""
        if draws < 1:
            raise InputError(f"draws has to be at least 1, got {draws}")
        count = len(self.members)
        parts = [
            member._restored(
                y,
                operator,
                math.ceil(draws / count),
                method,
                _seed(seed, number),
                lambda rows: advance(rows / count),
                presented=seed if presented is None else presented,
                **options,
            )
            for number, member in enumerate(self.members)
        ]
        return parts[0] if count == 1 else _mixed(parts, draws)

    def _evidence(
        self,
        values: Rows | Tensor,
        seed: int,
        resume: str | Path | None,
        advance: Callable[[float], None],
        presented: int | None = None,
        **options: Any,
    ) -> Evidence:
        """All members see x as it is presented for the seed, with draws of their own."""
        count = len(self.members)
        parts = [
            member._evidence(
                values,
                _seed(seed, number),
                resume if resume is None or number == 0 else _numbered(Path(resume), number),
                lambda rows: advance(rows / count),
                presented=seed if presented is None else presented,
                **options,
            )
            for number, member in enumerate(self.members)
        ]
        return mixture_evidence(parts)

    def _look(self, x: Values, seed: int) -> scoring.Reference:
        found = _reference([member._look(x, seed) for member in self.members])
        assert found is not None
        return found

    def keep_reference(self, x: Values) -> None:
        """`Model.keep_reference` of each member."""
        for member in self.members:
            member.keep_reference(x)
        self.reference = _reference([member.reference for member in self.members])

    def _active_units(self, values: Rows | Tensor, seed: int) -> int:
        """Of all members together."""
        return sum(member._active_units(values, seed) for member in self.members)

    # -- what belongs to one model ------------------------------------------------------------------------

    def _of_a_member(self, what: str) -> NoReturn:
        raise InputError(
            f"an ensemble of {len(self.members)} models has no {what} of its own; ask one of its members"
        )

    def prior(self) -> NoReturn:
        self._of_a_member("p(z)")

    def decode(self, z: Any) -> NoReturn:
        self._of_a_member("p(x|z)")

    def terms(self, *args: Any, **options: Any) -> NoReturn:
        self._of_a_member("terms of one z")

    def exact(self) -> NoReturn:
        self._of_a_member("closed form")

    def inference_gap(self, *args: Any, **options: Any) -> NoReturn:
        self._of_a_member("inference gap")

    # -- storage ------------------------------------------------------------------------------------------

    def pack(self) -> dict[str, bytes]:
        """The files of the runs of all members by path, and config.json, which comes last; see `unpack`."""
        files = {
            member_folder(number) + name: content
            for number, member in enumerate(self.members)
            for name, content in member.pack().items()
        }
        return files | {CONFIG: config_of(self.members[0], len(self.members))}


def config_of(member: Model, count: int) -> bytes:
    """config.json of an ensemble: how many runs its folder holds, and whence their data is."""
    config = member.config
    record = {"backstory": config.backstory, "source": config.source, "ensemble": count}
    return (json.dumps(record, indent=2) + "\n").encode()


# -- opening ----------------------------------------------------------------------------------------------


def open(run: str | Path, device: str = "auto") -> Model:
    """Open a run folder, of a model or an ensemble.

    InputError, one sentence, where it is missing, damaged or not a run.
    """
    check_folder(Path(run))
    count = members_of(Path(run), read_config(Path(run)))
    if count is None:
        return model.open(run, device)
    return Ensemble([model.open(Path(run) / member_folder(number), device) for number in range(count)])


def unpack(files: dict[str, bytes], device: str = "auto") -> Model:
    """The model of `Model.pack` or `Ensemble.pack`."""
    count = json.loads(files[CONFIG]).get("ensemble")
    if count is None:
        return model.unpack(files, device)
    folders = [member_folder(number) for number in range(count)]
    return Ensemble(
        [
            model.unpack(
                {name.removeprefix(folder): v for name, v in files.items() if name.startswith(folder)}, device
            )
            for folder in folders
        ]
    )


# -- averages ---------------------------------------------------------------------------------------------


def mixture_evidence(parts: list[Evidence]) -> Evidence:
    """log (1/N) Σ_n p_n(x) from estimates of each log p_n(x), with draws that are independent.

    With r_n, the share of a member in the sum, the error is √Σ (r_n s_n)² (delta method), and all draws
    together have an effective sample size of 1 / Σ (r_n² / ess_n). The ELBO and its two terms are averages;
    by Jensen's inequality the average ELBO bounds the mixture, too. Pareto k̂ is averaged with the shares.
    """
    log_evidence = torch.stack([part.log_evidence for part in parts])
    share = torch.softmax(log_evidence, 0)

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])

    return Evidence(
        log_evidence=log_mean_exp(log_evidence),
        standard_error=(share * stacked("standard_error")).square().sum(0).sqrt(),
        ess=1 / (share.square() / stacked("ess")).sum(0),
        pareto_k=(share * stacked("pareto_k")).sum(0),
        elbo=stacked("elbo").mean(0),
        reconstruction=stacked("reconstruction").mean(0),
        kl=stacked("kl").mean(0),
        samples=sum(part.samples for part in parts),
        acceptance=stacked("acceptance").mean(0),
    )


def log_mean_exp(values: Tensor) -> Tensor:
    """log (1/N) Σ_n exp v_n over the first axis."""
    return torch.logsumexp(values, 0) - math.log(len(values))


def _mixed(parts: list[Restoration[np.ndarray]], draws: int) -> Restoration[np.ndarray]:
    """The mixture of restorations: the law of total variance, Σ (v_n + m_n²) / N − m²; draws in turn.

    Each member's mean has 1 / ess_n of its variance as an error; together they have that of N² / Σ 1 / ess_n.
    """
    means = np.stack([part.mean for part in parts]).astype(np.float64)
    variances = np.square(np.stack([part.std for part in parts]).astype(np.float64))
    distances = means - means[0]  # zero, not rounded, where all have what was seen
    mean, std = means[0] + distances.mean(0), np.sqrt(variances.mean(0) + distances.var(0))
    numbers = {
        f.name: torch.stack([getattr(part, f.name) for part in parts])
        for f in fields(Restoration)
        if f.name in ("log_evidence", "ess", "pareto_k", "r_hat", "acceptance")
    }
    every = [sorted(names, key=_effort) for names in zip(*(part.methods for part in parts), strict=True)]
    found = Restoration(
        mean.astype(parts[0].mean.dtype),
        std.astype(parts[0].std.dtype),
        _in_turn(np.stack([part.draws for part in parts]), draws),
        torch.from_numpy(_in_turn(np.stack([part.codes.cpu().numpy() for part in parts]), draws)),
        tuple(names[-1] for names in every),
        log_mean_exp(numbers["log_evidence"]),
        len(parts) ** 2 / (1 / numbers["ess"]).sum(0),
        _largest(numbers["pareto_k"]),
        _largest(numbers["r_hat"]),
        numbers["acceptance"].nanmean(0),
        tuple(
            (columns, torch.stack([part.level_probs[i][1] for part in parts]).mean(0))
            for i, (columns, _) in enumerate(parts[0].level_probs)
        ),
    )
    for columns, probs in found.level_probs:  # the tensors share the arrays' memory
        guess_levels(torch.from_numpy(found.mean), torch.from_numpy(found.std), columns, probs)
    return found


def _in_turn(parts: np.ndarray, draws: int) -> np.ndarray:
    """Of (N, ⌈M / N⌉, rows, …) the M draws of each row, (M, rows, …); see `Ensemble._restored`."""
    members, rows = parts.shape[0], parts.shape[2]
    m, i = np.ogrid[:draws, :rows]
    taken: np.ndarray = parts[(m + i) % members, np.broadcast_to(m // members, (draws, rows)), i]
    return taken


def _effort(method: str) -> int:
    return METHODS.index(method) if method in METHODS else -1


def _largest(values: Tensor) -> Tensor:
    """Over the members, of those that have one."""
    return torch.where(values.isnan().all(0), torch.nan, values.nan_to_num(nan=-math.inf).amax(0))


def _reference(parts: "list[scoring.Reference | None]") -> scoring.Reference | None:
    """log p(r) of the mixture, and the members' average surprise at each entry."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return log_mean_exp(torch.stack([p[0] for p in known])), torch.stack([p[1] for p in known]).mean(0)


def _commonest(votes: np.ndarray) -> float:
    values, counts = np.unique(votes, return_counts=True)
    return float(values[counts.argmax()])


def _seed(seed: int, number: int) -> int:
    """Draws of the members are independent; those of the first are of the seed itself."""
    return seed if number == 0 else mixed_seed(seed, STREAM, number)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
