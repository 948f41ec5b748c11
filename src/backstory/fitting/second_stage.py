"""A second stage: after training, p(z) becomes a density that is fitted to the aggregate posterior.

    q(z) = (1/N) Σ_n q(z|x_n)

Of all p(z), q(z) gives the mean ELBO of the rows x_n its maximum, with encoder and decoder as they are
(Hoffman & Johnson 2016, "ELBO surgery"; Tomczak & Welling 2018, eq. 5; Dai & Wipf 2019 fit a second model to
it). A density is fitted to codes of nine tenths of the training rows and chosen on the codes of the others.
The rows that were held out of training then compare the old p(z) with the new one, which is kept only if
their mean ELBO rises. Both have the same codes and log p(x|z), so only log p(z) makes the difference.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from backstory import console
from backstory.data.stored import StoredRows
from backstory.distributions.latent import Posterior
from backstory.errors import InputError
from backstory.model import Model
from backstory.models.initial import drawn_from
from backstory.models.priors import FlowPrior, Mixture
from backstory.options import FlowPrior as FlowOptions
from backstory.options import MixturePrior, ModelOptions, PriorOptions, TrainOptions
from backstory.training.adam import Adam

TENTH = 10  # of so many training rows one chooses the density
COMPONENTS, ROWS_EACH, MOST_CODES = (10, 50, 200), 20, 20_000  # of mixtures
RATE, BATCH, EPOCHS, STEPS, WAIT = 2e-3, 500, 40, 2_000, 0.2  # of flows
DRAWS = 20  # of z for each held-out row

Fitted = tuple[nn.Module, PriorOptions]


def check_second_stage(model: ModelOptions, training: TrainOptions, validation: float) -> None:
    """InputError for a second stage that cannot be."""
    name = training.prior_after
    if name is None:
        return
    if model.posterior.name == "delta":
        raise InputError(
            f"prior_after {name} compares ELBOs, which posterior delta does not have; use prior mixture, "
            "which is fitted to its codes after training"
        )
    if not validation:
        raise InputError(
            f"prior_after {name} needs rows held out of training to choose between two priors, got "
            "validation 0; leave it out"
        )


def second_stage(model: Model, rows: StoredRows, held_out: StoredRows, show: bool) -> None:
    """Fit the p(z) that the model's training asks for, and keep it if the held-out ELBO rises.

    Args:
        model: after training; it may get another prior, and its summary says so.
        rows, held_out: of training and validation.
        show: whether to print both ELBOs.
    """
    name, seed = model.training.prior_after, model.training.seed
    if name is None or not len(held_out):
        return
    some = rows.by_weight(seed)
    codes, every = model.encode(some, seed), torch.arange(len(some))
    chosen_on = every % TENTH == (TENTH - 1 if len(some) >= TENTH else 0)
    fitted, options = FITS[name](codes.select(~chosen_on), codes.select(chosen_on), seed)
    before, after = held_out_elbos(model, held_out, fitted)
    old = model.options.prior.name
    kept = after > before
    if kept:
        model.replace_prior(fitted, options)
    model.summary["second_stage"] = {"prior": name, "elbo_before": before, "elbo_after": after, "kept": kept}
    console.say(
        f"prior {name} fitted to the codes: held-out elbo {after:.2f} nats, with prior {old} {before:.2f}; "
        f"kept prior {name if kept else old}",
        show,
    )


@torch.no_grad()
def held_out_elbos(model: Model, held_out: StoredRows, other: nn.Module) -> tuple[float, float]:
    """The mean ELBO of rows with the model's p(z) and with another one, by the same codes."""
    vae, seed = model.vae, model.training.seed
    generator = torch.Generator(vae.device).manual_seed(seed)
    fitted = vae.latents.lift(other())
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in model._batches(held_out).draw(generator):
        terms = vae.terms(vae.completed(batch), DRAWS, generator)
        priors = terms.prior, fitted
        rest = terms.log_likelihood - terms.log_posterior
        each = [(rest + prior.log_prob(terms.z)).mean(0).double().sum() for prior in priors]
        sums += torch.stack(each).cpu()
    before, after = (sums / len(held_out)).tolist()
    return before, after


def fitted_mixture(codes: Posterior, chosen_on: Posterior, seed: int) -> Fitted:
    """The best of mixtures with several numbers of components, each by expectation maximisation."""
    generator = torch.Generator(codes.centre.device).manual_seed(seed)
    z, others = (q.sample(1, generator)[0] for q in (codes, chosen_on))
    z = z[torch.randperm(len(z), generator=generator, device=z.device)[:MOST_CODES]]
    best: tuple[float, Mixture] | None = None
    for components in [n for n in COMPONENTS if n * ROWS_EACH <= len(z)] or [1]:
        with drawn_from(seed):
            mixture = Mixture(z.shape[-1], components)
        mixture.to(z.device).fit(z, seed)
        value = _mean_density(mixture, others)
        if best is None or value > best[0]:
            best = value, mixture
    assert best is not None
    return best[1], MixturePrior(components=best[1].components)


def fitted_flow(codes: Posterior, chosen_on: Posterior, seed: int) -> Fitted:
    """A flow by maximum likelihood on fresh draws in each epoch; the best epoch on the other codes."""
    generator, options = torch.Generator(codes.centre.device).manual_seed(seed), FlowOptions()
    rows, latent = codes.centre.shape
    with drawn_from(seed):
        flow = FlowPrior(latent, options.transforms, options.flow_width)
    flow.to(codes.centre.device)
    others = chosen_on.sample(1, generator)[0]
    optimiser = Adam(flow.parameters())
    epochs = max(EPOCHS, math.ceil(STEPS / math.ceil(rows / BATCH)))
    best, kept, waited = -math.inf, None, 0
    for epoch in range(epochs):
        optimiser.lr = RATE * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        z = codes.sample(1, generator)[0]
        for batch in z[torch.randperm(rows, generator=generator, device=z.device)].split(BATCH):
            flow.zero_grad()
            (-flow().log_prob(batch).mean()).backward()
            optimiser.update()
        value = _mean_density(flow, others)
        waited += 1
        if value > best:
            kept = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
            best, waited = value, 0
        if waited > WAIT * epochs:
            break
    if kept is not None:
        flow.load_state_dict(kept)
    return flow, options


@torch.no_grad()
def _mean_density(prior: nn.Module, z: Tensor) -> float:
    return float(prior().log_prob(z).mean())


FITS: dict[str, Callable[[Posterior, Posterior, int], Fitted]] = {
    "flow": fitted_flow,
    "mixture": fitted_mixture,
}
