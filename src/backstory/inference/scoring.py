"""Scores of rows that do not depend on the other rows: every row is estimated with the same noise ε.

    log p(x) ≈ log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x),   z_k = μ(x) + σ(x)·ε_k    (`inference.importance`)

With ε fixed this is a smooth function of x, and the same in any batch of rows. A row and each of its entries
x_j are compared with n held-out rows r, in which the entries that are missing in x are hidden:

    score     of log p(x) and of the neighbours of x among training rows, see `inference.unusual`
    p-value   (1 + #{r: score(r) ≤ score(x)}) / (1 + n), uniform if x and r have the same distribution
    surprise  E_q(z|x)[−log p(x_j|z)], and its p-value, in which higher surprise is more unusual

Without training rows the score is the log of the share of held-out rows with a lower log p(x).

The p-value is that of a conformal test (Bates et al. 2023, eq. 3). It takes entries as missing at random.
Held-out rows that lack an entry of x are left out. If fewer than `ENOUGH` remain, those that lack the fewest
entries make up this number. These entries are filled with a draw of p(x_missing|x_observed), and have no
surprise. A row without any entry has no p-value.

A row with a new value, where all training rows have another one or none, comes before all rows without one:
its p-value is the share of rows with a new value. log p(x) is of the modelled entries alone.
`missingness` groups the rows that are compared together.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
from backstory.inference.exemplar import Tail
from backstory.inference.importance import LogMean
from backstory.inference.memory import pairs_at_once
from backstory.inference.missingness import Group, groups
from backstory.inference.operators import NOTHING
from backstory.inference.requests import RestorationRequest
from backstory.inference.restore import restore
from backstory.inference.target import check_density
from backstory.inference.unusual import MOST_COMPARED, Neighbours, Shares
from backstory.models.vae import VAE, Terms

MOST_ENTRIES = 500  # rows with more entries have no surprise of single entries
MOST_ROWS, MOST_NUMBERS = 1000, 10**7  # held-out rows, and numbers in them, that are kept for comparison
ENOUGH = 50  # held-out rows without filled entries
LOOKED = 10  # held-out rows for each training row with a log p(x), which is the costly part of a score
NEW_VALUE = 1e4  # that a new value in a constant column takes from a score: more than any row has
DRAWS = 100  # of z for a row
IF_COSTLY = 16  # the same where p(x|z) is costly: the error of log p(x) is 0.1 nats
WITH_GAPS_IF_COSTLY = 300  # held-out rows that are compared with rows with gaps, once for each set of gaps
FILLING = 300  # codes that are weighed to fill the gaps of a held-out row


@dataclass(frozen=True)
class Scores:
    """How unusual rows are, compared with n held-out rows.

    Attributes:
        log_evidence: log p(x) of the modelled entries, (N,) in nats.
        surprise: E_q[−log p(x_j|z)], (N, d) in nats; NaN where an entry is missing; (N, 0) for images and for
            rows with more than 500 entries.
        score: lower for more unusual rows, (N,), see `inference.unusual`; NaN for a row without any entry.
        p_value: of the score, (N,), between 1 / (1 + n) and 1; NaN for a row without any entry.
        entry_p_value: of each entry's surprise, (N, d).
        excess: surprise minus its median over the held-out rows, (N, d).
        new_values: by number of the row, its values in columns that were constant or empty in training, by
            name of the column.
        rows: the frame that the rows came in; None for other data.
    """

    log_evidence: np.ndarray
    surprise: np.ndarray
    score: np.ndarray
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
        """Columns of a table: `log_evidence`, `score`, `p_value`, and the texts `strange` of rows of columns.

        `strange` has the values that training did not have, as `column=value`, before the names of other
        columns.
        """
        columns: dict[str, Any] = {
            "log_evidence": self.log_evidence,
            "score": self.score,
            "p_value": self.p_value,
        }
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
        x: the rows, (N, *shape); None where nothing needs them.
        score: by which rows are ranked, (N,); None for log p(x).
    """

    log_evidence: Tensor
    surprise: Tensor
    new: np.ndarray | None = None
    x: Tensor | None = None
    score: np.ndarray | None = None

    @property
    def rank(self) -> np.ndarray:
        """The score, and -inf for rows with a new value, (N,)."""
        value = numbers(self.log_evidence) if self.score is None else self.score
        return value if self.new is None else np.where(self.new, -np.inf, value)


Look = Callable[[Observation], Looks]


