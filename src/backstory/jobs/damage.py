"""What happened to x: blur, then downscaling, then noise, then missing entries."""

from dataclasses import dataclass
from pathlib import Path

from backstory.data.schema import Schema
from backstory.inference.operators import Blur, Downscale, Noise, Operator, Product


@dataclass(frozen=True)
class Damage:
    """The damage that turned x into y; None for what did not happen.

    Attributes:
        mask: a file that says which entries of y were observed, see `read_mask`.
        noise: σ, a fraction of the full range of images, or of a column's standard deviation.
        downscale: r, where each block of r × r pixels became its mean.
        blur: σ of a Gaussian, in pixels.
        missing: the fraction of entries to hide, for data that is whole.
    """

    mask: Path | None = None
    noise: float | None = None
    downscale: int | None = None
    blur: float | None = None
    missing: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in vars(self).values())

    @property
    def operator(self) -> Operator:
        """The map from x to y; entries that are missing are NaN in y and no part of it."""
        parts: list[Operator] = [] if self.noise is None else [Noise(self.noise)]
        parts += [] if self.downscale is None else [Downscale(self.downscale)]
        parts += [] if self.blur is None else [Blur(self.blur)]
        return Product(tuple(parts))

    @property
    def keeps(self) -> bool:
        """Whether the observed entries of y are entries of x."""
        return not (self.noise or self.blur or (self.downscale or 1) > 1)

    def shape(self, schema: Schema) -> tuple[int, ...]:
        """The shape of one y."""
        if schema.kind != "images":
            return schema.shape
        r = max(1, self.downscale or 1)
        return (*(-(-side // r) for side in schema.shape[:2]), *schema.shape[2:])


UNDAMAGED = Damage()
