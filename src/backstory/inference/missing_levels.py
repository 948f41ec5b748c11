"""Answers about rows whose level of a condition is missing, from the answers at each of its L levels.

    p(x)    = Σ_c p(c) p(x|c)
    p(x|y)  = Σ_c p(c|y) p(x|y, c),   p(c|y) ∝ p(c) p(y|c)

Rows with a level keep it, and their answers are those given c. The ELBO of a row without one is the bound of
training, Σ_c q(c|x) [ELBO(x|c) + log p(c) − log q(c|x)].
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import Evidence
from backstory.inference.mixture import weighted_evidence
from backstory.inference.requests import EvidenceRequest
from backstory.inference.scoring import Looks
from backstory.models.level_posterior import LevelPosterior
from backstory.models.vae import VAE

STREAM = 102  # of the seeds of the levels, apart from other streams of noise


def has_gaps(vae: VAE, given: Tensor | None) -> bool:
    """Whether some of the rows with these codes of conditions, (N, C), lack their level."""
    return vae.levels is not None and given is not None and bool(vae.levels.missing.gaps(given).any())


def at_level(inference: LevelPosterior, observation: Observation, level: int) -> Observation:
    """The rows, with this level where their own is missing."""
    given = observation.given
    assert given is not None
    levels = torch.full((len(given),), level, device=given.device)
    filled = inference.missing.with_levels(given, levels)
    return Observation(observation.x, torch.where(inference.missing.gaps(given).unsqueeze(-1), filled, given))


def log_weights(inference: LevelPosterior, given: Tensor) -> Tensor:
    """log p(c) of each level, (N, L); where c is observed 0 for its level and −∞ for the others."""
    gaps = inference.missing.gaps(given).unsqueeze(-1)
    return torch.where(gaps, inference.log_prior, inference.observed(given))


@torch.no_grad()
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
        ask: answers for rows that all have a level.
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


def _seed(seed: int, level: int) -> int:
    return seed if level == 0 else mixed_seed(seed, STREAM, level)


def _of_level(path: Path | None, level: int) -> Path | None:
    """A file for each level."""
    return None if path is None else path.with_name(f"{path.stem}.level{level}{path.suffix}")