@dataclass(frozen=True)
class Against:
    """What rows are compared with.

    Attributes:
        reference: held-out rows; None for scores without p-values.
        new: numbers of the held-out rows with a new value.
        known: training rows; None if a run kept none.
        levels: number of levels of each column without an order, else 0, (d,); for `known`.
        rounded: whether the rows are whole numbers with noise, which neighbours do without.
    """

    reference: Observation | None
    new: Collection[int] = ()
    known: Observation | None = None
    levels: np.ndarray | None = None
    rounded: bool = False


def score(
    rows: Iterable[Observation],
    against: Against,
    look: Look,
    fill: VAE,
    new: Mapping[int, Mapping[str, str]],
) -> Scores:
    """Scores of rows, each compared with training and held-out rows in which the same entries are hidden.

    Args:
        rows: N rows in batches.
        against: what to compare with.
        look: of the density.
        fill: the model that fills entries that held-out rows lack.
        new: as in `Scores.new_values`.
    """
    found, gaps = _looked(rows, look, against.known is not None)
    found = replace(found, new=among(new, len(gaps)))
    ranking = _ByEvidence() if against.known is None else _ByNeighbours(against, look)
    peers = None if against.reference is None else _Peers(against.reference, look, fill, against.new)
    value, comparisons = np.full(len(gaps), np.nan), []
    for group in groups(gaps):
        usual = None if peers is None else peers.of(group)
        ranks = ranking.within(group, usual)
        value[group.rows] = ranks(_some(found, group.rows))
        if usual is not None:
            ranked = replace(usual, score=ranks(usual)) if against.known is not None else usual
            comparisons.append((group.rows, ranked))
    ranked = found if against.known is None else replace(found, score=value)
    return _with_new_values(replace(compare(ranked, comparisons), score=value), new, gaps, peers)


def _looked(rows: Iterable[Observation], look: Look, keep: bool) -> tuple[Looks, np.ndarray]:
    """What is compared of rows, with the rows themselves if `keep`, and which entries are missing."""
    parts, missing, kept = [], [], []
    for batch in rows:
        parts.append(look(batch))
        missing.append(_missing(batch.x))
        kept += [batch.x] if keep else []
    names = ("log_evidence", "surprise")
    evidence, surprise = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    return Looks(evidence, surprise, x=torch.cat(kept) if keep else None), np.concatenate(missing)


def _some(looks: Looks, rows: np.ndarray) -> Looks:
    """log p(x) and the entries of some rows."""
    which = torch.from_numpy(rows).to(looks.log_evidence.device)
    x = None if looks.x is None else looks.x[which]
    return Looks(looks.log_evidence[which], looks.surprise[which], x=x)


def _with_new_values(
    scores: Scores, new: Mapping[int, Mapping[str, str]], gaps: np.ndarray, peers: "_Peers | None"
) -> Scores:
    """Scores in which rows with new values come before all others, also those with nothing else."""
    alone = among(new, len(gaps)) & gaps.all(1)
    least = np.nan if peers is None else (1 + peers.new.sum()) / (1 + len(peers.new))
    counts = np.array([len(new.get(n, ())) for n in range(len(gaps))])
    value = np.where(alone, 0.0, scores.score) - NEW_VALUE * counts
    return replace(scores, p_value=np.where(alone, least, scores.p_value), score=value, new_values=new)


Rank = Callable[[Looks], np.ndarray]


class _ByEvidence:
    """Scores by log p(x) alone: the log share of held-out rows with a lower one."""

    def within(self, group: Group, usual: Looks | None) -> Rank:
        assert usual is not None  # rows are compared with held-out rows, training rows or both
        tail = Tail.of(numbers(usual.log_evidence))
        return lambda looks: tail.log_share(numbers(looks.log_evidence))


