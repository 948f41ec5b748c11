"""How a model is trained: each option with its type, default, bounds and help, declared once.

To add an objective: a record here, and the decorator `objectives.registry.objective` on its function.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from backstory.options.choices import (
    AUTO,
    Choice,
    Need,
    Record,
    Undecided,
    auto,
    choice,
    flat,
    settle,
    spelt_out,
)

# -- objectives -------------------------------------------------------------------------------------------


class ObjectiveOptions(Choice):
    """An objective.

    Attributes:
        compiled: whether it can be compiled: it neither differentiates inside nor draws.
        many_draws: whether a single draw makes it the sampled ELBO.
        compares_rows: whether the value of a row depends on the other rows of its batch.
        needs: what prior and posterior must offer: `density`, a density q(z|x); `units`, the density of each
            unit of z on its own; `kl`, the KL of each unit of z in closed form, or of each level where both
            have levels.
    """

    group: ClassVar[str] = "objective"
    compiled: ClassVar[bool] = True
    many_draws: ClassVar[bool] = False
    compares_rows: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = ()


@auto
class AutoObjective(Undecided, ObjectiveOptions):
    """Decided from the data."""


class OwnObjective(ObjectiveOptions):
    """An objective from outside the package, which may differentiate inside, or draw."""

    compiled: ClassVar[bool] = False


@choice
class Elbo(ObjectiveOptions):
    """The evidence lower bound."""

    name: Literal["elbo"] = "elbo"


@choice
class ElboSampled(ObjectiveOptions):
    """The evidence lower bound with a sampled KL."""

    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["elbo-sampled"] = "elbo-sampled"


@choice
class FreeBits(ObjectiveOptions):
    """The ELBO with a least KL for each unit, or for each level of z in levels."""

    compares_rows: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density", "kl")
    name: Literal["free-bits"] = "free-bits"
    threshold: float = Field(
        default=0.125, ge=0, description="λ, the least KL in nats of a unit, or of a level of z in levels."
    )


@choice
class Capacity(ObjectiveOptions):
    """The likelihood at a KL that is held at a given capacity."""

    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["capacity"] = "capacity"
    gamma: float = Field(default=10.0, ge=0, description="γ, the weight of |KL − C|.")
    capacity: float = Field(
        default=25.0, ge=0, description="C after the warm-up, in nats for each observation."
    )


@choice
class StickingTheLanding(ObjectiveOptions):
    """The sampled ELBO without the score's gradient."""

    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["stl"] = "stl"


@choice
class Score(ObjectiveOptions):
    """The ELBO with the score-function gradient."""

    compares_rows: ClassVar[bool] = True
    compiled: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["score"] = "score"


@choice
class Iwae(ObjectiveOptions):
    """The importance-weighted bound."""

    many_draws: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["iwae"] = "iwae"


@choice
class Miwae(ObjectiveOptions):
    """The mean of several importance-weighted bounds."""

    many_draws: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["miwae"] = "miwae"
    averages: int = Field(
        default=1, description="M, how many bounds are averaged; it divides the number of draws."
    )


@choice
class Dreg(ObjectiveOptions):
    """The importance-weighted bound with doubly reparameterised gradients."""

    compiled: ClassVar[bool] = False
    many_draws: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["dreg"] = "dreg"


@choice
class Renyi(ObjectiveOptions):
    """The variational Rényi bound."""

    many_draws: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density",)
    name: Literal["renyi"] = "renyi"
    alpha: float = Field(
        default=0.5, description="α: 1 is the sampled ELBO, 0 the importance-weighted bound."
    )


@choice
class TotalCorrelation(ObjectiveOptions):
    """β-TCVAE: the ELBO with weights for the three parts of the KL."""

    compares_rows: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("density", "units")
    name: Literal["tcvae"] = "tcvae"
    alpha: float = Field(default=1.0, description="α, the factor of the mutual information I(x; z).")
    gamma: float = Field(default=1.0, description="γ, the factor of the units' KL.")


