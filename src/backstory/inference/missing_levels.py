"""Answers about rows whose level of a condition is missing, from the answers at each of its L levels.

    p(x)    = Σ_c p(c) p(x|c)
    p(x|y)  = Σ_c p(c|y) p(x|y, c),   p(c|y) ∝ p(c) p(y|c)

Rows with a level keep it, and their answers are those given c. The ELBO of a row without one is the bound of
training, Σ_c q(c|x) [ELBO(x|c) + log p(c) − log q(c|x)].
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import Evidence
from backstory.inference.mixture import weighted_evidence, weighted_restoration
from backstory.inference.requests import EvidenceRequest, RestorationRequest
from backstory.inference.restoration import Restoration
from backstory.inference.scoring import Looks
from backstory.models.level_posterior import LevelPosterior
from backstory.models.vae import VAE

STREAM, CHOOSE = 102, 103  # of the seeds of the levels and of draws of them, apart from other streams


def has_gaps(vae: VAE, given: Tensor | None) -> bool:
    """Whether some of the rows with these codes of conditions, (N, C), lack their level."""
    return vae.levels is not None and given is not None and bool(vae.levels.missing.gaps(given).any())


def at_level(inference: LevelPosterior, observation: Observation, level: int) -> Observation:
    """The rows, with this level where their own is missing."""
    assert observation.given is not None
    return Observation(observation.x, _codes_at(inference, observation.given, level))


def _codes_at(inference: LevelPosterior, given: Tensor, level: int) -> Tensor:
    """The codes of conditions, (N, C), with this level where a level is missing."""
    levels = torch.full((len(given),), level, device=given.device)
    filled = inference.missing.with_levels(given, levels)
    return torch.where(inference.missing.gaps(given).unsqueeze(-1), filled, given)


def log_weights(inference: LevelPosterior, given: Tensor) -> Tensor:
    """log p(c) of each level, (N, L); where c is observed 0 for its level and −∞ for the others."""
    gaps = inference.missing.gaps(given).unsqueeze(-1)
    return torch.where(gaps, inference.log_prior, inference.observed(given))


def evidence_over_levels(
    vae: VAE,
    batches: Callable[[], Iterable[Observation]],
    request: EvidenceRequest,
    ask: Callable[[Callable[[], Iterable[Observation]], EvidenceRequest], Evidence],
) -> Evidence:
    """The evidence of rows of which some lack their level.

    Args:
        vae: the model.
        batches: returns the rows in batches, the same ones at each call.
        request: the draws of each level have a seed of their own.
        ask: answers for rows that all have a level; it may need gradients of z.
    """
    inference = vae.levels
    assert inference is not None

    def filled(level: int) -> Callable[[], Iterable[Observation]]:
        return lambda: (at_level(inference, batch, level) for batch in batches())

    parts = [
        ask(filled(k), replace(request, seed=_seed(request.seed, k), resume=_of_level(request.resume, k)))
        for k in range(inference.missing.count)
    ]
    prior, posterior = [], []
    for batch in batches():
        assert batch.given is not None
        prior.append(log_weights(inference, batch.given))
        with torch.no_grad():
            posterior.append(inference.posterior(vae.inputs(batch.x), batch.given))
    return weighted_evidence(parts, torch.cat(prior).mT, torch.cat(posterior).mT)


def looks_over_levels(vae: VAE, observation: Observation, ask: Callable[[Observation], Looks]) -> Looks:
    """log p(x), and the surprise averaged over p(c|x), of rows of which some lack their level."""
    inference = vae.levels
    assert inference is not None
    assert observation.given is not None
    parts = [ask(at_level(inference, observation, k)) for k in range(inference.missing.count)]
    joint = torch.stack([part.log_evidence for part in parts])
    joint = joint + log_weights(inference, observation.given).mT.to(joint)
    share = torch.softmax(joint, 0).unsqueeze(-1)
    surprise = share * torch.stack([part.surprise for part in parts])
    return Looks(torch.logsumexp(joint, 0), surprise.sum(0))


def restoration_over_levels(
    vae: VAE,
    given: Tensor,
    request: RestorationRequest,
    ask: Callable[[Any, Tensor, RestorationRequest], Restoration[np.ndarray]],
) -> Restoration[np.ndarray]:
    """The restoration of rows of which some lack their level, by the weights p(c|y) of its levels.

    Args:
        vae: the model.
        given: codes of the conditions of all rows, (N, C).
        request: the draws of each level have a seed of their own.
        ask: answers for the rows of some numbers, with these codes.
    """
    inference = vae.levels
    assert inference is not None
    gaps = inference.missing.gaps(given).nonzero().squeeze(1).cpu()

    def at(level: int, rows: Any, how: RestorationRequest) -> Restoration[np.ndarray]:
        codes = _codes_at(inference, given[rows], level)
        return ask(rows, codes, replace(how, seed=_seed(how.seed, level)))

    whole = at(0, slice(None), request)
    parts = [whole.select(gaps.tolist())]
    parts += [at(level, gaps, request) for level in range(1, inference.missing.count)]
    log_evidence = _log_evidence_of_levels(parts)
    unknown = np.flatnonzero(np.isnan(log_evidence).any(0))
    if len(unknown):  # chains, and the encoder alone, do not estimate p(y|c)
        method = "variational" if vae.codes_to_weigh is None else "importance"
        rows, weighed = gaps[torch.from_numpy(unknown)], replace(request, method=method, draws=0)
        again = [at(level, rows, weighed) for level in range(inference.missing.count)]
        log_evidence[:, unknown] = _log_evidence_of_levels(again)
    joint = log_evidence + inference.log_prior.double().cpu().numpy()[:, None]
    total = np.logaddexp.reduce(joint, 0)
    weights = np.exp(joint - total)
    drawn = _drawn_levels(weights, request.draws, request.seed)
    m, n = np.ogrid[: drawn.shape[0], : drawn.shape[1]]
    found = weighted_restoration(parts, weights, lambda values: values[drawn, m, n])
    known = torch.from_numpy(np.where(parts[0].log_evidence.isnan(), np.nan, total))
    return whole.with_rows(
        gaps.tolist(), replace(found, log_evidence=known, codes=found.codes.to(whole.codes))
    )


def _log_evidence_of_levels(parts: list[Restoration[np.ndarray]]) -> np.ndarray:
    """log p(y|c), (L, N); 0 where nothing or everything is missing and nothing is to be learned of c.

    NaN where the method did not estimate it.
    """
    log_evidence = np.stack([part.log_evidence.double().cpu().numpy() for part in parts])
    settled = np.isin(np.array(parts[0].methods), ("observed", "prior"))
    return np.where(settled, 0.0, log_evidence)


def _drawn_levels(weights: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Levels by their weights p(c|y), (L, N): the number of one for each draw, (M, N)."""
    u = np.random.default_rng(mixed_seed(seed, STREAM, CHOOSE)).random((weights.shape[1], draws)).T
    levels: np.ndarray = (np.cumsum(weights, 0)[:-1, None] <= u).sum(0)
    return levels


def _seed(seed: int, level: int) -> int:
    return seed if level == 0 else mixed_seed(seed, STREAM, level)


def _of_level(path: Path | None, level: int) -> Path | None:
    """A file for each level."""
    return None if path is None else path.with_name(f"{path.stem}.level{level}{path.suffix}")
