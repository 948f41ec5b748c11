"""What every distribution shares: protocols, masks and numerics."""

import math
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.noise import Generators, rand
from backstory.distributions.normal_scales import Rounded

LOG_2PI = math.log(2 * math.pi)


def soft_clamp(raw: Tensor, low: float, high: float) -> Tensor:
    """A smooth, monotone map onto (low, high) that is the identity well inside and never has zero gradient.

    Used for every log standard deviation: neither an overflow nor a dead gradient can occur.

        y = low + log(1 + e^(r − low)) − log(1 + e^(r − high))
        ∂y/∂r = sigmoid(r − low) · sigmoid(high − r) · (1 − e^(low − high))
    """
    y: Tensor = _SoftClamp.apply(raw, low, high)
    return y


class _SoftClamp(torch.autograd.Function):
    """Both logs split into max(0, ·) and the rest, so that nothing cancels, and few operations each way."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(raw)
        ctx.low, ctx.high = low, high
        above, below = F.softplus((raw - low).abs_().neg_()), F.softplus((raw - high).abs_().neg_())
        return raw.clamp(low, high).add_(above).sub_(below)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (raw,) = ctx.saved_tensors
        factor = 1 - math.exp(ctx.low - ctx.high)
        slope = (raw - ctx.low).sigmoid_().mul_((ctx.high - raw).sigmoid_())
        return slope.mul_(gradients[0]).mul_(factor), None, None


def soft_clamp_inverse(value: Tensor, low: float, high: float) -> Tensor:
    """The `raw` whose soft clamp is `value`, or the nearest value within the bounds."""
    value = value.clamp(low + 1e-3, high - 1e-3)
    return low + torch.log(torch.expm1(value - low)) - torch.log1p(-torch.exp(value - high))


def full_precision(like: Tensor) -> torch.autocast:
    """A context in which products of matrices keep the type of `like`, also within `torch.autocast`.

    Distributions of z compute in it: a z that is rounded to bfloat16 is no draw of a narrow q(z|x).
    """
    return torch.autocast(like.device.type, enabled=False)


class MissingEntries(Protocol):
    """The distribution of the missing entries of x given z and the observed ones, for each batch entry.

    All tensors have the shape of x, (*batch, *shape); at observed entries their values have no meaning.
    """

    @property
    def mean(self) -> Tensor: ...

    @property
    def variance(self) -> Tensor: ...

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of entries that are numbers; zero for the columns that `level_probs` covers."""
        ...

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For each group of columns with levels: the columns, (C,), and P(x_j = l), (*batch, L, C)."""
        ...

    def sample(self, generator: Generators = None) -> Tensor: ...


class DataDistribution(MissingEntries, Protocol):
    """p(x|z), a distribution of x of shape `shape` for each z of a batch of shape `batch`.

    A likelihood is a frozen record that answers these questions, and a `Head` that makes it. A record that
    inherits from `Entrywise` has to provide

        event_dims                  the number of axes of x, len(shape)
        mean, variance              of each entry, (*batch, *shape), as fields or properties
        sample(generator)              a draw of x, (*batch, *shape), by `distributions.noise`
        entry_log_probs(x)          log p(x_i|z) of each entry of a complete x

    and, if x has levels 0, …, L − 1, `levels` and `level_log_probs`. All else has a default: that of entries
    which are independent given z. A record with entries that depend on each other given z inherits from
    `Dependent`, and has `entries` (its chain rule), `missing_given`, `_blank` and `refuses_noise`.

    Attributes:
        mean, variance, moments, level_probs: of x given z; see `MissingEntries`.
        event_dims: the number of axes of x.
        levels: L, if x_i ∈ {0, …, L − 1} for all entries; 0 for any other x.
        level_log_probs: log P(x_i = l|z), (L, *batch, *shape); asked for only where `levels` is not 0.
        rounded: normals whose rounding x is, where that is quicker than many levels; else None.
        rough_moments: mean and variance of each entry, quicker than `mean` and `variance` where these are
            sums over many levels; for maps of x, which is Gaussian there or taken as such.
        shares_variance: whether the variance at one code stands for those of all codes of an observation,
            where a covariance would be factored for each; for x that is not Gaussian anyway.
        constant_variance: the variance if it does not depend on z, broadcasting against `shape`; else None.
        is_gaussian: whether p(x|z) is N(mean, diag(variance)), so that p(x|z, y) for linear y is exact.
        informative_mask: whether which entries are missing depends on x, so that log_prob has a term for it.
        refuses_noise: why there is no p(y|z) for a noisy or transformed y, as the end of a sentence
            ("the model …; do …"); None where there is one.
    """

    @property
    def event_dims(self) -> int: ...

    @property
    def levels(self) -> int: ...

    @property
    def level_log_probs(self) -> Tensor: ...

    @property
    def rounded(self) -> Rounded | None: ...

    @property
    def rough_moments(self) -> tuple[Tensor, Tensor]: ...

    @property
    def shares_variance(self) -> bool: ...

    @property
    def constant_variance(self) -> Tensor | None: ...

    @property
    def is_gaussian(self) -> bool: ...

    @property
    def informative_mask(self) -> bool: ...

    @property
    def refuses_noise(self) -> str | None: ...

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p of the observed entries of x given z, (*batch) in nats: the sum of `entries`.

        Args:
            x: broadcasts against (*batch, *shape); any value, also NaN, where it is not observed.
            observed: of bool, broadcasts likewise; None if all entries are.
        """
        ...

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """The term of each entry in `log_prob`, (*batch, *shape).

        Zero at missing entries, unless `informative_mask`: then log P(missing|z).
        """
        ...

    def missing_given(self, x: Tensor, observed: Tensor) -> MissingEntries:
        """The missing entries given z, the observed entries of x, and which they are."""
        ...

    def observe(self, x: Tensor, observed: Tensor) -> tuple[Tensor, MissingEntries]:
        """`log_prob` and `missing_given` together, for records in which both share their work."""
        ...


