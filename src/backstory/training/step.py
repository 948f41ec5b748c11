"""One step of training: the objective of a batch, its gradient, and whether they are finite.

All randomness is drawn before the step: the noise of the presentation, and ε of the codes z = μ + σ·ε. The
rest is a pure function of tensors. It can be compiled into one graph, forward and backward, and spread over
several processes: the draws are those of the whole batch for any number of processes.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from backstory import console
from backstory.data.observation import Observation
from backstory.data.schema import Schema
from backstory.data.stored import Stored, StoredRows
from backstory.models.level_posterior import Spread
from backstory.models.vae import VAE
from backstory.objectives.registry import OBJECTIVES, arguments
from backstory.options import TrainOptions
from backstory.training.compile import compiled_graph
from backstory.training.devices import Alone
from backstory.training.recording import Recorded


class Batch(NamedTuple):
    """The rows of a batch in one process: x in the model's units, ε, (K, B, D), and conditions, (B, C).

    Where the level of a condition is missing in some rows, each row of a step brings along a row that has
    one: `labelled`, x, and `labels`, its conditions. `own` is the exemplar of the prior that each row is.
    """

    x: Tensor
    noise: Tensor
    given: Tensor | None = None
    labelled: Tensor | None = None
    labels: Tensor | None = None
    own: Tensor | None = None

    @property
    def observation(self) -> Observation:
        return Observation(self.x, self.given)


class Pass(NamedTuple):
    """The results of one pass through the model: (B,) each, and (B, D) of codes; no means in training."""

    objective: Tensor
    reconstruction: Tensor
    kl: Tensor
    means: Tensor | None
    kl_per_unit: Tensor | None

    def sums(self) -> Tensor:
        """Sums over the batch: of the objective, log p(x|z) and the KL, and the number of rows, (4,)."""
        parts = (self.objective.detach(), self.reconstruction, self.kl, torch.ones_like(self.kl))
        return torch.stack(parts).sum(1)

    def over_levels(self, spread: Spread, beta: Tensor | float) -> "Pass":
        """The means over q(c|x) of a pass through spread rows, with KL(q(c|x) ‖ p(c)) as a part of the KL."""
        kl = spread.kl.detach()
        return Pass(
            spread.mean(self.objective) - beta * spread.kl,
            spread.mean(self.reconstruction).detach(),
            spread.mean(self.kl).detach() + kl,
            None if self.means is None else spread.mean(self.means).detach(),
            None if self.kl_per_unit is None else spread.mean(self.kl_per_unit).detach(),
        )


class Bound(nn.Module):
    """The objective of a batch of stored values, as one module that can be compiled or spread over devices.

    Args:
        vae, schema: the model and how stored values become its x.
        options: the objective, its draws, β and arguments, and the precision of the networks.
        labelled: the training rows with a level, if the level of a condition is missing in others.
    """

    def __init__(self, vae: VAE, schema: Schema, options: TrainOptions, labelled: StoredRows | None = None):
        super().__init__()
        self.vae, self.schema, self.options, self.labelled = vae, schema, options, labelled
        name = options.objective.name
        self.objective, self.supplied = OBJECTIVES[name], set(arguments(name))
        self.arguments = options.objective.values
        self.latent = vae.latents.size

    def batch(
        self, stored: Stored, rows: int, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Batch:
        """The part of a batch that belongs to this process, with its draws.

        A process has every world-th row of the batch, from row `rank` on. Draws are made for the whole batch,
        so they do not depend on `world`.

        Args:
            stored: the rows of this process.
            rows: number of rows of the whole batch.
        """
        values = stored.values
        presentation = self.schema.noise(values, rows, generator)
        noise = torch.randn(
            self.options.samples or 1, rows, self.latent, generator=generator, device=values.device
        )
        if world > 1:
            part = slice(rank, None, world)
            presentation, noise = None if presentation is None else presentation[part], noise[:, part]
        return Batch(self.schema.present(values, presentation), noise, stored.given)

    def with_labelled(
        self, batch: Batch, rows: int, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Batch:
        """The batch, with a row that has a level for each of its rows; as it is if all rows have one.

        Their mean of log q(c|x), times `label_weight`, is a part of the objective of a step (Kingma et al.
        2014, eq. 9). Few rows with a level would come in few batches, so the other rows bring them along.
        """
        if self.labelled is None:
            return batch
        device = batch.x.device
        drawn = torch.randint(len(self.labelled), (rows,), generator=generator, device=device)
        stored = self.labelled.take(drawn[rank::world].cpu().numpy()).on(device, slice(None))
        noise = self.schema.noise(stored.values, rows, generator)
        x = self.schema.present(stored.values, None if noise is None else noise[rank::world])
        return batch._replace(labelled=x, labels=stored.given)

    def forward(
        self,
        batch: Batch,
        warmup: Tensor | float,
        rows: int,
        generator: torch.Generator | None = None,
    ) -> Pass:
        """One pass.

        Args:
            batch: see the method `batch`.
            warmup: fraction of the warm-up that is over, which scales β.
            rows: number of rows of the data set that the batch comes from.
            generator: for objectives that draw.
        """
        beta = warmup * self.options.beta
        known = {"beta": beta, "warmup": warmup, "rows": rows, "generator": generator}
        supplied = {name: value for name, value in known.items() if name in self.supplied}
        if self.vae.levels is None:
            with self.vae.one_pass():
                return self._pass(batch.observation, batch.noise, batch.own, supplied)
        with self._precision(batch.x.device.type):
            spread = self.vae.spread(batch.observation)
        own = None if batch.own is None else batch.own[spread.rows]
        with self.vae.one_pass():
            one_each = self._pass(spread.observation, batch.noise[:, spread.rows], own, supplied)
        summed = one_each.over_levels(spread, beta)
        return summed._replace(objective=summed.objective + self._of_labels(batch))

    def _pass(
        self, observation: Observation, noise: Tensor, own: Tensor | None, supplied: dict[str, Any]
    ) -> Pass:
        """A pass of rows that all have their conditions; `supplied` are arguments of the objective."""
        with self._precision(observation.x.device.type):
            terms = self.vae.terms(observation, self.options.samples or 1, noise=noise)
        if own is not None:
            terms = replace(terms, prior=self.vae.latents.lift(self.vae.prior_module().leaving_out(own)))
        objective = self.objective(terms, **supplied, **self.arguments)
        with torch.no_grad():  # metrics
            per_unit = terms.kl_given if terms.kl_per_unit is None else terms.kl_per_unit
            per_unit = None if per_unit is None else per_unit.detach()
            kl = terms.kl.detach()
            reconstruction = terms.log_likelihood.mean(0)
            means = None if self.vae.training else terms.posterior.own(terms.posterior.centre)
        return Pass(objective, reconstruction, kl, means, per_unit)

    def _of_labels(self, batch: Batch) -> Tensor | float:
        """α log q(c|x) of the rows with a level that a batch brings along, (B,); 0 where there are none."""
        if batch.labelled is None or batch.labels is None or self.vae.levels is None:
            return 0.0
        with self._precision(batch.x.device.type):
            log_q = self.vae.level_posterior(Observation(batch.labelled, batch.labels))
        own = batch.labels[:, self.vae.levels.missing.place]
        return (self.options.label_weight or 0.0) * (own * log_q).sum(-1)

    def codes(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The centre of q(z|x) and the KL of each dimension, (B, D), without the decoder."""
        with self._precision(batch.x.device.type):
            observation = self.vae.completed(batch.observation)
            posterior, prior = self.vae.encode(observation), self.vae.prior(observation.given)
            kl = posterior.kl_per_unit(prior)
            if kl is None:
                with self.vae.one_pass():
                    of_draws = posterior.kl_given(prior, posterior.transport(batch.noise))
                kl = None if of_draws is None else of_draws.mean(0)
        return posterior.own(posterior.centre), kl

    def _precision(self, device: str) -> Any:
        return torch.autocast(device, torch.bfloat16) if self.options.precision == "bf16" else nullcontext()