@choice
class MaximumMeanDiscrepancy(ObjectiveOptions):
    """InfoVAE: the ELBO and the maximum mean discrepancy of q(z) and p(z)."""

    compares_rows: ClassVar[bool] = True
    compiled: ClassVar[bool] = False
    name: Literal["mmd"] = "mmd"
    weight: float = Field(default=100.0, ge=0, description="Nats for each unit of MMD².")
    width: float = Field(default=1.0, gt=0, description="Width of the kernel.")


# -- training ---------------------------------------------------------------------------------------------

Precision = Literal["float32", "bf16"]
Keep = Literal["best", "last"]


class TrainOptions(Record):
    """How a model is trained. An option that is None is left to the size of the data."""

    objective: SerializeAsAny[ObjectiveOptions] = Field(
        default_factory=AutoObjective,
        description="What training maximises; by default elbo, or iwae for tables with gaps.",
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        description="Draws of z for each row and step; by default 1, or 20 for tables with gaps.",
    )
    beta: float = Field(
        default=1.0, ge=0, description="Factor of the KL term after the warm-up; 1 is the ELBO."
    )
    warmup: int | None = Field(
        default=None,
        ge=0,
        json_schema_extra={"metavar": "EPOCHS"},
        description="Epochs in which β rises from 0, as does the capacity of objective capacity; by default "
        "a quarter of the run.",
    )
    warmup_cycles: int = Field(
        default=1,
        ge=1,
        json_schema_extra={"metavar": "N"},
        description="How often β rises from 0; before each further rise it stays for as many epochs.",
    )
    epochs: int | None = Field(default=None, ge=1, description="Passes over the training rows.")
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="How long training takes; with epochs it ends at the first limit that it reaches.",
    )
    batch_size: int | None = Field(default=None, ge=1, description="Rows of a step.")
    lr: float | None = Field(
        default=None,
        gt=0,
        description="The highest learning rate of Adam; by default it is lower in runs of more than 15,000 "
        "steps.",
    )
    hold: float | None = Field(
        default=None,
        ge=0.1,
        lt=1,
        json_schema_extra={"metavar": "SHARE"},
        description="Share of the run after which the learning rate falls to zero; it rises over the first "
        "tenth; by default 0.1, or 0.7 for network resnet.",
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.999],
        json_schema_extra={"metavar": "DECAY"},
        description="Decay of an average of the weights, which then is the model; by default none, or 0.995 "
        "for tables with gaps.",
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        json_schema_extra={"metavar": "NORM"},
        description="The largest norm of a gradient; larger ones are scaled down.",
    )
    skip_spikes: float | None = Field(
        default=None,
        gt=1,
        examples=[5],
        json_schema_extra={"metavar": "X"},
        description="Skip a step with a gradient above X medians of the norms of the last 100 steps.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        json_schema_extra={"metavar": "EPOCHS"},
        description="Stop after so many epochs without a better validation value.",
    )
    keep: Keep | None = Field(
        default=None,
        description="Which epoch's weights are kept: the best on the validation rows, or the last; by "
        "default best, or last for tables of numbers with gaps.",
    )
    prior_after: Literal["flow", "mixture", "diffusion"] | None = Field(
        default=None,
        description="The density that is fitted to the codes after training; it becomes p(z) if the ELBO of "
        "held-out rows rises. A diffusion has draws alone, and becomes p(z) if they are nearer to the codes "
        "of held-out rows; such a model has no log p(x).",
    )
    label_weight: float | None = Field(
        default=None,
        ge=0,
        json_schema_extra={"metavar": "NATS"},
        description="α, the weight of log q(c|x) of a row with a level beside the bound of each row, where "
        "the level of a condition is missing in some rows; by default 100.",
    )
    compile: bool | None = Field(
        default=None, description="Whether the step is compiled; by default it is in long runs."
    )
    precision: Precision = Field(
        default="float32",
        description="Type of the matrix products of networks; weights, likelihoods and KL stay in float32.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Seed of the split, the initial weights and every draw."
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        rest = dict(values)
        name, given = spelt_out("objective", rest.pop("objective", None) or AUTO)
        arguments = rest.pop("objective_args", None) or {}
        return {**rest, "objective": settle("objective", name, {**given, **arguments})}

    def flat(self) -> dict[str, Any]:
        """All options by name, flat and as JSON has them, as they are given to `fit`."""
        return flat(self, ("objective",))
