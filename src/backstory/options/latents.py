"""Priors p(z) and posteriors q(z|x): each with its options, their defaults, bounds and help."""

from typing import ClassVar, Literal

from pydantic import Field

from backstory.options.choices import Choice, Need, choice


class PriorOptions(Choice):
    """A prior.

    Attributes:
        of_codes: whether a plain autoencoder can have it. Any other prior is learned through q(z|x) alone.
        lacks: what it does not offer an objective, see `ObjectiveOptions.needs`.
        levels: whether z has levels, of which each depends on those above.
        has_density: whether log p(z) can be computed, which training needs.
    """

    group: ClassVar[str] = "prior"
    lacks: ClassVar[tuple[Need, ...]] = ()
    levels: ClassVar[bool] = False
    has_density: ClassVar[bool] = True
    of_codes: ClassVar[bool] = False


@choice
class NormalPrior(PriorOptions):
    """N(0, I)."""

    of_codes: ClassVar[bool] = True
    name: Literal["normal"] = "normal"


@choice
class ConditionalPrior(PriorOptions):
    """A Gaussian with a mean and a deviation that depend on the conditions, N(μ(c), σ(c)²)."""

    name: Literal["conditional"] = "conditional"


@choice
class MixturePrior(PriorOptions):
    """A mixture of diagonal Gaussians, learned with the model; a plain autoencoder's is fitted afterwards."""

    of_codes: ClassVar[bool] = True
    lacks: ClassVar[tuple[Need, ...]] = ("kl",)
    name: Literal["mixture"] = "mixture"
    components: int = Field(default=10, ge=1, description="Number of Gaussians.")


@choice
class FlowPrior(PriorOptions):
    """A normalising flow of affine coupling layers, learned with the model."""

    lacks: ClassVar[tuple[Need, ...]] = ("kl",)
    name: Literal["flow"] = "flow"
    transforms: int = Field(default=6, ge=1, description="Number of coupling layers.")
    flow_width: int = Field(default=64, ge=1, description="Width of the networks of a coupling layer.")


@choice
class VampPrior(PriorOptions):
    """The mixture of the posteriors of learned pseudo-inputs (VampPrior)."""

    lacks: ClassVar[tuple[Need, ...]] = ("kl",)
    name: Literal["vamp"] = "vamp"
    pseudo_inputs: int = Field(default=50, ge=1, description="Number of pseudo-inputs.")


@choice
class ExemplarPrior(PriorOptions):
    """The mixture of Gaussians of one σ around the codes of training rows (exemplar VAE)."""

    lacks: ClassVar[tuple[Need, ...]] = ("kl",)
    name: Literal["exemplar"] = "exemplar"
    exemplars: int = Field(
        default=10_000, ge=2, description="Number of training rows, drawn at random; at most all of them."
    )


@choice
class DiffusionPrior(PriorOptions):
    """Draws of z by denoising, without a density: for `prior_after` alone, not for training."""

    of_codes: ClassVar[bool] = True
    has_density: ClassVar[bool] = False
    lacks: ClassVar[tuple[Need, ...]] = ("kl",)
    name: Literal["diffusion"] = "diffusion"
    diffusion_width: int = Field(default=256, ge=1, description="Width of the network of the diffusion.")


@choice
class HierarchyPrior(PriorOptions):
    """Levels of z, of which each depends on the one above: p(z2) p(z1|z2)."""

    levels: ClassVar[bool] = True
    name: Literal["hierarchy"] = "hierarchy"


@choice
class LadderPrior(PriorOptions):
    """Levels of z in feature maps of images, of which each depends on all above, for network ladder."""

    levels: ClassVar[bool] = True
    name: Literal["ladder"] = "ladder"


class PosteriorOptions(Choice):
    """A posterior; `lacks` and `levels` are as of a prior."""

    group: ClassVar[str] = "posterior"
    lacks: ClassVar[tuple[Need, ...]] = ()
    levels: ClassVar[bool] = False


@choice
class GaussianPosterior(PosteriorOptions):
    """A Gaussian with independent units."""

    name: Literal["gaussian"] = "gaussian"


@choice
class FullPosterior(PosteriorOptions):
    """A Gaussian whose units are correlated."""

    lacks: ClassVar[tuple[Need, ...]] = ("units", "kl")
    name: Literal["full"] = "full"


@choice
class FlowPosterior(PosteriorOptions):
    """A Gaussian that coupling layers bend, each of which knows x."""

    lacks: ClassVar[tuple[Need, ...]] = ("units", "kl")
    name: Literal["flow"] = "flow"
    posterior_transforms: int = Field(default=4, ge=1, description="Number of coupling layers of q(z|x).")
    posterior_width: int = Field(default=64, ge=1, description="Width of the networks of these layers.")


@choice
class MixturePosterior(PosteriorOptions):
    """A mixture of Gaussians with independent units."""

    lacks: ClassVar[tuple[Need, ...]] = ("units", "kl")
    name: Literal["mixture"] = "mixture"
    posterior_components: int = Field(default=4, ge=1, description="Number of Gaussians of q(z|x).")


@choice
class HierarchyPosterior(PosteriorOptions):
    """Levels of z, of which each depends on the one above: q(z2|x) q(z1|z2, x)."""

    lacks: ClassVar[tuple[Need, ...]] = ("units",)
    levels: ClassVar[bool] = True
    name: Literal["hierarchy"] = "hierarchy"


@choice
class LadderPosterior(PosteriorOptions):
    """Levels of z as corrections of prior ladder by features of x at the same size."""

    lacks: ClassVar[tuple[Need, ...]] = ("units",)
    levels: ClassVar[bool] = True
    name: Literal["ladder"] = "ladder"


@choice
class DeltaPosterior(PosteriorOptions):
    """A point, which makes a plain autoencoder without p(x)."""

    lacks: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["delta"] = "delta"
