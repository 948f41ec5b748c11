"""Restoration of stored values: y in the data's own units in, restorations in these units out.

Levels and columns keep their units. σ is a fraction of the full range for images, and of a column's standard
deviation for tables and arrays. Entries observed without noise come back exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.units import full_range
from backstory.errors import InputError, counted
from backstory.inference.damaged import Damaged, damage, observe
from backstory.inference.importance import HEAVY_SHARE
from backstory.inference.missing_levels import has_gaps, restoration_over_levels
from backstory.inference.operators import NOTHING, Operator, Product
from backstory.inference.pareto import threshold
from backstory.inference.requests import RestorationRequest
from backstory.inference.restoration import Restoration
from backstory.inference.restore import restore
from backstory.models.vae import VAE

NOT_MIXED = 1.1  # R̂ above which chains have not met
LEAST = 2.0  # effective draws, of weights that are too few for k̂ but several times this


@dataclass(frozen=True)
class StoredUnits:
    """The units of stored values, and those of the model.

    Attributes:
        schema: of the stored values.
        scale: standard deviation of each entry in the training data, in the model's units.
    """

    schema: Schema
    scale: Tensor

    @property
    def unit(self) -> Tensor:
        """The unit of σ and of errors, in the model's units: the full range, or a column's deviation."""
        if self.schema.kind != "images":
            return self.scale
        return torch.tensor(full_range(self.schema))

    @property
    def stored_unit(self) -> np.ndarray:
        """`unit` in stored units, a number or one for each entry."""
        return (self.unit.double().cpu() / self.schema.factor).numpy()

    def damage(
        self, x: np.ndarray | Tensor, operator: Operator | None = None, missing: float = 0.0, seed: int = 0
    ) -> np.ndarray:
        """y of stored values x, (N, *shape); the arguments are those of `Model.damage`."""
        if not 0 <= missing <= 1:
            raise InputError(f"the fraction that is missing lies between 0 and 1, got {missing:g}")
        values = torch.tensor(np.asarray(x))
        if tuple(values.shape[1:]) != self.schema.shape or len(values) == 0:
            raise InputError(
                f"expected whole observations of shape {self.schema.shape} to damage, got values of shape "
                f"{tuple(values.shape)}"
            )
        generator = torch.Generator().manual_seed(seed % 2**64)
        y = self._damaged(
            known_operator(operator), values.double() * self.schema.factor, self.unit, generator
        )
        images = self.schema.kind == "images" and y.dim() == 4
        pixels = y.shape[:3] if images else y.shape  # pixels go missing with all their channels
        hidden = torch.rand(pixels, generator=generator) < missing
        hidden = hidden.view(*pixels, *[1] * (y.dim() - len(pixels)))
        return torch.where(hidden, math.nan, y / self.schema.factor).numpy()

    def observe(self, y: np.ndarray | Tensor, operator: Operator | None, seed: int) -> Damaged:
        """y in the model's units, with a mask of what was observed.

        Args:
            y: stored values, NaN where an entry is missing.
            operator: what happened to x.
            seed: of the presentation of y, where that is at random.
        """
        values, operator = torch.tensor(np.asarray(y)), known_operator(operator)
        if values.dtype == torch.bool or values.is_complex():
            values = values.float()
        counted = values.double() - self._image_of_origins(operator)
        scaled = (counted * self.schema.factor).to(self.scale)
        seen = observe(operator, scaled, self.schema.shape, self.unit)
        if not seen.exact:
            return seen
        filled = torch.where(seen.observed, values.to(seen.y.device), 0)
        self.schema.check(filled)
        generator = torch.Generator(seen.y.device).manual_seed(seed)
        prepared = self.schema.prepare(filled, generator).to(seen.y)
        return replace(seen, y=torch.where(seen.observed, prepared, 0.0))

    def stored(
        self, found: Restoration[Tensor], seen: Damaged, y: np.ndarray | Tensor
    ) -> Restoration[np.ndarray]:
        """A restoration in stored units.

        Args:
            found: in the model's units.
            seen: what was restored, from `observe`.
            y: the stored values that `observe` took; those observed exactly are copied.
        """
        mean, drawn = self.schema.means(found.mean), self.schema.restore(found.draws)
        if self.schema.bounds is not None:
            mean = np.clip(mean, *self.schema.bounds)  # no true value lies outside
        if seen.exact:
            kept, known = seen.observed.cpu().numpy(), np.asarray(torch.as_tensor(y).cpu())
            mean[kept], drawn[:, kept] = known[kept], known[kept]
        rest = {
            f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("mean", "std", "draws")
        }
        return Restoration(mean, self.schema.deviations(found.std), drawn, **rest)

    def _image_of_origins(self, operator: Operator) -> Tensor:
        """What the operator makes of an x of zeros, in stored units: y is counted from there."""
        if self.schema.origins is None:
            return torch.zeros(())
        maps = tuple(part for part in operator.parts if part.is_map)
        origins = np.broadcast_to(self.schema.origins, (1, *self.schema.shape))
        return self._damaged(Product(maps), torch.tensor(origins))

    def _damaged(
        self,
        operator: Operator,
        x: Tensor,
        unit: Tensor | float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`operators.damage` in double precision; people's own functions get the model's type."""
        own = any(part.is_function for part in operator.parts)
        x = x.to(self.scale.dtype) if own else x
        return damage(operator, x, torch.as_tensor(unit).to(x), generator).double()