class _ByNeighbours:
    """Scores by log p(x) and by training rows, see `inference.unusual`."""

    def __init__(self, against: Against, look: Look):
        assert against.known is not None
        assert against.levels is not None
        self.known, self.look, self.rounded = against.known, look, against.rounded
        self.missing = _missing(self.known.x)
        self.neighbours = Neighbours(self._values(self.known.x), against.levels)

    def within(self, group: Group, usual: Looks | None) -> Rank:
        """The score of rows of a group: shares of training rows in which the same entries are hidden."""
        hidden = group.assigned(len(self.missing))
        own = _fullest((self.missing & ~hidden).sum(1))
        own = _spread(own, MOST_COMPARED)
        x = self.known.x.masked_fill(_like(hidden, self.known.x), torch.nan)
        x = x[torch.from_numpy(own).to(x.device)]
        most = len(x) if usual is None else max(ENOUGH, len(usual.log_evidence) // LOOKED)
        some = _spread(np.arange(len(x)), most)
        evidence = numbers(self.look(Observation(x[torch.from_numpy(some).to(x.device)])).log_evidence)
        shares = Shares.of(self.neighbours, evidence, self._values(x), own)
        return lambda looks: shares.scores(numbers(looks.log_evidence), self._values(looks.x))

    def _values(self, x: Tensor | None) -> np.ndarray:
        assert x is not None
        return numbers(x.round() if self.rounded else x)


def numbers(x: Tensor) -> np.ndarray:
    """A tensor in double precision."""
    return np.asarray(x.double().cpu().numpy())


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
        if hidden.any() and self.fill.codes_to_weigh is not None:
            chosen = _spread(chosen, WITH_GAPS_IF_COSTLY)
        x = self._filled() if lacking[chosen].any() else self.reference.x
        x = x.masked_fill(_like(hidden, x), torch.nan)
        rows = torch.from_numpy(chosen).to(x.device)
        some = Observation(x, self.reference.given).rows(rows)
        looks = replace(self.look(some), new=self.new[chosen], x=some.x)
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


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spread among them."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]


def _like(mask: np.ndarray, x: Tensor) -> Tensor:
    """A mask of rows, (N, D), in the shape and on the device of x."""
    return torch.from_numpy(mask).to(x.device).reshape(x.shape)


def _fullest(lacking: np.ndarray) -> np.ndarray:
    """The numbers of the rows that lack nothing; at least `ENOUGH`, with those that lack the fewest."""
    count = max(int((lacking == 0).sum()), min(ENOUGH, len(lacking)))
    return np.sort(np.argsort(lacking, kind="stable")[:count])


def compare(found: Looks, comparisons: Iterable[tuple[np.ndarray, Looks]]) -> Scores:
    """Scores of rows: for the numbers of some rows, the held-out rows that these are compared with."""
    value, surprise = numbers(found.log_evidence), numbers(found.surprise)
    p_value, entry, excess = (np.full(part.shape, np.nan) for part in (value, surprise, surprise))
    rank = found.rank
    for rows, looks in comparisons:
        usual = numbers(looks.surprise)
        p_value[rows] = _shares(rank[rows], looks.rank)
        for j in range(surprise.shape[1]):
            entry[rows, j] = _shares(-surprise[rows, j], -usual[:, j])
        excess[rows] = surprise[rows] - _medians(usual)
    return Scores(value, surprise, rank, p_value, entry, excess)


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


@torch.no_grad()
def look(vae: VAE, observation: Observation | Tensor, samples: int | None = None, seed: int = 0) -> Looks:
    """log p(x) and the surprise of each entry, from the same draws of z; arguments as `log_evidence`."""
    check_density(vae)
    observation = Observation.of(observation)
    x = observation.x
    if x.dim() != 2 or x.shape[1] > MOST_ENTRIES:
        return Looks(log_evidence(vae, observation, samples, seed), x.new_zeros(len(x), 0))
    parts = [_weighed(vae, part, noise) for part, noise in _parts(vae, observation, samples, seed)]
    values, surprises = zip(*parts, strict=True)
    return Looks(torch.cat(values), torch.cat(surprises))


def _weighed(vae: VAE, rows: Observation, noise: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x), (N,), and E_q[−log p(x_j|z)] of each entry, (N, d), NaN where it is missing."""
    missing, posterior = torch.isnan(rows.x), vae.encode(rows)
    z = posterior.transport(noise)
    entries = vae.decode(z, rows.given).entries(rows.x, vae.inputs.observed(rows.x))
    log_weight = Terms(entries.sum(-1), z, posterior, vae.prior(rows.given)).log_weight
    return LogMean.of(log_weight).value, (-entries.mean(0)).masked_fill(missing, torch.nan)


def _parts(
    vae: VAE, observation: Observation, samples: int | None, seed: int
) -> Iterator[tuple[Observation, Tensor]]:
    """A few rows at a time, with ε of their draws, (K, N, D), which is the same for every row."""
    samples = samples or (DRAWS if vae.codes_to_weigh is None else IF_COSTLY)
    generator = torch.Generator(vae.device).manual_seed(seed)
    noise = torch.randn(samples, 1, vae.latents.size, generator=generator, device=vae.device)
    entries = vae.features_shape[0] * observation.x[0].numel()
    for part in observation.split(max(1, pairs_at_once(vae, outputs=entries) // samples)):
        yield part, noise.expand(-1, len(part), -1)


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
    parts = _parts(vae, Observation.of(observation), samples, seed)
    return torch.cat([LogMean.of(vae.terms(part, noise=noise).log_weight).value for part, noise in parts])