class EntrywiseMoments:
    """Answers that have a mean and a variance for every entry."""

    @property
    def moments(self: MissingEntries) -> tuple[Tensor, Tensor]:
        return self.mean, self.variance

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return ()


class Entrywise(EntrywiseMoments):
    """Defaults of a `DataDistribution`, for entries that are independent given z."""

    is_gaussian = False
    informative_mask = False
    refuses_noise: str | None = None

    def entry_log_probs(self, x: Tensor) -> Tensor:
        """log p(x_i|z) of each entry of a complete x, (*batch, *shape)."""
        raise NotImplementedError

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_i|z), (*batch, *shape), zero at missing entries."""
        entries = self.entry_log_probs(fill_unobserved(x, observed))
        return entries if observed is None else torch.where(observed, entries, 0.0)

    def log_prob(self: DataDistribution, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p of the observed entries given z, (*batch), nats."""
        return sum_observed(self.entries(x, observed), None, self.event_dims)

    def missing_given(self: DataDistribution, x: Tensor, observed: Tensor) -> MissingEntries:
        """p(x|z) itself: given z, missing entries do not depend on observed ones."""
        return self

    def observe(self: DataDistribution, x: Tensor, observed: Tensor) -> tuple[Tensor, MissingEntries]:
        return self.log_prob(x, observed), self.missing_given(x, observed)

    # Cached, since a plain property would not let a record have a field of this name. Such a field is written
    # as `levels: int = field()`, so that it does not take this property as its default.
    @cached_property
    def levels(self) -> int:
        return 0

    @property
    def level_log_probs(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no levels")

    @property
    def rounded(self) -> Rounded | None:
        return None

    @property
    def rough_moments(self: MissingEntries) -> tuple[Tensor, Tensor]:
        return self.mean, self.variance

    @property
    def shares_variance(self) -> bool:
        return False

    @property
    def constant_variance(self) -> Tensor | None:
        return None


class Dependent(Entrywise):
    """Defaults for entries that depend on each other given z: p(x|z) is that of all entries as missing ones.

    A record provides `entries`, `missing_given` and `_blank`.
    """

    @property
    def _blank(self) -> MissingEntries:
        """All entries, where none is observed."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        return self._blank.mean

    @property
    def variance(self) -> Tensor:
        return self._blank.variance

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self._blank.moments

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return self._blank.level_probs

    def sample(self, generator: Generators = None) -> Tensor:
        return self._blank.sample(generator)


class ByMoments(Entrywise):
    """Defaults where one computation, `moments`, gives both mean and variance."""

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        return self.moments[1]


class Head(nn.Module):
    """A module from the decoder's output, (*batch, *features_shape), to p(x|z).

    Heads of a likelihood for whole observations are built as `SomeHead(shape, shift=…, scale=…, **options)`,
    with the mean and the deviation of the training data, which broadcast against `shape`, and options of
    their own. Heads of a table's columns are built as `SomeHead.of_columns(quantities, marginals)`, see
    `backstory.distributions.table_row.COLUMN_HEADS`.

    Attributes:
        shape: of x.
        features_shape: of the decoder's output for one z.
        auxiliary: number of standard normal coordinates beside z that the head takes as a second argument
            (`distributions.auxiliary`).
        codes_to_weigh: how many codes are weighed for an observation by default, for its restoration and for
            log p(x), where p(x|z) is costly and z explains little; None for as many as the effort allows.
    """

    auxiliary = 0
    codes_to_weigh: int | None = None

    def __init__(self, shape: tuple[int, ...], features_shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.features_shape = shape, features_shape

    @property
    def entry(self) -> Tensor:
        """The number of the entry of x that each of the decoder's outputs belongs to, (*features_shape)."""
        return torch.arange(math.prod(self.shape)).view(self.shape).expand(self.features_shape)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the uniform noise of one draw, for records with `transport` from noise to draws."""
        return self.shape

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """The decoder's output, (*features_shape), that gives each entry its marginal distribution in rows x.

        Zeros, which stand for the location and the scale of the training data. A head whose output means
        something else overrides this.

        Args:
            x: (N, *shape).
            observed: of bool, likewise; None if all entries are.
        """
        return x.new_zeros(self.features_shape)


class LocationScaleHead(Head):
    """A head whose decoder works in standard units y, with x = shift + scale · y."""

    shift: Tensor
    log_scale: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        parameters: int,
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
    ):
        super().__init__(shape, (parameters, *shape))
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())

    def location(self, features: Tensor) -> Tensor:
        """The first parameter, in the data's units."""
        return self.shift + self.log_scale.exp() * parameter(features, 0, self.shape)


def fill_unobserved(x: Tensor, observed: Tensor | None) -> Tensor:
    """x with zeros at missing entries, which may be NaN: 0 · NaN would reach the gradient."""
    return x if observed is None else torch.where(observed, x, 0.0)


def sum_observed(log_prob: Tensor, observed: Tensor | None, event_dims: int) -> Tensor:
    """Sum over the entries of an observation; with a mask, over the observed ones only."""
    if observed is not None:
        log_prob = torch.where(observed, log_prob, 0.0)
    return log_prob.flatten(log_prob.dim() - event_dims).sum(-1) if event_dims else log_prob


def level_counts(x: Tensor, levels: int, observed: Tensor | None) -> Tensor:
    """How often each entry of rows x has each level, plus ½, (L, *shape)."""
    there = torch.ones_like(x) if observed is None else observed.to(x.dtype)
    counts = x.new_full((levels, *x.shape[1:]), 0.5)
    return counts.scatter_add_(0, fill_unobserved(x, observed).long(), there)


def level_values(levels: int, like: Tensor) -> Tensor:
    """0, …, L − 1 along a new first axis before those of `like`, (L, 1, …, 1)."""
    values = torch.arange(levels, device=like.device).to(like.dtype)
    return values.view(-1, *[1] * like.dim())


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    """log softmax(logits) along an axis, of the same shape."""
    return logits - torch.logsumexp(logits, axis, keepdim=True)


def with_gumbel(logits: Tensor, generator: Generators = None) -> Tensor:
    """Logits plus Gumbel noise: their argmax is a draw from the softmax (Gumbel 1954)."""
    u = rand(logits.shape, logits, generator)
    return logits - torch.log(-torch.log(u.clamp(1e-20, 1 - 1e-7)))


def parameter(features: Tensor, index: int, shape: tuple[int, ...]) -> Tensor:
    """One of the P parameters in the decoder's output (*batch, P, *shape)."""
    axis = features.dim() - 1 - len(shape)
    # the gradient of the only one needs no copy
    return features.squeeze(axis) if features.shape[axis] == 1 else features.select(axis, index)