def restore_stored(
    vae: VAE,
    units: StoredUnits,
    y: StoredRows,
    operator: Operator | None,
    request: RestorationRequest,
    advance: Callable[[float], None] = lambda rows: None,
) -> Restoration[np.ndarray]:
    """`restore.restore` of stored values; `advance` is called with the number of rows restored."""
    values: Any = y.values
    seen = units.observe(values, operator, request.presentation_seed)
    given = None if y.given is None else torch.as_tensor(y.given).to(seen.y)
    levels = vae.levels if has_gaps(vae, given) else None
    share = 1 if levels is None else levels.missing.count

    def ask(rows: Any, codes: Tensor | None, how: RestorationRequest) -> Restoration[np.ndarray]:
        some = seen.rows(rows)
        found = restore(vae, some, how, codes, lambda n: advance(n / share))
        return units.stored(found, some, values[rows])

    if levels is None or given is None:
        return ask(slice(None), given, request)
    return restoration_over_levels(vae, given, request, ask)


def known_operator(operator: Operator | None) -> Operator:
    """The operator, `NOTHING` in place of None; InputError for anything else."""
    if not isinstance(operator, Operator | None):
        raise InputError(
            f"expected an operator such as Mask(seen), Noise(0.1) or Blur(1.5), got {type(operator).__name__}"
        )
    return NOTHING if operator is None else operator


def warnings(found: Restoration[Any], proposals: int, noun: str = "observation") -> list[str]:
    """Sentences for people: which draws come from the prior, and which results not to trust."""
    blank = found.methods.count("prior")
    count, sentences = len(found.methods), []
    observations = counted(count, noun)
    if blank:
        sentences.append(
            f"all entries of {blank} of {observations} are missing: their draws come from the prior"
        )
    few = found.pareto_k.isnan() & found.r_hat.isnan() & (found.ess < min(LEAST, proposals / 4))
    heavy = int(((found.pareto_k > threshold(proposals)) | few).sum())
    if heavy > HEAVY_SHARE * count:
        sentences.append(
            f"the importance weights of {heavy} of {observations} are too heavy-tailed to trust; "
            "restore with method hmc, or with more proposals"
        )
    apart = int((found.r_hat > NOT_MIXED).sum())
    if apart > HEAVY_SHARE * count:
        sentences.append(
            f"the chains of {apart} of {observations} have not met (R̂ above {NOT_MIXED}), so their "
            "draws may miss some of what is possible; take more transitions"
        )
    return sentences
