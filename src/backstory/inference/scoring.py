"""Scores of rows that do not depend on the other rows: every row is estimated with the same noise ε.

    log p(x) ≈ log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x),   z_k = μ(x) + σ(x)·ε_k    (`inference.importance`)

With ε fixed this is a smooth function of x, and the same in any batch of rows. A row and each of its entries
x_j are compared with n held-out rows r, in which the entries that are missing in x are hidden:

    p-value   (1 + #{r: log p(r) ≤ log p(x)}) / (1 + n), uniform if x and r have the same distribution
    surprise  E_q(z|x)[−log p(x_j|z)], and its p-value, in which higher surprise is more unusual

The p-value is that of a conformal test (Bates et al. 2023, eq. 3). It takes entries as missing at random.
Held-out rows that lack an entry of x are left out. If fewer than `ENOUGH` remain, those that lack the fewest
entries make up this number. These entries are filled with a draw of p(x_missing|x_observed), and have no
surprise. A row without any entry has no p-value.

A row with a new value, where all training rows have another one or none, comes before all rows without one:
its p-value is the share of rows with a new value. log p(x) is of the modelled entries alone.
`missingness` groups the rows that are compared together.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.data.schema import Schema
from backstory.data.tables.aligned import FrameRows, no_frame
from backstory.data.tables.constants import among
from backstory.inference.damaged import observe
from backstory.inference.effort import Effort
from backstory.inference.importance import LogMean
from backstory.inference.memory import pairs_at_once
from backstory.inference.missingness import Group, groups
from backstory.inference.requests import RestorationRequest
from backstory.inference.restore import restore
from backstory.inference.stored import NOTHING
from backstory.inference.target import check_density
from backstory.models.vae import VAE

MOST_ENTRIES = 500  # rows with more entries have no surprise of single entries
MOST_ROWS, MOST_NUMBERS = 1000, 10**7  # held-out rows, and numbers in them, that are kept for comparison
ENOUGH = 50  # held-out rows without filled entries
EVIDENCE, SURPRISE = 100, 20  # draws of z for a row
IF_COSTLY = 16, 8  # the same where p(x|z) is costly: the error of log p(x) is 0.1 nats
FILLING = 300  # codes that are weighed to fill the gaps of a held-out row


@dataclass(frozen=True)
class Scores:
    """How unusual rows are, compared with n held-out rows.

    Attributes:
        log_evidence: log p(x) of the modelled entries, (N,) in nats.
        surprise: E_q[−log p(x_j|z)], (N, d) in nats; NaN where an entry is missing; (N, 0) for images and for
            rows with more than 500 entries.
        p_value: of log_evidence, (N,), between 1 / (1 + n) and 1; NaN for a row without any entry.
        entry_p_value: of each entry's surprise, (N, d).
        excess: surprise minus its median over the held-out rows, (N, d).
        new_values: by number of the row, its values in columns that were constant or empty in training, by
            name of the column.
        rows: the frame that the rows came in; None for other data.
    """

    log_evidence: np.ndarray
    surprise: np.ndarray
    p_value: np.ndarray
    entry_p_value: np.ndarray
    excess: np.ndarray
    new_values: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    rows: FrameRows | None = None

    def strange(self, most: int = 3, level: float = 0.05) -> list[list[int]]:
        """For each row its entries with an entry_p_value up to `level`, the highest excess first."""
        rows = zip(self.entry_p_value, self.excess, strict=True)
        return [[int(j) for j in np.argsort(-e) if p[j] <= level][:most] for p, e in rows]

    def columns(self, schema: Schema) -> dict[str, np.ndarray]:
        """Columns of a table: `log_evidence`, `p_value` and, for rows of columns, `strange`, of texts.

        `strange` has the values that training did not have, as `column=value`, before the names of other
        columns.
        """
        columns: dict[str, Any] = {"log_evidence": self.log_evidence, "p_value": self.p_value}
        if self.surprise.size or schema.left_out:
            names = schema.columns or [f"column {j + 1}" for j in range(schema.numel)]
            strange = [
                [f"{name}={value}" for name, value in self.new_values.get(n, {}).items()]
                + [names[j] for j in row]
                for n, row in enumerate(self.strange())
            ]
            columns["strange"] = np.array(list(map("; ".join, strange)), dtype=object)
        return columns

    def to_frame(self) -> Any:
        """`columns` as a frame with the index of the frame that was scored; InputError for other data."""
        if self.rows is None:
            raise no_frame("scores")
        return self.rows.columns(self.columns(self.rows.data.schema))


@dataclass(frozen=True)
class Looks:
    """What `score` compares of rows.

    Attributes:
        log_evidence: log p(x), (N,).
        surprise: of each entry, (N, d).
        new: whether a row has a new value, (N,) of bool; None if no row has one.
    """

    log_evidence: Tensor
    surprise: Tensor
    new: np.ndarray | None = None

    @property
    def rank(self) -> np.ndarray:
        """log p(x), and -inf for rows with a new value, (N,)."""
        value = self.log_evidence.double().cpu().numpy()
        return value if self.new is None else np.where(self.new, -np.inf, value)


Look = Callable[[Observation], Looks]


def score(
    rows: Iterable[Observation],
    reference: Observation,
    look: Look,
    fill: VAE,
    new: Mapping[int, Mapping[str, str]],
    new_in_reference: Collection[int] = (),
) -> Scores:
    """Scores of rows, each compared with held-out rows in which the same entries are hidden.

    Args:
        rows: N rows in batches.
        reference: held-out rows.
        look: of the density.
        fill: the model that fills entries that held-out rows lack.
        new: as in `Scores.new_values`.
        new_in_reference: numbers of the held-out rows with a new value.
    """
    parts, missing = [], []
    for batch in rows:
        parts.append(look(batch))
        missing.append(_missing(batch.x))
    gaps, peers = np.concatenate(missing), _Peers(reference, look, fill, new_in_reference)
    evidence, surprise = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("log_evidence", "surprise")
    )
    found = Looks(evidence, surprise, among(new, len(gaps)))
    scores = compare(found, [(group.rows, peers.of(group)) for group in groups(gaps)])
    alone = among(new, len(gaps)) & gaps.all(1)  # rows with nothing but new values
    p_value = np.where(alone, (1 + peers.new.sum()) / (1 + len(peers.new)), scores.p_value)
    return replace(scores, p_value=p_value, new_values=new)


def _missing(x: Tensor) -> np.ndarray:
    """Which entries are missing, (N, D) of bool."""
    return x.isnan().flatten(1).cpu().numpy()


class _Peers:
    """Held-out rows, with which groups of rows are compared.

    Args:
        reference, look, fill, new_in_reference: as for `score`.
    """

    def __init__(self, reference: Observation, look: Look, fill: VAE, new_in_reference: Collection[int]):
        self.reference, self.look, self.fill = reference, look, fill
        self.missing = _missing(reference.x)
        self.new = among(new_in_reference, len(self.missing))
        self.full: Tensor | None = None  # the rows without gaps, made when they are needed

    def of(self, group: Group) -> Looks:
        """What is compared of the held-out rows, with entries hidden as in the group."""
        hidden = group.assigned(len(self.missing))
        lacking = self.missing & ~hidden
        chosen = _fullest(lacking.sum(1))
        x = self._filled() if lacking[chosen].any() else self.reference.x
        x = x.masked_fill(_like(hidden, x), torch.nan)
        rows = torch.from_numpy(chosen).to(x.device)
        looks = replace(self.look(Observation(x, self.reference.given).rows(rows)), new=self.new[chosen])
        if not looks.surprise.shape[1]:
            return looks
        invented = _like(lacking[chosen], looks.surprise)
        return replace(looks, surprise=looks.surprise.masked_fill(invented, torch.nan))

    def _filled(self) -> Tensor:
        """The rows with a draw of p(x_missing|x_observed) in their gaps."""
        if self.full is None:
            x = self.reference.x
            seen = observe(NOTHING, x.to(self.fill.shift), tuple(x.shape[1:]), torch.ones(()).to(x))
            effort = Effort(proposals=self.fill.codes_to_weigh or FILLING)
            request = RestorationRequest(1, "importance", effort=effort)
            drawn = restore(self.fill, seen, request, self.reference.given).draws[0]
            self.full = torch.where(x.isnan(), drawn.to(x), x)
        return self.full


def _like(mask: np.ndarray, x: Tensor) -> Tensor:
    """A mask of rows, (N, D), in the shape and on the device of x."""
    return torch.from_numpy(mask).to(x.device).reshape(x.shape)


def _fullest(lacking: np.ndarray) -> np.ndarray:
    """The numbers of the rows that lack nothing; at least `ENOUGH`, with those that lack the fewest."""
    count = max(int((lacking == 0).sum()), min(ENOUGH, len(lacking)))
    return np.sort(np.argsort(lacking, kind="stable")[:count])


def compare(found: Looks, comparisons: Iterable[tuple[np.ndarray, Looks]]) -> Scores:
    """Scores of rows: for the numbers of some rows, the held-out rows that these are compared with."""
    value, surprise = found.log_evidence.double().cpu().numpy(), found.surprise.double().cpu().numpy()
    p_value, entry, excess = (np.full(part.shape, np.nan) for part in (value, surprise, surprise))
    rank = found.rank
    for rows, looks in comparisons:
        usual = looks.surprise.double().cpu().numpy()
        p_value[rows] = _shares(rank[rows], looks.rank)
        for j in range(surprise.shape[1]):
            entry[rows, j] = _shares(-surprise[rows, j], -usual[:, j])
        excess[rows] = surprise[rows] - _medians(usual)
    return Scores(value, surprise, p_value, entry, excess)


def _medians(usual: np.ndarray) -> np.ndarray:
    """The median of each column without its NaN; NaN for a column of NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns of NaN
        return np.asarray(np.nanmedian(usual, axis=0)) if usual.size else usual.sum(0)


