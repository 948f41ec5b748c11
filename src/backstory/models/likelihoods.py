"""How the likelihoods are built, one line for each."""

from functools import partial
from typing import Any

from torch import nn

from backstory import options as o
from backstory.data.tables.statistics import many_gaps, quantities
from backstory.distributions.autoregressive import AutoregressiveHead, Shares
from backstory.distributions.base import Head
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.laplace import LaplaceHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.logistic_mixture import LogisticMixtureHead
from backstory.distributions.pixels import PixelsHead
from backstory.distributions.self_masked import SIGNS, SelfMasking
from backstory.distributions.student import StudentTHead
from backstory.distributions.table_row import JointHead
from backstory.models.networks.column_transformer import ColumnTransformer
from backstory.models.networks.masked_conv import PixelNetwork
from backstory.models.networks.row_features import ColumnInputs
from backstory.models.registry import BUILDERS, Likelihood, Setting


def _gaussian(sigma: str, options: o.GaussianOptions, s: Setting) -> nn.Module:
    """A Gaussian head, in a head for entries that are missing by their own value if the options say so."""
    own = options.values
    head = GaussianHead(
        s.shape,
        sigma,
        s.shift,
        s.scale,
        own.get("sigma", 1.0) * s.unit,
        s.full_range if options.bounded else None,
        own.get("sigma_floor"),
    )
    if options.missingness == "random":
        return head
    return SelfMasking(head, SIGNS[options.missingness], s.shift, s.scale)


def _column_inputs(options: o.Choice, s: Setting) -> ColumnInputs:
    return ColumnInputs(quantities(s.schema), s.columns.marginals, s.shift, s.scale)


def _autoregressive(options: o.Autoregressive, s: Setting) -> AutoregressiveHead:
    network = partial(ColumnTransformer, width=options.embedding, layers=options.layers, heads=options.heads)
    shares = Shares.suited(many_gaps(s.schema))
    return AutoregressiveHead(quantities(s.schema), s.columns.edges, network, options.embedding, shares)


def _joint(s: Setting) -> JointHead:
    return JointHead(quantities(s.schema), s.columns.marginals)


def _logistic_mixture(options: Any, s: Setting) -> LogisticMixtureHead:
    return LogisticMixtureHead(s.shape, s.levels, s.shift, s.scale, options.logistics)


def _pixels(own: Head, options: o.PixelOptions, s: Setting) -> PixelsHead:
    network = PixelNetwork(
        s.shape, options.maps, own.features_shape, options.pixel_width, options.pixel_layers
    )
    return PixelsHead(own, network, options.maps, s.shift, s.scale)


BUILDERS[o.Bernoulli] = Likelihood(lambda options, s: BernoulliHead(s.shape))
BUILDERS[o.Categorical] = Likelihood(lambda options, s: CategoricalHead(s.shape, s.levels))
BUILDERS[o.Logistic] = Likelihood(
    lambda options, s: DiscretisedLogisticHead(s.shape, s.levels, s.shift, s.scale)
)
BUILDERS[o.LogisticMixture] = Likelihood(_logistic_mixture)
BUILDERS[o.Pixels] = Likelihood(lambda options, s: _pixels(_logistic_mixture(options, s), options, s))
BUILDERS[o.PixelsBernoulli] = Likelihood(lambda options, s: _pixels(BernoulliHead(s.shape), options, s))
BUILDERS[o.Gaussian] = Likelihood(lambda options, s: _gaussian("learned", options, s))
BUILDERS[o.GaussianFixed] = Likelihood(lambda options, s: _gaussian("fixed", options, s))
BUILDERS[o.GaussianPerEntry] = Likelihood(lambda options, s: _gaussian("per-entry", options, s))
BUILDERS[o.GaussianPredicted] = Likelihood(lambda options, s: _gaussian("predicted", options, s))
BUILDERS[o.Laplace] = Likelihood(lambda options, s: LaplaceHead(s.shape, s.shift, s.scale))
BUILDERS[o.Student] = Likelihood(lambda options, s: StudentTHead(s.shape, s.shift, s.scale))
BUILDERS[o.Joint] = Likelihood(lambda options, s: _joint(s), inputs=_column_inputs)
BUILDERS[o.Autoregressive] = Likelihood(_autoregressive, inputs=_column_inputs)
