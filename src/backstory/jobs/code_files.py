"""Codes as tables and arrays: the columns z_0, z_1, …, after the identifiers of the rows."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from backstory.data.schema import Schema
from backstory.data.write import write, write_table
from backstory.distributions.latent import Posterior
from backstory.jobs.output import Output

Identified = Callable[[Mapping[str, np.ndarray]], dict[str, Any]]


def write_codes(output: Output, codes: torch.Tensor, identified: Identified) -> None:
    """Write codes (N, D), a row for each observation.

    Args:
        output: where to write.
        codes: to write.
        identified: columns of results after the identifiers of their rows.
    """
    write_table(output.path, identified(_columns(codes.cpu().numpy())), output.force)


def write_code_draws(output: Output, q: Posterior, draws: int, seed: int) -> None:
    """Write M draws of q(z|x): arrays are (M, N, D), tables have a line for each row and draw."""
    z = q.sample(draws, torch.Generator(q.centre.device).manual_seed(seed)).cpu().numpy()
    if output.format in ("npy", "npz"):
        schema = Schema(kind="array", shape=z.shape[1:], dtype="float32")
        write(output.path, z, schema, force=output.force)
        return
    index = {"row": np.repeat(np.arange(z.shape[1]), draws), "draw": np.tile(np.arange(draws), z.shape[1])}
    flat = z.swapaxes(0, 1).reshape(-1, z.shape[2])
    write_table(output.path, {**index, **_columns(flat)}, output.force)


def _columns(codes: np.ndarray) -> dict[str, np.ndarray]:
    return {f"z_{j}": codes[:, j] for j in range(codes.shape[1])}
