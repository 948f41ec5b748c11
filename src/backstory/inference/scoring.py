"""Scores of rows that do not depend on their company: every row is estimated with the same noise ε.

    log p(x) ≈ log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x),   z_k = μ(x) + σ(x)·ε_k    (`inference.importance`)

With ε fixed this is a smooth function of x, and the same in any batch of rows. A row and each of its entries
x_j are compared with n rows r that were held out of training:

    p-value   (1 + #{r: log p(r) ≤ log p(x)}) / (1 + n), uniform if x and r have the same distribution
    surprise  E_q(z|x)[−log p(x_j|z)], and its p-value, in which higher surprise is more unusual

The p-value is that of a conformal test (Bates et al. 2023, eq. 3).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.inference.importance import LogMean
from backstory.inference.memory import pairs_at_once
from backstory.inference.target import check_density
from backstory.models.vae import VAE

MOST_ENTRIES = 500  # rows with more entries have no surprise of single entries
MOST_ROWS = 1000  # held-out rows that are kept for comparison


@dataclass(frozen=True)
class Scores:
    """How unusual rows are, compared with n held-out rows.

    Attributes:
        log_evidence: log p(x), (N,) in nats.
        surprise: E_q[−log p(x_j|z)], (N, d) in nats; NaN where an entry is missing; (N, 0) for images and for
            rows with more than 500 entries.
        p_value: of log_evidence, (N,), between 1 / (1 + n) and 1.
        entry_p_value: of each entry's surprise, (N, d).
        excess: surprise minus its median over the held-out rows, (N, d).
    """

    log_evidence: np.ndarray
    surprise: np.ndarray
    p_value: np.ndarray
    entry_p_value: np.ndarray
    excess: np.ndarray

    def strange(self, most: int = 3, level: float = 0.05) -> list[list[int]]:
        """For each row its entries with an entry_p_value up to `level`, the highest excess first."""
        rows = zip(self.entry_p_value, self.excess, strict=True)
        return [[int(j) for j in np.argsort(-e) if p[j] <= level][:most] for p, e in rows]


Reference = tuple[Tensor, Tensor]  # log p(r), (n,), and surprise, (n, d), of held-out rows


def compare(found: Reference, reference: Reference) -> Scores:
    """Scores of rows, compared with held-out rows."""
    value, surprise = (part.double().cpu().numpy() for part in found)
    kept, usual = (part.double().cpu().numpy() for part in reference)
    entries = [_shares(-s, -u) for s, u in zip(surprise.T, usual.T, strict=True)]
    with np.errstate(all="ignore"):
        middle = np.nanmedian(usual, axis=0) if usual.size else usual.sum(0)
    return Scores(
        value,
        surprise,
        _shares(value, kept),
        np.stack(entries, 1) if entries else surprise,
        surprise - middle,
    )


def _shares(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(1 + #{r ≤ v}) / (1 + n) for each value v, without the NaN of the reference; NaN for NaN."""
    known = np.sort(reference[~np.isnan(reference)])
    shares = (1 + np.searchsorted(known, values, side="right")) / (1 + len(known))
    return np.where(np.isnan(values), np.nan, shares)


def look(vae: VAE, observation: Observation | Tensor) -> Reference:
    """log p(x) and the surprise of each entry, the arguments of `compare`."""
    observation = Observation.of(observation)
    x = observation.x
    entries = x.shape[1] if x.dim() == 2 and x.shape[1] <= MOST_ENTRIES else 0
    value = log_evidence(vae, observation)
    return value, surprise(vae, observation) if entries else x.new_zeros(len(x), 0)


@torch.no_grad()
def surprise(vae: VAE, observation: Observation | Tensor, samples: int = 20, seed: int = 0) -> Tensor:
    """E_q[−log p(x_j|z)] of each entry, (N, d) in nats; arguments as `log_evidence`."""
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
def log_evidence(vae: VAE, observation: Observation | Tensor, samples: int = 100, seed: int = 0) -> Tensor:
    """log p(x) of each row, (N,) in nats.

    Args:
        vae: the model.
        observation: N rows; NaN where an entry is missing, if the model is for incomplete data.
        samples: K.
        seed: of ε.

    Raises:
        InputError: the model is a plain autoencoder.
    """
    check_density(vae)
    observation, noise = Observation.of(observation), _noise(vae, samples, seed)
    parts = [
        LogMean.of(vae.terms(part, noise=noise.expand(-1, len(part), -1)).log_weight).value
        for part in observation.split(_rows_at_once(vae, observation, samples))
    ]
    return torch.cat(parts)
