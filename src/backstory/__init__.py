"""Backstory: variational autoencoders on your own data.

    data = backstory.load("digits")
    model = backstory.fit(data, latent=16)
    model.sample(64); model.encode(data); model.log_evidence(data)
    model.save("runs/digits"); backstory.open("runs/digits")

Names are imported when they are first used, so that `import backstory` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from backstory import options as options
    from backstory import register as register
    from backstory.data.dataset import Dataset as Dataset
    from backstory.data.load import load as load
    from backstory.data.schema import Schema as Schema
    from backstory.ensemble import Ensemble as Ensemble
    from backstory.errors import InputError as InputError
    from backstory.errors import TrainingFailed as TrainingFailed
    from backstory.fitting.fit import fit as fit
    from backstory.inference.operators import Blur as Blur
    from backstory.inference.operators import Downscale as Downscale
    from backstory.inference.operators import Linear as Linear
    from backstory.inference.operators import Mask as Mask
    from backstory.inference.operators import Noise as Noise
    from backstory.inference.restoration import coverage as coverage
    from backstory.jobs.compare import compare as compare
    from backstory.model import Model as Model
    from backstory.models.vae import VAE as VAE
    from backstory.models.vae import Terms as Terms
    from backstory.opening import open as open
    from backstory.sklearn.density import VAEDensity as VAEDensity
    from backstory.sklearn.imputer import VAEImputer as VAEImputer
    from backstory.sklearn.outliers import VAEOutlierDetector as VAEOutlierDetector
    from backstory.sklearn.transformer import VAETransformer as VAETransformer
    from backstory.training.allocator import keep_memory as keep_memory

_HOME = {
    "Blur": "inference.operators",
    "Dataset": "data.dataset",
    "Downscale": "inference.operators",
    "Ensemble": "ensemble",
    "InputError": "errors",
    "Linear": "inference.operators",
    "Mask": "inference.operators",
    "Model": "model",
    "Noise": "inference.operators",
    "Schema": "data.schema",
    "Terms": "models.vae",
    "TrainingFailed": "errors",
    "VAE": "models.vae",
    "VAEDensity": "sklearn.density",
    "VAEImputer": "sklearn.imputer",
    "VAEOutlierDetector": "sklearn.outliers",
    "VAETransformer": "sklearn.transformer",
    "compare": "jobs.compare",
    "coverage": "inference.restoration",
    "fit": "fitting.fit",
    "keep_memory": "training.allocator",
    "load": "data.load",
    "open": "opening",
}
__all__ = sorted(_HOME)


_MODULES = (
    "data",
    "distributions",
    "inference",
    "models",
    "objectives",
    "options",
    "register",
    "report",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"backstory.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'backstory' has no attribute {name!r}")
    return getattr(import_module(f"backstory.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME, *_MODULES]
