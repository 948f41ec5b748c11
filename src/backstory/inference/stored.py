"""Restoration of stored values: y in the data's own units in, restorations in these units out.

Levels and columns keep their units; σ is a fraction of the full range for images and of a column's standard
deviation for tables and arrays. Entries that were seen without noise come back as they were.
"""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.inference.damaged import Damaged, damage, observe
from backstory.inference.importance import HEAVY_SHARE
from backstory.inference.latent_posterior import Effort
from backstory.inference.operators import Linear, Mask, Noise, Operator, Product
from backstory.inference.pareto import threshold
from backstory.inference.restore import Restoration, restore
from backstory.models.vae import VAE
from backstory.options import check_option

NOTHING = Product(())  # the operator that leaves x as it is
NOT_MIXED = 1.1  # R̂ above which chains have not met


def restore_stored(
    vae: VAE,
    schema: Schema,
    y: np.ndarray | Tensor,
    operator: Operator | None = None,
    draws: int = 10,
    method: str = "auto",
    seed: int = 0,
    budget: int | None = None,
    chunk: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
    presented: int | None = None,
    **effort: Any,
) -> Restoration[np.ndarray]:
    """`restore.restore` for stored values; the arguments are those of `Model.restore`.

    `presented` is the seed of how y is presented where that is at random, by default that of the draws.
    """
    for name in effort:
        check_option("restore", name, [field.name for field in fields(Effort)])
    how, values = Effort(**effort), torch.tensor(np.asarray(y))
    seen = _observe(vae, schema, values, _operator(operator), seed if presented is None else presented)
    found = restore(vae, seen, draws, method, seed, how, budget, chunk, advance)
    mean, drawn = schema.means(found.mean), schema.restore(found.draws)
    if schema.maximum is not None:
        mean = np.clip(mean, 0, schema.maximum)  # nothing true lies outside, so this is never farther from it
    if seen.exact:
        kept, known = seen.seen.cpu().numpy(), values.cpu().numpy()
        mean[kept], drawn[:, kept] = known[kept], known[kept]
    return Restoration(
        mean,
        schema.deviations(found.std),
        drawn,
        **{f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("mean", "std", "draws")},
    )


def damage_stored(
    vae: VAE,
    schema: Schema,
    x: np.ndarray | Tensor,
    operator: Operator | None = None,
    missing: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """y of stored values x, (N, *shape); the arguments are those of `Model.damage`."""
    if not 0 <= missing <= 1:
        raise InputError(f"the fraction that is missing lies between 0 and 1, got {missing:g}")
    values = torch.tensor(np.asarray(x))
    if tuple(values.shape[1:]) != schema.shape or len(values) == 0:
        raise InputError(
            f"expected whole observations of shape {schema.shape} to damage, got values of shape "
            f"{tuple(values.shape)}"
        )
    factor, generator = _factor(schema), torch.Generator().manual_seed(seed % 2**64)
    y = _damaged(_operator(operator), values.double() * factor, vae, unit_of(vae, schema), generator)
    pixels = y.shape[:3] if schema.kind == "images" and y.dim() == 4 else y.shape  # with all their channels
    hidden = torch.rand(pixels, generator=generator) < missing
    hidden = hidden.view(*pixels, *[1] * (y.dim() - len(pixels)))
    return torch.where(hidden, math.nan, y / factor).numpy()


def _operator(operator: Operator | None) -> Operator:
    if not isinstance(operator, Operator | None):
        raise InputError(
            f"expected an operator such as Mask(seen), Noise(0.1) or Blur(1.5), got {type(operator).__name__}"
        )
    return NOTHING if operator is None else operator


def _damaged(
    operator: Operator,
    x: Tensor,
    vae: VAE,
    unit: Tensor | float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`operators.damage` in double precision, but for one's own functions: these get what `restore` gives."""
    own = any(isinstance(part, Linear) for part in operator.parts)
    x = x.to(vae.shift.dtype) if own else x
    return damage(operator, x, torch.as_tensor(unit).to(x), generator).double()


def unit_of(vae: VAE, schema: Schema) -> Tensor:
    """What σ and errors are fractions of, in the model's units: the full range, or a column's deviation."""
    if schema.kind != "images":
        return vae.scale
    return torch.tensor(float(_top(schema) or schema.maximum or 1))


def stored_unit(vae: VAE, schema: Schema) -> np.ndarray:
    """The same in stored units, a number or one for each entry."""
    return (unit_of(vae, schema).double().cpu() / _factor(schema)).numpy()


def _factor(schema: Schema) -> float:
    """From stored values to the model's units."""
    top = _top(schema)
    return 1.0 if top is None or schema.maximum is None else top / schema.maximum


def _top(schema: Schema) -> int | None:
    """The top level of the model's x, if it has levels."""
    return None if schema.model_levels is None else schema.model_levels - 1


def _observe(vae: VAE, schema: Schema, values: Tensor, operator: Operator, seed: int) -> Damaged:
    """y in the model's units, with what was seen of it."""
    if values.dtype == torch.bool or values.is_complex():
        values = values.float()
    scaled = (values.double() * _factor(schema) - _image_of_origins(vae, schema, operator)).to(vae.shift)
    seen = observe(operator, scaled, schema.shape, unit_of(vae, schema))
    if not seen.exact:
        return seen
    filled = torch.where(seen.seen, values.to(seen.y.device), 0)
    schema.check(filled)
    generator = torch.Generator(seen.y.device).manual_seed(seed)
    return replace(seen, y=torch.where(seen.seen, schema.prepare(filled, generator).to(seen.y), 0.0))


def _image_of_origins(vae: VAE, schema: Schema, operator: Operator) -> Tensor:
    """What the operator makes of an x of zeros, in stored units: y is counted from there."""
    if schema.origins is None:
        return torch.zeros(())
    maps = tuple(part for part in operator.parts if not isinstance(part, Noise | Mask))
    return _damaged(Product(maps), torch.from_numpy(schema.origins)[None], vae)


def warnings(found: Restoration[Any], proposals: int = Effort.proposals) -> list[str]:
    """Sentences for people: what came from the prior, and what not to trust."""
    blank = found.methods.count("prior")
    count, said = len(found.methods), []
    if blank:
        said.append(f"nothing was seen of {blank} of {count} observations: theirs are draws from the prior")
    heavy = int((found.pareto_k > threshold(proposals)).sum())
    if heavy > HEAVY_SHARE * count:
        said.append(
            f"the importance weights of {heavy} of {count} observations are too heavy-tailed to trust; take "
            "method hmc, or more proposals"
        )
    apart = int((found.r_hat > NOT_MIXED).sum())
    if apart > HEAVY_SHARE * count:
        said.append(
            f"the chains of {apart} of {count} observations have not met (R̂ above {NOT_MIXED}), so their "
            "draws may miss some of what is possible; take more transitions"
        )
    return said
