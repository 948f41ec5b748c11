"""The options of a model and of its training, as typed records. Needs no PyTorch.

The parameters and help of the command `fit`, config.json, what `info` shows and docs/options.md are made from
these records.
"""

from backstory.options.choices import Choice as Choice
from backstory.options.choices import check_option as check_option
from backstory.options.choices import one_of as one_of
from backstory.options.given import given_options as given_options
from backstory.options.given import sort_options as sort_options
from backstory.options.latents import DeltaPosterior as DeltaPosterior
from backstory.options.latents import FlowPosterior as FlowPosterior
from backstory.options.latents import FlowPrior as FlowPrior
from backstory.options.latents import FullPosterior as FullPosterior
from backstory.options.latents import GaussianPosterior as GaussianPosterior
from backstory.options.latents import HierarchyPosterior as HierarchyPosterior
from backstory.options.latents import HierarchyPrior as HierarchyPrior
from backstory.options.latents import MixturePosterior as MixturePosterior
from backstory.options.latents import MixturePrior as MixturePrior
from backstory.options.latents import NormalPrior as NormalPrior
from backstory.options.latents import PosteriorOptions as PosteriorOptions
from backstory.options.latents import PriorOptions as PriorOptions
from backstory.options.latents import VampPrior as VampPrior
from backstory.options.model import MODEL_GROUPS as MODEL_GROUPS
from backstory.options.model import AutoLikelihood as AutoLikelihood
from backstory.options.model import Autoregressive as Autoregressive
from backstory.options.model import Bernoulli as Bernoulli
from backstory.options.model import Categorical as Categorical
from backstory.options.model import Gaussian as Gaussian
from backstory.options.model import GaussianFixed as GaussianFixed
from backstory.options.model import GaussianOptions as GaussianOptions
from backstory.options.model import GaussianPerEntry as GaussianPerEntry
from backstory.options.model import GaussianPredicted as GaussianPredicted
from backstory.options.model import Joint as Joint
from backstory.options.model import Laplace as Laplace
from backstory.options.model import LearnedSigma as LearnedSigma
from backstory.options.model import LikelihoodOptions as LikelihoodOptions
from backstory.options.model import Logistic as Logistic
from backstory.options.model import LogisticMixture as LogisticMixture
from backstory.options.model import ModelOptions as ModelOptions
from backstory.options.model import Student as Student
from backstory.options.networks import ActivatedOptions as ActivatedOptions
from backstory.options.networks import AutoNetwork as AutoNetwork
from backstory.options.networks import ConvNetwork as ConvNetwork
from backstory.options.networks import LayeredOptions as LayeredOptions
from backstory.options.networks import LinearNetwork as LinearNetwork
from backstory.options.networks import MLPNetwork as MLPNetwork
from backstory.options.networks import NetworkOptions as NetworkOptions
from backstory.options.networks import PlainNetwork as PlainNetwork
from backstory.options.networks import ResidualNetwork as ResidualNetwork
from backstory.options.networks import ResNetwork as ResNetwork
from backstory.options.training import AutoObjective as AutoObjective
from backstory.options.training import Capacity as Capacity
from backstory.options.training import Dreg as Dreg
from backstory.options.training import Elbo as Elbo
from backstory.options.training import ElboSampled as ElboSampled
from backstory.options.training import FreeBits as FreeBits
from backstory.options.training import Iwae as Iwae
from backstory.options.training import MaximumMeanDiscrepancy as MaximumMeanDiscrepancy
from backstory.options.training import Miwae as Miwae
from backstory.options.training import ObjectiveOptions as ObjectiveOptions
from backstory.options.training import OwnObjective as OwnObjective
from backstory.options.training import Renyi as Renyi
from backstory.options.training import Score as Score
from backstory.options.training import StickingTheLanding as StickingTheLanding
from backstory.options.training import TotalCorrelation as TotalCorrelation
from backstory.options.training import TrainOptions as TrainOptions
