"""A second stage: after training, p(z) becomes a density that is fitted to the aggregate posterior.

    q(z) = (1/N) Σ_n q(z|x_n)

Of all p(z), q(z) gives the mean ELBO of the rows x_n its maximum, with encoder and decoder as they are
(Hoffman & Johnson 2016, "ELBO surgery"; Tomczak & Welling 2018, eq. 5; Dai & Wipf 2019 fit a second model to
it). A density is fitted to codes of nine tenths of the training rows and chosen on the codes of the others.
The rows that were held out of training then compare the old p(z) with the new one, which is kept only if
their mean ELBO rises. Both have the same codes and log p(x|z), so only log p(z) makes the difference.

A diffusion has no density. It is kept if its draws are nearer to the codes of these rows than draws of the
old p(z), by the energy distance (Székely & Rizzo 2013).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backstory import console
from backstory.data.stored import StoredRows
from backstory.distributions.latent import Posterior
from backstory.errors import InputError
from backstory.model import Model
from backstory.models.initial import drawn_from
from backstory.models.priors import DiffusionPrior, FlowPrior, Mixture
from backstory.options import DiffusionPrior as DiffusionOptions
from backstory.options import FlowPrior as FlowOptions
from backstory.options import MixturePrior, ModelOptions, PriorOptions, TrainOptions
from backstory.training.adam import Adam

TENTH = 10  # of so many training rows one chooses the density
COMPONENTS, ROWS_EACH, MOST_CODES = (10, 50, 200), 20, 20_000  # of mixtures
RATE, BATCH, EPOCHS, STEPS, WAIT = 2e-3, 500, 40, 2_000, 0.2  # of flows and diffusions
DRAWS = 20  # of z for each held-out row
MOST_COMPARED = 2_000  # codes and draws in an energy distance

Fitted = tuple[nn.Module, PriorOptions]


def check_second_stage(model: ModelOptions, training: TrainOptions, validation: float) -> None:
    """InputError for a second stage that cannot be."""
    if not model.prior.has_density:
        raise InputError(
            f"prior {model.prior.name} has no density, which training needs; fit it after training, with "
            f"prior_after {model.prior.name}"
        )
    name = training.prior_after
    if name is None:
        return
    if model.posterior.name == "delta" and name in FITS:
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
    fit = FITS.get(name, fitted_diffusion)
    fitted, options = fit(codes.select(~chosen_on), codes.select(chosen_on), seed)
    old, judge = model.options.prior.name, BY_ELBO if name in FITS else BY_DRAWS
    before, after = judge.compare(model, held_out, fitted)
    kept = after > before if judge.higher else after < before
    if kept:
        model.replace_prior(fitted, options)
    figures = {f"{judge.name}_before": before, f"{judge.name}_after": after}
    model.summary["second_stage"] = {"prior": name, **figures, "kept": kept}
    one, other = (judge.shown(figure) for figure in (before, after))
    console.say(
        f"prior {name} fitted to the codes: {judge.of} {other}, with prior {old} {one}; "
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


@torch.no_grad()
def draw_distances(model: Model, held_out: StoredRows, other: nn.Module) -> tuple[float, float]:
    """The energy distances of codes of rows from draws of the model's p(z), and of another one."""
    vae = model.vae
    generator = torch.Generator(vae.device).manual_seed(model.training.seed)
    codes, draws = [], []
    for batch in model._completed(model._batches(held_out), generator):
        codes.append(vae.latents.own(vae.encode(batch).sample(1, generator)[0]))
        draws.append(vae.latents.own(vae.prior(batch.given).sample(len(batch), generator)))
    z, before = (torch.cat(parts)[:MOST_COMPARED] for parts in (codes, draws))
    return energy_distance(before, z), energy_distance(other().sample(len(z), generator), z)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E‖a − b‖ − E‖a − a'‖ − E‖b − b'‖ of two samples, (N, D) and (M, D).

    Pairs of a draw with itself are left out.
    """

    def within(z: Tensor) -> Tensor:
        return torch.cdist(z, z).sum() / max(1, len(z) * (len(z) - 1))

    return float(2 * torch.cdist(a, b).mean() - within(a) - within(b))


@dataclass(frozen=True)
class Judge:
    """How the old p(z) and the new one are compared.

    Attributes:
        name: of the figure in the summary of a run.
        of: what it is.
        shown: the figure as a text.
        compare: gives the figure of both.
        higher: whether the higher one is better.
    """

    name: str
    of: str
    shown: Callable[[float], str]
    compare: Callable[[Model, StoredRows, nn.Module], tuple[float, float]]
    higher: bool


def _shown_distance(distance: float) -> str:
    """An estimated distance as a text; chance makes estimates of small distances negative.

    >>> _shown_distance(0.03), _shown_distance(-0.0021)
    ('0.0300', 'about 0')
    """
    text = f"{distance:.4f}"
    return text if distance > 0 and float(text) else "about 0"


BY_ELBO = Judge("elbo", "held-out elbo", "{:.2f} nats".format, held_out_elbos, True)
BY_DRAWS = Judge("distance", "distance of draws from held-out codes", _shown_distance, draw_distances, False)


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
    latent = codes.centre.shape[-1]
    with drawn_from(seed):
        flow = FlowPrior(latent, options.transforms, options.flow_width)
    flow.to(codes.centre.device)
    others = chosen_on.sample(1, generator)[0]
    train(flow, codes, lambda z: -flow().log_prob(z), lambda: _mean_density(flow, others), generator)
    return flow, options


def fitted_diffusion(codes: Posterior, chosen_on: Posterior, seed: int) -> Fitted:
    """A diffusion by its estimates of v; the best epoch on the other codes, at the same times and noise."""
    generator, options = torch.Generator(codes.centre.device).manual_seed(seed), DiffusionOptions()
    with drawn_from(seed):
        diffusion = DiffusionPrior(codes.centre.shape[-1], options.diffusion_width)
    diffusion.to(codes.centre.device).standardise(codes.sample(1, generator)[0])
    others = chosen_on.sample(DRAWS, generator).flatten(0, 1)

    @torch.no_grad()
    def value() -> float:
        same = torch.Generator(others.device).manual_seed(seed)
        return -float(diffusion.loss(others, same).mean())

    train(diffusion, codes, lambda z: diffusion.loss(z, generator), value, generator)
    return diffusion, options


def train(
    prior: nn.Module,
    codes: Posterior,
    loss: Callable[[Tensor], Tensor],
    value: Callable[[], float],
    generator: torch.Generator,
) -> None:
    """Train a prior by Adam on fresh draws of the codes in each epoch, and keep the best epoch.

    Args:
        prior: the module.
        codes: q(z|x) of N rows.
        loss: of each of some draws, (B,).
        value: which is highest in the best epoch.
        generator: of the draws.
    """
    rows = len(codes.centre)
    optimiser = Adam(prior.parameters())
    epochs = max(EPOCHS, math.ceil(STEPS / math.ceil(rows / BATCH)))
    best, kept, waited = -math.inf, None, 0
    for epoch in range(epochs):
        optimiser.lr = RATE * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        z = codes.sample(1, generator)[0]
        for batch in z[torch.randperm(rows, generator=generator, device=z.device)].split(BATCH):
            prior.zero_grad()
            loss(batch).mean().backward()
            optimiser.update()
        reached = value()
        waited += 1
        if reached > best:
            kept = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
            best, waited = reached, 0
        if waited > WAIT * epochs:
            break
    if kept is not None:
        prior.load_state_dict(kept)


@torch.no_grad()
def _mean_density(prior: nn.Module, z: Tensor) -> float:
    return float(prior().log_prob(z).mean())


FITS: dict[str, Callable[[Posterior, Posterior, int], Fitted]] = {
    "flow": fitted_flow,
    "mixture": fitted_mixture,
}
