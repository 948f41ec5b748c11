"""The log-evidence by any method, in one record.

    auto         the cheapest of the next three that will do for each observation  (`inference.adaptive`)
    is           importance sampling with q(z|x)                       (`inference.importance`)
    variational  importance sampling with a Gaussian near p(z|x)       (`inference.adaptive`)
    ais          annealed importance sampling                          (`inference.annealing`)
    exact        closed form, for linear-Gaussian models alone         (`inference.linear_gaussian`)

With every method the ELBO and its two terms are estimated with draws of q(z|x).
"""

from collections.abc import Callable, Iterable
from dataclasses import fields, replace

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.errors import InputError
from backstory.inference.adaptive import FIRST, adaptive_evidence, fitted_evidence
from backstory.inference.annealing import Annealing, annealed
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import Evidence, check_samples, importance_sampling
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.pareto import weights_k
from backstory.inference.requests import EvidenceRequest
from backstory.inference.target import check_density
from backstory.models.vae import VAE
from backstory.options import check_option, one_of

METHODS = ("auto", "is", "variational", "ais", "exact")
SAMPLES = {"auto": FIRST, "is": 1000, "variational": 300, "ais": 16, "exact": 100}
ELBO_SAMPLES = 100  # the least number of draws for the ELBO with method ais
DRAWS = 100  # stream of noise, other than that of the presentation of x


def log_evidence(
    vae: VAE,
    batches: Callable[[], Iterable[Observation | Tensor]],
    request: EvidenceRequest,
    rows: int,
    advance: Callable[[float], None] = lambda rows: None,
) -> Evidence:
    """log p(x) and its error for each observation.

    Args:
        vae: the model.
        batches: returns the observations in the model's units in batches, the same ones at each call.
        request: the method and its settings. By default `is` has 1000 draws for each observation,
            `variational` 300, `ais` 16 chains, and `exact` 100 draws for the ELBO.
        rows: number of observations.
        advance: called with the number of finished observations.

    Raises:
        InputError: the model has no p(x), the method is unknown, or a setting belongs to another method.
    """
    method, chunk = request.method, request.chunk
    how = check_settings(request)
    check_density(vae)
    samples = SAMPLES[method] if request.samples is None else request.samples
    generator = torch.Generator(vae.device).manual_seed(mixed_seed(request.seed, DRAWS))
    if method == "is":
        return importance_sampling(vae, batches(), samples, generator, chunk, advance)
    if method == "auto":
        return adaptive_evidence(vae, batches(), rows, request, generator, advance)
    if method == "variational":
        return fitted_evidence(vae, batches(), request, generator, advance)
    exact = LinearGaussian.of(vae) if method == "exact" else None
    draws = samples if method == "exact" else max(samples, ELBO_SAMPLES)
    base = importance_sampling(vae, batches(), draws, generator, chunk)
    if exact is not None:
        value = torch.cat(
            [
                exact.given(o.given).log_evidence(o.x, vae.inputs.observed(o.x))
                for o in map(Observation.of, batches())
            ]
        )
        nothing = torch.full_like(value, torch.nan)
        error = torch.zeros_like(value)
        return replace(
            base,
            log_evidence=value,
            standard_error=error,
            ess=nothing,
            pareto_k=nothing,
            method=method,
            methods=("exact",) * len(value),
        )
    result = annealed(vae, batches(), how, request.seed, request.resume, advance)
    mean = result.mean
    return replace(
        base,
        log_evidence=mean.value,
        standard_error=mean.standard_error,
        ess=mean.ess,
        pareto_k=weights_k(result.log_weight),
        samples=samples,
        acceptance=result.acceptance,
        method=method,
        methods=("ais",) * len(result.acceptance),
    )


def check_settings(request: EvidenceRequest) -> Annealing:
    """The settings of annealing; InputError for a request that is not possible."""
    method, samples = request.method, request.samples
    one_of("method", method, METHODS)
    if samples is not None:
        check_samples(samples)
    known = [field.name for field in fields(Annealing) if field.name not in ("chains", "chunk")]
    for name in request.annealing:
        check_option("log_evidence", name, [*known, "budget", "chunk", "resume"])
    if request.budget is not None and request.budget < 1:
        raise InputError(f"budget has to be at least 1, got {request.budget}")
    if request.budget is not None and method != "auto":
        raise InputError(f"budget belongs to method auto, without samples, got method {method}")
    given = [*request.annealing, *(["resume"] if request.resume is not None else [])]
    if method != "ais" and given:
        raise InputError(f"{given[0]} belongs to method ais, got method {method}")
    return Annealing(chains=samples or SAMPLES["ais"], chunk=request.chunk, **request.annealing)