class Outcome(NamedTuple):
    """The results of a step before the weights change.

    Attributes:
        sums: see `Pass.sums`, over the rows of all processes; zero if the step failed.
        norm: of the whole gradient.
        failed: 1.0 if the objective or the gradient is not finite, else 0.0.
    """

    sums: Tensor
    norm: Tensor
    failed: Tensor


class Step:
    """Computes the gradient of the mean objective of a batch, and stores it in the parameters' `grad`.

    Args:
        bound: the objective.
        rows: number of rows of the training set.
        full: number of rows of a full batch; the graph is compiled for its shapes alone.
        devices: where the work is done.
    """

    def __init__(self, bound: Bound, rows: int, full: int, devices: Alone):
        self.bound, self.rows, self.full, self.devices = bound, rows, full, devices
        self.module: Any = devices.setup(bound)
        self.parameters = [p for p in bound.parameters() if p.requires_grad]
        self.graph: Callable[..., tuple[Any, ...]] | None = None
        varying = bound.vae.levels is not None  # how many rows a spread batch has
        fixed = devices.world == 1 and not varying
        self.recorded = Recorded() if fixed and bound.vae.device.type == "cpu" else None

    def compile(self) -> None:
        """Compile forward and backward pass into one graph at the next full batch; for one process."""
        if self.devices.world == 1:
            try:
                self.graph = compiled_graph(self._gradient, self.bound.vae.shift.device)
            except Exception as error:  # releases of PyTorch differ in what their compiler can do
                self._go_on_without_it(error)

    def _go_on_without_it(self, error: Exception) -> None:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        console.warn(f"training goes on without compilation, which failed: {reason[:200]}")
        self.graph = None

    def __call__(self, batch: Batch, warmup: Tensor, count: int, generator: torch.Generator) -> Outcome:
        """The gradient for a batch of `count` rows in all processes together."""
        if self.graph is not None and count == self.full:
            try:
                return self._lay(*self.graph(batch, warmup, count))
            except Exception as error:  # compilers fail in many ways; the step itself raises again below
                self._go_on_without_it(error)
        if self.recorded is not None and count == self.full:
            inputs = [tensor for tensor in (*batch, warmup) if tensor is not None]
            return self._lay(*self.recorded(inputs, lambda: self._gradient(batch, warmup, count, generator)))
        return self._eager(batch, warmup, count, generator)

    def _gradient(
        self, batch: Batch, warmup: Tensor, count: int, generator: torch.Generator | None = None
    ) -> tuple[Outcome, tuple[Tensor, ...]]:
        """The step as one function, to be compiled or recorded."""
        parts = self.bound(batch, warmup, self.rows, generator)
        loss = -parts.objective.sum() * (1 / count)
        gradient = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        return _outcome(parts.sums(), _norm(gradient)), gradient

    def _lay(self, outcome: Outcome, gradient: tuple[Tensor, ...]) -> Outcome:
        for parameter, value in zip(self.parameters, gradient, strict=True):
            parameter.grad = value
        return outcome

    def _eager(self, batch: Batch, warmup: Tensor, count: int, generator: torch.Generator) -> Outcome:
        """The step as it is; of several processes the module's wrapper averages the gradient over them."""
        for parameter in self.parameters:
            parameter.grad = None
        parts = self.module(batch, warmup, self.rows, generator)
        self.devices.backward(-parts.objective.sum() * (self.devices.world / count))
        norm = _norm([p.grad for p in self.parameters if p.grad is not None])
        return _outcome(self.devices.sum(parts.sums()), norm)


def _norm(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The norm of all tensors together."""
    if torch.compiler.is_compiling():  # the compiler fuses each norm with the operation before it
        norms = [torch.linalg.vector_norm(t) for t in tensors]
    else:
        norms = list(torch._foreach_norm(tensors))
    return torch.linalg.vector_norm(torch.stack(norms))


def _outcome(sums: Tensor, norm: Tensor) -> Outcome:
    total = norm + sums[0]
    failed = (total - total) != 0  # infinity and NaN: fewer operations than torch.isfinite
    return Outcome(sums.masked_fill(failed, 0.0), norm, failed.to(norm.dtype))