def _shares(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(1 + #{r ≤ v}) / (1 + n) for each value v, without the NaN of the reference; NaN for NaN."""
    known = np.sort(reference[~np.isnan(reference)])
    shares = (1 + np.searchsorted(known, values, side="right")) / (1 + len(known))
    return np.where(np.isnan(values), np.nan, shares)


def look(vae: VAE, observation: Observation | Tensor) -> Looks:
    """log p(x) and the surprise of each entry."""
    observation = Observation.of(observation)
    x = observation.x
    entries = x.shape[1] if x.dim() == 2 and x.shape[1] <= MOST_ENTRIES else 0
    value = log_evidence(vae, observation)
    return Looks(value, surprise(vae, observation) if entries else x.new_zeros(len(x), 0))


def _draws(vae: VAE) -> tuple[int, int]:
    """How many draws of z the evidence and the surprise of a row take by default."""
    return (EVIDENCE, SURPRISE) if vae.codes_to_weigh is None else IF_COSTLY


@torch.no_grad()
def surprise(
    vae: VAE, observation: Observation | Tensor, samples: int | None = None, seed: int = 0
) -> Tensor:
    """E_q[−log p(x_j|z)] of each entry, (N, d) in nats; arguments as `log_evidence`."""
    samples = _draws(vae)[1] if samples is None else samples
    observation, noise, parts = Observation.of(observation), _noise(vae, samples, seed), []
    for part in observation.split(_rows_at_once(vae, observation, samples)):
        missing = torch.isnan(part.x)
        z = vae.encode(part).transport(noise.expand(-1, len(part), -1))
        entries = vae.decode(z, part.given).entries(part.x, ~missing)
        parts.append((-entries.mean(0)).masked_fill(missing, torch.nan))
    return torch.cat(parts)


def _noise(vae: VAE, samples: int, seed: int) -> Tensor:
    """ε, (K, 1, D): the same for every row."""
    generator = torch.Generator(vae.device).manual_seed(seed)
    return torch.randn(samples, 1, vae.latents.size, generator=generator, device=vae.device)


def _rows_at_once(vae: VAE, observation: Observation, samples: int) -> int:
    entries = vae.features_shape[0] * observation.x[0].numel()
    return max(1, pairs_at_once(vae, outputs=entries) // samples)


@torch.no_grad()
def log_evidence(
    vae: VAE, observation: Observation | Tensor, samples: int | None = None, seed: int = 0
) -> Tensor:
    """log p(x) of each row, (N,) in nats.

    Args:
        vae: the model.
        observation: N rows; NaN where an entry is missing, if the model is for incomplete data.
        samples: K; None for 100, or 16 where p(x|z) is costly.
        seed: of ε.

    Raises:
        InputError: the model is a plain autoencoder.
    """
    check_density(vae)
    samples = _draws(vae)[0] if samples is None else samples
    observation, noise = Observation.of(observation), _noise(vae, samples, seed)
    parts = [
        LogMean.of(vae.terms(part, noise=noise.expand(-1, len(part), -1)).log_weight).value
        for part in observation.split(_rows_at_once(vae, observation, samples))
    ]
    return torch.cat(parts)
