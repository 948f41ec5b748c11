"""The table of all likelihoods, and small examples of each, for the tests of this folder."""

import math

import numpy as np
import torch

from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.distributions.curved_mixture import CurvedMixtureHead
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.grid import GridHead
from backstory.distributions.inflated import InflatedHead
from backstory.distributions.laplace import LaplaceHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.logistic_mixture import LogisticMixtureHead
from backstory.distributions.negative_binomial import NegativeBinomialHead
from backstory.distributions.quantities import Marginals, Quantity
from backstory.distributions.self_masked import SelfMasking
from backstory.distributions.student import StudentTHead
from backstory.distributions.table_row import JointHead

DRAWS = 20_000
SHAPES = [(3,), (2, 3), (2, 2, 3)]
BATCHES = [(4,), (2, 4)]

ROW = (
    Quantity("continuous"),
    Quantity("count", atoms=(3.0,)),
    Quantity("categorical", 4),
    Quantity("binary", 2),
    Quantity("date"),
    Quantity("ordinal", 5),
    Quantity("categorical", 3),
    Quantity("categorical", 4),
    Quantity("grid", 3, (-1.5, 0.25, 7.0)),
    Quantity("grid", 5, (-2.0, -1.9, 0.0, 0.1, 3.0)),
)


def marginals(columns, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, columns), rng.uniform(0.2, 5, columns), rng.random(columns) < 0.5
    atom = np.where(rng.random(columns) < 0.5, values[0] + 0.5, np.nan)
    return Marginals(*map(torch.from_numpy, (*values, atom)))


DISCRETE = {
    "bernoulli": (lambda shape: BernoulliHead(shape), 2),
    "categorical": (lambda shape: CategoricalHead(shape, 5), 5),
    "logistic": (lambda shape: DiscretisedLogisticHead(shape, 7, shift=3.0, scale=1.5), 7),
    "logistic-256": (lambda shape: DiscretisedLogisticHead(shape, 256, shift=90.0, scale=60.0), 256),
    "logistic-mixture": (lambda shape: LogisticMixtureHead(shape, 7, shift=3.0, scale=1.5, components=3), 7),
}
CONTINUOUS = {
    sigma: (lambda shape, sigma=sigma: GaussianHead(shape, sigma, shift=-3.0, scale=2.5, value=0.7))
    for sigma in ("fixed", "learned", "per-entry", "predicted")
}
STUDENT = {
    "student": lambda shape: StudentTHead(shape, shift=-3.0, scale=2.5),
    "laplace": lambda shape: LaplaceHead(shape, shift=-3.0, scale=2.5),
}
COLUMNS = {
    "curved-mixture": lambda shape: CurvedMixtureHead(marginals(*shape)),
    "negative-binomial": lambda shape: NegativeBinomialHead(
        Marginals(torch.linspace(0, 3, *shape), torch.ones(shape), *marginals(*shape)[2:])
    ),
    "atoms": lambda shape: CurvedMixtureHead(marginals(*shape), torch.full((2, *shape), 7.5)),
    "inflated": lambda shape: InflatedHead(
        NegativeBinomialHead(Marginals(torch.zeros(shape), torch.ones(shape), *marginals(*shape)[2:])),
        [(0.0, 7.0)[: 1 + j % 2] for j in range(*shape)],
    ),
    "grid": lambda shape: GridHead([ROW[8 + j % 2].values for j in range(*shape)]),
    "joint": lambda shape: JointHead([ROW[j % len(ROW)] for j in range(*shape)], marginals(*shape)),
}
MASKED = {
    name: (lambda shape, sign=sign: SelfMasking(GaussianHead(shape, shift=-3.0, scale=2.5), sign, -3.0, 2.5))
    for name, sign in (("self-masked", 0), ("self-masked-high", 1))
}
LEVELLED = {name: make for name, (make, _) in DISCRETE.items()}
DEPENDENT = {"logistic-mixture": (2, 2, 3)}  # the shape in which entries depend on each other given z
HEADS = {**LEVELLED, **CONTINUOUS, **STUDENT}  # for x of any shape
IGNORABLE = {**HEADS, **COLUMNS}  # with masks that do not depend on x
ALL = {**IGNORABLE, **MASKED}


def shapes(name):
    """Shapes of x whose entries are independent given z."""
    return [(3,), (10,)] if name in COLUMNS else [shape for shape in SHAPES if shape != DEPENDENT.get(name)]


EVERY = [(name, shape) for name in ALL for shape in shapes(name)]
EVERY_DISCRETE = [(name, shape) for name in DISCRETE for shape in shapes(name)]
EVERY_HEAD = [(name, shape) for name in HEADS for shape in shapes(name)]
EVERY_IGNORABLE = [(name, shape) for name, shape in EVERY if name in IGNORABLE]


def make(name, shape, batch=(4,), seed=0, spread=1.5):
    """A head in double precision with random parameters, and its distribution at random features."""
    generator = torch.Generator().manual_seed(seed)
    head = ALL[name](shape).double()
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    features = spread * torch.randn((*batch, *head.features_shape), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return head, head(features), features


def only(shape, index):
    """A mask that observes a single entry."""
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[index] = True
    return mask.view(shape)


def data_like(distribution, batch, shape, seed=1):
    """One draw for each row of a batch (B,), as data comes."""
    x = distribution.sample(torch.Generator().manual_seed(seed))
    return x.reshape(-1, *shape)[: batch[-1]]
